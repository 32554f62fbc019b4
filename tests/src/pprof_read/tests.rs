//! A profile written byte by byte, read by our reader and, where Go is there, rewritten and printed by Go's.

use super::*;
use crate::peers::Go;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// One field: the tag and a number or bytes.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

const STRINGS: [&str; 17] = [
    "",
    "samples",
    "count",
    "cpu",
    "nanoseconds",
    "/srv/shop",
    "0011aabb",
    "hash",
    "_hash",
    "src/hash.rs",
    "checkout",
    "src/checkout.rs",
    "span_id",
    "00000000000000a1",
    "trace_id",
    "00af7651910607080900000000000016",
    "bytes",
];

/// Two samples; location 1 has an inlined function; values and locations of the second are not packed.
fn profile() -> Vec<u8> {
    let value_type = |name, unit| [number(1, name), number(2, unit)].concat();
    let label = |key, text| [number(1, key), number(2, text)].concat();
    let line = |function, line| [number(1, function), number(2, line), number(3, 4)].concat();
    let first = [
        bytes(1, &[varint(1), varint(2)].concat()),
        bytes(2, &[varint(3), varint(30_000_000)].concat()),
        bytes(3, &label(12, 13)),
        bytes(3, &label(14, 15)),
        bytes(3, &[number(1, 16), number(3, 512)].concat()),
    ];
    let second = [number(1, 2), number(2, 1), number(2, 10_000_000)];
    let mapping = [
        number(1, 1),
        number(2, 0x1000),
        number(3, 0x2000),
        number(4, 0x40),
        number(5, 5),
        number(6, 6),
        number(7, 1),
        number(8, 1),
        number(9, 1),
        number(10, 1),
    ];
    let location =
        |id, address, lines: &[u8]| [&number(1, id), &number(2, 1), &number(3, address), lines].concat();
    let mut message = [
        bytes(1, &value_type(1, 2)),
        bytes(1, &value_type(3, 4)),
        bytes(2, &first.concat()),
        bytes(2, &second.concat()),
        bytes(3, &mapping.concat()),
        bytes(4, &location(1, 0x1100, &[bytes(4, &line(1, 12)), bytes(4, &line(2, 40))].concat())),
        bytes(4, &location(2, 0x1200, &bytes(4, &line(2, 41)))),
        bytes(5, &[number(1, 1), number(2, 7), number(3, 8), number(4, 9), number(5, 10)].concat()),
        bytes(5, &[number(1, 2), number(2, 10), number(3, 10), number(4, 11)].concat()),
        number(9, 1_790_000_000_000_000_000),
        number(10, 10_000_000_000),
        bytes(11, &value_type(3, 4)),
        number(12, 10_000_000),
        number(14, 3),
    ]
    .concat();
    for text in STRINGS {
        message.extend(bytes(6, text.as_bytes()));
    }
    message
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn everything_is_resolved() {
    let pprof = read(&gzip(&profile())).unwrap();
    assert_eq!(pprof, read(&profile()).unwrap(), "plain protobuf reads as well");
    assert_eq!(pprof.sample_types[1], ("cpu".into(), "nanoseconds".into()));
    assert_eq!(
        (pprof.period, pprof.duration_nanos, pprof.default_sample_type.as_str()),
        (10_000_000, 10_000_000_000, "cpu")
    );
    let [first, second] = pprof.samples.as_slice() else { panic!("{:?}", pprof.samples) };
    let [inner, outer, caller] = first.stack.as_slice() else { panic!("{:?}", first.stack) };
    assert_eq!(
        (inner.function.as_str(), inner.system_name.as_str(), inner.line, inner.start_line),
        ("hash", "_hash", 12, 10)
    );
    assert!(inner.inlined && !outer.inlined && inner.address == outer.address && caller.address == 0x1200);
    assert_eq!(inner.mapping.as_ref().unwrap().build_id, "0011aabb");
    assert_eq!(pprof.mappings[0].has, [true; 4]);
    assert_eq!((first.numbers["bytes"], first.labels.len()), (512, 2));
    assert_eq!((second.values.as_slice(), second.stack.len()), ([1, 10_000_000].as_slice(), 1));

    let totals = pprof.totals_by_span("cpu").unwrap();
    let link = Link { trace_id: STRINGS[15].into(), span_id: STRINGS[13].into() };
    assert_eq!(totals, BTreeMap::from([(None, 10_000_000), (Some(link), 30_000_000)]));
    assert!(pprof.samples_of("wall").is_err());
}

#[test]
fn damage_is_an_error() {
    let whole = profile();
    assert!(read(&whole[..whole.len() - 1]).is_err(), "cut within a string");
    assert!(read(&gzip(&whole)[..40]).is_err(), "cut within the gzip stream");
    let broken = [
        ("a sample with too few values", bytes(2, &number(2, 1))),
        ("a location that is not there", bytes(2, &[number(1, 9), number(2, 1), number(2, 1)].concat())),
        ("a function that is not there", bytes(4, &[number(1, 3), bytes(4, &number(1, 9))].concat())),
        ("a second location 1", bytes(4, &number(1, 1))),
        ("a function without an id", bytes(5, &number(2, 7))),
        ("a string that is not there", number(14, 99)),
        ("a string that is not UTF-8", bytes(6, b"\xff")),
    ];
    for (what, field) in broken {
        let used = bytes(2, &[number(1, 3), number(2, 1), number(2, 1)].concat());
        assert!(read(&[whole.clone(), field, used].concat()).is_err(), "{what}");
    }
}

#[test]
fn go_reads_what_we_read() {
    let Some(go) = Go::find("pprof_read::tests::go_reads_what_we_read") else { return };
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours.pb.gz");
    std::fs::write(&ours, gzip(&profile())).unwrap();

    let raw = go.pprof(&["-raw"], &ours).unwrap();
    assert!(raw.contains("span_id:[00000000000000a1]") && raw.contains("src/hash.rs:12"), "{raw}");
    let top = go.pprof(&["-top", "-sample_index=cpu"], &ours).unwrap();
    assert!(top.contains("40ms") && top.contains("checkout"), "{top}");

    let rewritten = dir.path().join("rewritten.pb.gz");
    go.pprof(&["-proto", &format!("-output={}", rewritten.display())], &ours).unwrap();
    let theirs = read(&std::fs::read(&rewritten).unwrap()).unwrap();
    let ours = read(&profile()).unwrap();
    for name in ["samples", "cpu"] {
        assert_eq!(theirs.totals_by_span(name).unwrap(), ours.totals_by_span(name).unwrap());
    }
    assert_eq!(theirs.samples[0].stack.len(), 3);
}
