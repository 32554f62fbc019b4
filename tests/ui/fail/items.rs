//! Items with no code to profile.
use profile_layer::profiled;

#[profiled]
#[derive(Clone, Copy)]
pub struct Struct {
    field: u8,
}

#[profiled]
pub(crate) enum Enum {
    Variant,
}

#[profiled]
union Union {
    a: u8,
}

#[profiled]
type Alias = u8;

#[profiled]
const CONSTANT: Alias = 1;

#[profiled]
static STATIC: u8 = CONSTANT;

#[profiled]
use std::fmt;

#[profiled]
unsafe extern "C" {
    fn abs(value: i32) -> i32;
}

#[profiled]
extern crate core;

#[profiled]
macro_rules! rules {
    () => {
        1
    };
}

fn main() {
    let value = Struct { field: STATIC };
    let _ = (value.field, Enum::Variant, Union { a: rules!() }, fmt::Error);
    let _ = unsafe { abs(core::hint::black_box(-1)) };
}
