//! Files: what is in the directory after each batch, and what happens if it cannot be written.
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::{PATIENCE, account, number, processor, profile, resource};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use profile_core::error::ErrorKind;
use profile_core::export::{
    ExportErrorKind, FileExporter, FileFormat, FileMode, ProfileExporter, ProfileProcessor,
};
use profile_core::profile::ProfileBatch;
use profile_core::stats::Stats;
use prost::Message;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn batch(numbers: &[u64]) -> ProfileBatch {
    ProfileBatch::new(Arc::new(resource()), numbers.iter().map(|number| profile(*number)).collect())
}

fn export(exporter: &mut FileExporter, numbers: &[u64]) -> u64 {
    exporter.export(&batch(numbers), Instant::now() + PATIENCE).unwrap().bytes_sent()
}

/// The weights of a folded file.
fn folded_weight(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn one_file_of_each_format_holds_everything_since_the_start() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("a/b");
    let formats = [FileFormat::Pprof, FileFormat::Folded, FileFormat::Otlp];
    let stats = Stats::new();
    let exporter = FileExporter::builder().with_directory(&directory).with_formats(formats).build().unwrap();
    assert!(names(&directory).is_empty(), "the probe is gone");
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    let mut size = 0;
    for number in 0..3 {
        processor.on_profile(profile(number));
        processor.force_flush(PATIENCE).unwrap();
        assert_eq!(names(&directory), ["cpu.folded", "cpu.otlp", "cpu.pb.gz"]);
        size += names(&directory)
            .iter()
            .map(|name| fs::read(directory.join(name)).unwrap().len() as u64)
            .sum::<u64>();
    }
    assert_eq!(folded_weight(&directory.join("cpu.folded")), 1 + 2 + 3);
    let otlp = fs::read(directory.join("cpu.otlp")).unwrap();
    let why = "the file is one profile of all the time since the start";
    export_support::conformance::assert_conforms_but(&otlp, &[("window", why)]);
    let otlp = ExportProfilesServiceRequest::decode(otlp.as_slice()).unwrap();
    let [profile] = otlp.resource_profiles[0].scope_profiles[0].profiles.as_slice() else {
        panic!("{otlp:?}")
    };
    assert_eq!((number(profile.time_unix_nano), profile.duration_nano), (0, 30_000_000_000));
    processor.shutdown(PATIENCE).unwrap();
    let account = account(&stats, 0);
    assert_eq!((account.exported, account.batches, account.bytes_sent), (3, 3, size));
}

#[test]
fn the_default_is_what_tools_open() {
    let temporary = tempfile::tempdir().unwrap();
    let mut exporter = FileExporter::builder().with_directory(temporary.path()).build().unwrap();
    export(&mut exporter, &[0]);
    assert_eq!(names(temporary.path()), ["cpu.folded", "cpu.pb.gz"]);
    assert!(fs::read(temporary.path().join("cpu.pb.gz")).unwrap().starts_with(&[0x1f, 0x8b]));
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let temporary = tempfile::tempdir().unwrap();
    let mut exporter = FileExporter::builder().with_directory(temporary.path()).build().unwrap();
    export(&mut exporter, &[0]);
    let path = temporary.path().join("cpu.folded");
    let old = fs::File::open(&path).unwrap();
    export(&mut exporter, &[1]);
    // The old file lives on for who has it open: it was replaced and not overwritten.
    assert_eq!(std::io::read_to_string(old).unwrap(), batch(&[0]).to_folded());
    assert_ne!(fs::read_to_string(&path).unwrap(), batch(&[0]).to_folded());
}

#[test]
fn numbered_files_are_bounded_and_go_on_after_a_restart() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("cpu-notes.folded"), "mine").unwrap();
    fs::write(temporary.path().join("cpu-99.svg"), "mine").unwrap();
    let open = || {
        let builder = FileExporter::builder().with_directory(temporary.path()).with_mode(FileMode::Numbered);
        builder.with_formats([FileFormat::Folded]).with_max_files(3).build().unwrap()
    };
    let mut first = open();
    for number in 0..5 {
        export(&mut first, &[number]);
    }
    let mut second = open();
    export(&mut second, &[5, 6]);
    let expected =
        ["cpu-000004.folded", "cpu-000005.folded", "cpu-000006.folded", "cpu-99.svg", "cpu-notes.folded"];
    assert_eq!(names(temporary.path()), expected);
    let last = fs::read_to_string(temporary.path().join("cpu-000006.folded")).unwrap();
    assert_eq!(last, batch(&[5, 6]).to_folded(), "the same batch, encoded by the same code");
}

