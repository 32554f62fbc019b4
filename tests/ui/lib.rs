//! The tests are in `ui.rs`, what they compile is in `pass` and `fail`.
