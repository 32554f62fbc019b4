//! Our exporters and real peers: every transport and compression arrives at the Collector as it was sent, and goes on
//! to Pyroscope where `PYROSCOPE_BIN` names it.
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

#[path = "../../profile-core/tests/support/windows.rs"]
#[allow(dead_code, unreachable_pub, reason = "only a part is used here")]
mod windows;

use profile_core::collector::{SampleContext, StackEnd};
use profile_core::export::{
    Compression, Encoding, OtlpGrpcExporter, OtlpHttpExporter, OtlpSettings, ProfileExporter,
};
use profile_core::profile::ProfileBatch;
use profile_core::resource::{Resource, Value};
use profile_tests::clock::unix_nanos;
use profile_tests::peers::{CPU_PROFILE, Collector, Pyroscope, Selector, poll};
use profile_tests::{Result, conformance, otlp_read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Two spans and some work outside of any, in two modules, in a window that begins at `start`.
fn batch(service: &str, start: u64) -> ProfileBatch {
    let mut window = windows::window();
    window.start_unix_nanos = start;
    let (program, library) = (windows::module(0), windows::module(1));
    let checkout = windows::context(0xa1, &["checkout", "parse"]);
    let refund = windows::context(0xb2, &["refund"]);
    let outer = windows::frame(&program, 0x10);
    for (offset, context, weight) in
        [(0x28, checkout, 30), (0x4c, refund, 20), (0x61, SampleContext::default(), 5)]
    {
        let leaf = windows::frame(&library, offset);
        let frames = [leaf, windows::frame(&program, offset), outer.clone()];
        windows::add(&mut window, &frames, StackEnd::Complete, context, weight);
    }
    let attributes = [("service.name", Value::from(service)), ("process.pid", Value::from(42))];
    let resource: Resource = attributes.into_iter().collect();
    ProfileBatch::new(Arc::new(resource), vec![windows::profile(&window)])
}

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

fn over_http(server: SocketAddr, encoding: Encoding, compression: Compression) -> Box<dyn ProfileExporter> {
    let builder = OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
    let builder = builder.with_endpoint(format!("http://{server}")).with_encoding(encoding);
    Box::new(builder.with_compression(compression).build().unwrap())
}

fn over_grpc(server: SocketAddr, compression: Compression) -> Box<dyn ProfileExporter> {
    let builder = OtlpGrpcExporter::builder().with_settings(OtlpSettings::default());
    let builder = builder.with_endpoint(format!("http://{server}"));
    Box::new(builder.with_compression(compression).build().unwrap())
}

/// Sends what obeys every rule, without a word of complaint from the server.
fn send(mut exporter: Box<dyn ProfileExporter>, batch: &ProfileBatch) {
    conformance::assert_conforms(&batch.to_otlp());
    conformance::assert_none(&conformance::check_json(&batch.to_otlp_json()));
    let receipt = exporter.export(batch, Instant::now() + Duration::from_secs(60));
    let receipt = receipt.unwrap_or_else(|error| panic!("{}: {error}", exporter.name()));
    assert_eq!((receipt.rejected_profiles(), receipt.message()), (0, None), "{}", exporter.name());
    assert!(receipt.bytes_sent() > 0);
}

#[test]
fn every_transport_and_compression_arrives_as_it_was_sent() -> Result<()> {
    let test = "every_transport_and_compression_arrives_as_it_was_sent";
    let Some(collector) = Collector::start(test)? else { return Ok(()) };
    let (http, grpc) = (collector.http(), collector.grpc());
    let mut exporters = Vec::new();
    for compression in COMPRESSIONS {
        exporters.push(over_http(http, Encoding::Protobuf, compression));
        exporters.push(over_http(http, Encoding::Json, compression));
        exporters.push(over_grpc(grpc, compression));
    }
    let mut sent = Vec::new();
    for (exporter, number) in exporters.into_iter().zip(0_u64..) {
        let batch = batch("shop", windows::START + number);
        sent.extend(otlp_read::read(&batch.to_otlp())?);
        send(exporter, &batch);
    }
    assert_eq!(sent.len(), 9);
    let received = collector.finish()?.profiles;
    assert_eq!(received.len(), sent.len());
    for (received, sent) in received.iter().zip(&sent) {
        assert_eq!(received, sent, "the Collector wrote what it was sent");
        assert_eq!((sent.total(), sent.totals_by_span().len()), (55, 3));
    }
    Ok(())
}

/// What Pyroscope has of `service` and, by span, of `checkout` and `refund`, in samples.
fn stored(pyroscope: &Pyroscope, service: &str, start: SystemTime) -> Result<[i64; 3]> {
    let time = start - Duration::from_secs(30)..start + Duration::from_secs(30);
    let period = i64::try_from(windows::PERIOD).unwrap();
    let ask = |selector: Selector<'_>| -> Result<i64> {
        Ok(pyroscope.query(service, CPU_PROFILE, time.clone(), selector)?.total / period)
    };
    let all = poll(Duration::from_secs(60), || Ok(Some(ask(Selector::All)?).filter(|total| *total > 0)))?;
    // The local roots, by the ids that `windows::context` makes of its seeds.
    let span = |seed: u64| ask(Selector::Span(&format!("{:016x}", seed << 8 | 1)));
    Ok([all, span(0xa1)?, span(0xb2)?])
}

#[test]
fn pyroscope_gives_each_span_its_own_samples_whatever_the_way() -> Result<()> {
    let test = "pyroscope_gives_each_span_its_own_samples_whatever_the_way";
    let Some(pyroscope) = Pyroscope::start(test)? else { return Ok(()) };
    let Some(collector) = Collector::start_forwarding(test, Some(pyroscope.http()))? else { return Ok(()) };
    let direct = pyroscope.http();
    // Pyroscope knows neither zstd nor ids in hex in JSON.
    let ways = [
        ("http", over_http(direct, Encoding::Protobuf, Compression::None)),
        ("http-gzip", over_http(direct, Encoding::Protobuf, Compression::Gzip)),
        ("grpc", over_grpc(direct, Compression::None)),
        ("grpc-gzip", over_grpc(direct, Compression::Gzip)),
        ("collector-json", over_http(collector.http(), Encoding::Json, Compression::Zstd)),
        ("collector-grpc", over_grpc(collector.grpc(), Compression::Zstd)),
    ];
    let start = SystemTime::now() - Duration::from_secs(5);
    let mut services = Vec::new();
    for (service, exporter) in ways {
        send(exporter, &batch(service, unix_nanos(start)?));
        services.push(service);
    }
    for service in services {
        assert_eq!(stored(&pyroscope, service, start)?, [55, 30, 20], "{service}");
    }
    Ok(())
}
