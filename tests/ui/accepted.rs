//! Every spelling that is accepted.
#![deny(warnings)]

use profile_layer::profiled;

const NAME: &str = "name";
const LOUD: profile_layer::__private::tracing::Level = profile_layer::__private::tracing::Level::ERROR;

#[profiled]
fn plain() {}

#[profiled()]
fn empty() {}

#[profiled("name")]
fn positional() {}

#[profiled("name", target = "target", level = "WARN", skip_all,)]
fn several() {}

#[profiled(name = NAME, target = concat!("a", "b"), level = LOUD)]
fn constants() {}

#[profiled(level = 5)]
fn number() {}

#[profiled(fields())]
fn no_fields() {}

#[profiled(fields(a, %b, ?c, d.e = 1, f = %a, g = ?b, h = Empty, "i j" = 2, { NAME } = 3, r#type = a, self_ = "x",))]
fn fields(a: u8, b: &str, c: &[u8]) {
    let _ = (a, b, c);
}

#[profiled(parent = None, follows_from = [None])]
fn relations() {}

#[profiled(err, ret)]
fn reports() -> Result<u8, String> {
    Ok(1)
}

#[profiled(err(), ret(Debug))]
fn reports_by_format() -> Result<u8, String> {
    Ok(1)
}

#[profiled(err(level = "warn", Debug), ret(Display, level = 1))]
fn reports_by_level() -> Result<u8, String> {
    Ok(1)
}

#[profiled(span = false)]
fn region() {}

#[profiled("region", span = false, skip_all, crate = ::profile_layer)]
fn named_region() {}

#[profiled(name = NAME, span = true, level = "debug")]
fn span() {}

#[profiled(labels())]
fn no_labels() {}

#[profiled(labels(a, %b, ?c, d.e = 1, f = %a, "i j" = 2, { NAME } = 3, r#type = a,))]
fn labels(a: u8, b: &str, c: &[u8]) {
    let _ = (a, b, c);
}

#[profiled(span = false, labels(half = a / 2, b = b.len()))]
fn labelled_region(a: u8, b: &str) {
    let _ = (a, b);
}

#[profiled(crate = ::profile_layer)]
fn by_path() {}

#[profiled(skip)]
const fn skipped() {}

#[profile_layer::profiled]
fn qualified() {}

/// Calls all of it.
pub(super) fn all() {
    plain();
    empty();
    positional();
    several();
    constants();
    number();
    no_fields();
    fields(1, "b", &[]);
    relations();
    let _ = (reports(), reports_by_format(), reports_by_level());
    region();
    named_region();
    span();
    no_labels();
    labels(1, "b", &[]);
    labelled_region(1, "b");
    by_path();
    skipped();
    qualified();
}
