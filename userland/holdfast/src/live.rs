//! A live view on a terminal: one screen drawn over the one before, words that have changed marked, without flicker.
//!
//! For programs the same as a line of JSON each time ([`lines`]).
//!
//! The terminal is as it was before when this is over, however it ends: by `q`, Ctrl-C, a signal, or a panic.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};

use crate::exit::Exit;
use crate::io::Io;

/// The interval behind `--watch`, in seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let interval = text.parse().ok().and_then(|s: f64| Duration::try_from_secs_f64(s).ok());
    let interval = interval.filter(|i| (INTERVAL_MIN..=INTERVAL_MAX).contains(i));
    interval.ok_or_else(|| "write seconds from 0.1 to 3600, e.g. --watch 0.5".to_owned())
}

const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// The live view of `command`: [`live`] with what `frame` gives, where there is a terminal for it.
pub(crate) fn view(
    command: &str,
    interval: Duration,
    io: &mut Io,
    mut frame: impl FnMut() -> String,
) -> Exit {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        io.complain(format_args!(
            "{command}: --watch needs a terminal to draw on; for a program or a file: {command} --json --watch\n"
        ));
        return Exit::Usage;
    }
    match live(interval, true, |_| frame()) {
        Ok(()) => Exit::Ok,
        Err(e) => {
            io.complain(format_args!("{command}: the terminal cannot be used: {e}; try: {command}\n"));
            Exit::Software
        }
    }
}

/// One line of JSON each interval, until nobody reads them any more.
pub(crate) fn lines(
    command: &str,
    interval: Duration,
    io: &mut Io,
    mut line: impl FnMut() -> serde_json::Result<String>,
) -> Exit {
    loop {
        let next = Instant::now() + interval;
        match line() {
            Ok(json) => {
                if io.try_say(format_args!("{json}\n")).is_err() {
                    return Exit::Ok;
                }
            }
            Err(e) => {
                io.complain(format_args!("{command}: {e}\n"));
                return Exit::Software;
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Draws what `frame` gives for the key that was pressed, if one was, every `interval` and then, until the operator has seen
/// enough. `mark`: words that have changed stand out.
pub(crate) fn live(
    interval: Duration,
    mark: bool,
    mut frame: impl FnMut(Option<u8>) -> String,
) -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGWINCH] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let told = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let _screen = Screen::take()?;
    let mut before: Vec<Vec<Cell>> = Vec::new();
    let mut pressed = None;
    loop {
        let next = Instant::now() + interval;
        let (rows, _) = holdfast_sys::terminal::size(io::stdout().as_fd()).unwrap_or((24, 80));
        let lines: Vec<Vec<Cell>> = frame(pressed.take()).lines().map(cells).collect();
        let mut out = io::stdout().lock();
        out.write_all(draw(&before, &lines, rows.into()).as_bytes())?;
        out.flush()?;
        drop(out);
        before = if mark { lines } else { Vec::new() };
        loop {
            let keys = io::stdin();
            let mut fds = [keys.as_fd(), told.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let wait = next.saturating_duration_since(Instant::now());
            let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, wait) {
                Ok(0) => break,
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
            let key_pressed = fds[0].any().unwrap_or(false);
            match told.read_signal()? {
                Some(info) if info.ssi_signo == Signal::SIGWINCH as u32 => break,
                Some(_) => return Ok(()),
                None => {}
            }
            if key_pressed {
                match key()? {
                    // The end of the input: nobody is there.
                    None | Some(b'q' | b'Q' | CTRL_C | CTRL_D) => return Ok(()),
                    Some(key) => {
                        pressed = Some(key);
                        break;
                    }
                }
            }
        }
    }
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;

fn key() -> io::Result<Option<u8>> {
    let mut byte = [0];
    match nix::unistd::read(io::stdin().as_fd(), &mut byte) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(byte[0])),
        Err(nix::Error::EINTR | nix::Error::EAGAIN) => Ok(Some(b' ')), // a key that means nothing
        Err(e) => Err(e.into()),
    }
}

/// The terminal, taken: a screen of its own, no cursor, no echo, keys without Enter, lines cut off at the edge.
struct Screen {
    before: Termios,
}

impl Screen {
    fn take() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin().as_fd())?;
        let mut raw = before.clone();
        // Ctrl-C comes as a key, so that there is one way out.
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &raw)?;
        let screen = Self { before };
        let mut out = io::stdout().lock();
        out.write_all(b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")?;
        out.flush()?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // A terminal that is gone needs no restoring.
        let _ = out.write_all(b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l").and_then(|()| out.flush());
        let _ = termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &self.before);
    }
}

