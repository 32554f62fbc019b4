//! Blocks: arguments for one function only, and members with errors of their own, each told once.
use profile_layer::profiled;

struct One;

#[profiled(name = "all")]
impl One {
    fn one(&self) {}
}

#[profiled(level = "debug", err)]
trait Two {
    fn two(&self) {}
}

impl Two for One {}

#[profiled(ret)]
mod three {
    pub fn three() {}
}

#[profiled(levle = "debug")]
impl One {
    #[profiled(skip)]
    fn four(&self) {}
}

#[profiled]
impl One {
    #[profiled(nmae = "five")]
    fn five(&self) {}

    #[profiled(skip)]
    fn six(&self) {}
}

#[profiled]
impl One {
    #[profiled]
    #[profiled]
    fn seven(&self) {}
}

#[profiled]
impl One {
    #[profiled]
    const fn eight(&self) {}
}

#[profiled]
impl One {
    #[cfg_attr(not(any()), profiled(skip))]
    fn nine(&self) {}
}

#[profiled(fields(id))]
impl One {
    fn ten(&self, id: u8) {
        let _ = id;
    }

    fn eleven(&self) {}
}

#[profiled]
mod twelve {
    #[profiled(name = "inner")]
    pub mod inner {
        pub fn twelve() {}
    }
}

#[profiled]
#[profiled]
impl One {
    fn thirteen(&self) {}
}

fn main() {
    One.one();
    One.two();
    three::three();
    One.four();
    One.five();
    One.six();
    One.seven();
    One.eight();
    One.nine();
    One.ten(1);
    One.eleven();
    twelve::inner::twelve();
    One.thirteen();
}
