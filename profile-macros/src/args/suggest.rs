//! "Did you mean": the allowed word nearest to a mistyped one.

/// The nearest of `allowed` by edit distance (insert, delete, replace, swap neighbours), if it is near enough that a
/// slip explains it.
pub(super) fn nearest<'a>(word: &str, allowed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    allowed
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(word.len()) / 2 && *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance, a row at a time.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances_known_from_the_literature() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ca", "ac"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn suggests_slips_and_nothing_far_fetched() {
        let words = ["name", "target", "level", "ret", "err"];
        assert_eq!(nearest("nmae", words.into_iter()), Some("name"));
        assert_eq!(nearest("lvl", words.into_iter()), None);
        assert_eq!(nearest("taget", words.into_iter()), Some("target"));
        assert_eq!(nearest("properties", words.into_iter()), None);
        assert_eq!(nearest("x", words.into_iter()), None);
    }
}
