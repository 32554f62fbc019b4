//! What the tests of all crates share, and that owes nothing to the code under test.
//!
//! * [`conformance`] holds OTLP bytes against every rule of the emit contract.
//! * [`server`] is an HTTP server on a real socket that follows a script, and holds all that it is sent against those rules.
//! * [`skip`](skip::skip) says that a test did not run.

#![allow(clippy::unwrap_used)] // In tests, but outside of test functions.
#![allow(clippy::missing_panics_doc)] // A test that uses this wrongly is to fail.

pub mod conformance;
pub mod server;
pub mod skip;
