//! Findings about a configuration, in the one form operators see: `FILE:LINE: what is wrong; what to write instead`.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth reading; nothing refuses it.
    Warning,
    /// Refused by `cmmd -t`; `cmmd -f` warns and goes on.
    Error,
    /// Cannot be run.
    Fatal,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Line in the file, from 1.
    pub line: u32,
    /// Column, from 1; 0 where the whole line is meant.
    pub column: u32,
    /// What is wrong, and after a semicolon what to write instead.
    pub text: String,
}

/// All findings about one file.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    file: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// None so far about `file`.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    /// Adds a finding that makes the configuration impossible to run.
    pub fn fatal(&mut self, (line, column): (u32, u32), text: impl Into<String>) {
        self.add(Severity::Fatal, line, column, text.into());
    }

    /// Adds a finding that `cmmd -t` refuses.
    pub fn error(&mut self, (line, column): (u32, u32), text: impl Into<String>) {
        self.add(Severity::Error, line, column, text.into());
    }

    /// Adds a finding that is only told.
    pub fn warn(&mut self, (line, column): (u32, u32), text: impl Into<String>) {
        self.add(Severity::Warning, line, column, text.into());
    }

    fn add(&mut self, severity: Severity, line: u32, column: u32, text: String) {
        if self.list.len() < FINDINGS_MAX {
            self.list.push(Diagnostic { severity, line, column, text });
        }
    }

    /// Whether the configuration cannot be run.
    #[must_use]
    pub fn has_fatal(&self) -> bool {
        self.worst() == Some(Severity::Fatal)
    }

    /// The worst severity found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.list.iter().map(|d| d.severity).max()
    }

    /// The findings in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// One finding as a line of text, without the newline.
    #[must_use]
    pub fn line(&self, d: &Diagnostic) -> String {
        let word = if d.severity == Severity::Warning { "warning: " } else { "" };
        format!("{}:{}: {word}{}", self.file, d.line, d.text)
    }

    pub(crate) fn sort(&mut self) {
        self.list.sort_by_key(|d| (d.line, d.column));
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.iter().try_for_each(|d| writeln!(f, "{}", self.line(d)))
    }
}

/// A file of garbage must not fill the screen, nor memory.
const FINDINGS_MAX: usize = 100;
