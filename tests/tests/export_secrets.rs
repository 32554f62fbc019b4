//! Secrets of the configuration are in requests and nowhere else: whatever a server does, and however the configuration
//! is malformed, they are in no error, no message, no `Debug` output, and in no log line of any library below, at any
//! level. The only test of its process, since it takes all that is logged there.
#![allow(unexpected_cfgs)] // In a file of another crate, about that crate's features.
#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

#[path = "../../profile-core/tests/export_support/mod.rs"]
mod export_support;
#[path = "export_faults/grpc_server.rs"]
#[allow(dead_code, reason = "only a part is used here")]
mod grpc_server;

use export_support::{Server, Step as Http, processor, profile};
use grpc_server::{GrpcServer, Step as Grpc};
use profile_core::config::Environment;
use profile_core::diag::{Level, set_sink};
use profile_core::export::{
    Encoding, OtlpGrpcExporter, OtlpHttpExporter, OtlpSettings, ProfileExporter, ProfileProcessor,
    PyroscopeExporter, PyroscopeSettings,
};
use profile_core::stats::Stats;
use profile_layer::Profiler;
use std::fmt::{Debug, Write as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

/// All that anybody could have read.
static SHOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn show(text: String) {
    SHOWN.lock().unwrap().push(text);
}

/// What is in every secret, as it is given, sent, or meant.
const PARTS: [&str; 2] = ["5ecret", "dXNlcjo1ZWNyZXQ"];

/// The user "user" with the password "5ecret-basic".
const BASIC: &str = "Basic dXNlcjo1ZWNyZXQtYmFzaWM=";
const BEARER: &str = "Bearer 5ecret-bearer";
/// With characters that a debug format escapes: an escaped secret is a secret all the same.
const KEY: &str = "5ecret-key-\\\"x";
const TENANT: &str = "5ecret-tenant";

/// Set while a server repeats what it knows: the HTTP client, which logs every byte that it reads at the level `trace`,
/// cannot be kept from logging that.
static ECHOING: AtomicBool = AtomicBool::new(false);

/// What a server says that repeats all it knows.
fn echo() -> String {
    format!("no: {BASIC} 5ecret-basic user:5ecret-basic {BEARER} {KEY} 5ecret-bearer {TENANT}")
}

/// Keeps every span and event that there is.
struct Everything;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Everything {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut text =
            Text(format!("span {} {}", attributes.metadata().target(), attributes.metadata().name()));
        attributes.record(&mut text);
        show(text.0);
    }

    fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut text = Text("record".to_owned());
        record.record(&mut text);
        show(text.0);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(format!("event {}", event.metadata().target()));
        event.record(&mut text);
        show(text.0);
    }
}

/// The other logging framework, which ureq and rustls use.
impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !(ECHOING.load(Ordering::Relaxed) && record.target().starts_with("ureq")) {
            show(format!("log {} {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

fn take_everything() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Everything)).unwrap();
    log::set_logger(&Everything).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    set_sink(|level: Level, message: &str| show(format!("message {level:?} {message}")));
}

/// Sends a profile, until it is taken or refused.
fn send(exporter: Box<dyn ProfileExporter>) {
    send_for(Duration::from_secs(20), exporter);
}

fn send_for(timeout: Duration, exporter: Box<dyn ProfileExporter>) {
    show(exporter.name().to_owned());
    let stats = Stats::new();
    let processor = processor(&stats).with_exporters(vec![exporter]).build().unwrap();
    processor.on_profile(profile(1));
    let result = processor.shutdown(timeout);
    show(format!("{result:?} {processor:?} {:?}", stats.snapshot()));
    if let Err(error) = result {
        show(format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string)));
    }
}

macro_rules! with_secrets {
    ($builder:expr) => {
        $builder
            .with_header("Authorization", BASIC)
            .with_header("X-Api-Key", KEY)
            .with_header("X-Also", BEARER)
            .with_header("X-Scope-OrgID", TENANT)
    };
}

