//! `labels(..)`: what samples carry besides their span, in the grammar of `fields(..)`. A value is text, by `Display`
//! unless `?` asks for `Debug`, and is always there when the function begins.

use proc_macro2::Span;
use syn::parse::ParseStream;
use syn::{Error, Result};

use super::fields::{self, Field, Name, Value};

/// The most labels of one attribute: as many as the profiler lets hold at once.
const MAX_LABELS: usize = 8;
/// The most bytes of a key.
const MAX_KEY_BYTES: usize = 64;
/// Keys of the profiler's own, and what backends file samples by.
const RESERVED: [&str; 6] = ["trace_id", "span_id", "span_name", "region", "service.name", "service_name"];

pub(super) fn read(input: ParseStream<'_>) -> Result<Vec<Field>> {
    let labels = fields::read_as("label", input)?;
    if let Some(label) = labels.get(MAX_LABELS) {
        return Err(Error::new(label.name.span(), "at most 8 labels hold at once"));
    }
    labels.iter().try_for_each(check)?;
    Ok(labels)
}

fn check(label: &Field) -> Result<()> {
    let refuse = |place: Span, reason: String| Err(Error::new(place, reason));
    if matches!(label.value, Value::Empty) {
        return refuse(label.name.span(), "a label has its value when the function begins".to_owned());
    }
    let Name::Text(text) = &label.name else { return Ok(()) };
    let key = text.value();
    if RESERVED.contains(&key.as_str()) || key.starts_with("__") {
        return refuse(
            text.span(),
            format!("`{key}` has a meaning of its own on samples: take another name"),
        );
    }
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return refuse(text.span(), "a label's name has 1 to 64 bytes".to_owned());
    }
    Ok(())
}
