//! Standard output, whose reader may have read enough: `teal status | head -1`.

use std::io::{self, Write};

/// Prints `text`, where `print!` would panic when the reader is gone. Who prints once may ignore the error.
///
/// # Errors
/// Nobody reads any more, or the disk behind standard output is full.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Prints a report as JSON.
///
/// # Errors
/// As for [`print()`].
pub fn print_json(report: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
    print(&(text + "\n"))
}
