//! A line of text of fixed size: written without allocation, cut where it is too long.

use std::fmt;
use std::ops::Deref;

use crate::limits::TEXT_MAX;

/// At most [`TEXT_MAX`] bytes of UTF-8. Writing more cuts at a character and is not an error: a reason that is cut
/// is better than none.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; TEXT_MAX],
    len: u8,
}

const _: () = assert!(TEXT_MAX <= u8::MAX as usize);

impl Text {
    /// No text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; TEXT_MAX], len: 0 }
    }

    /// The text as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever appended, so the empty default is never taken.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Appends what fits. Control characters become spaces: a reason is one line, whoever worded it.
    pub fn push_str(&mut self, more: &str) {
        for c in more.chars() {
            let c = if c.is_control() { ' ' } else { c };
            let at = usize::from(self.len);
            let Some(room) = self.bytes.get_mut(at..at + c.len_utf8()) else { return };
            c.encode_utf8(room);
            self.len += c.len_utf8() as u8; // at most 4, and the sum is at most TEXT_MAX
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&str> for Text {
    fn from(s: &str) -> Self {
        let mut text = Self::new();
        text.push_str(s);
        text
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl Eq for Text {}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push_str(s);
        Ok(())
    }
}
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = Text::from("ü".repeat(TEXT_MAX).as_str());
        assert_eq!(text.len(), TEXT_MAX / 2 * 2);
        assert!(text.chars().all(|c| c == 'ü'));
        let odd = Text::from(format!("x{}", "ü".repeat(TEXT_MAX)).as_str());
        assert_eq!(odd.len(), TEXT_MAX - 1);
    }

    #[test]
    fn a_text_is_one_line() {
        assert_eq!(Text::from("one\ntwo\0three").as_str(), "one two three");
    }
}
