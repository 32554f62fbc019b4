//! Profiles on disk until they are delivered: whatever ends the process, fills the disk or breaks a file.
#![cfg(feature = "otlp-http")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // In helpers too, which clippy does not take for tests.

mod export_support;
#[path = "support/windows.rs"]
#[allow(dead_code, unreachable_pub, reason = "only a part is used here")]
mod windows;

use export_support::http::exporter;
use export_support::{PATIENCE, Server, Step, account, processor, profile, wait_until, windows_of};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use profile_core::collector::{Loss, StackEnd};
use profile_core::export::{BatchProfileProcessor, ProfileProcessor};
use profile_core::profile::{Profile, ProfileBatch};
use profile_core::resource::{Resource, Value};
use profile_core::stats::{ExporterSnapshot, Stats};
use prost::Message;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const MAX_BYTES: u64 = 1 << 20;

fn spooled(server: &Server, stats: &Arc<Stats>, directory: &Path, max_bytes: u64) -> BatchProfileProcessor {
    let exporter = exporter(server).build().unwrap();
    processor(stats).with_exporter(exporter).with_spool(directory, max_bytes).build().unwrap()
}

/// The files with profiles below `directory`, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.extension() {
            _ if path.is_dir() => found.extend(files(&path)),
            Some(extension) if extension == "profile" => found.push(path),
            _ => {}
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}

/// A server that is overloaded for `count` requests: longer than they are tried.
fn overloaded(count: usize) -> Server {
    Server::start(vec![Step::Refuse(503, "retry-after: 3600\r\n", Vec::new()); count])
}

/// Leaves `count` profiles in `directory`, all of which the overloaded `server` refuses.
fn leave(server: &Server, directory: &Path, count: u64) {
    let stats = Stats::new();
    let processor = spooled(server, &stats, directory, MAX_BYTES);
    (0..count).for_each(|number| processor.on_profile(profile(number)));
    wait_until("every refusal", || account(&stats, 0).dropped.expired == count);
    processor.shutdown(PATIENCE).unwrap();
    drop(processor);
    assert_eq!(account(&stats, 0).spool.written, count);
    assert_eq!(files(directory).len() as u64, count);
}

/// Starts a processor over what is in `directory`, waits for `settled` profiles to be delivered or found broken, and ends it.
fn deliver_left(server: &Server, directory: &Path, settled: u64) -> ExporterSnapshot {
    let stats = Stats::new();
    let processor = spooled(server, &stats, directory, MAX_BYTES);
    wait_until("a delivery from disk", || {
        let spool = account(&stats, 0).spool;
        spool.replayed + spool.corrupt >= settled
    });
    processor.shutdown(PATIENCE).unwrap();
    assert_eq!(files(directory), <[PathBuf; 0]>::default());
    let account = account(&stats, 0);
    assert_eq!((account.given, account.waiting()), (account.exported, 0), "{account:?}");
    account
}

#[test]
fn what_is_delivered_leaves_no_trace() {
    let (server, directory) = (Server::start([]), tempfile::tempdir().unwrap());
    let stats = Stats::new();
    let processor = spooled(&server, &stats, directory.path(), MAX_BYTES);
    (0..3).for_each(|number| processor.on_profile(profile(number)));
    processor.shutdown(PATIENCE).unwrap();
    drop(processor);
    let account = account(&stats, 0);
    assert_eq!((account.exported, account.spool.written, account.spool.replayed), (3, 3, 0));
    assert_eq!(account.spool.bytes, 0);
    let [of_exporter] = &fs::read_dir(directory.path()).unwrap().flatten().collect::<Vec<_>>()[..] else {
        panic!()
    };
    assert_eq!(fs::read_dir(of_exporter.path()).unwrap().count(), 0, "not even the folder of the process");
}

