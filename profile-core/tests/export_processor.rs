//! The processor: batches, bounds, deadlines, and exporters that misbehave.
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::{PATIENCE, account, number, processor, profile, wait_until};
use profile_core::error::ErrorKind;
use profile_core::export::{
    BatchLimits, BatchProfileProcessor, ExportError, ExportReceipt, ProfileExporter, ProfileProcessor,
};
use profile_core::profile::ProfileBatch;
use profile_core::stats::Stats;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The windows of each batch that came.
type Batches = Arc<Mutex<Vec<Vec<u64>>>>;

/// An exporter that waits for leave before it takes a batch, if there is someone to give it.
struct Gated {
    limits: BatchLimits,
    batches: Batches,
    began: Sender<()>,
    leave: Option<Receiver<()>>,
}

/// What a test holds of a [`Gated`].
struct Gate {
    batches: Batches,
    began: Receiver<()>,
    leave: Sender<()>,
}

fn gated() -> (Gated, Gate) {
    let (began, has_begun) = channel();
    let (give, leave) = channel();
    let batches = Batches::default();
    let exporter =
        Gated { limits: BatchLimits::default(), batches: Arc::clone(&batches), began, leave: Some(leave) };
    (exporter, Gate { batches, began: has_begun, leave: give })
}

fn open() -> (Gated, Batches) {
    let (exporter, gate) = gated();
    (Gated { leave: None, ..exporter }, gate.batches)
}

impl ProfileExporter for Gated {
    fn name(&self) -> &str {
        "gated"
    }

    fn limits(&self) -> BatchLimits {
        self.limits
    }

    fn export(&mut self, batch: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
        self.began.send(()).ok();
        if let Some(leave) = &self.leave {
            leave.recv().ok();
        }
        let windows = batch.profiles().iter().map(|profile| number(profile.start_unix_nanos())).collect();
        self.batches.lock().unwrap().push(windows);
        Ok(ExportReceipt::new(10))
    }
}

/// An exporter that panics at the first batch, and when it is shut down.
struct Panicking {
    times: usize,
}

impl ProfileExporter for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    fn export(&mut self, _: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
        self.times += 1;
        assert!(self.times > 1, "a bug in an exporter");
        Ok(ExportReceipt::default())
    }

    fn shutdown(&mut self) {
        panic!("another bug");
    }
}

fn batches(batches: &Batches) -> Vec<Vec<u64>> {
    batches.lock().unwrap().clone()
}

#[test]
fn a_batch_goes_when_it_is_full_or_old_or_asked_for() {
    let (exporter, seen) = open();
    let stats = Stats::new();
    let build = processor(&stats).with_batch_size(3).with_batch_timeout(PATIENCE * 10);
    let processor = build.with_exporter(exporter).build().unwrap();
    (0..7).for_each(|number| processor.on_profile(profile(number)));
    wait_until("two full batches", || batches(&seen).len() == 2);
    processor.force_flush(PATIENCE).unwrap();
    assert_eq!(batches(&seen), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    processor.on_profile(profile(7));
    processor.shutdown(PATIENCE).unwrap();
    assert_eq!(batches(&seen).last(), Some(&vec![7]));
    assert_eq!((account(&stats, 0).batches, account(&stats, 0).bytes_sent), (4, 40));

    let (exporter, seen) = open();
    let build = BatchProfileProcessor::builder().with_batch_timeout(Duration::from_millis(10));
    let processor = build.with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    wait_until("an old batch", || batches(&seen) == [vec![0]]);
    drop(processor);
}

#[test]
fn a_batch_too_large_for_the_destination_comes_in_parts() {
    let (exporter, seen) = open();
    let limits = BatchLimits { max_samples: 2, ..BatchLimits::default() };
    let stats = Stats::new();
    let build = processor(&stats).with_batch_size(5).with_batch_timeout(PATIENCE * 10);
    let processor = build.with_exporter(Gated { limits, ..exporter }).build().unwrap();
    (0..5).for_each(|number| processor.on_profile(profile(number)));
    processor.shutdown(PATIENCE).unwrap();
    let parts = batches(&seen);
    assert!(parts.len() >= 3 && parts.iter().all(|part| part.len() <= 2), "{parts:?}");
    assert_eq!(parts.concat(), [0, 1, 2, 3, 4]);
    assert_eq!(account(&stats, 0).exported, 5);
}

#[test]
fn a_full_queue_drops_the_oldest() {
    let (exporter, gate) = gated();
    let stats = Stats::new();
    let processor = processor(&stats).with_max_queue_size(3).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    gate.began.recv().unwrap();
    (1..=10).for_each(|number| processor.on_profile(profile(number)));
    let full = account(&stats, 0);
    assert_eq!((full.waiting(), full.dropped.queue_full), (4, 7), "three queued, one under way");
    drop(gate.leave);
    let error = processor.force_flush(PATIENCE).err();
    assert!(error.is_none(), "what was lost before a flush is not its loss: {error:?}");
    assert_eq!(batches(&gate.batches), [[0], [8], [9], [10]]);
    assert_eq!(account(&stats, 0).waiting(), 0);
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let (exporter, gate) = gated();
    let stats = Stats::new();
    let three = 3 * profile(0).estimated_bytes();
    let processor = processor(&stats).with_max_queue_bytes(three).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    gate.began.recv().unwrap();
    (1..=10).for_each(|number| processor.on_profile(profile(number)));
    assert_eq!(account(&stats, 0).dropped.queue_full, 7);
    drop(gate.leave);
}

#[test]
fn a_flush_waits_for_what_is_under_way_even_if_all_behind_it_is_dropped() {
    let (exporter, gate) = gated();
    let stats = Stats::new();
    let processor = processor(&stats).with_max_queue_size(1).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    gate.began.recv().unwrap();
    processor.on_profile(profile(1));
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| processor.force_flush(PATIENCE));
        // Time for the flush to begin, and then to end in error; too little of it could only hide a mistake.
        std::thread::sleep(Duration::from_millis(100));
        (2..20).for_each(|number| processor.on_profile(profile(number)));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!flush.is_finished());
        drop(gate.leave);
        assert_eq!(flush.join().unwrap().unwrap_err().kind(), ErrorKind::Export);
    });
    assert_eq!(batches(&gate.batches)[0], [0]);
}

