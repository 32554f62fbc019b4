//! Reading the JSON of a server's answer. Source: RFC 8259.
//!
//! An answer has a handful of fields, and a whole JSON library for them would be most of what the default features
//! build. The caller bounds the text; this bounds the nesting.

/// A JSON value. Numbers are kept as text: 64-bit ones come as strings as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

const MAX_DEPTH: u32 = 32;

impl Json {
    /// The value that `text` is; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text };
        let value = reader.value(MAX_DEPTH)?;
        reader.skip_space();
        reader.rest.is_empty().then_some(value)
    }

    /// The member `name` of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// A 64-bit integer, in either form.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Number(text) | Self::String(text) => text.parse().ok(),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self, depth: u32) -> Option<Json> {
        let depth = depth.checked_sub(1)?;
        self.skip_space();
        match self.rest.as_bytes().first()? {
            b'{' => self.list(depth, '}', Self::member).map(Json::Object),
            b'[' => self.list(depth, ']', Self::value).map(Json::Array),
            b'"' => self.string().map(Json::String),
            b'-' | b'0'..=b'9' => self.number().map(Json::Number),
            _ => [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
                .into_iter()
                .find_map(|(word, value)| self.take(word).then_some(value)),
        }
    }

    /// What `item` reads, with commas between, from an opening bracket to `end`.
    fn list<T>(
        &mut self,
        depth: u32,
        end: char,
        item: impl Fn(&mut Self, u32) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut items = Vec::new();
        self.rest = self.rest.get(1..)?;
        self.skip_space();
        if self.take_char(end) {
            return Some(items);
        }
        loop {
            items.push(item(self, depth)?);
            self.skip_space();
            if self.take_char(end) {
                return Some(items);
            }
            self.take_char(',').then_some(())?;
        }
    }

    fn member(&mut self, depth: u32) -> Option<(String, Json)> {
        self.skip_space();
        let name = self.string()?;
        self.skip_space();
        self.take_char(':').then_some(())?;
        Some((name, self.value(depth)?))
    }

    fn string(&mut self) -> Option<String> {
        self.take_char('"').then_some(())?;
        let mut text = String::new();
        loop {
            let end = self.rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ')?;
            let (plain, rest) = self.rest.split_at(end);
            text.push_str(plain);
            self.rest = rest;
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = self.hex()?;
                if !(0xd800..0xdc00).contains(&unit) {
                    return char::from_u32(unit); // `None` for the second half of a pair
                }
                self.take("\\u").then_some(())?;
                let second = self.hex()?.checked_sub(0xdc00).filter(|second| *second < 0x400)?;
                char::from_u32(0x10000 + ((unit - 0xd800) << 10 | second))?
            }
            other => Some(other).filter(|c| matches!(c, '"' | '\\' | '/'))?,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits =
            self.rest.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        self.rest = self.rest.get(4..)?;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Option<String> {
        let is_part = |c: char| matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        // Not all that passes is a number, but nothing that is one is refused.
        number.parse::<f64>().ok().map(|_| number.to_owned())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    fn take_char(&mut self, wanted: char) -> bool {
        self.rest.strip_prefix(wanted).map(|rest| self.rest = rest).is_some()
    }

    fn take(&mut self, wanted: &str) -> bool {
        self.rest.strip_prefix(wanted).map(|rest| self.rest = rest).is_some()
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
        match (ours, theirs) {
            (Json::Null, serde_json::Value::Null) => true,
            (Json::Bool(a), serde_json::Value::Bool(b)) => a == b,
            (Json::Number(a), serde_json::Value::Number(b)) => a.parse::<f64>().ok() == b.as_f64(),
            (Json::String(a), serde_json::Value::String(b)) => a == b,
            (Json::Array(a), serde_json::Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Json::Object(_), serde_json::Value::Object(b)) => {
                b.iter().all(|(name, b)| ours.get(name).is_some_and(|a| same(a, b)))
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn what_another_library_reads_is_read_alike(text in r#"[\[\]{}":,\\u0-9a-f \-.\n]{0,40}"#) {
            if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&text) {
                let ours = Json::parse(&text);
                prop_assert!(ours.as_ref().is_some_and(|ours| same(ours, &theirs)), "{text}: {ours:?} {theirs}");
            } else if let Some(Json::Object(_) | Json::Array(_) | Json::String(_)) = Json::parse(&text) {
                // Only odd numbers, such as 01, are read beyond what the standard allows.
                prop_assert!(text.contains(|c: char| c.is_ascii_digit()), "{text}");
            }
        }

        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(Json::parse(&quoted), Some(Json::String(text)));
        }
    }

    #[test]
    fn members_and_escapes_are_read_and_nesting_is_bounded() {
        let json =
            Json::parse(r#" { "a" : [1, -2.5e3, "x\u00e9\ud83d\ude00\n"], "n": "9223372036854775807" } "#)
                .unwrap();
        assert_eq!(json.get("n").and_then(Json::integer), Some(i64::MAX));
        let Some(Json::Array(items)) = json.get("a") else { panic!("{json:?}") };
        assert_eq!(items.last().and_then(Json::text), Some("xé😀\n"));
        assert_eq!(Json::parse(&"[".repeat(1_000_000)), None);
        for malformed in ["", "{", "[1,]", "{\"a\"}", "\"\u{1}\"", "\"\\ud800\"", "\"\\x\"", "1 2", "nul"] {
            assert_eq!(Json::parse(malformed), None, "{malformed:?}");
        }
    }
}
