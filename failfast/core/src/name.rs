//! Names of units.

use std::fmt;

use crate::limits::NAME_MAX;

/// A unit's name: 1 to [`NAME_MAX`] ASCII letters, digits, and `_ . : @ -`. So it stands in a log line, in a CMAP key
/// and in a request without quoting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName {
    bytes: [u8; NAME_MAX],
    len: u8,
}

const _: () = assert!(NAME_MAX <= u8::MAX as usize);

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl UnitName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadName`] where it is empty, too long, or holds other characters.
    pub fn new(name: &str) -> Result<Self, BadName> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_.:@-".contains(&b);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(good) {
            return Err(BadName);
        }
        let mut bytes = [0; NAME_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len: name.len() as u8 })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a unit's name is 1 to {NAME_MAX} letters, digits, and any of _ . : @ -")
    }
}
impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        for good in ["rgmd", "a", "db@2:main-1.x_y", &"n".repeat(NAME_MAX)] {
            assert_eq!(UnitName::new(good).map(|n| n.to_string()), Ok(good.to_string()));
        }
        for bad in ["", "two words", "line\n", "quo\"te", "grün", &"n".repeat(NAME_MAX + 1)] {
            assert_eq!(UnitName::new(bad), Err(BadName), "{bad:?}");
        }
    }
}
