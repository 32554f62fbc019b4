//! The tests are in `ui.rs`, what they compile in `accepted.rs` and `fail`.