macro_rules! build {
    ($builder:expr) => {{
        let builder = $builder.with_timeout(Duration::from_secs(1));
        show(format!("{builder:?}"));
        let exporter = builder.build().unwrap();
        show(format!("{exporter:?}"));
        Box::new(exporter)
    }};
}

/// So many of [`http_faults`] repeat secrets, and come first.
const ECHOES: usize = 11;

fn http_faults() -> Vec<Http> {
    let text = |status, headers: &'static str| Http::Refuse(status, headers, echo().into_bytes());
    let mut status = vec![0x12, echo().len() as u8];
    status.extend_from_slice(echo().as_bytes());
    vec![
        text(401, "content-type: text/plain\r\n"),
        text(503, "content-type: text/plain\r\n"),
        text(429, "content-type: text/plain\r\nretry-after: 5ecret\r\n"),
        Http::Refuse(400, "content-type: application/x-protobuf\r\n", status),
        Http::Refuse(
            400,
            "content-type: application/json\r\n",
            format!("{{\"message\":{:?}}}", echo()).into(),
        ),
        text(302, "location: http://user:5ecret-basic@elsewhere/5ecret-bearer?key=5ecret-key\r\n"),
        text(307, "location: /5ecret-bearer\r\n"),
        Http::TakePartly(1, Box::leak(echo().into_boxed_str())),
        Http::TakePartly(0, Box::leak(echo().into_boxed_str())),
        Http::TakeWith("5ecret-bearer", b"x".to_vec()),
        Http::TakeWith("application/x-protobuf", echo().into_bytes()),
        Http::TakeAndCutAnswer,
        Http::CutRequest,
        Http::CutAnswer,
        Http::Hang,
        Http::Babble,
    ]
}

fn grpc_faults() -> Vec<Grpc> {
    let encoded = |text: String| text.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02x}"));
    let said = || vec![("grpc-message", encoded(echo()))];
    vec![
        Grpc::Refuse(16, said()),
        Grpc::Refuse(14, said()),
        Grpc::Refuse(3, vec![("grpc-message", echo()), ("5ecret-basic", BASIC.to_owned())]),
        Grpc::RefuseLate(7),
        Grpc::TakePartly(1, Box::leak(echo().into_boxed_str())),
        Grpc::TakePartly(0, Box::leak(echo().into_boxed_str())),
        Grpc::TakeWith(echo().into_bytes()),
        Grpc::Http(401, "text/5ecret-bearer"),
        Grpc::Http(200, "text/5ecret-bearer"),
        Grpc::CutRequest,
        Grpc::CutAnswer,
        Grpc::CutStatus,
        Grpc::Hang,
        Grpc::Babble,
    ]
}

/// Whether `values` is what the secret headers of a request are; so that there was something to hide.
fn assert_sent(requests: &[export_support::Request]) {
    let header = |name| requests.first().map(|request| request.header(name).concat());
    assert_eq!(header("authorization").as_deref(), Some(BASIC));
    assert_eq!(header("x-api-key").as_deref(), Some(KEY));
}

fn servers_that_misbehave() {
    for (number, fault) in http_faults().into_iter().enumerate() {
        ECHOING.store(number < ECHOES, Ordering::Relaxed);
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let server = Server::start([fault.clone()]);
            let builder = with_secrets!(OtlpHttpExporter::builder().with_settings(OtlpSettings::default()));
            send(build!(builder.with_endpoint(server.url()).with_encoding(encoding)));
            assert_sent(&server.requests());
        }
        let server = Server::start([fault]);
        let builder = PyroscopeExporter::builder().with_settings(PyroscopeSettings::default());
        let builder = builder.with_basic_auth("user", "5ecret-basic").with_tenant_id(TENANT);
        send(build!(
            builder.with_header("X-Api-Key", KEY).with_header("X-Also", BEARER).with_endpoint(server.url())
        ));
        assert_sent(&server.requests());
    }
    for fault in grpc_faults() {
        let unread = matches!(fault, Grpc::Babble | Grpc::CutRequest);
        let server = GrpcServer::start([fault]);
        let builder = with_secrets!(OtlpGrpcExporter::builder().with_settings(OtlpSettings::default()));
        send(build!(builder.with_endpoint(server.url())));
        assert!(unread || !server.requests().is_empty());
        assert_sent(&server.requests());
    }
}

