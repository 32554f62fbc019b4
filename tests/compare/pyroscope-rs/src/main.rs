//! pyroscope-rs: its sampler and its encoder, without the agent that sends profiles.

use compare_load::{Result, Stack, Subject};
use prost::Message as _;
use pyroscope::backend::{
    BackendConfig, BackendImpl, BackendReady, PprofConfig, Report, ReportData, pprof_backend,
};

struct PyroscopeRs {
    backend: BackendImpl<BackendReady>,
    hertz: u32,
}

impl Subject for PyroscopeRs {
    type Report = Vec<Report>;

    fn start(hertz: u32) -> Result<Self> {
        let backend = pprof_backend(PprofConfig { sample_rate: hertz }, BackendConfig::default());
        Ok(Self { backend: backend.initialize()?, hertz })
    }

    fn finish(&mut self) -> Result<Vec<Report>> {
        match self.backend.report()?.data {
            ReportData::Reports(reports) => Ok(reports),
            ReportData::RawPprof(_) => Err("not the CPU profile".into()),
        }
    }

    fn encode(&self, reports: &Vec<Report>) -> Result<Vec<u8>> {
        let profile = pyroscope::encode::pprof::encode(reports, self.hertz, 0, 10_000_000_000);
        Ok(profile.encode_to_vec())
    }

    fn stacks(reports: &Vec<Report>) -> Vec<Stack> {
        let stack = |(trace, count): (&pyroscope::backend::StackTrace, &usize)| Stack {
            functions: trace.frames.iter().filter_map(|frame| frame.name.clone()).collect(),
            weight: *count as u64,
            is_loss: false,
        };
        reports.iter().flat_map(|report| report.iter()).map(stack).collect()
    }
}

fn main() -> Result<()> {
    compare_load::main::<PyroscopeRs>()
}
