//! The header `Retry-After`: a number of seconds, or a date. Source: RFC 9110, sections 10.2.3 and 5.6.7.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long `value` asks to wait, seen from `now`; a date in the past asks for no wait. `None` if it is malformed. Of the
/// three formats of a date, the two that have been obsolete since 1994 are not read.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are as good as for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = UNIX_EPOCH.checked_add(Duration::from_secs(http_date(value)?))?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since the Unix epoch.
fn http_date(value: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_day_of_week, date) = value.split_once(", ")?;
    let mut parts = date.split(' ');
    let day: u64 = digits(parts.next()?, 2)?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year: u64 = digits(parts.next()?, 4)?;
    let mut clock = parts.next()?.split(':');
    let (hour, minute, second) =
        (digits(clock.next()?, 2)?, digits(clock.next()?, 2)?, digits(clock.next()?, 2)?);
    let ends = clock.next().is_none() && parts.next() == Some("GMT") && parts.next().is_none();
    // 60 is a leap second.
    let in_range = (1..=31).contains(&day) && year >= 1970 && hour < 24 && minute < 60 && second <= 60;
    if !(ends && in_range) {
        return None;
    }
    let days = days_since_epoch(year, u64::try_from(month).ok()?, day);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let all_digits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

/// The days from 1970-01-01 to a day of the Gregorian calendar; `month` counts from 0, `year` from 1970 to 9999.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    // Counted in years that begin in March, so that the leap day is the last one of its year: then month m of such a
    // year begins (153 m + 2) / 5 days after the year does.
    let from_march = (month + 10) % 12;
    let year = if month < 2 { year - 1 } else { year };
    let day_of_calendar =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + day - 1;
    /// What the sum above is for 1970-01-01.
    const EPOCH: u64 = 719_468;
    day_of_calendar.saturating_sub(EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        // The instants are those of `date -u -d … +%s`.
        for (value, now, seconds) in [
            ("0", 0, 0),
            (" 120 ", 0, 120),
            ("99999999999999999999999", 0, u64::MAX),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 30, 30),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 + 30, 0),
            ("Thu, 01 Jan 1970 00:00:07 GMT", 0, 7),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 0, 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 0, 951_868_800),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 0, 4_107_542_400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 0, 253_402_300_799),
        ] {
            assert_eq!(parse(value, at(now)), Some(Duration::from_secs(seconds)), "{value}");
        }
    }

    #[test]
    fn anything_else_is_no_answer() {
        for value in [
            "",
            "-1",
            "1.5",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
        ] {
            assert_eq!(parse(value, UNIX_EPOCH), None, "{value:?}");
        }
    }
}
