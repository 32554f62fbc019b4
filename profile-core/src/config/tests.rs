use super::*;
use crate::error::ErrorKind;
use crate::export::{ExportError, ExportReceipt, ProfileExporter};
use crate::profile::ProfileBatch;
use std::time::Instant;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::read(|name| {
        let found = variables.iter().find(|(known, _)| *known == name)?;
        Some(OsString::from(found.1))
    })
}

/// What is set, without warnings.
fn otlp(variables: &[(&str, &str)]) -> String {
    let environment = environment(variables);
    assert!(environment.warnings.is_empty(), "{:?}", environment.warnings);
    format!("{:?}", environment.otlp)
}

#[test]
fn an_empty_environment_and_empty_values_set_nothing() {
    assert_eq!(environment(&[]), Environment::default());
    let names = [
        "OTEL_SDK_DISABLED",
        "OTEL_PROFILES_EXPORTER",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "PROFILE_FREQUENCY",
        "PROFILE_WINDOW",
        "PROFILE_ENGINE",
        "PROFILE_DIRECTORY",
    ];
    assert_eq!(environment(&names.map(|name| (name, ""))), Environment::default());
}

#[cfg(feature = "otlp-http")]
#[test]
fn every_variable_is_read() {
    let all = environment(&[
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_PROFILES_EXPORTER", " file , otlp,file"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb"),
        ("PROFILE_FREQUENCY", "997"),
        ("PROFILE_WINDOW", "15"),
        ("PROFILE_ENGINE", "Auto"),
        ("PROFILE_DIRECTORY", "/var/tmp/p"),
    ]);
    assert!(all.disabled && all.warnings.is_empty(), "{:?}", all.warnings);
    assert_eq!(all.engine, Some(crate::sampler::Engine::Auto));
    assert_eq!(all.exporters, Some(vec![ExporterKind::File, ExporterKind::Otlp]));
    assert_eq!(all.resource.get("service.name"), Some(&Value::String("shop".to_owned())));
    assert_eq!(all.resource.get("team"), Some(&Value::String("a,b".to_owned())));
    assert_eq!((all.frequency, all.window), (Some(997), Some(Duration::from_secs(15))));
    assert_eq!(all.directory, Some(PathBuf::from("/var/tmp/p")));
}

#[cfg(feature = "otlp-http")]
#[test]
fn otlp_variables_of_the_signal_go_before_the_common_ones() {
    let common = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4318/base/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let of_signal = [
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "http://own:4318/as/is"),
        ("OTEL_EXPORTER_OTLP_PROFILES_HEADERS", "b=2,c=3"),
        ("OTEL_EXPORTER_OTLP_PROFILES_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_PROFILES_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL", "http/json"),
    ];
    let no_tls = format!("{:?}", OtlpSettings::default().tls);
    assert_eq!(
        otlp(&common),
        format!(
            "OtlpSettings {{ protocol: Some(HttpProtobuf), endpoint: Some(Base(http://common:4318/base/)), \
             headers: [\"a\"], timeout: Some({:?}), compression: Some(Gzip), tls: {no_tls} }}",
            Duration::MAX
        )
    );
    assert_eq!(
        otlp(&[common.as_slice(), &of_signal].concat()),
        format!(
            "OtlpSettings {{ protocol: Some(HttpJson), endpoint: Some(Whole(http://own:4318/as/is)), \
             headers: [\"b\", \"c\"], timeout: Some(2.5s), compression: Some(None), tls: {no_tls} }}"
        )
    );
}