#[test]
fn a_flush_that_is_late_says_so_and_loses_nothing() {
    let (exporter, gate) = gated();
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    let error = processor.force_flush(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(error.to_string().starts_with("gated did not finish"), "{error}");
    drop(gate.leave);
    processor.force_flush(PATIENCE).unwrap();
    assert_eq!(account(&stats, 0).exported, 1);
}

#[test]
fn an_exporter_that_hangs_is_left_behind_and_counts_no_more() {
    let (exporter, gate) = gated();
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    (0..3).for_each(|number| processor.on_profile(profile(number)));
    gate.began.recv().unwrap();
    let start = Instant::now();
    let error = processor.shutdown(Duration::from_millis(200)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(account(&stats, 0).dropped.shutdown, 3);

    drop(gate.leave);
    wait_until("the late end of the attempt", || batches(&gate.batches) == [[0]]);
    drop(processor);
    let late = account(&stats, 0);
    assert_eq!((late.exported, late.dropped.total(), late.waiting()), (0, 3, 0), "counted once");
}

#[test]
fn after_a_shutdown_nothing_is_taken_and_a_second_one_is_a_no_op() {
    let (exporter, seen) = open();
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    processor.shutdown(PATIENCE).unwrap();
    processor.on_profile(profile(1));
    processor.shutdown(Duration::ZERO).unwrap();
    assert_eq!(processor.force_flush(PATIENCE).unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(batches(&seen), [[0]]);
    let account = account(&stats, 0);
    assert_eq!((account.exported, account.dropped.shutdown), (1, 1));
}

#[test]
fn dropping_the_processor_delivers_what_is_left() {
    let (exporter, seen) = open();
    let build = BatchProfileProcessor::builder().with_batch_timeout(PATIENCE * 10);
    let processor = build.with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    drop(processor);
    assert_eq!(batches(&seen), [[0]]);
}

#[test]
fn a_panic_costs_its_batch_and_nothing_else() {
    let (exporter, seen) = open();
    let stats = Stats::new();
    let processor =
        processor(&stats).with_exporter(Panicking { times: 0 }).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    let error = processor.force_flush(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Export);
    assert!(error.to_string().contains("panicking: 1 profile dropped: the exporter panicked"), "{error}");
    processor.on_profile(profile(1));
    processor.shutdown(PATIENCE).unwrap();
    let account = account(&stats, 0);
    assert_eq!((account.dropped.panicked, account.exported), (1, 1), "{account:?}");
    assert_eq!(batches(&seen), [[0], [1]]);
}

#[test]
fn timeouts_may_be_of_any_length() {
    let (exporter, seen) = open();
    let build = BatchProfileProcessor::builder().with_batch_timeout(Duration::MAX);
    let processor = build.with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(0));
    processor.force_flush(Duration::MAX).unwrap();
    processor.shutdown(Duration::MAX).unwrap();
    assert_eq!(batches(&seen), [[0]]);
}

#[test]
fn sizes_of_nothing_fail_to_build() {
    for (built, name) in [
        (BatchProfileProcessor::builder().with_batch_size(0).build(), "batch_size"),
        (BatchProfileProcessor::builder().with_max_queue_size(0).build(), "max_queue_size"),
        (BatchProfileProcessor::builder().with_max_queue_bytes(0).build(), "max_queue_bytes"),
    ] {
        let error = built.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().starts_with(name), "{error}");
    }
}
