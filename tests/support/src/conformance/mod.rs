//! Holds an OTLP profiles export against every rule that its receivers impose.
//!
//! The rules are those of the emit contract (what profcheck, the OpenTelemetry Collector, Pyroscope, Parca and Grafana
//! each need, taken together) and all that profcheck checks with every option on. The bytes are decoded by the crate
//! `opentelemetry-proto`, JSON by `prost-reflect`, never by the code under test. [`RULES`] names every rule and says who
//! asks for it; each has a test, in `profile-tests`, that breaks a good export in exactly that way. The scripted servers
//! that the tests share hold everything against it that they are sent, so that no test can forget it.
//!
//! Sources: opentelemetry-proto 1.11 (`profiles.proto`), profcheck of the OpenTelemetry profiling group, and the
//! limits of Pyroscope 2.2 and of the Collector's OTLP receiver at their defaults.

mod dictionary;
mod json;
mod orphans;
mod profiles;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::ProfilesDictionary;
use prost::Message as _;
use std::fmt;

/// Every rule: its name, and what it asks.
pub const RULES: &[(&str, &str)] = &[
    ("decodes", "the bytes are an ExportProfilesServiceRequest"),
    ("layout", "they hold no field that layout 1.10/1.11 lacks, and none twice"),
    ("json-mapping", "JSON is as protobuf's mapping writes it, with ids in lowercase hex"),
    ("request-size", "a request is at most 4 MiB, the gRPC receivers' limit"),
    ("empty", "no request, resource, scope or profile without content; a dictionary is there"),
    ("resource-and-scope", "every profile has a resource and a named instrumentation scope"),
    ("plain-attributes", "resource and scope attributes have an inline key and an inline string or integer"),
    ("service-name", "the resource has a service.name, and no sample has one"),
    (
        "series-labels",
        "labels of a Pyroscope series: at most 30, names at most 1024 bytes, values at most 2048",
    ),
    ("sample-attributes", "sample attributes are strings, and none is an id of a thread, span or trace"),
    ("unique-keys", "the keys of one list of attributes are unique"),
    ("types", "sample type and period type are set, with names and units, without a hyphen in the name"),
    ("period", "the period is above 0"),
    ("cpu-shape", "a CPU profile counts samples, and its period is in nanoseconds of CPU (1 to 1000 Hz)"),
    ("cpu-first", "the CPU profile is the first of its scope: tools show that one"),
    ("window", "a profile has a start and lasts at most 15 s: Grafana looks no further around a span"),
    ("profile-size", "a profile has at most 10000 samples and 2 MiB"),
    ("profile-id", "a profile id is absent, or 16 bytes and not all zero"),
    ("original-payload", "an original payload has a format, and a format a payload"),
    ("sample-shape", "a sample has exactly one value, or only timestamps"),
    ("one-shape", "all samples of a profile have the same shape"),
    ("timestamps", "timestamps lie in [start, start + duration)"),
    ("positive", "values are above 0"),
    ("merged", "no two samples of a profile have the same stack, attributes and link"),
    ("index", "every index names an entry of its table"),
    ("zero-entry", "every table is there, and its entry 0 is the zero value"),
    ("duplicate", "no table has an entry twice"),
    ("orphan", "every entry of every table is used"),
    ("link-ids", "a link has a trace id of 16 bytes and a span id of 8 bytes, neither all zero"),
    ("mapping-range", "a mapping's memory is empty, or starts below its limit"),
    ("build-id", "a mapping has a build id, in lowercase hex"),
    ("location-known", "a location has an address or a function"),
    ("frame-type", "a location of code has a known profile.frame.type"),
    ("line-numbers", "line, column and start line are not negative"),
    ("function-name", "a function has a name, and every line a function"),
    ("demangled", "a Rust function's name is demangled; the linkage name is the system name"),
    ("attribute-value", "an attribute of the dictionary has a key and a value"),
];

/// What the gRPC receivers take by default.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// One rule that an export breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name in [`RULES`].
    pub rule: &'static str,
    /// Where in the export.
    pub place: String,
    /// What is there.
    pub what: String,
}

impl Violation {
    fn of_request(rule: &'static str, what: impl fmt::Display) -> Self {
        Self { rule, place: "request".into(), what: what.to_string() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.place, self.what)
    }
}

/// Checks the bytes of an export against all rules. Empty means that it obeys them.
#[must_use]
pub fn check_bytes(bytes: &[u8]) -> Vec<Violation> {
    let request = match ExportProfilesServiceRequest::decode(bytes) {
        Ok(request) => request,
        Err(error) => return vec![Violation::of_request("decodes", error)],
    };
    let mut violations = check(&request);
    // Protobuf has one shortest form up to the order of fields: other fields, or one field twice, make it longer.
    let canonical = request.encoded_len();
    if canonical != bytes.len() {
        let what = format_args!("{} bytes, of which {canonical} are of this layout", bytes.len());
        violations.push(Violation::of_request("layout", what));
    }
    violations
}

