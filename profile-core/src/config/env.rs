//! Reading environment variables as OpenTelemetry asks: an empty value is as good as none, and a malformed one is named
//! in one warning and ignored. Sources: <https://opentelemetry.io/docs/specs/otel/configuration/common/>, and for lists
//! of pairs <https://opentelemetry.io/docs/specs/otel/resource/sdk/>, which refers to W3C Baggage.
//!
//! The environment comes in as a closure, so that tests need not change that of their process.

use crate::diag::truncate;
use std::ffi::OsString;
use std::ops::RangeInclusive;

/// The environment and what is wrong with it.
pub(crate) struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    warnings: Vec<String>,
}

impl<'a> Env<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { lookup, warnings: Vec::new() }
    }

    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// The value as the operating system has it.
    pub(crate) fn raw(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// The value as text without the space around it.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.raw(name)?.into_string() {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(_) => {
                self.warn_secret(name, "it is not valid UTF-8");
                None
            }
        }
    }

    /// The value as `parse` reads it. If it cannot, its reason follows the value, as `shown`, in a warning.
    pub(crate) fn value<T>(
        &mut self,
        name: &str,
        shown: impl Fn(&str) -> String,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|why| self.warn(name, &shown(&text), why)).ok()
    }

    /// True only for "true", in any case.
    pub(crate) fn boolean(&mut self, name: &str) -> bool {
        self.flag(name).unwrap_or(false)
    }

    /// "true" or "false", in any case.
    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("is neither true nor false"),
        };
        self.value(name, str::to_owned, parse)
    }

    /// A whole number within `range`.
    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let why = format!("is not a whole number from {} to {}", range.start(), range.end());
                self.warn(name, &text, &why);
                None
            }
        }
    }

    /// The names of a list with commas.
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A list of pairs. One malformed pair spoils the list, as the specification has it.
    pub(crate) fn pairs(&mut self, name: &str) -> Option<Vec<(String, String)>> {
        let text = self.text(name)?;
        parse_pairs(&text).map_err(|why| self.warn(name, &text, &why)).ok()
    }

    /// A list of pairs whose values must not be shown.
    pub(crate) fn secret_pairs(&mut self, name: &str) -> Option<Vec<(String, String)>> {
        let text = self.text(name)?;
        parse_pairs(&text).map_err(|why| self.warn_secret(name, &format!("its value {why}"))).ok()
    }

    /// Warns that the value of `name` is ignored.
    pub(crate) fn warn(&mut self, name: &str, value: &str, why: &str) {
        let mut value = value.to_owned();
        truncate(&mut value, 200);
        self.warnings.push(format!("{name}: {value:?} {why}; ignored"));
    }

    /// Warns that the value of `name` is ignored, without showing it.
    pub(crate) fn warn_secret(&mut self, name: &str, why: &str) {
        self.warnings.push(format!("{name}: {why}; ignored (the value is not shown)"));
    }
}

/// `key=value,key=value`, both percent-encoded. The error follows the words "the value".
fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let entries = text.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty());
    for (index, entry) in entries {
        let wrong = |what: &str| format!("{what} in entry {}", index + 1);
        let (key, value) = entry.split_once('=').ok_or_else(|| wrong("has no \"=\""))?;
        let decode = |part: &str| percent_decode(part.trim()).ok_or_else(|| wrong("has a malformed \"%\""));
        let (key, value) = (decode(key)?, decode(value)?);
        if key.is_empty() {
            return Err(wrong("has no key"));
        }
        // The last of several equal keys holds.
        pairs.retain(|(known, _)| *known != key);
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// `%41` to `A`; `None` if an escape is malformed or the result is not UTF-8. Source: RFC 3986, section 2.1.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_follow_the_rules_of_baggage() {
        let pairs = |text: &str| parse_pairs(text).map(|pairs| format!("{pairs:?}"));
        for (text, expected) in [
            ("a=b", r#"[("a", "b")]"#),
            (" a = b , c = d e ", r#"[("a", "b"), ("c", "d e")]"#),
            ("a=b,", r#"[("a", "b")]"#),
            ("a=", r#"[("a", "")]"#),
            ("a=b=c", r#"[("a", "b=c")]"#),
            ("a=1,a=2", r#"[("a", "2")]"#),
            ("a%2Cb=%3D%c3%a9%20", r#"[("a,b", "=é ")]"#),
        ] {
            assert_eq!(pairs(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["a", "a=b,c", "=b", "a=%", "a=%4", "a=%zz", "a=%+1", "a=%ff", "a=%é"] {
            assert!(pairs(text).is_err(), "{text}");
        }
    }
}
