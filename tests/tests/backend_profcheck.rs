//! profcheck, the OpenTelemetry profiling group's checker, where `PROFCHECK_BIN` names it.

use profile_tests::peers::Profcheck;
use profile_tests::{Result, fixture};
use prost::Message as _;

#[test]
fn profcheck_passes_what_obeys_the_rules_and_nothing_else() -> Result<()> {
    let Some(profcheck) = Profcheck::find("profcheck_passes_what_obeys_the_rules_and_nothing_else") else {
        return Ok(());
    };
    let mut request = fixture::profiles();
    profcheck.check(&request.encode_to_vec())?;

    if let Some(dictionary) = &mut request.dictionary {
        dictionary.string_table.push("nobody refers to this".into());
    }
    let error = profcheck.check(&request.encode_to_vec()).unwrap_err().to_string();
    assert!(error.contains("unreferenced"), "{error}");
    Ok(())
}