/// The process that [`a_killed_process_loses_nothing`] kills.
#[test]
fn child() {
    let Some(directory) = std::env::var_os("SPOOL_TEST_DIRECTORY") else { return };
    let url = std::env::var("SPOOL_TEST_URL").unwrap();
    let mut resource = Resource::empty();
    resource.set("service.name", Value::String("killed".to_owned()));
    let builder = profile_core::export::OtlpHttpExporter::builder();
    let exporter = builder.with_settings(Default::default()).with_endpoint(url).build().unwrap();
    let processor = BatchProfileProcessor::builder().with_resource(resource).with_exporter(exporter);
    let processor = processor.with_batch_size(1).with_spool(directory, MAX_BYTES).build().unwrap();
    (0..3).for_each(|number| processor.on_profile(profile(number)));
    println!("on disk");
    std::thread::sleep(PATIENCE);
}

#[test]
fn a_killed_process_loses_nothing() {
    // Takes nothing from the first process, and what comes from the second.
    let (server, directory) = (overloaded(3), tempfile::tempdir().unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).stdout(Stdio::piped());
    command.env("SPOOL_TEST_DIRECTORY", directory.path()).env("SPOOL_TEST_URL", server.url());
    let mut killed = command.spawn().unwrap();
    let lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("on disk")));
    wait_until("every refusal", || server.requests().len() == 3);

    // As long as the process lives, nobody takes its files.
    let stats = Stats::new();
    let beside = spooled(&server, &stats, directory.path(), MAX_BYTES);
    beside.shutdown(PATIENCE).unwrap();
    assert_eq!((account(&stats, 0).given, files(directory.path()).len()), (0, 3));

    killed.kill().unwrap(); // SIGKILL
    killed.wait().unwrap();
    let account = deliver_left(&server, directory.path(), 3);
    assert_eq!((account.exported, account.spool.replayed, account.spool.corrupt), (3, 3, 0));
    let delivered: Vec<_> = server.requests().iter().skip(3).flat_map(windows_of).collect();
    assert_eq!(delivered, [0, 1, 2], "each with its own time, oldest first");
    for request in server.requests().iter().skip(3) {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(
            body.contains("killed") && !body.contains("export-test"),
            "with the resource of its own process"
        );
    }
}

#[test]
fn a_profile_comes_back_from_disk_as_it_was() {
    let (server, directory) = (overloaded(1), tempfile::tempdir().unwrap());
    let mut window = windows::window();
    let (program, libc) = (windows::module(0), windows::module(1));
    let stack =
        [windows::frame(&libc, 0x21), windows::frame(&program, 0x49), windows::frame(&program, 0x101)];
    windows::add(&mut window, &stack, StackEnd::Complete, windows::context(7, &["checkout", "parse"]), 30);
    windows::add(&mut window, &stack[1..], StackEnd::NoRule, Default::default(), 5);
    windows::add(&mut window, &stack, StackEnd::Complete, windows::context(8, &["search"]), 7);
    window.losses.push((Loss::RingFull, 2));
    let mut rich = Profile::clone(&windows::profile(&window));
    rich.add_note("one");
    rich.add_note("two");
    let rich = Arc::new(rich);
    let stats = Stats::new();
    let processor = spooled(&server, &stats, directory.path(), MAX_BYTES);
    processor.on_profile(Arc::clone(&rich));
    wait_until("the refusal", || account(&stats, 0).dropped.expired == 1);
    processor.shutdown(PATIENCE).unwrap();
    drop(processor);

    deliver_left(&server, directory.path(), 1);
    let sent = server.requests().pop().unwrap().content();
    let batch = ProfileBatch::new(Arc::new(export_support::resource()), vec![rich]);
    let decode = |bytes: &[u8]| ExportProfilesServiceRequest::decode(bytes).unwrap();
    assert_eq!(decode(&sent), decode(&batch.to_otlp()));
}

#[test]
fn a_file_that_is_not_whole_is_counted_and_costs_no_other() {
    let (server, directory) = (overloaded(5), tempfile::tempdir().unwrap());
    leave(&server, directory.path(), 5);
    let files = files(directory.path());
    let mut contents = fs::read(&files[0]).unwrap();
    let middle = contents.len() / 2;
    contents[middle] ^= 1;
    fs::write(&files[0], &contents).unwrap();
    fs::write(&files[1], &fs::read(&files[1]).unwrap()[..middle]).unwrap();
    fs::write(&files[2], b"").unwrap();
    fs::rename(&files[3], files[3].with_file_name("part")).unwrap();

    let account = deliver_left(&server, directory.path(), 5);
    assert_eq!((account.exported, account.spool.corrupt), (2, 3), "the part was whole: {account:?}");
    let mut delivered: Vec<_> = server.requests().iter().skip(5).flat_map(windows_of).collect();
    delivered.sort_unstable();
    assert_eq!(delivered, [3, 4]);
}

