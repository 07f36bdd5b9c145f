//! Exit statuses, after sysexits.h; `cmmd --help` lists them.

/// `-t` refused the configuration.
pub(crate) const REFUSED: u8 = 1;
/// Wrong arguments.
pub(crate) const USAGE: u8 = 64;
/// A fault of ours, or the node was taken down.
pub(crate) const SOFTWARE: u8 = 70;
/// The system refused a socket or a thread.
pub(crate) const OS: u8 = 71;
/// A run-time or state file cannot be created or read.
pub(crate) const FILES: u8 = 73;
/// Another cmmd has the run directory.
pub(crate) const RUNNING: u8 = 75;
/// The configuration cannot be run.
pub(crate) const CONFIG: u8 = 78;

/// Why `cmmd` cannot go on: in words, with its exit status.
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
