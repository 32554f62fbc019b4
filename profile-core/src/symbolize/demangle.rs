//! Linkage names to names that a person reads.

use std::fmt::{self, Write};

/// The longest function name that is kept; the names of generic futures can be longer than anyone reads.
const LONGEST_FUNCTION: usize = 4096;

/// The function that `linkage_name` stands for. Rust names (both manglings) are demangled without their hashes; other
/// names stay as they are, without the version that some carry (`memcpy@@GLIBC_2.14`). Names longer than 4 KiB end
/// in `…`.
pub(super) fn demangle(linkage_name: &str) -> String {
    let mut name = Bounded(String::new());
    // An error is the bound: what was written so far is the answer.
    let _ = match rustc_demangle::try_demangle(linkage_name) {
        Ok(demangled) => write!(name, "{demangled:#}"),
        Err(_) => name.write_str(linkage_name.split('@').next().unwrap_or(linkage_name)),
    };
    if name.0.is_empty() { linkage_name.chars().take(LONGEST_FUNCTION / 4).collect() } else { name.0 }
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST_FUNCTION - self.0.len().min(LONGEST_FUNCTION);
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let fits = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(text.get(..fits).unwrap_or_default());
        self.0.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::demangle;

    #[test]
    fn names_of_each_kind() {
        let cases = [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            ("_ZN4core3fmt5write17h0123456789abcdefE.llvm.1234567890", "core::fmt::write"),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>"),
            ("_ZNSt6vectorIiSaIiEE9push_backERKi", "_ZNSt6vectorIiSaIiEE9push_backERKi"),
            ("memcpy@@GLIBC_2.14", "memcpy"),
            ("memcpy", "memcpy"),
            ("@", "@"),
        ];
        for (linkage_name, function) in cases {
            assert_eq!(demangle(linkage_name), function);
        }
    }

    #[test]
    fn a_name_without_end_is_cut() {
        let name = demangle(&"ä".repeat(100_000));
        assert!(name.len() <= super::LONGEST_FUNCTION + '…'.len_utf8());
        assert!(name.ends_with("ä…"));
    }
}
