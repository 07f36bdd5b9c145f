//! Exit statuses, as sysexits.h has them where it has one.

use std::process::ExitCode;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// Wrong usage.
    Usage,
    /// `cmmd` does not answer.
    Unavailable,
    /// Something failed that should not.
    Software,
    /// A file cannot be made.
    CannotCreate,
    /// Not everything is known yet.
    TryAgain,
    /// Only root may do that.
    NoPermission,
    /// The status that another command would give.
    Of(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Software => 70,
            Exit::CannotCreate => 73,
            Exit::TryAgain => 75,
            Exit::NoPermission => 77,
            Exit::Of(status) => status,
        })
    }
}
