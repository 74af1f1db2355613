//! The settings of a running process, followed as their files change.
//!
//! The files are read again and again instead of being watched by inotify. That costs some system calls a second and
//! sees every change: also through bind mounts of a virtual machine and network file systems, which raise no events, and
//! on nodes where the instances of inotify (128 a user by default) are used up.

mod metrics;
mod progress;
mod reloader;

pub use metrics::ReloadMetrics;
pub use progress::{Progress, ReloadState};
pub use reloader::{RELOAD_INTERVAL, Reload, Reloader};
