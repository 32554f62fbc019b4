//! The spool of a service that the environment configures: killed in the middle of a request, with a directory that cannot
//! be used, on a disk that is full.
#![cfg(feature = "otlp-http")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::{PATIENCE, Recorder, Server, Step, wait_until};
use profile_core::profiler::{Profiler, ProfilerBuilder};
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERVICE: &str = "SPOOL_SERVICE_WINDOWS";

/// The service. Says `kept <start> <weight>` of each profile that is on disk, and at its end what it counted.
#[test]
fn service() {
    let Ok(windows) = std::env::var(SERVICE) else { return };
    let recorder = Recorder::default();
    let builder = ProfilerBuilder::new().with_frequency(499).with_processor(recorder.clone());
    let profiler: Profiler = builder.with_window(Duration::from_secs(60)).build().unwrap();
    let mut said = 0;
    for _ in 0..windows.parse().unwrap() {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            black_box((0..1000).sum::<u64>());
        }
        profiler.collect(PATIENCE).unwrap();
        let recorded = recorder.collected();
        // The recorder comes before the spool, which may not have come to the last one yet.
        let written = profiler.stats().exporters[0].spool.written as usize;
        for (start, weight) in recorded.iter().take(written).skip(said) {
            println!("kept {start} {weight}");
        }
        said = said.max(written);
    }
    wait_until("the last delivery", || profiler.stats().exporters[0].spool.bytes == 0);
    drop(profiler.shutdown());
    let of_exporter = &profiler.stats().exporters[0];
    let (spool, recorded) = (of_exporter.spool, recorder.collected().len());
    println!(
        "ended {recorded} {} {} {} {}",
        of_exporter.exported, spool.written, spool.refused, spool.replayed
    );
}

/// The service for so many windows, below `sh -c "<limit> exec …"`.
fn start(server: &Server, directory: &Path, windows: usize, limit: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{limit} exec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "service", "--nocapture"]).env(SERVICE, windows.to_string());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", server.url()).env("PROFILE_SPOOL_DIRECTORY", directory);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the service says at its end: profiles recorded, exported, written, refused and replayed; and on standard error.
fn end_of(mut service: Child) -> ([u64; 5], String) {
    let mut stderr = String::new();
    let (out, mut err) = (service.stdout.take().unwrap(), service.stderr.take().unwrap());
    let reader = std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(std::io::Result::ok).collect::<Vec<_>>()
    });
    err.read_to_string(&mut stderr).unwrap();
    let lines = reader.join().unwrap();
    assert!(service.wait().unwrap().success(), "{lines:?} {stderr}");
    let ended =
        lines.iter().find_map(|line| line.split_once("ended ")).unwrap_or_else(|| panic!("{lines:?}")).1;
    let numbers: Vec<u64> = ended.split(' ').map(|number| number.parse().unwrap()).collect();
    (numbers.try_into().unwrap(), stderr)
}

/// How many files there are below `directory`.
fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_service_killed_in_the_middle_of_a_request_loses_nothing_that_was_collected() {
    for step in [Step::Hang, Step::TakeAndHang] {
        let was_taken = matches!(step, Step::TakeAndHang);
        let (server, directory) = (Server::start([Step::Take, step]), tempfile::tempdir().unwrap());
        let mut service = start(&server, directory.path(), 1000, "");
        let lines = BufReader::new(service.stdout.take().unwrap()).lines().map_while(std::io::Result::ok);
        let mut kept: Vec<(u64, i64)> = Vec::new();
        for line in lines {
            let Some((_, profile)) = line.split_once("kept ") else { continue };
            let (start, weight) = profile.split_once(' ').unwrap();
            kept.push((start.parse().unwrap(), weight.parse().unwrap()));
            if kept.len() >= 5 && server.script_is_over() {
                break;
            }
        }
        let answered = server.requests()[0].starts_and_weights();
        let unanswered = || server.taken_profiles().split_off(answered.len());
        if was_taken {
            wait_until("the request that is not answered", || !unanswered().is_empty());
        }
        let unanswered = unanswered();
        service.kill().unwrap(); // SIGKILL
        service.wait().unwrap();

        // The next one, with the same variables, delivers what is left beside its own.
        let ([recorded, exported, _, _, replayed], stderr) = end_of(start(&server, directory.path(), 2, ""));
        let left = kept.iter().filter(|profile| !answered.contains(profile)).count() as u64;
        assert!(
            replayed >= left && exported == recorded + replayed,
            "{left} {recorded} {exported} {replayed} {stderr}"
        );
        let taken = server.taken_profiles();
        let times = |profile: &(u64, i64)| taken.iter().filter(|taken| *taken == profile).count();
        for profile in &kept {
            let expected = if unanswered.contains(profile) { 2 } else { 1 };
            assert_eq!(
                times(profile),
                expected,
                "{profile:?} of {kept:?}: {answered:?} {unanswered:?} {taken:?}"
            );
        }
        assert_eq!(files(directory.path()), 0);
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named_and_costs_no_profile() {
    let server = Server::start([]);
    let ([recorded, exported, written, ..], stderr) =
        end_of(start(&server, Path::new("/proc/nowhere"), 2, ""));
    assert!(recorded >= 2 && exported == recorded && written == 0, "{stderr}");
    let warnings =
        stderr.matches("warning: PROFILE_SPOOL_DIRECTORY: \"/proc/nowhere\" cannot be used (").count();
    assert_eq!(warnings, 1, "{stderr}");
}

/// What the kernel refuses here is to let a file grow; it also sends a signal that ends a program which is not prepared.
#[test]
fn a_disk_that_is_full_in_the_middle_of_a_file_costs_the_file_and_nothing_else() {
    let (server, directory) = (Server::start([]), tempfile::tempdir().unwrap());
    let ([recorded, exported, written, refused, _], stderr) =
        end_of(start(&server, directory.path(), 3, "ulimit -f 1;"));
    assert!(recorded >= 3 && exported == recorded, "{recorded} {exported} {stderr}");
    assert_eq!((written, refused), (0, recorded), "{stderr}");
    assert!(stderr.contains("a profile is not kept on disk: "), "{stderr}");
    assert_eq!(files(directory.path()), 0);
}