#[test]
fn a_malformed_value_is_named_in_one_warning_and_ignored() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_PROFILES_EXPORTER", "jaeger"),
        ("PYROSCOPE_SERVER_ADDRESS", "pyroscope:4040"),
        ("OTEL_PROFILES_EXPORTER", "OTLP"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "http://user:pass@host"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1"),
        ("OTEL_EXPORTER_OTLP_PROFILES_INSECURE", "maybe"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem"),
        ("OTEL_EXPORTER_OTLP_PROFILES_CERTIFICATE", "/dev/null"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/nonexistent/client.pem"),
        ("OTEL_EXPORTER_OTLP_PROFILES_CLIENT_KEY", "/nonexistent/key.pem"),
        ("OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL", "smtp"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_PROFILES_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
        ("PROFILE_FREQUENCY", "0"),
        ("PROFILE_FREQUENCY", "1001"),
        ("PROFILE_FREQUENCY", "99.5"),
        ("PROFILE_FREQUENCY", "4294967395"),
        ("PROFILE_WINDOW", "61"),
        ("PROFILE_ENGINE", "setitimer"),
    ] {
        let environment = environment(&[(name, value)]);
        let [warning] = environment.warnings.as_slice() else { panic!("{name}: {:?}", environment.warnings) };
        let shown = value.replace("user:pass", "***");
        assert!(warning.starts_with(&format!("{name}: {shown:?} ")), "{warning}");
        let ignored = Environment { warnings: Vec::new(), ..environment };
        assert_eq!(ignored, Environment::default(), "{name}={value}");
    }
}

#[test]
fn a_malformed_value_does_not_hide_the_common_one() {
    let environment = environment(&[
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "nowhere"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common"),
        ("OTEL_EXPORTER_OTLP_PROFILES_TIMEOUT", "x"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "7"),
    ]);
    assert_eq!(environment.warnings.len(), 2);
    let otlp = format!("{:?}", environment.otlp);
    assert!(otlp.contains("Base(http://common)") && otlp.contains("7ms"), "{otlp}");
}

#[test]
fn a_protocol_that_is_not_built_in_is_a_warning_and_so_is_what_it_needs() {
    for (name, value, built_in) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", cfg!(feature = "grpc")),
        ("OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL", "http/json", cfg!(feature = "otlp-http")),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", cfg!(feature = "zstd")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector", cfg!(feature = "tls")),
    ] {
        let warnings = environment(&[(name, value)]).warnings;
        let expected = usize::from(!built_in);
        assert!(
            warnings.len() == expected && warnings.iter().all(|text| text.contains("feature")),
            "{warnings:?}"
        );
    }
}

