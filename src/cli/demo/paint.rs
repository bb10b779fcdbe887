//! Lines of text with a little colour.

use std::fmt::Write;

use super::cast::Side;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As the terminal has it.
    Plain,
    /// Headings.
    Bold,
    /// What matters less.
    Dim,
    /// The blue side.
    Blue,
    /// The green side, and what is well.
    Green,
    /// What is not.
    Red,
}

impl Style {
    /// The style of a side.
    pub fn of(side: Side) -> Self {
        match side {
            Side::Blue => Self::Blue,
            Side::Green => Self::Green,
        }
    }

    /// The parameter of SGR (ECMA-48 §8.3.117).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Blue => "94",
            Self::Green => "32",
            Self::Red => "31",
        }
    }
}

/// Whether styles are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// With escape sequences.
    Coloured,
    /// Text only.
    Plain,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line(Vec<(Style, String)>);

impl Line {
    /// A line of one style.
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self::default().with(style, text)
    }

    /// A line as the terminal has it.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(Style::Plain, text)
    }

    /// The line with more text.
    #[must_use]
    pub fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// The line as it is written, cut off after so many columns: the demo writes no characters that
    /// take more than one.
    pub fn render(&self, palette: Palette, columns_max: usize) -> String {
        let mut text = String::new();
        let mut left = columns_max;
        for (style, piece) in &self.0 {
            let shown: String = piece.chars().take(left).collect();
            left -= shown.chars().count();
            if palette == Palette::Plain || *style == Style::Plain {
                text.push_str(&shown);
            } else {
                let _ = write!(text, "\x1b[{}m{shown}\x1b[0m", style.code());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_columns_and_not_by_octets() {
        let line = Line::new(Style::Blue, "██").with(Style::Plain, "ab");
        assert_eq!(line.render(Palette::Plain, 3), "██a");
        assert_eq!(line.render(Palette::Coloured, 1), "\x1b[94m█\x1b[0m");
    }
}
