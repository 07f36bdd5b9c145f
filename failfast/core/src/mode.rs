//! How a node goes down, and what belongs to it.

use std::fmt;
use std::str::FromStr;

/// What taking down means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Kill every process of the node and see that none is left; the machine stays up. The default.
    Exit,
    /// Crash the kernel by `c` to the sysrq trigger.
    Panic,
    /// Reboot at once by `b` to the sysrq trigger.
    Reset,
    /// Write the reason down and stop `cmmd`; touch nothing else.
    Off,
}

/// In mode [`Mode::Exit`]: which processes are the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitScope {
    /// Those whose environment holds this `HOLDFAST_RUN_DIR`.
    RunDir,
    /// Everything in the PID namespace but its init and the guardian. Refused in the initial PID namespace.
    PidNamespace,
}

/// A word that names no mode or no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// What would have been understood.
    pub expected: &'static str,
}

impl Mode {
    /// The word in the configuration and in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Panic => "panic",
            Self::Reset => "reset",
            Self::Off => "off",
        }
    }
}

impl ExitScope {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunDir => "run-dir",
            Self::PidNamespace => "pid-namespace",
        }
    }
}

impl FromStr for Mode {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        [Self::Exit, Self::Panic, Self::Reset, Self::Off]
            .into_iter()
            .find(|m| m.as_str() == s)
            .ok_or(UnknownWord { expected: "exit, panic, reset or off" })
    }
}

impl FromStr for ExitScope {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        [Self::RunDir, Self::PidNamespace]
            .into_iter()
            .find(|m| m.as_str() == s)
            .ok_or(UnknownWord { expected: "run-dir or pid-namespace" })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
impl fmt::Display for ExitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}
impl std::error::Error for UnknownWord {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_modes_agree() {
        for mode in [Mode::Exit, Mode::Panic, Mode::Reset, Mode::Off] {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        for scope in [ExitScope::RunDir, ExitScope::PidNamespace] {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert!("Panic".parse::<Mode>().is_err());
        assert!("".parse::<ExitScope>().is_err());
    }
}
