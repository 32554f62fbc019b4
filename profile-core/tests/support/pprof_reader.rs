//! A reader of pprof that shares no code with the writer: gzip by `flate2`, protobuf by hand, field numbers from
//! <https://github.com/google/pprof/blob/main/proto/profile.proto>.

use flate2::read::GzDecoder;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;

/// A profile with everything looked up.
#[derive(Debug, Default)]
pub struct Pprof {
    pub sample_types: Vec<(String, String)>,
    pub samples: Vec<PprofSample>,
    pub mappings: Vec<PprofMapping>,
    pub strings: Vec<String>,
    pub time_nanos: u64,
    pub duration_nanos: u64,
    pub period_type: (String, String),
    pub period: u64,
    pub comments: Vec<String>,
    pub default_sample_type: String,
}

#[derive(Debug)]
pub struct PprofSample {
    /// Leaf first.
    pub locations: Vec<PprofLocation>,
    pub values: Vec<u64>,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct PprofLocation {
    pub address: u64,
    /// The position in `mappings`.
    pub mapping: Option<usize>,
    /// Function, system name, file, line, column; innermost first.
    pub lines: Vec<(String, String, String, u64, u64)>,
}

#[derive(Debug)]
pub struct PprofMapping {
    pub start: u64,
    pub limit: u64,
    pub offset: u64,
    pub file: String,
    pub build_id: String,
    /// Functions, files, lines, inlined frames.
    pub has: [bool; 4],
}

/// Reads gzip-compressed pprof; panics where the format is broken.
pub fn read(compressed: &[u8]) -> Pprof {
    assert_eq!(compressed[..2], [0x1f, 0x8b], "gzip");
    let mut bytes = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut bytes).unwrap();
    let root = Message::parse(&bytes);
    let strings: Vec<String> =
        root.all(6).map(|value| String::from_utf8(value.bytes().to_vec()).unwrap()).collect();
    assert_eq!(strings[0], "", "string_table[0]");
    assert_eq!(strings.iter().collect::<HashSet<_>>().len(), strings.len(), "a string twice");
    let text = |index: u64| strings[index as usize].clone();
    let value_type = |message: Message<'_>| (text(message.number(1)), text(message.number(2)));

    let mapping_ids = ids(&root, 3);
    let mappings = root.messages(3).map(|m| PprofMapping {
        start: m.number(2),
        limit: m.number(3),
        offset: m.number(4),
        file: text(m.number(5)),
        build_id: text(m.number(6)),
        has: [7, 8, 9, 10].map(|field| m.number(field) != 0),
    });
    let function_ids = ids(&root, 5);
    let functions: Vec<_> =
        root.messages(5).map(|function| [2, 3, 4].map(|field| text(function.number(field)))).collect();
    let location_ids = ids(&root, 4);
    let locations: Vec<_> = root
        .messages(4)
        .map(|location| PprofLocation {
            address: location.number(3),
            mapping: match location.number(2) {
                0 => None,
                id => Some(mapping_ids[&id]),
            },
            lines: location
                .messages(4)
                .map(|line| {
                    let [name, system_name, file] = functions[function_ids[&line.number(1)]].clone();
                    (name, system_name, file, line.number(2), line.number(3))
                })
                .collect(),
        })
        .collect();
    let samples = root.messages(2).map(|sample| PprofSample {
        locations: sample.packed(1).iter().map(|id| locations[location_ids[id]].clone()).collect(),
        values: sample.packed(2),
        labels: sample.messages(3).map(|label| (text(label.number(1)), text(label.number(2)))).collect(),
    });
    Pprof {
        sample_types: root.messages(1).map(value_type).collect(),
        samples: samples.collect(),
        mappings: mappings.collect(),
        time_nanos: root.number(9),
        duration_nanos: root.number(10),
        period_type: value_type(root.messages(11).next().unwrap()),
        period: root.number(12),
        comments: root.packed(13).into_iter().map(text).collect(),
        default_sample_type: text(root.number(14)),
        strings: strings.clone(),
    }
}

/// The positions of the messages of `field` by their ids, which must be unique and not 0.
fn ids(root: &Message<'_>, field: u64) -> HashMap<u64, usize> {
    let mut ids = HashMap::new();
    for (position, message) in root.messages(field).enumerate() {
        let id = message.number(1);
        assert!(id != 0 && ids.insert(id, position).is_none(), "id {id} of field {field}");
    }
    ids
}

/// A message as a list of its fields.
struct Message<'a>(Vec<(u64, Value<'a>)>);

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    fn parse(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut bytes)),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Value::Bytes(value)
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    fn all(&self, field: u64) -> impl Iterator<Item = Value<'a>> {
        self.0.iter().filter(move |(number, _)| *number == field).map(|(_, value)| *value)
    }

    fn messages(&self, field: u64) -> impl Iterator<Item = Message<'a>> {
        self.all(field).map(|value| Message::parse(value.bytes()))
    }

    fn number(&self, field: u64) -> u64 {
        self.all(field).last().map_or(0, |value| match value {
            Value::Number(number) => number,
            Value::Bytes(_) => panic!("field {field} is not a number"),
        })
    }

    fn packed(&self, field: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        for value in self.all(field) {
            let mut bytes = value.bytes();
            while !bytes.is_empty() {
                numbers.push(varint(&mut bytes));
            }
        }
        numbers
    }
}

impl<'a> Value<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => panic!("a number where bytes belong"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes")
}