/// Sources: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp> and the options
/// above it.
#[cfg(feature = "grpc")]
#[test]
fn a_grpc_endpoint_has_a_scheme_or_insecure_decides_on_one() {
    const GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let name = |endpoint: &str, insecure: &str| {
        let variables =
            [GRPC, ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_INSECURE", insecure)];
        let environment = environment(&variables);
        let warnings = environment.warnings.len();
        let exporters = environment.exporters(Vec::new()).exporters;
        (exporters.iter().map(|exporter| exporter.name().to_owned()).collect::<String>(), warnings)
    };
    for (endpoint, insecure, expected) in [
        ("http://collector:4317", "", "otlp grpc http://collector:4317"),
        ("http://collector:4317/", "false", "otlp grpc http://collector:4317/"),
        ("collector:4317", "true", "otlp grpc http://collector:4317"),
    ] {
        assert_eq!(name(endpoint, insecure), (expected.to_owned(), 0));
    }
    assert_eq!(name("http://collector:4317/path", "").1, 1, "gRPC has no path");
    assert_eq!(name("collector:4317", "").1, usize::from(cfg!(not(feature = "tls"))), "https by default");
}

#[test]
fn secrets_are_not_in_warnings_or_debug_output() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer s3cret,oops"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret%"),
        ("OTEL_EXPORTER_OTLP_PROFILES_HEADERS", "authorization=s3cret%0d%0aX: y"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "content-type=s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "not a name=s3cret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@host"),
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "ftp://host/?key=s3cret"),
    ] {
        let environment = environment(&[(name, value)]);
        assert_eq!(environment.warnings.len(), 1, "{name}={value}");
        let shown = format!("{environment:?}");
        assert!(!shown.contains("s3cret") && shown.contains(name), "{shown}");
    }
    let fine = environment(&[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret")]);
    assert_eq!(fine.otlp.headers.iter().collect::<Vec<_>>(), [("authorization", "Bearer s3cret")]);
    assert!(fine.warnings.is_empty() && !format!("{fine:?}").contains("s3cret"), "{fine:?}");
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf8_is_ignored_unless_it_is_a_path() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || Some(OsString::from_vec(vec![b'/', 0xff]));
    let read = |wanted: &'static str| Environment::read(move |name| bytes().filter(|_| name == wanted));
    assert_eq!(read("PROFILE_FREQUENCY").warnings.len(), 1);
    let with_path = read("PROFILE_DIRECTORY");
    assert!(with_path.warnings.is_empty() && with_path.directory.is_some());
}

struct Named(&'static str);

impl ProfileExporter for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn export(&mut self, _: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
        Ok(ExportReceipt::default())
    }
}

/// The names of the exporters that run, and whether there is a notice.
#[cfg(feature = "otlp-http")]
fn exporters(variables: &[(&str, &str)], given: &[&'static str]) -> (Vec<String>, bool) {
    let given = given.iter().map(|name| Box::new(Named(name)) as Box<dyn ProfileExporter>).collect();
    let all = environment(variables).exporters(given);
    assert!(all.warnings.is_empty(), "{all:?}");
    (all.exporters.iter().map(|exporter| exporter.name().to_owned()).collect(), all.notice.is_some())
}

#[cfg(feature = "otlp-http")]
#[test]
fn exporters_of_the_program_and_those_that_the_environment_names_run() {
    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    const OTLP: &str = "otlp http://collector:4318/v1development/profiles";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let file = format!("file {path}/cpu");
    let select = |exporter: &'static str| ("OTEL_PROFILES_EXPORTER", exporter);
    let in_path = ("PROFILE_DIRECTORY", path);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();

    assert_eq!(exporters(&[], &[]), (names(&[]), true), "nobody names one: a notice");
    assert_eq!(exporters(&[], &["mine"]), (names(&["mine"]), false));
    assert_eq!(exporters(&[ENDPOINT], &[]), (names(&[OTLP]), false));
    assert_eq!(exporters(&[ENDPOINT], &["mine"]), (names(&["mine", OTLP]), false));
    assert_eq!(exporters(&[ENDPOINT], &[OTLP]), (names(&[OTLP]), false), "not twice to one destination");
    assert_eq!(exporters(&[select("none"), ENDPOINT], &[]), (names(&[]), false), "asked for none: no notice");
    assert_eq!(exporters(&[select("none"), ENDPOINT], &["mine"]), (names(&["mine"]), false));
    assert_eq!(exporters(&[select("file"), in_path, ENDPOINT], &[]), (names(&[&file]), false));
    assert_eq!(exporters(&[select("file,otlp"), in_path, ENDPOINT], &[]), (names(&[&file, OTLP]), false));
    let default = "otlp http://localhost:4318/v1development/profiles";
    assert_eq!(exporters(&[select("otlp")], &[]), (names(&[default]), false));
}

#[test]
fn an_exporter_of_the_environment_that_cannot_be_made_is_a_warning() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below_a_file = file.path().join("x");
    let variables =
        [("OTEL_PROFILES_EXPORTER", "file"), ("PROFILE_DIRECTORY", below_a_file.to_str().unwrap())];
    let all = environment(&variables).exporters(vec![Box::new(Named("mine"))]);
    let [warning] = all.warnings.as_slice() else { panic!("{all:?}") };
    assert!(warning.contains("cannot write to directory"), "{warning}");
    assert_eq!(all.exporters.len(), 1);
}

#[test]
fn only_frequencies_in_range_can_be_asked_for() {
    assert!(check_frequency(1).is_ok() && check_frequency(1000).is_ok());
    for frequency in [0, 1001, u32::MAX] {
        let error = check_frequency(frequency).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&frequency.to_string()), "{error}");
    }
}
