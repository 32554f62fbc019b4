//! `fields(..)`: its grammar, and fields that nothing would fill.
use profile_layer::profiled;

#[profiled(fields(user_di))]
fn slip(user_id: u8) {
    let _ = user_id;
}

#[profiled(fields(?self.id))]
fn no_self() {}

#[profiled(fields(a.b))]
fn no_such_part() {}

#[profiled(fields("literal"))]
fn literal_alone() {}

#[profiled(fields({ KEY }))]
fn constant_alone() {}

#[profiled(fields(%a = 1))]
fn sigil_before_name() {}

#[profiled(fields(a = ))]
fn nothing_after_equals() {}

#[profiled(fields(a = , b = 1))]
fn nothing_before_comma() {}

#[profiled(fields(a = 1, b = 2, a = 3))]
fn repeated() {}

#[profiled(fields(a = 1 b = 2))]
fn no_comma() {}

#[profiled(fields(a + 1))]
fn sum(a: u8) {
    let _ = a;
}

#[profiled(fields(5))]
fn number() {}

#[profiled(fields(a.))]
fn dot_at_the_end(a: u8) {
    let _ = a;
}

fn main() {
    slip(1);
    no_self();
    no_such_part();
    literal_alone();
    constant_alone();
    sigil_before_name();
    nothing_after_equals();
    nothing_before_comma();
    repeated();
    no_comma();
    sum(1);
    number();
    dot_at_the_end(1);
}
