//! Holds an OTLP profiles export against every rule that its receivers impose.
//!
//! The rules are those of the emit contract (what profcheck, the OpenTelemetry Collector, Pyroscope, Parca and Grafana
//! each need, taken together) and all that profcheck checks with every option on. The bytes are decoded by the crate
//! `opentelemetry-proto`, never by the code under test. [`RULES`] names every rule and says who asks for it; each has
//! a test that breaks a good export in exactly that way.
//!
//! Sources: opentelemetry-proto 1.11 (`profiles.proto`), profcheck of the OpenTelemetry profiling group, and the
//! limits of Pyroscope 2.2 and of the Collector's OTLP receiver at their defaults.

mod dictionary;
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
        Err(error) => {
            let what = error.to_string();
            return vec![Violation { rule: "decodes", place: "request".into(), what }];
        }
    };
    let mut violations = check(&request);
    // Protobuf has one shortest form up to the order of fields: other fields, or one field twice, make it longer.
    let canonical = request.encoded_len();
    if canonical != bytes.len() {
        let what = format!("{} bytes, of which {canonical} are of this layout", bytes.len());
        violations.push(Violation { rule: "layout", place: "request".into(), what });
    }
    violations
}

/// Fails with every violation of the bytes of an export, one a line, if there are any.
///
/// # Panics
///
/// The bytes do not obey all rules.
pub fn assert_conforms(bytes: &[u8]) {
    let violations: Vec<String> = check_bytes(bytes).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Checks a decoded export against all rules but "decodes" and "layout". Empty means that it obeys them.
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
