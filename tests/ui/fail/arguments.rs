//! Arguments: unknown, repeated, without a value, of the wrong kind. Each is called, so that an item lost beside its
//! error would show as a second one.
use profile_layer::profiled;

#[profiled(nmae = "a")]
fn slip() {}

#[profiled(colour = "red", level = "info")]
fn unknown() {}

#[profiled(level = "info", name = "a", level = "debug")]
fn repeated() {}

#[profiled("a", name = "b")]
fn named_twice() {}

#[profiled(level = "info", "a")]
fn name_late() {}

#[profiled(5)]
fn no_word() {}

#[profiled(level = "info" target = "a")]
fn no_comma() {}

#[profiled(name)]
fn name_alone() {}

#[profiled(name("a"))]
fn name_as_list() {}

#[profiled(target =)]
fn target_without_value() {}

#[profiled(level = , name = "a")]
fn level_without_value() {}

#[profiled(fields = (a))]
fn fields_as_value() {}

#[profiled(parent(None))]
fn parent_as_list() {}

#[profiled(follows_from)]
fn follows_from_alone() {}

#[profiled(crate)]
fn crate_alone() {}

#[profiled(name = 5)]
fn name_of_number() {}

#[profiled(name = "")]
fn name_of_nothing() {}

#[profiled(target = a + b)]
fn target_of_sum() {}

#[profiled(level = "loud")]
fn level_unknown() {}

#[profiled(level = 6)]
fn level_too_high() {}

#[profiled(level = 0)]
fn level_too_low() {}

#[profiled(level = debug)]
fn level_unquoted() {}

#[profiled(level = -1)]
fn level_negative() {}

#[profiled(err(Dbg))]
fn err_unknown() -> Result<(), u8> {
    Ok(())
}

#[profiled(err(level))]
fn err_level_alone() -> Result<(), u8> {
    Ok(())
}

#[profiled(ret(Debug, Display))]
fn ret_in_two_ways() {}

#[profiled(ret = Debug)]
fn ret_as_value() {}

#[profiled(skip(secret))]
fn skip_as_instrument_has_it(secret: u8) {
    let _ = secret;
}

#[profiled(skip, name = "a")]
fn skip_with_more() {}

#[profiled(skip_all = true)]
fn skip_all_with_value() {}

fn main() {
    slip();
    unknown();
    repeated();
    named_twice();
    name_late();
    no_word();
    no_comma();
    name_alone();
    name_as_list();
    target_without_value();
    level_without_value();
    fields_as_value();
    parent_as_list();
    follows_from_alone();
    crate_alone();
    name_of_number();
    name_of_nothing();
    target_of_sum();
    level_unknown();
    level_too_high();
    level_too_low();
    level_unquoted();
    level_negative();
    let _: (Result<(), u8>, Result<(), u8>) = (err_unknown(), err_level_alone());
    ret_in_two_ways();
    ret_as_value();
    skip_as_instrument_has_it(1);
    skip_with_more();
    skip_all_with_value();
}
