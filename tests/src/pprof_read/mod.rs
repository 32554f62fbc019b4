//! Reads pprof (gzip, `profile.proto`) without prost and without our own messages.
//!
//! An id that names no entry is an error. `go tool pprof` is the other independent reader: see
//! [`Go::pprof`](crate::peers::Go::pprof).

mod raw;
#[cfg(test)]
mod tests;
mod wire;

use crate::error::Context as _;
use crate::view::{Frame, Link, Mapping, Sample, totals_by_span};
use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use raw::{Raw, RawLocation, RawMapping, RawSample};
use std::collections::BTreeMap;
use std::io::Read as _;

/// No profile of a test is larger than this when it is unpacked.
const MAX_BYTES: u64 = 256 << 20;

/// A pprof profile with everything resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pprof {
    /// Type and unit of each of a sample's values.
    pub sample_types: Vec<(String, String)>,
    /// The samples, without their values: those are in `values`.
    pub samples: Vec<PprofSample>,
    /// The modules, in order of the file.
    pub mappings: Vec<PprofMapping>,
    /// Type and unit of the period.
    pub period_type: (String, String),
    /// What one sample stands for.
    pub period: i64,
    /// When the profile begins, in nanoseconds since 1970.
    pub time_nanos: i64,
    /// How long it lasts.
    pub duration_nanos: i64,
    /// Comments.
    pub comments: Vec<String>,
    /// The sample type that tools show first.
    pub default_sample_type: String,
}

/// A sample of a pprof profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PprofSample {
    /// The frames, leaf first, inlined ones included.
    pub stack: Vec<Frame>,
    /// One value for each of the profile's sample types.
    pub values: Vec<i64>,
    /// Labels with text.
    pub labels: BTreeMap<String, String>,
    /// Labels with a number.
    pub numbers: BTreeMap<String, i64>,
}

/// A module, and what the profile says it knows about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PprofMapping {
    /// The module.
    pub mapping: Mapping,
    /// Functions, files, lines and inlined frames need no further symbolising.
    pub has: [bool; 4],
}

impl Pprof {
    /// The samples with the value of the sample type `name`, in the form that the OTLP reader gives; the labels
    /// `trace_id` and `span_id` become the link.
    ///
    /// # Errors
    ///
    /// There is no such sample type.
    pub fn samples_of(&self, name: &str) -> Result<Vec<Sample>> {
        let column = self.sample_types.iter().position(|(known, _)| known == name);
        let column = column.context(format_args!("no sample type {name:?} in {:?}", self.sample_types))?;
        let samples = self.samples.iter().map(|sample| {
            let mut attributes = sample.labels.clone();
            let link = attributes
                .remove("span_id")
                .map(|span_id| Link { trace_id: attributes.remove("trace_id").unwrap_or_default(), span_id });
            let value = sample.values.get(column).copied().unwrap_or_default();
            Sample { stack: sample.stack.clone(), value, link, attributes }
        });
        Ok(samples.collect())
    }

    /// The sum of the values of the sample type `name` for each span.
    ///
    /// # Errors
    ///
    /// There is no such sample type.
    pub fn totals_by_span(&self, name: &str) -> Result<BTreeMap<Option<Link>, i64>> {
        Ok(totals_by_span(&self.samples_of(name)?))
    }
}

/// Reads a pprof file: gzip, or plain protobuf.
///
/// # Errors
///
/// The bytes do not unpack or decode, an id names no entry, or a sample has not one value for each type.
pub fn read(file: &[u8]) -> Result<Pprof> {
    let mut unpacked = Vec::new();
    let message = if file.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(file).take(MAX_BYTES).read_to_end(&mut unpacked).context("gzip")?;
        unpacked.as_slice()
    } else {
        file
    };
    Raw::decode(message)?.resolve()
}

impl Raw<'_> {
    fn resolve(&self) -> Result<Pprof> {
        let type_and_unit = |pair: &(u64, u64)| Ok((self.string(pair.0)?, self.string(pair.1)?));
        Ok(Pprof {
            sample_types: self.sample_types.iter().map(type_and_unit).collect::<Result<_>>()?,
            samples: self.samples.iter().map(|sample| self.sample(sample)).collect::<Result<_>>()?,
            mappings: self.mappings.values().map(|mapping| self.mapping(mapping)).collect::<Result<_>>()?,
            period_type: type_and_unit(&self.period_type)?,
            period: self.period,
            time_nanos: self.time_nanos,
            duration_nanos: self.duration_nanos,
            comments: self.comments.iter().map(|comment| self.string(*comment)).collect::<Result<_>>()?,
            default_sample_type: self.string(self.default_sample_type)?,
        })
    }

    fn sample(&self, raw: &RawSample) -> Result<PprofSample> {
        if raw.values.len() != self.sample_types.len() {
            return Err(Error::new(format!(
                "{} values of {} types",
                raw.values.len(),
                self.sample_types.len()
            )));
        }
        let values = raw.values.iter().map(|value| value.cast_signed()).collect();
        let mut sample = PprofSample { values, ..PprofSample::default() };
        for id in &raw.locations {
            self.frames(
                self.locations.get(id).context(format_args!("no location {id}"))?,
                &mut sample.stack,
            )?;
        }
        for label in &raw.labels {
            let key = self.string(label.key)?;
            let again = match label.text {
                0 => sample.numbers.insert(key.clone(), label.number).is_some(),
                text => sample.labels.insert(key.clone(), self.string(text)?).is_some(),
            };
            if again {
                return Err(Error::new(format!("a sample has the label {key:?} twice")));
            }
        }
        Ok(sample)
    }

    fn frames(&self, location: &RawLocation, frames: &mut Vec<Frame>) -> Result<()> {
        let mapping = match location.mapping {
            0 => None,
            id => {
                let mapping = self.mappings.get(&id).context(format_args!("no mapping {id}"))?;
                Some(self.mapping(mapping)?.mapping)
            }
        };
        let bare = Frame { address: location.address, mapping, ..Frame::default() };
        for (position, line) in location.lines.iter().enumerate() {
            let function = self.functions.get(&line.function);
            let function = function.context(format_args!("no function {}", line.function))?;
            frames.push(Frame {
                function: self.string(function.name)?,
                system_name: self.string(function.system_name)?,
                file: self.string(function.file)?,
                start_line: function.start_line,
                line: line.line,
                column: line.column,
                inlined: position + 1 < location.lines.len(),
                ..bare.clone()
            });
        }
        if location.lines.is_empty() {
            frames.push(bare);
        }
        Ok(())
    }

    fn mapping(&self, raw: &RawMapping) -> Result<PprofMapping> {
        let mapping = Mapping {
            file: self.string(raw.file)?,
            build_id: self.string(raw.build_id)?,
            memory: raw.memory,
            file_offset: raw.file_offset,
        };
        Ok(PprofMapping { mapping, has: raw.has })
    }

    fn string(&self, index: u64) -> Result<String> {
        let found = usize::try_from(index).ok().and_then(|index| self.strings.get(index));
        found.map(|text| (*text).to_owned()).context(format_args!("no string {index}"))
    }
}
