//! The messages of `profile.proto` as they stand in the file: ids and indices into the string table.
//!
//! Field numbers are those of <https://github.com/google/pprof/blob/main/proto/profile.proto>.

use super::wire::{Fields, Payload};
use crate::error::Context as _;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// A whole profile.
#[derive(Debug, Default)]
pub(super) struct Raw<'a> {
    pub(super) sample_types: Vec<(u64, u64)>,
    pub(super) samples: Vec<RawSample>,
    pub(super) mappings: BTreeMap<u64, RawMapping>,
    pub(super) locations: BTreeMap<u64, RawLocation>,
    pub(super) functions: BTreeMap<u64, RawFunction>,
    pub(super) strings: Vec<&'a str>,
    pub(super) period_type: (u64, u64),
    pub(super) period: i64,
    pub(super) time_nanos: i64,
    pub(super) duration_nanos: i64,
    pub(super) comments: Vec<u64>,
    pub(super) default_sample_type: u64,
}

#[derive(Debug, Default)]
pub(super) struct RawSample {
    pub(super) locations: Vec<u64>,
    pub(super) values: Vec<u64>,
    pub(super) labels: Vec<RawLabel>,
}

#[derive(Debug, Default)]
pub(super) struct RawLabel {
    pub(super) key: u64,
    pub(super) text: u64,
    pub(super) number: i64,
}

#[derive(Debug, Default)]
pub(super) struct RawMapping {
    pub(super) id: u64,
    pub(super) memory: (u64, u64),
    pub(super) file_offset: u64,
    pub(super) file: u64,
    pub(super) build_id: u64,
    pub(super) has: [bool; 4],
}

#[derive(Debug, Default)]
pub(super) struct RawLocation {
    pub(super) id: u64,
    pub(super) mapping: u64,
    pub(super) address: u64,
    pub(super) lines: Vec<RawLine>,
}

#[derive(Debug, Default)]
pub(super) struct RawLine {
    pub(super) function: u64,
    pub(super) line: i64,
    pub(super) column: i64,
}

#[derive(Debug, Default)]
pub(super) struct RawFunction {
    pub(super) id: u64,
    pub(super) name: u64,
    pub(super) system_name: u64,
    pub(super) file: u64,
    pub(super) start_line: i64,
}

impl<'a> Raw<'a> {
    pub(super) fn decode(message: &'a [u8]) -> Result<Self> {
        let mut raw = Self::default();
        for field in Fields::new(message) {
            let (number, payload) = field?;
            raw.field(number, payload).context(format_args!("field {number} of the profile"))?;
        }
        if raw.strings.first() != Some(&"") {
            return Err(Error::new("string 0 is not empty"));
        }
        Ok(raw)
    }

    fn field(&mut self, number: u64, payload: Payload<'a>) -> Result<()> {
        match number {
            1 => self.sample_types.push(value_type(payload)?),
            2 => self.samples.push(sample(payload)?),
            3 => {
                let mapping = mapping(payload)?;
                insert(&mut self.mappings, mapping.id, mapping)?;
            }
            4 => {
                let location = location(payload)?;
                insert(&mut self.locations, location.id, location)?;
            }
            5 => {
                let function = function(payload)?;
                insert(&mut self.functions, function.id, function)?;
            }
            6 => self.strings.push(std::str::from_utf8(payload.bytes()?).context("a string")?),
            9 => self.time_nanos = payload.signed()?,
            10 => self.duration_nanos = payload.signed()?,
            11 => self.period_type = value_type(payload)?,
            12 => self.period = payload.signed()?,
            13 => payload.append_to(&mut self.comments)?,
            14 => self.default_sample_type = payload.number()?,
            _ => {}
        }
        Ok(())
    }
}

fn insert<T>(table: &mut BTreeMap<u64, T>, id: u64, entry: T) -> Result<()> {
    if id == 0 || table.insert(id, entry).is_some() {
        return Err(Error::new(format!("id {id} is 0 or there twice")));
    }
    Ok(())
}

fn value_type(payload: Payload<'_>) -> Result<(u64, u64)> {
    let mut found = (0, 0);
    for field in Fields::new(payload.bytes()?) {
        match field? {
            (1, name) => found.0 = name.number()?,
            (2, unit) => found.1 = unit.number()?,
            _ => {}
        }
    }
    Ok(found)
}

fn sample(payload: Payload<'_>) -> Result<RawSample> {
    let mut sample = RawSample::default();
    for field in Fields::new(payload.bytes()?) {
        match field? {
            (1, location) => location.append_to(&mut sample.locations)?,
            (2, value) => value.append_to(&mut sample.values)?,
            (3, message) => sample.labels.push(label(message)?),
            _ => {}
        }
    }
    Ok(sample)
}

fn label(payload: Payload<'_>) -> Result<RawLabel> {
    let mut label = RawLabel::default();
    for field in Fields::new(payload.bytes()?) {
        match field? {
            (1, key) => label.key = key.number()?,
            (2, text) => label.text = text.number()?,
            (3, number) => label.number = number.signed()?,
            _ => {}
        }
    }
    Ok(label)
}

fn mapping(payload: Payload<'_>) -> Result<RawMapping> {
    let mut mapping = RawMapping::default();
    for field in Fields::new(payload.bytes()?) {
        match field? {
            (1, id) => mapping.id = id.number()?,
            (2, start) => mapping.memory.0 = start.number()?,
            (3, limit) => mapping.memory.1 = limit.number()?,
            (4, offset) => mapping.file_offset = offset.number()?,
            (5, file) => mapping.file = file.number()?,
            (6, build_id) => mapping.build_id = build_id.number()?,
            (7, functions) => mapping.has[0] = functions.flag()?,
            (8, files) => mapping.has[1] = files.flag()?,
            (9, lines) => mapping.has[2] = lines.flag()?,
            (10, inlined) => mapping.has[3] = inlined.flag()?,
            _ => {}
        }
    }
    Ok(mapping)
}

fn location(payload: Payload<'_>) -> Result<RawLocation> {
    let mut location = RawLocation::default();
    for field in Fields::new(payload.bytes()?) {
        match field? {
            (1, id) => location.id = id.number()?,
            (2, mapping) => location.mapping = mapping.number()?,
            (3, address) => location.address = address.number()?,
            (4, message) => location.lines.push(line(message)?),
            _ => {}
        }
    }
    Ok(location)
}

fn line(payload: Payload<'_>) -> Result<RawLine> {
    let mut line = RawLine::default();
    for field in Fields::new(payload.bytes()?) {
        match field? {
            (1, function) => line.function = function.number()?,
            (2, number) => line.line = number.signed()?,
            (3, column) => line.column = column.signed()?,
            _ => {}
        }
    }
    Ok(line)
}

fn function(payload: Payload<'_>) -> Result<RawFunction> {
    let mut function = RawFunction::default();
    for field in Fields::new(payload.bytes()?) {
        match field? {
            (1, id) => function.id = id.number()?,
            (2, name) => function.name = name.number()?,
            (3, system_name) => function.system_name = system_name.number()?,
            (4, file) => function.file = file.number()?,
            (5, start_line) => function.start_line = start_line.signed()?,
            _ => {}
        }
    }
    Ok(function)
}
