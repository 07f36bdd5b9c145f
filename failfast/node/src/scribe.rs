//! A thread that writes the reason where writing may hang: black box, standard error, log file.
//!
//! A disk that no longer answers, a full pipe to a stopped journal: none of that may keep a sick node alive. So the
//! panic path hands the line over and waits for a bounded time only. Thread, buffers and files exist in advance; the
//! writing itself allocates nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use failfast_core::Text;
use holdfast_sys::kmsg;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::black_box::{BlackBox, Class, Record};
use crate::guardian::{self, Setup};

/// The panic path's side.
#[derive(Debug)]
pub(crate) struct Scribe {
    channel: OwnedFd,
    /// Lines handed over and not answered yet.
    unanswered: usize,
    /// The last wait was in vain.
    hangs: bool,
}

struct Desk {
    channel: OwnedFd,
    kernel_log: Option<File>,
    black_box: Option<BlackBox>,
    log_file: Option<File>,
    sync: bool,
}

/// The thread's stack: locked memory where all memory is locked.
const STACK: usize = 128 << 10;
const START_LIMIT: Duration = Duration::from_secs(10);
/// Flags, and the detail of the record.
const HEAD: usize = 2;
/// The record is an outcome, not a death.
const OUTCOME: u8 = 1;
/// To the kernel's log, and not to standard error and the log file.
const ANNOUNCE: u8 = 2;

