//! pprof-rs, with its default unwinder.

use compare_load::{Result, Stack, Subject};
use pprof::protos::Message as _;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};

struct PprofRs(ProfilerGuard<'static>);

impl Subject for PprofRs {
    type Report = Report;

    fn start(hertz: u32) -> Result<Self> {
        Ok(Self(ProfilerGuardBuilder::default().frequency(i32::try_from(hertz)?).build()?))
    }

    fn finish(&mut self) -> Result<Report> {
        Ok(self.0.report().build()?)
    }

    fn encode(&self, report: &Report) -> Result<Vec<u8>> {
        Ok(report.pprof()?.encode_to_vec())
    }

    fn stacks(report: &Report) -> Vec<Stack> {
        let stack = |(frames, count): (&pprof::Frames, &isize)| Stack {
            functions: frames.frames.iter().flatten().map(pprof::Symbol::name).collect(),
            weight: count.unsigned_abs() as u64,
            is_loss: false,
        };
        report.data.iter().map(stack).collect()
    }
}

fn main() -> Result<()> {
    compare_load::main::<PprofRs>()
}
