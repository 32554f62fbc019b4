//! W3C trace context identifiers. Source: <https://www.w3.org/TR/trace-context-2/>, sections 2.2.3-2.2.5.

use super::{LabelSet, Region, SpanPath};
use std::fmt;

/// A trace id: 16 bytes, all zero means "none". Displays as 32 lowercase hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(u128);

/// A span id: 8 bytes, all zero means "none". Displays as 16 lowercase hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(u64);

/// The W3C trace flags byte.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TraceFlags(u8);

/// The identity of a span: its trace, itself, and the trace's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The span itself.
    pub span_id: SpanId,
    /// Flags of the trace; bit 0 says that it is sampled.
    pub flags: TraceFlags,
}

/// The span that a sample was taken in, and what else its thread had published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SampleContext {
    /// The trace; invalid when there is none.
    pub trace_id: TraceId,
    /// The trace's flags: a sample of a trace that is not sampled gets no link.
    pub flags: TraceFlags,
    /// The innermost span.
    pub span_id: SpanId,
    /// The innermost span's name, and those of the spans around it.
    pub span: SpanPath,
    /// The local root: the outermost span of this request in this process.
    pub root_id: SpanId,
    /// The local root's path; its name is the path's last name.
    pub root: SpanPath,
    /// The innermost region: of the `#[profiled(span = false)]` functions around the sample.
    pub region: Region,
    /// The labels that held: of the `#[profiled(labels(..))]` functions around the sample.
    pub labels: LabelSet,
}

impl TraceId {
    /// The id from its W3C byte order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The id in W3C byte order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Whether this is an id at all: not all zero.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl SpanId {
    /// The id from its W3C byte order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The id in W3C byte order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The id as the number whose big-endian bytes it is.
    #[must_use]
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }

    /// The number whose big-endian bytes the id is.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// Whether this is an id at all: not all zero.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl TraceFlags {
    /// The trace is sampled (level 1).
    pub const SAMPLED: Self = Self(0x01);
    /// The trace id's right-most seven bytes are random (level 2).
    pub const RANDOM: Self = Self(0x02);

    /// Flags from their byte.
    #[must_use]
    pub const fn from_u8(bits: u8) -> Self {
        Self(bits)
    }

    /// The flags as a byte.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        self.0
    }

    /// Whether the trace is sampled.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }
}

impl SpanContext {
    /// Whether both ids are set.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.trace_id.is_valid() && self.span_id.is_valid()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl fmt::Debug for TraceFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceFlags({:#04x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_w3c_hex_and_keep_byte_order() {
        let trace =
            TraceId::from_bytes([0, 0xaf, 0x76, 0x51, 0x91, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x16]);
        assert_eq!(trace.to_string(), "00af7651910607080 90a0b0c0d0e0f16".replace(' ', ""));
        assert_eq!(trace.to_bytes()[1], 0xaf);
        let span = SpanId::from_bytes([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7]);
        assert_eq!(span.to_string(), "00f067aa0ba902b7");
        assert_eq!(SpanId::from_u64(span.to_u64()), span);
    }

    #[test]
    fn zero_is_no_id() {
        assert!(!SpanContext::default().is_valid());
        assert!(!TraceFlags::from_u8(0xfe).is_sampled());
        assert!(TraceFlags::from_u8(0x03).is_sampled());
    }
}
