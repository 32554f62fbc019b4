//! The committed code is what the `.proto` files say. `UPDATE_GENERATED=1 cargo test -p profile-proto` rewrites it.

#![allow(clippy::unwrap_used)] // a test: helpers outside of #[test] functions too

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const PROTOS: [&str; 4] = [
    "opentelemetry/proto/collector/profiles/v1development/profiles_service.proto",
    "opentelemetry/proto/profiles/v1development/profiles.proto",
    "perftools/profiles/profile.proto",
    "push/v1/push.proto",
];

#[test]
fn committed_code_is_what_the_proto_files_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed_dir = root.join("src/generated");
    let fresh_dir = tempfile::tempdir().unwrap();
    generate(&root.join("proto"), fresh_dir.path());

    let fresh = read_dir(fresh_dir.path());
    assert_eq!(fresh.len(), 7, "one file for each package: {:?}", fresh.keys());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::create_dir_all(&committed_dir).unwrap();
        for stale in read_dir(&committed_dir).keys().filter(|name| !fresh.contains_key(*name)) {
            fs::remove_file(committed_dir.join(stale)).unwrap();
        }
        for (name, code) in &fresh {
            fs::write(committed_dir.join(name), code).unwrap();
        }
    }
    let committed = read_dir(&committed_dir);
    assert_eq!(committed.keys().collect::<Vec<_>>(), fresh.keys().collect::<Vec<_>>());
    for (name, code) in &fresh {
        assert!(committed[name] == *code, "src/generated/{name} is stale: run with UPDATE_GENERATED=1");
    }
}

/// Writes one file for each package of the `.proto` files below `include` into `out`.
fn generate(include: &Path, out: &Path) {
    let files = protox::compile(PROTOS, [include]).unwrap();
    prost_build::Config::new().out_dir(out).compile_fds(files).unwrap();
}

fn read_dir(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}