#[test]
fn a_full_disk_costs_files_and_not_profiles() {
    let (server, directory) = (Server::start([]), tempfile::tempdir().unwrap());
    let stats = Stats::new();
    let processor = spooled(&server, &stats, directory.path(), MAX_BYTES);
    let of_exporter = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let folder = fs::read_dir(of_exporter).unwrap().next().unwrap().unwrap().path();
    // What is written goes to a device on which there is no space left.
    symlink("/dev/full", folder.join("part")).unwrap();
    processor.on_profile(profile(0));
    processor.on_profile(profile(1));
    processor.shutdown(PATIENCE).unwrap();
    let account = account(&stats, 0);
    assert_eq!((account.spool.refused, account.spool.written, account.exported), (1, 1, 2), "{account:?}");
}

#[test]
fn the_bound_holds_and_the_newest_profiles_stay() {
    let (server, directory) = (overloaded(1), tempfile::tempdir().unwrap());
    leave(&server, directory.path(), 1);
    let one = fs::metadata(&files(directory.path())[0]).unwrap().len();
    let (stats, max_bytes) = (Stats::new(), 10 * one + one / 2);
    let hanging = Server::start([Step::Hang]);
    // A queue in memory of four: what it drops is left to the disk.
    let exporter = exporter(&hanging).build().unwrap();
    let processor = processor(&stats).with_max_queue_size(4).with_exporter(exporter);
    let processor = processor.with_spool(directory.path(), max_bytes).build().unwrap();
    for number in 0..50 {
        processor.on_profile(profile(number));
        let sizes = files(directory.path())
            .iter()
            .map(|file| fs::metadata(file).map_or(0, |file| file.len()))
            .sum::<u64>();
        assert!(sizes <= max_bytes + one, "{sizes} bytes"); // and the file of the other exporter
    }
    drop(processor.shutdown(Duration::from_millis(1)));
    drop(processor);
    let spool = account(&stats, 0).spool;
    assert_eq!((spool.written, spool.corrupt), (50, 0), "{spool:?}");
    let of_process =
        files(directory.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>() - one;
    assert_eq!(spool.bytes, of_process, "what is on disk but for the other exporter's file");
    assert!(spool.refused >= 38, "{spool:?}");
    let newest = files(directory.path()).last().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    assert!(newest.contains("-000050."), "{newest}");
}

#[test]
fn an_outage_longer_than_the_queue_is_made_up_for_by_the_same_process() {
    let (server, directory) = (overloaded(3), tempfile::tempdir().unwrap());
    let stats = Stats::new();
    let processor = spooled(&server, &stats, directory.path(), MAX_BYTES);
    for number in 0..3 {
        processor.on_profile(profile(number));
        wait_until("a refusal", || account(&stats, 0).dropped.expired == number + 1);
    }
    processor.on_profile(profile(3));
    wait_until("the others", || account(&stats, 0).spool.replayed == 3);
    processor.shutdown(PATIENCE).unwrap();
    let account = account(&stats, 0);
    assert_eq!((account.given, account.exported, account.dropped.expired), (7, 4, 3), "{account:?}");
    assert_eq!(files(directory.path()), <[PathBuf; 0]>::default());
    let delivered: Vec<_> = server.requests().iter().skip(3).flat_map(windows_of).collect();
    assert_eq!(delivered, [3, 0, 1, 2]);
}

#[test]
fn a_spool_that_cannot_be_is_an_error() {
    let server = Server::start([]);
    let builder = || processor(&Stats::new()).with_exporter(exporter(&server).build().unwrap());
    let error = builder().with_spool("/proc/nowhere", MAX_BYTES).build().unwrap_err().to_string();
    assert!(error.contains("no spool in directory \"/proc/nowhere\""), "{error}");
    let error = builder().with_spool(tempfile::tempdir().unwrap().path(), 0).build().unwrap_err().to_string();
    assert!(error.contains("must be at least 1"), "{error}");
}
