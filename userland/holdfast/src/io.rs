//! What an applet reads and writes.

use std::fmt::Arguments;
use std::io::{self, BufRead, BufReader, Read, Write};

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

    /// What is typed, and all that is said on either stream: for tests.
    #[cfg(test)]
    pub(crate) fn captured(input: &str) -> (Self, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) {
        /// Both streams in one.
        struct Both(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Both {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("no test panicked with it").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let said = std::sync::Arc::default();
        let both = || Box::new(Both(std::sync::Arc::clone(&said)));
        let input = Box::new(io::Cursor::new(input.as_bytes().to_vec()));
        (Self { input, out: both(), err: both() }, said)
    }

    /// What is said goes there from now on, and not to standard output.
    pub(crate) fn say_to(&mut self, out: Box<dyn Write>) {
        self.out = out;
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

    /// One line of standard input, without its end: what is typed in answer to a question.
    pub(crate) fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while (line.len() as u64) < INPUT_MAX && self.input.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Each line of standard input as it comes, without its end, until `each` says that it has enough.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn each_line(&mut self, mut each: impl FnMut(&[u8], &mut Self) -> bool) -> io::Result<()> {
        let input = std::mem::replace(&mut self.input, Box::new(io::empty()));
        let mut reader = BufReader::new(input);
        let mut line = Vec::new();
        while (&mut reader).take(DOCUMENT_MAX).read_until(b'\n', &mut line)? > 0 {
            if line.ends_with(b"\n") {
                line.pop();
            }
            if !each(&line, self) {
                break;
            }
            line.clear();
        }
        Ok(())
    }

    /// A document from standard input.
    ///
    /// # Errors
    /// When it cannot be read, or is no text.
    pub(crate) fn read_document(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.input.by_ref().take(DOCUMENT_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    /// All of standard input, up to a bound that no honest caller reaches.
    pub(crate) fn read_input(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.input.by_ref().take(INPUT_MAX).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// What a document may have at most.
const DOCUMENT_MAX: u64 = cib::limits::DOCUMENT.bytes as u64 + 1;
const INPUT_MAX: u64 = 64 << 10;
