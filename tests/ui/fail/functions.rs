//! Functions that cannot have a span, and arguments that do not fit the function.
use profile_layer::profiled;

#[profiled]
const fn constant() -> u8 {
    1
}

#[profiled]
pub const unsafe fn constant_and_unsafe() {}

const ONE: u8 = constant();

trait Required {
    #[profiled]
    fn required(&self);
}

impl Required for u8 {
    fn required(&self) {}
}

#[profiled(err)]
#[track_caller]
fn err_tracked() -> Result<(), u8> {
    Ok(())
}

#[track_caller]
#[profiled(ret)]
fn ret_tracked() {}

#[profiled(err)]
fn err_of_nothing() {}

#[profiled(err)]
async fn err_of_nothing_async() {}

#[profiled(ret)]
fn ret_of_never() -> ! {
    loop {}
}

#[profiled(ret)]
async fn ret_of_never_async() -> ! {
    loop {}
}

#[profiled]
#[unsafe(naked)]
extern "C" fn naked() {
    core::arch::naked_asm!("ret")
}

#[profiled]
#[profiled(name = "twice")]
fn twice() {}

fn main() {
    ONE.required();
    unsafe { constant_and_unsafe() };
    let _ = (err_tracked(), ret_tracked());
    err_of_nothing();
    drop(err_of_nothing_async());
    drop(ret_of_never_async());
    twice();
    naked();
    ret_of_never();
}
