//! The door to the operating system: everything below is `unsafe`, and nothing above `sys` calls the system itself.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::modules;
