//! What an applet reads and writes.

use std::fmt::Arguments;
use std::io::{self, Read, Write};

/// Standard streams. Text may carry ANSI styles: they are stripped where the stream is no terminal.
pub(crate) struct Io {
    input: Box<dyn Read>,
    out: Box<dyn Write>,
    err: Box<dyn Write>,
}

impl Io {
    /// Those of the process.
    pub(crate) fn standard() -> Self {
        Self {
            input: Box::new(io::stdin()),
            out: Box::new(anstream::stdout()),
            err: Box::new(anstream::stderr()),
        }
    }

    /// Writes to standard output. A reader that has gone away is no error of ours.
    pub(crate) fn say(&mut self, text: Arguments<'_>) {
        let _ = self.try_say(text);
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(crate) fn try_say(&mut self, text: Arguments<'_>) -> io::Result<()> {
        self.out.write_fmt(text).and_then(|()| self.out.flush())
    }

    /// Writes to standard error.
    pub(crate) fn complain(&mut self, text: Arguments<'_>) {
        let _ = self.err.write_fmt(text).and_then(|()| self.err.flush());
    }

    /// All of standard input, up to a bound that no honest caller reaches.
    pub(crate) fn read_input(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.input.by_ref().take(INPUT_MAX).read_to_string(&mut text)?;
        Ok(text)
    }
}

const INPUT_MAX: u64 = 64 << 10;