impl Scribe {
    /// Opens the files and starts the thread. What cannot be opened is added to `warnings` and left out.
    pub(crate) fn start(
        setup: &Setup,
        kernel_log: Option<File>,
        sync: bool,
        warnings: &mut Vec<String>,
    ) -> io::Result<Self> {
        let (channel, theirs) = guardian::channel()?;
        let mut warn = |what: &str, e: io::Error| warnings.push(format!("Failfast: {what}: {e}"));
        let black_box = setup.black_box.as_deref().and_then(|path| {
            BlackBox::open(path).map_err(|e| warn(&format!("no black box {}", path.display()), e)).ok()
        });
        let log_file = setup.log_file.as_deref().and_then(|path| {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
            file.map_err(|e| warn(&format!("no log file {}", path.display()), e)).ok()
        });
        let desk = Desk { channel: theirs, kernel_log, black_box, log_file, sync };
        std::thread::Builder::new().name("scribe".into()).stack_size(STACK).spawn(move || desk.run())?;
        // Its first word: from here on it runs and needs nothing more.
        if !wait_readable(&channel, START_LIMIT) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the thread that writes the black box does not run",
            ));
        }
        let mut this = Self { channel, unanswered: 0, hangs: false };
        this.take_answers();
        Ok(this)
    }

    /// Hands a line over and waits until it is written, or the limit is over.
    pub(crate) fn write(&mut self, class: Class, detail: u8, text: &Text, limit: Duration) {
        if self.hand_over(class, detail, text) {
            self.wait(limit);
        }
    }

    /// Hands a line over. `false`: it is lost, the thread hangs with lines behind it.
    pub(crate) fn hand_over(&mut self, class: Class, detail: u8, text: &Text) -> bool {
        self.send(if class == Class::Outcome { OUTCOME } else { 0 }, detail, text)
    }

    /// Has a line written to the black box and the kernel's log, where that may take its time: what may be this node's last
    /// word, or not.
    pub(crate) fn announce(&mut self, class: Class, detail: u8, text: &Text) {
        let class = if class == Class::Outcome { OUTCOME } else { 0 };
        self.send(class | ANNOUNCE, detail, text);
    }

    fn send(&mut self, flags: u8, detail: u8, text: &Text) -> bool {
        let mut message = [0; HEAD + failfast_core::limits::TEXT_MAX];
        (message[0], message[1]) = (flags, detail);
        message[HEAD..HEAD + text.len()].copy_from_slice(text.as_bytes());
        // A full channel: the line is lost there, not elsewhere.
        let sent = guardian::send(self.channel.as_fd(), &message[..HEAD + text.len()]).is_ok();
        self.unanswered += usize::from(sent);
        sent
    }

    /// Waits until all that was handed over is written, or the limit is over.
    pub(crate) fn wait(&mut self, limit: Duration) {
        let start = Instant::now();
        let limit = if self.hangs { Duration::ZERO } else { limit };
        loop {
            let runs = self.take_answers();
            self.hangs = self.unanswered > 0;
            let left = limit.saturating_sub(start.elapsed());
            if !self.hangs || !runs || !wait_readable(&self.channel, left) {
                return;
            }
        }
    }

    /// Takes the answers there are. `false`: the thread has ended.
    fn take_answers(&mut self) -> bool {
        loop {
            match guardian::receive(self.channel.as_fd(), &mut [0; 4]) {
                Ok(1..) => self.unanswered = self.unanswered.saturating_sub(1),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

impl Desk {
    fn run(mut self) {
        let mut message = [0; HEAD + failfast_core::limits::TEXT_MAX];
        let _ = guardian::send(self.channel.as_fd(), &[0]); // a fresh channel has room
        loop {
            wait_readable(&self.channel, Duration::MAX);
            match guardian::receive(self.channel.as_fd(), &mut message) {
                Ok(0) => return,
                Ok(len) if len >= HEAD => {
                    self.write(&message[..len]);
                    let _ = guardian::send(self.channel.as_fd(), &[0]); // nobody waits any more: no matter
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
        }
    }

    /// Each place by itself: the failure of one is no reason to leave out the next, and there is nobody to tell.
    fn write(&mut self, message: &[u8]) {
        let text = Text::from(std::str::from_utf8(&message[HEAD..]).unwrap_or_default());
        let class = if message[0] & OUTCOME == 0 { Class::Death } else { Class::Outcome };
        let record = Record::now(class, message[1], text);
        if let Some(black_box) = &mut self.black_box {
            let _ = black_box.write(&record);
        }
        if message[0] & ANNOUNCE == 0 {
            self.write_log(&text);
        } else if let Some(kernel_log) = &self.kernel_log {
            write_kernel_log(kernel_log, &text);
        }
        if self.sync {
            let _ = self.black_box.as_ref().map(BlackBox::sync);
            let _ = self.log_file.as_ref().map(File::sync_data);
        }
    }

    fn write_log(&self, text: &Text) {
        let mut line = [0; failfast_core::limits::TEXT_MAX + 1];
        line[..text.len()].copy_from_slice(text.as_bytes());
        line[text.len()] = b'\n';
        let line = &line[..=text.len()];
        let _ = nix::unistd::write(io::stderr(), line);
        if let Some(file) = &self.log_file {
            let _ = nix::unistd::write(file, line);
        }
    }
}

/// One record at emergency level. Nothing can be done where it fails; there are other places.
pub(crate) fn write_kernel_log(kernel_log: &File, text: &Text) {
    let mut line = [0; 16 + failfast_core::limits::TEXT_MAX];
    let mut at = 0;
    for part in [kmsg::EMERGENCY, "holdfast: ", text.as_str()] {
        line[at..at + part.len()].copy_from_slice(part.as_bytes());
        at += part.len();
    }
    let _ = nix::unistd::write(kernel_log, &line[..at]);
}

/// Waits until there is something to read, for at most `limit`; says whether there is.
pub(crate) fn wait_readable(fd: &impl AsFd, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        let millis = left.as_millis() + u128::from(!left.is_zero());
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::from(u16::MAX));
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(1..) => return true,
            Ok(_) | Err(nix::Error::EINTR) if start.elapsed() < limit => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(dir: &std::path::Path) -> Setup {
        Setup {
            mode: failfast_core::Mode::Exit,
            scope: failfast_core::ExitScope::RunDir,
            run_dir: dir.into(),
            black_box: Some(dir.join("blackbox")),
            kernel_log: None,
            log_file: Some(dir.join("log")),
            sysrq_trigger: dir.join("trigger"),
            limit: holdfast_types::Span::from_secs(30),
            links: vec![],
            packets: guardian::Packets::default(),
        }
    }

    #[test]
    fn lines_are_written_when_write_returns() {
        let dir = std::env::temp_dir().join(format!("holdfast-scribe-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut warnings = Vec::new();
        let mut scribe = Scribe::start(&setup(&dir), None, true, &mut warnings).unwrap();
        scribe.write(Class::Death, 1, &Text::from("why"), Duration::from_secs(60));
        scribe.write(Class::Outcome, 0, &Text::from("gone"), Duration::from_secs(60));
        let records = crate::black_box::read(&dir.join("blackbox")).unwrap();
        let log = std::fs::read_to_string(dir.join("log")).unwrap();
        let _ = std::fs::remove_dir_all(&dir);
        assert_eq!(warnings, [""; 0]);
        assert_eq!(log, "why\ngone\n");
        let read: Vec<_> = records.iter().map(|r| (r.class, r.detail, r.text.as_str())).collect();
        assert_eq!(read, [(Class::Death, 1, "why"), (Class::Outcome, 0, "gone")]);
    }

    #[test]
    fn what_is_announced_goes_to_the_kernels_log_and_the_box_and_nobody_waits_for_it() {
        let dir = std::env::temp_dir().join(format!("holdfast-announce-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let kernel_log = File::create(dir.join("kmsg")).unwrap();
        let mut scribe = Scribe::start(&setup(&dir), Some(kernel_log), true, &mut Vec::new()).unwrap();
        scribe.announce(Class::Death, 6, &Text::from("unfed"));
        // Waiting for a line is waiting for those before it, not for their answers.
        scribe.write(Class::Death, 1, &Text::from("why"), Duration::from_secs(60));
        let records = crate::black_box::read(&dir.join("blackbox")).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        let (kernel_log, log) = (read("kmsg"), read("log"));
        let _ = std::fs::remove_dir_all(&dir);
        assert_eq!((kernel_log.as_str(), log.as_str()), ("<0>holdfast: unfed", "why\n"));
        let read: Vec<_> = records.iter().map(|r| (r.class, r.detail, r.text.as_str())).collect();
        assert_eq!(read, [(Class::Death, 6, "unfed"), (Class::Death, 1, "why")]);
    }

    #[test]
    fn a_place_that_cannot_be_opened_is_a_warning() {
        let mut warnings = Vec::new();
        let dir = std::path::Path::new("/nonexistent/holdfast");
        let mut scribe = Scribe::start(&setup(dir), None, false, &mut warnings).unwrap();
        scribe.write(Class::Death, 1, &Text::from("why"), Duration::from_secs(60));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
