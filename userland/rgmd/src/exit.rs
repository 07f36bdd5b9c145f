//! Exit statuses, after sysexits.h; `rgmd --help` lists them.

/// Wrong arguments.
pub(crate) const USAGE: u8 = 64;
/// The configuration cannot be used.
pub(crate) const DATA: u8 = 65;
/// The ring daemon went away.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A fault of ours, or something could not be stopped.
pub(crate) const SOFTWARE: u8 = 70;
/// The system refused a socket or a thread.
pub(crate) const OS: u8 = 71;
/// A run-time or state file cannot be created or read.
pub(crate) const FILES: u8 = 73;
/// Another rgmd has the run directory.
pub(crate) const RUNNING: u8 = 75;

/// Why `rgmd` cannot go on: in words, with its exit status.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Fatal {
    pub(crate) status: u8,
    pub(crate) text: String,
}

impl Fatal {
    pub(crate) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}