/// Checks the JSON text of an export against all rules. Empty means that it obeys them.
#[must_use]
pub fn check_json(text: &str) -> Vec<Violation> {
    let json::Decoded { request, is_canonical } = match json::decode(text) {
        Ok(decoded) => decoded,
        Err(error) => return vec![Violation::of_request("decodes", error)],
    };
    let mut violations = check(&request);
    if !is_canonical {
        violations.push(Violation::of_request("json-mapping", "the mapping would write it otherwise"));
    }
    if text.len() > MAX_REQUEST_BYTES {
        violations.push(Violation::of_request("request-size", format_args!("{} bytes", text.len())));
    }
    violations
}

/// The export that a JSON text is, in whatever form the mapping allows.
///
/// # Errors
///
/// It is none; the error says why.
pub fn decode_json(text: &str) -> Result<ExportProfilesServiceRequest, String> {
    json::decode(text).map(|decoded| decoded.request)
}

/// Checks a body as it is sent over HTTP or gRPC, without its compression: JSON if `content_type` says so, or else
/// protobuf.
#[must_use]
pub fn check_body(content_type: &str, body: &[u8]) -> Vec<Violation> {
    if content_type != "application/json" {
        return check_bytes(body);
    }
    match std::str::from_utf8(body) {
        Ok(text) => check_json(text),
        Err(error) => vec![Violation::of_request("decodes", error)],
    }
}

/// Fails with every violation of the bytes of an export, one a line, if there are any.
///
/// # Panics
///
/// The bytes do not obey all rules.
pub fn assert_conforms(bytes: &[u8]) {
    assert_none(&check_bytes(bytes));
}

/// As [`assert_conforms`], for an export that cannot obey some rules: `exceptions` names them, and says why.
///
/// # Panics
///
/// The bytes do not obey the other rules, or they do obey one that is excepted.
pub fn assert_conforms_but(bytes: &[u8], exceptions: &[(&str, &str)]) {
    let (excepted, others): (Vec<_>, Vec<_>) = check_bytes(bytes)
        .into_iter()
        .partition(|violation| exceptions.iter().any(|(rule, _)| *rule == violation.rule));
    assert_none(&others);
    for (rule, why) in exceptions {
        assert!(excepted.iter().any(|violation| violation.rule == *rule), "{rule} does hold, though {why}");
    }
}

/// Fails with the violations, one a line, if there are any.
///
/// # Panics
///
/// There is one.
pub fn assert_none(violations: &[Violation]) {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "not as its receivers want it:\n{}", lines.join("\n"));
}

/// Checks a decoded export against all rules but "decodes", "layout" and "json-mapping". Empty means that it obeys them.
#[must_use]
pub fn check(request: &ExportProfilesServiceRequest) -> Vec<Violation> {
    let nothing = ProfilesDictionary::default();
    let dictionary = request.dictionary.as_ref().unwrap_or(&nothing);
    let mut checker = Checker { dictionary, violations: Vec::new() };
    if request.dictionary.is_none() {
        checker.violation("empty", "request", "no dictionary");
    }
    let size = request.encoded_len();
    if size > MAX_REQUEST_BYTES {
        checker.violation("request-size", "request", format_args!("{size} bytes"));
    }
    checker.request(request);
    checker.tables();
    checker.orphans(request);
    checker.violations
}

/// The state of one check: the dictionary that indices refer to, and what was found so far.
struct Checker<'a> {
    dictionary: &'a ProfilesDictionary,
    violations: Vec<Violation>,
}

impl<'a> Checker<'a> {
    fn violation(&mut self, rule: &'static str, place: impl fmt::Display, what: impl fmt::Display) {
        debug_assert!(RULES.iter().any(|(known, _)| *known == rule), "{rule} is not in the list of rules");
        self.violations.push(Violation { rule, place: place.to_string(), what: what.to_string() });
    }

    /// The entry that `index` names; if there is none, a violation.
    fn entry<T>(&mut self, table: &'a [T], index: i32, place: impl fmt::Display) -> Option<&'a T> {
        let found = usize::try_from(index).ok().and_then(|index| table.get(index));
        if found.is_none() {
            self.violation("index", place, format_args!("{index} of a table of {}", table.len()));
        }
        found
    }

    fn string(&mut self, index: i32, place: impl fmt::Display) -> Option<&'a str> {
        self.entry(&self.dictionary.string_table, index, place).map(String::as_str)
    }
}
