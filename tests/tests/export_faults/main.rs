//! Exporters against scripted servers that misbehave in every way: over gRPC, over TLS, and with a running profiler.
//! (Over plain HTTP: `profile-core/tests/export_http.rs`.) What the server counts as delivered and what we count as
//! dropped is all that was given.
#![allow(unexpected_cfgs)] // In a file of another crate, about that crate's features.
#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // In helpers too, which clippy does not take for tests.

mod any_server;
#[path = "../../../profile-core/tests/export_support/mod.rs"]
mod export_support;
mod faults;
mod grpc;
mod grpc_server;
mod http_json;
mod tls;