/// Servers that cannot be reached: nobody listens, or what listens speaks no TLS.
fn servers_that_are_not_there() {
    let plain = Server::start(vec![Http::Babble; 1000]);
    let briefly = Duration::from_millis(500);
    for url in ["http://127.0.0.1:9".to_owned(), format!("https://127.0.0.1:{}", plain.port())] {
        let http = with_secrets!(OtlpHttpExporter::builder().with_settings(OtlpSettings::default()));
        send_for(briefly, build!(http.with_profiles_endpoint(format!("{url}/x?key=5ecret-query"))));
        let grpc = with_secrets!(OtlpGrpcExporter::builder().with_settings(OtlpSettings::default()));
        send_for(briefly, build!(grpc.with_endpoint(&url)));
        let pyroscope = PyroscopeExporter::builder().with_settings(PyroscopeSettings::default());
        send_for(briefly, build!(pyroscope.with_basic_auth("user", "5ecret-basic").with_endpoint(&url)));
    }
}

/// Secrets where the environment has them, all of them usable.
fn the_environment() {
    for protocol in ["http/protobuf", "http/json", "grpc"] {
        let (http, grpc) =
            (Server::start([]), GrpcServer::start([Grpc::Refuse(16, vec![("grpc-message", echo())])]));
        let endpoint = if protocol == "grpc" { grpc.url() } else { http.url() };
        let environment = Environment::read(|name| {
            Some(match name {
                "OTEL_PROFILES_EXPORTER" => "otlp,pyroscope".into(),
                "OTEL_EXPORTER_OTLP_PROTOCOL" => protocol.into(),
                "OTEL_EXPORTER_OTLP_ENDPOINT" => endpoint.clone().into(),
                "OTEL_EXPORTER_OTLP_HEADERS" => {
                    format!("authorization={BASIC},x-api-key={KEY},x-also={BEARER},x-scope-orgid={TENANT}")
                        .into()
                }
                "PYROSCOPE_SERVER_ADDRESS" => http.url().into(),
                "PYROSCOPE_BASIC_AUTH_USER" => "user".into(),
                "PYROSCOPE_BASIC_AUTH_PASSWORD" => "5ecret-basic".into(),
                "PYROSCOPE_TENANT_ID" => "5ecret-tenant".into(),
                _ => return None,
            })
        });
        show(format!("{environment:?}"));
        let exporters = environment.exporters(Vec::new());
        show(format!("{exporters:?}"));
        assert_eq!(exporters.exporters.len(), 2, "{environment:?}");
        exporters.exporters.into_iter().for_each(send);
        assert_sent(&if protocol == "grpc" { grpc.requests() } else { http.requests() });
    }
}

/// The variables of [`what_is_malformed`] that hold a secret in the wrong form or place.
const MALFORMED: [(&str, &str); 14] = [
    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer 5ecret="),
    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer 5ecret%"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=5ecret%0d%0ax: y"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "host=5ecret"),
    ("OTEL_EXPORTER_OTLP_PROFILES_HEADERS", "5ecret"),
    ("OTEL_EXPORTER_OTLP_PROFILES_HEADERS", "=5ecret"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:5ecret@127.0.0.1:9"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:5ecret?5ecret@127.0.0.1:9"),
    ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "user:5ecret@127.0.0.1:9?5ecret"),
    ("PYROSCOPE_SERVER_ADDRESS", "http://user:5ecret@127.0.0.1:9"),
    ("PYROSCOPE_SERVER_ADDRESS", "http://127.0.0.1:9?key=5ecret"),
    ("PYROSCOPE_BASIC_AUTH_PASSWORD", "5ecret"),
    ("PYROSCOPE_BASIC_AUTH_USER", "user:5ecret"),
    ("PYROSCOPE_TENANT_ID", "5ecret\u{7f}"),
];

