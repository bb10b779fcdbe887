//! The terminal: its second screen, of which only lines that change are written.
//!
//! The first screen stays as it was, and lines that stay can be selected with the mouse.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use super::paint::{Line, Palette};

/// Rows below which a table makes no sense.
const ROWS_MIN: usize = 10;

/// The second screen, until it is dropped.
#[derive(Debug)]
pub struct Screen {
    shown: Vec<String>,
    size: (usize, usize),
    palette: Palette,
}

/// Whether text on standard output may have colours.
pub fn palette() -> Palette {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || is_dumb();
    if io::stdout().is_terminal() && !refused { Palette::Coloured } else { Palette::Plain }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Rows and columns of the terminal that standard output is.
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some((usize::from(size.ws_row), usize::from(size.ws_col)))
}

impl Screen {
    /// Enters the second screen. `None` when standard output is no terminal that can do that.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub fn enter() -> io::Result<Option<Self>> {
        let able = io::stdout().is_terminal() && !is_dumb();
        let Some(size) = size().filter(|(rows, _)| able && *rows >= ROWS_MIN) else { return Ok(None) };
        put("\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J")?;
        Ok(Some(Self { shown: Vec::new(), size, palette: palette() }))
    }

    /// Rows of the terminal now.
    pub fn rows(&mut self) -> usize {
        if let Some(size) = size().filter(|size| *size != self.size) {
            self.size = size;
            self.forget();
        }
        self.size.0
    }

    /// Somebody else wrote on the screen: the next frame is written as a whole.
    pub fn forget(&mut self) {
        self.shown.clear();
    }

    /// Shows these lines.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn show(&mut self, lines: &[Line]) -> io::Result<()> {
        let next: Vec<String> = lines.iter().map(|line| line.render(self.palette, self.size.1)).collect();
        let mut text = String::new();
        if self.shown.is_empty() {
            text.push_str("\x1b[2J");
        }
        for row in 0..next.len().max(self.shown.len()) {
            let line = next.get(row).map_or("", String::as_str);
            if self.shown.get(row).map(String::as_str) != Some(line) {
                let _ = write!(text, "\x1b[{};1H\x1b[2K{line}", row + 1);
            }
        }
        self.shown = next;
        if text.is_empty() {
            return Ok(());
        }
        // Where somebody types, it must not scroll.
        text.push_str("\x1b[H");
        put(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done when the terminal is gone.
        let _ = put("\x1b[?25h\x1b[?1049l");
    }
}

/// Writes to standard output.
///
/// # Errors
/// Nobody reads it.
pub fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
