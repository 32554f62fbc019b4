//! Tempo, where `TEMPO_BIN` names it: a trace is found by its id, with the attribute that leads to its profile.

use profile_tests::clock::unix_nanos;
use profile_tests::join::PROFILE_ID;
use profile_tests::peers::{Tempo, poll};
use profile_tests::{Result, fixture, http};
use prost::Message as _;
use std::time::{Duration, SystemTime};

#[test]
fn tempo_keeps_the_attribute_that_leads_to_the_profile() -> Result<()> {
    let Some(tempo) = Tempo::start("tempo_keeps_the_attribute_that_leads_to_the_profile")? else {
        return Ok(());
    };
    let start = SystemTime::now() - Duration::from_secs(2);
    let body = fixture::traces_at(unix_nanos(start)?).encode_to_vec();
    http::post(tempo.otlp(), "/v1/traces", &[("Content-Type", "application/x-protobuf")], &body)?.ok()?;

    let trace_id = fixture::link_a().trace_id;
    let trace = poll(Duration::from_secs(30), || tempo.trace(&trace_id))?.to_string();
    assert!(trace.contains(PROFILE_ID) && trace.contains(&fixture::link_a().span_id), "{trace}");
    assert_eq!(tempo.trace("000000000000000000000000000000ff")?, None);

    let found = poll(Duration::from_secs(90), || {
        let service = fixture::SERVICE;
        let found = tempo
            .search(&format!("{{ resource.service.name=\"{service}\" && name=\"{}\" }}", fixture::SPAN_A))?;
        Ok((!found.is_empty()).then_some(found))
    })?;
    assert_eq!(found[0]["traceID"].as_str(), Some(trace_id.trim_start_matches('0')));
    Ok(())
}