fn what_is_malformed() {
    for (variable, value) in MALFORMED {
        let environment = Environment::read(|name| (name == variable).then(|| value.into()));
        assert_eq!(environment.warnings.len(), 1, "{environment:?}");
        show(format!("{environment:?}"));
        environment.report();
    }
    let http = || OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
    let grpc = || OtlpGrpcExporter::builder().with_settings(OtlpSettings::default());
    let pyroscope = || PyroscopeExporter::builder().with_settings(PyroscopeSettings::default());
    for (name, value) in [
        ("authorization: Bearer 5ecret", ""),
        ("authorization", "5ecret\r\nx: y"),
        ("authorization", "5ecret\u{e9}"),
        ("host", "5ecret"),
    ] {
        let error = http().with_header(name, value).build().unwrap_err();
        show(format!("{error} {error:?} {:?}", http().with_header(name, value)));
        let error = grpc().with_header(name, value).build().unwrap_err();
        show(format!("{error} {error:?} {:?}", grpc().with_header(name, value)));
        let error = pyroscope().with_header(name, value).build().unwrap_err();
        show(format!("{error} {error:?} {:?}", pyroscope().with_header(name, value)));
    }
    let error = grpc().with_header("x-bin", "5ecret").build().unwrap_err();
    show(format!("{error} {error:?}"));
    for url in [
        "http://user:5ecret@host",
        "http://user:5ecret?5ecret@host",
        "5ecret@host",
        "http://u:5ecret@h?x@5ecret",
    ] {
        for error in [
            http().with_endpoint(url).build().unwrap_err(),
            http().with_profiles_endpoint(url).build().unwrap_err(),
            grpc().with_endpoint(url).build().unwrap_err(),
            pyroscope().with_endpoint(url).build().unwrap_err(),
        ] {
            show(format!("{error} {error:?}"));
        }
        show(format!(
            "{:?} {:?} {:?}",
            http().with_endpoint(url),
            grpc().with_endpoint(url),
            pyroscope().with_endpoint(url)
        ));
    }
    for (user, password) in [("us:er", "5ecret"), ("user", "5ecret\n"), ("", "5ecret"), ("5ecret", "")] {
        let builder = pyroscope().with_basic_auth(user, password);
        show(format!("{builder:?}"));
        let error = builder.build().unwrap_err();
        show(format!("{error} {error:?}"));
    }
}

const CHILD: &str = "EXPORT_SECRETS_CHILD";

/// A profiler that the environment configures, in a program that logs nothing: what it says goes to standard error.
fn on_standard_error() {
    let start = |(variable, value)| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--nocapture"]).env(CHILD, "1").env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
        child
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=5ecret")
            .env("OTEL_PROFILES_EXPORTER", "otlp,pyroscope");
        child.stdout(Stdio::piped()).stderr(Stdio::piped());
        (variable, child.env(variable, value).spawn().unwrap())
    };
    for (variable, child) in MALFORMED.map(start) {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && said.contains(&format!("profile: warning: {variable}: ")),
            "{said}"
        );
        show(said);
        show(String::from_utf8_lossy(&output.stdout).into_owned());
    }
}

fn child() {
    let profiler = Profiler::builder().build().unwrap();
    profile_tests::clock::burn(Duration::from_millis(50)).unwrap();
    let result = profiler.shutdown_with_timeout(Duration::from_millis(300));
    #[allow(clippy::print_stderr)] // That is where it is looked for.
    {
        eprintln!("{result:?} {:?}", profiler.stats());
    }
}

#[test]
fn secrets_are_in_requests_and_nowhere_else() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    take_everything();
    servers_that_misbehave();
    servers_that_are_not_there();
    the_environment();
    what_is_malformed();
    on_standard_error();
    let shown = SHOWN.lock().unwrap();
    for expected in
        ["event h2", "log ureq", "log rustls", "message Warn", "***", "Authorization", "ExporterBuilder"]
    {
        assert!(
            shown.iter().any(|text| text.contains(expected)),
            "nothing of {expected:?} in {} texts",
            shown.len()
        );
    }
    let leaks: Vec<_> = shown.iter().filter(|text| PARTS.iter().any(|part| text.contains(part))).collect();
    assert!(leaks.is_empty(), "{} of {}: {leaks:#?}", leaks.len(), shown.len());
}
