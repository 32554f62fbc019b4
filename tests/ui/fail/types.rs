//! What only the compiler can know. The error must stand at the user's own token, and once.
use profile_layer::profiled;

struct Order;

#[profiled(fields(order))]
fn no_value(order: Order) {
    let _ = order;
}

#[profiled(fields(shown = %order))]
fn no_display(order: Order) {
    let _ = order;
}

#[profiled(err)]
fn no_result() -> u8 {
    1
}

#[profiled(err)]
async fn no_result_async() -> Option<u8> {
    None
}

#[profiled(ret)]
fn no_debug() -> Order {
    Order
}

#[profiled(level = NOWHERE)]
fn no_level() {}

#[profiled(name = NOWHERE)]
fn no_name() {}

#[profiled(parent = "parent")]
fn no_parent() {}

#[profiled(follows_from = 5)]
fn no_cause() {}

#[profiled(crate = nowhere)]
fn no_crate() {}

#[profiled]
fn wrong_type() -> u8 {
    "text"
}

#[profiled]
fn no_tail() -> u8 {
    1;
}

#[profiled]
async fn wrong_type_async() -> u8 {
    "text"
}

#[profiled]
async fn wrong_error() -> Result<(), String> {
    "x".parse::<u8>()?;
    Ok(())
}

#[profiled]
fn unused(argument: u8) {}

fn main() {}
