//! The header `traceparent`: a span's identity on its way from one process to the next.
//!
//! Source: <https://www.w3.org/TR/trace-context-2/>, sections 2.2 and 4.3; the first level of that standard differs only
//! in not knowing the flag "random".

use super::{SpanContext, SpanId, TraceFlags, TraceId};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// The value of a `traceparent` header: the span that a request comes from, or goes out of.
///
/// `Display` writes it in version 00, which is 55 characters long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent(SpanContext);

/// Characters of version 00: `00-<32 digits>-<16 digits>-<2 digits>`.
const LENGTH: usize = 55;
/// The flags that are defined. All others are to be ignored when read and zero when written.
const FLAGS: u8 = TraceFlags::SAMPLED.to_u8() | TraceFlags::RANDOM.to_u8();

impl TraceParent {
    /// The header of a span; `None` if it lacks an id. Flags that are not defined are left out.
    #[must_use]
    pub fn new(span: SpanContext) -> Option<Self> {
        let flags = TraceFlags::from_u8(span.flags.to_u8() & FLAGS);
        span.is_valid().then_some(Self(SpanContext { flags, ..span }))
    }

    /// Reads the header's value, without white space around it. Of a version later than 00 the part that version 00 has is
    /// read, as the standard asks.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if it is not one: another length or form, upper-case digits, version `ff`, an id that
    /// is all zero. A new trace is to be started then.
    pub fn parse(value: &str) -> Result<Self> {
        read(value.as_bytes())
            .and_then(Self::new)
            .ok_or_else(|| Error::new(ErrorKind::Config, "the value of traceparent is malformed"))
    }

    /// The span that the header names.
    #[must_use]
    pub const fn context(&self) -> SpanContext {
        self.0
    }
}

fn read(value: &[u8]) -> Option<SpanContext> {
    let [version] = bytes(value.get(..2)?)?;
    let rest = value.get(LENGTH..)?;
    let has_its_length = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => matches!(rest.first(), None | Some(b'-')),
    };
    let mut dashes = [2, 35, 52].iter().map(|place| value.get(*place));
    if !has_its_length || !dashes.all(|dash| dash == Some(&b'-')) {
        return None;
    }
    let [flags] = bytes(value.get(53..LENGTH)?)?;
    Some(SpanContext {
        trace_id: TraceId::from_bytes(bytes(value.get(3..35)?)?),
        span_id: SpanId::from_bytes(bytes(value.get(36..52)?)?),
        flags: TraceFlags::from_u8(flags),
    })
}

/// `2 × N` lower-case hexadecimal digits as bytes.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.0.trace_id, self.0.span_id, self.0.flags.to_u8())
    }
}

impl FromStr for TraceParent {
    type Err = Error;

    /// As [`TraceParent::parse`].
    fn from_str(value: &str) -> Result<Self> {
        Self::parse(value)
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn value(version: &str, flags: &str, rest: &str) -> String {
        format!("{version}-{TRACE}-{SPAN}-{flags}{rest}")
    }

    #[test]
    fn the_examples_of_the_standard_are_read_and_written() {
        for (flags, sampled) in [("01", true), ("00", false), ("03", true), ("02", false)] {
            let text = value("00", flags, "");
            let read = TraceParent::parse(&text).unwrap();
            assert_eq!(read.to_string(), text);
            let ids = read.context();
            assert_eq!((ids.trace_id.to_string(), ids.span_id.to_string()), (TRACE.into(), SPAN.into()));
            assert_eq!(ids.flags.is_sampled(), sampled);
        }
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for rest in ["", "-", "-what-the-future-will-be-like"] {
            let read: TraceParent = value("cc", "ff", rest).parse().unwrap();
            assert_eq!(read.to_string(), value("00", "03", ""), "undefined flags are not passed on");
        }
        assert!(TraceParent::parse(&value("cc", "01", ".what")).is_err());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let zeros = |digits| "0".repeat(digits);
        let malformed = [
            String::new(),
            value("ff", "01", ""),
            value("00", "01", "-"),
            value("00", "01", " "),
            value("00", "1", ""),
            value("0", "01", ""),
            value("0x", "01", ""),
            value("00", "0G", ""),
            value("00", "0A", ""),
            value("00", "01", "").to_uppercase(),
            value("00", "01", "").replace('-', "_"),
            value("00", "01", "").replace(TRACE, &zeros(32)),
            value("00", "01", "").replace(SPAN, &zeros(16)),
            value("00", "01", "").replace("4bf9", "4bé"),
            format!(" {}", value("00", "01", "")),
        ];
        for text in malformed {
            let error = TraceParent::parse(&text).expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn a_span_without_ids_has_no_header() {
        assert_eq!(TraceParent::new(SpanContext::default()), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1u128.., span in 1u64.., flags: u8) {
            let ids = SpanContext {
                trace_id: TraceId::from_bytes(trace.to_be_bytes()),
                span_id: SpanId::from_u64(span),
                flags: TraceFlags::from_u8(flags & 3),
            };
            let written = TraceParent::new(ids).unwrap();
            prop_assert_eq!(written.to_string().parse::<TraceParent>().unwrap().context(), ids);
        }

        #[test]
        fn nothing_that_is_read_is_other_than_it_was(text in "[0-9a-fA-F-]{50,60}|\\PC{0,60}") {
            if let Ok(read) = TraceParent::parse(&text) {
                prop_assert_eq!(read.to_string()[2..52].to_owned(), text[2..52].to_owned());
            }
        }
    }
}
