//! What the process can tell about itself. Names: <https://opentelemetry.io/docs/specs/semconv/resource/>.
//!
//! There is no `service.instance.id`: Pyroscope makes a label of every attribute, and a random one would begin a new
//! series with every start. Host and process id tell instances apart as well.

use super::{Resource, Value};
use std::env::consts;
use std::path::Path;

/// The attributes found here and now. What cannot be found is left out, except for `service.name`, which every
/// backend needs.
pub(super) fn detect() -> Resource {
    let executable = executable_name();
    let service = match &executable {
        Some(name) => format!("unknown_service:{name}"),
        None => "unknown_service".to_owned(),
    };
    let mut resource = Resource::empty();
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            resource.set(key, Value::String(value));
        }
    };
    set("service.name", Some(service));
    set("telemetry.sdk.name", Some("span-profiling".to_owned()));
    set("telemetry.sdk.language", Some("rust".to_owned()));
    set("telemetry.sdk.version", Some(env!("CARGO_PKG_VERSION").to_owned()));
    set("process.executable.name", executable);
    set("process.runtime.name", Some("rust".to_owned()));
    set("host.name", host_name());
    set("host.arch", Some(architecture(consts::ARCH).to_owned()));
    set("os.type", Some(operating_system(consts::OS).to_owned()));
    resource.set("process.pid", Value::Int(i64::from(std::process::id())));
    resource
}

fn executable_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    // Linux appends this to the name of a file that has been replaced since, as a deploy does.
    let name = path.file_name()?.to_string_lossy();
    Some(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned())
}

/// The name in the kernel's own words where it tells it in a file, or else in the shell's.
fn host_name() -> Option<String> {
    let kernels = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok();
    kernels.or_else(|| std::env::var("HOSTNAME").ok()).map(|name| name.trim().to_owned())
}

/// The value of `host.arch` for Rust's name of an architecture.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// The value of `os.type` for Rust's name of an operating system.
fn operating_system(rust: &str) -> &str {
    match rust {
        "macos" | "ios" => "darwin",
        "dragonfly" => "dragonflybsd",
        other => other,
    }
}