/// A character and the style it is drawn in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    is: char,
    style: String,
}

/// Takes a line of text with ANSI styles apart.
fn cells(line: &str) -> Vec<Cell> {
    let (mut cells, mut style) = (Vec::new(), String::new());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            let sequence: String = chars.by_ref().take_while(|c| *c != 'm').collect();
            if sequence == "[0" {
                style.clear();
            } else {
                style.push_str(&format!("\x1b{sequence}m"));
            }
        } else {
            cells.push(Cell { is: c, style: style.clone() });
        }
    }
    cells
}

/// The bytes that turn the screen `before` into `after`, of at most `rows` rows. The first line holds the time: that it
/// changes is no news.
fn draw(before: &[Vec<Cell>], after: &[Vec<Cell>], rows: usize) -> String {
    let mut out = String::from("\x1b[H");
    let cut = after.len() > rows;
    let shown = if cut { rows.saturating_sub(1) } else { after.len() };
    for (n, line) in after.iter().take(shown).enumerate() {
        let old = before.get(n).map(Vec::as_slice);
        let marked = if n == 0 { vec![false; line.len()] } else { changed(old, line) };
        let mut style = String::new();
        for (cell, mark) in line.iter().zip(marked) {
            let mark = if mark { "\x1b[7m" } else { "" };
            let wanted = format!("{}{mark}", cell.style);
            if wanted != style {
                out.push_str("\x1b[0m");
                out.push_str(&wanted);
                style = wanted;
            }
            out.push(cell.is);
        }
        out.push_str("\x1b[0m\x1b[K");
        if n + 1 < shown || cut {
            out.push_str("\r\n");
        }
    }
    if cut {
        let more = after.len() - shown;
        out.push_str(&format!("\x1b[2m… {more} more lines: a larger window shows them; q ends\x1b[0m\x1b[K"));
    }
    out.push_str("\x1b[J");
    out
}

/// Which cells belong to words that were not there before. With nothing before, nothing has changed.
fn changed(before: Option<&[Cell]>, after: &[Cell]) -> Vec<bool> {
    let mut marked = vec![false; after.len()];
    let Some(before) = before else { return marked };
    let mut start = 0;
    for word in after.split(|cell| cell.is == ' ') {
        let end = start + word.len();
        let same =
            before.get(start..end).is_some_and(|old| old.iter().map(|c| c.is).eq(word.iter().map(|c| c.is)));
        // A word that has become longer or shorter is another one.
        let ends_alike = before.get(end).is_none_or(|c| c.is == ' ');
        if !(same && ends_alike) {
            marked[start..end].fill(true);
        }
        start = end + 1;
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(before: &str, after: &str) -> String {
        let (before, after) = (cells(before), cells(after));
        let marked = changed(Some(&before), &after);
        after.iter().zip(marked).map(|(c, m)| if m { '#' } else { c.is }).collect()
    }

    #[test]
    fn whole_words_are_marked() {
        assert_eq!(words("token 12 ms", "token 12 ms"), "token 12 ms");
        assert_eq!(words("token 12 ms", "token 13 ms"), "token ## ms");
        assert_eq!(words("a 1", "a 15"), "a ##");
        assert_eq!(words("a 15", "a 1"), "a #");
        assert_eq!(words("", "new"), "###");
        assert_eq!(words("a  b", "a  c"), "a  #");
        assert!(changed(None, &cells("first")).iter().all(|m| !m), "the first screen is no news");
    }

    #[test]
    fn styles_stay_with_their_characters() {
        let cells = cells("\x1b[1m\x1b[31mab\x1b[0mc");
        let styles: Vec<&str> = cells.iter().map(|c| c.style.as_str()).collect();
        assert_eq!(styles, ["\x1b[1m\x1b[31m", "\x1b[1m\x1b[31m", ""]);
    }

    #[test]
    fn a_screen_is_drawn_over_the_last_one_and_never_longer_than_the_window() {
        let old: Vec<_> = ["12:00:01", "same", "was"].into_iter().map(cells).collect();
        let new: Vec<_> = ["12:00:02", "same", "is"].into_iter().map(cells).collect();
        assert_eq!(
            draw(&old, &new, 24),
            "\x1b[H12:00:02\x1b[0m\x1b[K\r\nsame\x1b[0m\x1b[K\r\n\x1b[0m\x1b[7mis\x1b[0m\x1b[K\x1b[J"
        );
        let short = draw(&old, &new, 2);
        assert!(short.matches("\r\n").count() == 1 && short.contains("2 more lines"), "{short:?}");
        assert!(draw(&[], &[], 0).starts_with("\x1b[H"));
    }
}
