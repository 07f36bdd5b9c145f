//! What is wrong with a CIB, where, and what to write instead.

use std::fmt;

use crate::tree::Position;

/// A CIB that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CibError {
    /// The document's name, as the caller gave it.
    pub file: String,
    /// Where.
    pub position: Position,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl CibError {
    pub(crate) fn new(file: &str, position: Position, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), position, what: what.into() }
    }
}

impl fmt::Display for CibError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.position.line, self.what)
    }
}

impl std::error::Error for CibError {}

/// Something of the configuration that is not honoured, or probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Line of the document.
    pub line: u32,
    /// In words.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}