#[test]
fn what_is_merged_is_bounded() {
    let temporary = tempfile::tempdir().unwrap();
    let builder = FileExporter::builder().with_directory(temporary.path()).with_formats([FileFormat::Folded]);
    let mut exporter = builder.with_max_bytes(1).with_max_files(2).build().unwrap();
    for number in 0..5 {
        export(&mut exporter, &[number]);
    }
    // Every batch is over the bound, so that each but the last has got a number, of which the last two are kept.
    let names = names(temporary.path());
    assert_eq!(names, ["cpu-000003.folded", "cpu-000004.folded", "cpu.folded"]);
    let weights: Vec<_> = names.iter().map(|name| folded_weight(&temporary.path().join(name))).collect();
    assert_eq!(weights, [3, 4, 5]);
}

#[test]
fn a_directory_that_cannot_be_written_fails_to_build() {
    // Below a file, not even root can create a directory.
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = FileExporter::builder().with_directory(file.path().join("x")).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(
        error.to_string().contains("cannot write to directory") && error.to_string().contains("/x"),
        "{error}"
    );
    let error = FileExporter::builder().with_directory(file.path()).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    // The kernel's own directory refuses files from root as well.
    #[cfg(target_os = "linux")]
    assert_eq!(FileExporter::builder().with_directory("/proc").build().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn settings_that_make_no_sense_fail_to_build() {
    let temporary = tempfile::tempdir().unwrap();
    let builder = || FileExporter::builder().with_directory(temporary.path());
    for built in [
        builder().with_base_name("").build(),
        builder().with_base_name("../up").build(),
        builder().with_base_name(".hidden").build(),
        builder().with_formats([]).build(),
        builder().with_max_files(0).build(),
    ] {
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(names(temporary.path()).is_empty());
}

#[test]
fn a_failed_write_leaves_the_old_files_and_the_next_one_makes_up_for_it() {
    let temporary = tempfile::tempdir().unwrap();
    let mut exporter = FileExporter::builder().with_directory(temporary.path()).build().unwrap();
    export(&mut exporter, &[0]);
    let before = names(temporary.path());
    let pprof = fs::read(temporary.path().join("cpu.pb.gz")).unwrap();
    // A directory where the hidden file of one format goes makes the write fail, as a full disk does, for root as well.
    let hidden = temporary.path().join(format!(".cpu.{}.folded.tmp", std::process::id()));
    fs::create_dir(&hidden).unwrap();
    let error = exporter.export(&batch(&[1]), Instant::now() + PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Rejected, "{error}");
    assert_eq!(folded_weight(&temporary.path().join("cpu.folded")), 1);
    assert_eq!(fs::read(temporary.path().join("cpu.pb.gz")).unwrap(), pprof);
    fs::remove_dir(&hidden).unwrap();
    assert_eq!(names(temporary.path()), before, "no half file is left");

    export(&mut exporter, &[2]);
    assert_eq!(folded_weight(&temporary.path().join("cpu.folded")), 1 + 3, "what counts as delivered");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_tried_again() {
    // A device that is always full, in the place of the hidden file.
    let temporary = tempfile::tempdir().unwrap();
    let mut exporter = FileExporter::builder().with_directory(temporary.path()).build().unwrap();
    export(&mut exporter, &[0]);
    let hidden = temporary.path().join(format!(".cpu.{}.folded.tmp", std::process::id()));
    std::os::unix::fs::symlink("/dev/full", &hidden).unwrap();
    let error = exporter.export(&batch(&[1]), Instant::now() + PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Retryable { after: None }, "{error}");
    assert_eq!(folded_weight(&temporary.path().join("cpu.folded")), 1);
    export(&mut exporter, &[1]);
    assert_eq!(folded_weight(&temporary.path().join("cpu.folded")), 1 + 2);
}

#[test]
fn a_directory_that_has_been_deleted_comes_back() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("profile");
    let mut exporter = FileExporter::builder().with_directory(&directory).build().unwrap();
    export(&mut exporter, &[0]);
    fs::remove_dir_all(&directory).unwrap();
    export(&mut exporter, &[1]);
    assert_eq!(names(&directory), ["cpu.folded", "cpu.pb.gz"]);
}
