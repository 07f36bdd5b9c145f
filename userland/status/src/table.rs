//! Aligned rows of styled cells.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

/// Rows of styled cells, as wide as their widest; the last cell of a row is not padded.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [(String, Style); N]) {
        self.rows.push(cells.into());
    }

    /// The whole, each line indented.
    #[must_use]
    pub fn render(&self, indent: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            // A lone cell is a heading and may run over its column.
            let cells = self.rows.iter().filter(|r| r.len() > 1).filter_map(|r| r.get(c));
            cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let _ = write!(out, "{:indent$}", "");
            let last = row.iter().rposition(|(text, _)| !text.is_empty()).unwrap_or(0);
            for (c, (text, style)) in row.iter().enumerate().take(last + 1) {
                out.push_str(&paint(*style, text));
                if c < last {
                    let _ = write!(out, "{:pad$}", "", pad = widths[c] - text.chars().count() + 2);
                }
            }
            out.push('\n');
        }
        out
    }
}

/// A heading.
#[must_use]
pub fn bold_cell(text: &str) -> (String, Style) {
    (text.to_owned(), HEAD)
}

/// Text that stands out.
#[must_use]
pub fn bold(text: &str) -> String {
    paint(HEAD, text)
}

/// Text in a style; nothing where there is no text.
#[must_use]
pub fn paint(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

/// Without style.
pub const PLAIN: Style = Style::new();
const HEAD: Style = Style::new().bold();
/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// To be looked at.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// Wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
