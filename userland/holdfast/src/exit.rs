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

impl Exit {
    /// The status that the process ends with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::CannotCreate => 73,
            Self::TryAgain => 75,
            Self::NoPermission => 77,
            Self::Of(status) => status,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
