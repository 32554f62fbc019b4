//! Folded stacks: the text that flame graph tools read, one line for each distinct stack.
//!
//! ```text
//! [span] checkout;[span] parse;main;shop::checkout;serde_json::from_str 17
//! ```
//!
//! Outermost first, separated by semicolons; then a space and the weight in samples. The spans that the stack was
//! taken in come first, each as a frame of its own, so that a flame graph is one of spans at its base and of
//! functions above; code outside every span has no such frame. The innermost region, if there is one, comes next
//! (`[region] digest`); labels are left out. Inlined functions are frames like all others. Names
//! lose the two things that would break a line: semicolons become commas, control characters spaces. Lines are sorted.
//!
//! Source: <https://github.com/brendangregg/FlameGraph#2-fold-stacks>

use crate::context::{Region, SampleContext, SpanPath};
use crate::profile::{FrameView, Profile};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// The most span names of a line; of a longer path the outermost ones are left out.
const MAX_SPANS: usize = 64;

/// The text of `profile`.
pub(super) fn encode(profile: &Profile) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    let mut frames = Vec::new();
    for sample in profile.samples() {
        frames.clear();
        frames.extend(sample.frames());
        let weight = lines.entry(line(sample.context(), &frames)).or_default();
        *weight = weight.saturating_add(sample.weight());
    }
    let mut text = String::new();
    for (line, weight) in lines {
        let _ = writeln!(text, "{line} {weight}"); // writing to a string does not fail
    }
    text
}

/// One line without its weight; `frames` are leaf first.
fn line(context: &SampleContext, frames: &[FrameView<'_>]) -> String {
    let spans: Vec<&str> = std::iter::successors(Some(context.span), |path| path.parent())
        .map(SpanPath::name)
        .filter(|name| !name.is_empty())
        .take(MAX_SPANS)
        .collect();
    let mut line = String::new();
    for name in spans.iter().rev() {
        push(&mut line, format_args!("[span] {name}"));
    }
    if context.region != Region::NONE {
        push(&mut line, format_args!("[region] {}", context.region.name()));
    }
    for frame in frames.iter().rev() {
        push(&mut line, format_args!("{frame}"));
    }
    line
}

/// Appends a frame.
fn push(line: &mut String, name: impl Display) {
    if !line.is_empty() {
        line.push(';');
    }
    let _ = write!(Clean(line), "{name}"); // writing to a string does not fail
}

/// Writes names without what would break a line.
struct Clean<'a>(&'a mut String);

impl Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend(text.chars().map(|c| match c {
            ';' => ',',
            c if c.is_control() => ' ',
            c => c,
        }));
        Ok(())
    }
}
