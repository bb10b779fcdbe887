//! Points at which a test ends the process, to see what a crash right there leaves behind.

/// Ends the process at the point whose number `TEAL_FAULT_POINT` says, counted from 1. Release builds have no
/// such points.
#[cfg(debug_assertions)]
pub(super) fn point() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<u64>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = || std::env::var("TEAL_FAULT_POINT").ok()?.parse().ok();
    let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if *WANTED.get_or_init(wanted) == Some(passed) {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(super) fn point() {}
