//! The operator's log of this node: what happened, in the words of [`logconv`], to a file and to the journal.
//!
//! Not part of the [`Manager`](crate::Manager), which does no I/O: who drives it passes its events on. A thread writes, so that a disk
//! that hangs holds up nobody; what it cannot keep up with is left out, and how much that was is said.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::said::Said;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use logconv::{Cause, Event, Level, Message, Operator, Planned, Suffix};

/// Most messages that wait for the disk.
const WAITING_MAX: usize = 10_000;
/// The journal's own socket.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// See the module.
#[derive(Debug)]
pub struct OperatorLog {
    operator: Operator,
    to: Sender<Record>,
    /// Closed when everything is written.
    written: Receiver<()>,
    lost: u64,
}

/// A message on its way.
#[derive(Debug)]
struct Record {
    message: Message,
    date: String,
}

impl OperatorLog {
    /// Where this environment wants it: `operator.log` below `HOLDFAST_STATE_DIR` where that is set, as for several nodes on one machine,
    /// and nothing in the machine's journal then; else `/var/log/holdfast/operator.log` and the journal.
    #[must_use]
    pub fn from_env(host: &str) -> Self {
        match std::env::var_os("HOLDFAST_STATE_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => Self::new(&Path::new(&dir).join("operator.log"), None, host, Suffix::default()),
            None => {
                let path = Path::new("/var/log/holdfast/operator.log");
                Self::new(path, Some(Path::new(JOURNAL)), host, Suffix::default())
            }
        }
    }

    /// To this file, and to the journal behind this socket. `host` stands in each line; `suffix`: how results are written.
    #[must_use]
    pub fn new(path: &Path, journal: Option<&Path>, host: &str, suffix: Suffix) -> Self {
        let (to, from) = bounded(WAITING_MAX);
        let (done, written) = bounded(0);
        let writer = Writer {
            path: path.to_owned(),
            journal: journal.map(Path::to_owned),
            host: host.to_owned(),
            failing: false,
        };
        // Without a thread the log is missing, and the node does its work.
        let _ = std::thread::Builder::new().name("operator-log".into()).spawn(move || {
            writer.run(&from);
            drop(done);
        });
        Self { operator: Operator::new(suffix), to, written, lost: 0 }
    }

    /// What the manager says.
    pub fn take(&mut self, said: Said) {
        match said {
            Said::Event(event) => self.event(&event),
            Said::Happened(cause, why) => self.happened(cause, &why),
            Said::Transition(planned, reasons) => self.transition(&planned, &reasons),
            Said::Operates(resource) => self.operates(&resource),
            Said::Settled => self.settled(),
            Said::Resign => self.resign(),
            Said::Watch(resources) => self.watch(resources),
        }
    }

    /// Whose places are said at the end of a fail-over: `advice::watched` of the configuration. To be called when that changes.
    pub fn watch(&mut self, resources: Vec<String>) {
        self.operator.watch(resources);
    }

    /// Something happened.
    pub fn event(&mut self, event: &Event) {
        let message = self.operator.say(event);
        self.write(message);
    }

    /// Something happened that makes a calculation necessary: see [`Operator::happened`].
    pub fn happened(&mut self, cause: Cause, why: &str) {
        self.operator.happened(cause, why);
    }

    /// What the transition under way is for.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.operator.cause()
    }

    /// This node, as the controller, begins a transition: before anything of it is done. See [`Operator::transition`], `advice::planned`
    /// and `advice::View::reasons`.
    pub fn transition(&mut self, planned: &[(String, Planned)], reasons: &[Event]) {
        let said = self.operator.transition(planned, reasons);
        self.write(said);
    }

    /// The controller has something other than a monitor done to a resource.
    pub fn operates(&mut self, resource: &str) {
        self.operator.operates(resource);
    }

    /// Nothing is left to be done.
    pub fn settled(&mut self) {
        let said = self.operator.settled();
        self.write(said);
    }

    /// Another node is the controller now.
    pub fn resign(&mut self) {
        self.operator.resign();
    }

    fn write(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            if self.lost > 0 {
                let text = format!(
                    "{} messages were left out: the log could not be written fast enough.",
                    self.lost
                );
                let lost = Message { number: "", level: Level::Warning, text };
                if self.to.try_send(Record { message: lost, date: now() }).is_err() {
                    self.lost = self.lost.saturating_add(1);
                    continue;
                }
                self.lost = 0;
            }
            match self.to.try_send(Record { message, date: now() }) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(_)) => self.lost = 1,
            }
        }
    }

    /// Waits until everything is written, for so long. Whether it is.
    #[must_use]
    pub fn close(self, limit: Duration) -> bool {
        let Self { to, written, .. } = self;
        drop(to);
        // Nothing is ever sent: it ends with the writer.
        matches!(written.recv_timeout(limit), Err(crossbeam_channel::RecvTimeoutError::Disconnected))
    }
}

/// The time as the log has it: `May 25 16:30:05`.
fn now() -> String {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let text = status::ctime(u64::try_from(ms).unwrap_or(0), holdfast_sys::timezone::utc_offset);
    text.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" ")
}

struct Writer {
    path: PathBuf,
    journal: Option<PathBuf>,
    host: String,
    failing: bool,
}

impl Writer {
    fn run(mut self, from: &Receiver<Record>) {
        let socket = UnixDatagram::unbound().ok().filter(|s| s.set_nonblocking(true).is_ok());
        while let Ok(record) = from.recv() {
            if let (Some(path), Some(socket)) = (&self.journal, &socket) {
                // Lost while nobody reads it: it is in the file.
                let _ = socket.send_to(&Operator::journal_record(&record.message, "holdfast-operator"), path);
            }
            let line = Operator::file_line(&record.message, &record.date, &self.host) + "\n";
            match self.append(&line) {
                Ok(()) => self.failing = false,
                Err(e) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!("The operator's log cannot be written: {}: {e}", self.path.display());
                    }
                }
            }
        }
    }

    /// The file is opened each time: it may have been rotated.
    fn append(&self, line: &str) -> std::io::Result<()> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.path);
        let mut file = match open() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                open()?
            }
            file => file?,
        };
        file.write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("operator-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("a temporary folder");
            Self(dir)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_failover_is_in_the_file_and_in_the_journal_with_its_numbers() {
        let folder = Folder::new("journal");
        let (path, socket) = (folder.0.join("log/operator.log"), folder.0.join("journal"));
        let journal = UnixDatagram::bind(&socket).expect("a socket");
        journal.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        let mut log = OperatorLog::new(&path, Some(&socket), "srv01", Suffix::Words);
        log.watch(vec!["db".to_owned()]);
        log.happened(Cause::Operator, "somebody looked at it");
        log.happened(Cause::Resource, "db failed on srv01: its monitor found it not running (7)");
        let moved = Planned::Move { from: "srv01".into(), to: "srv02".into() };
        let refused = Event::Refused {
            resource: "db".into(),
            node: "srv03".into(),
            constraint: Some("cli-ban-db-on-srv03".into()),
            why: "an operator's move left it behind".into(),
        };
        log.transition(&[("db".to_owned(), moved)], &[refused]);
        log.operates("db");
        log.settled();
        assert!(log.close(Duration::from_secs(20)), "everything is written in time");
        let text = std::fs::read_to_string(&path).expect("the log");
        let want = [
            "srv01   error: Start to fail-over.",
            "srv01    info: Reason: db failed on srv01: its monitor found it not running (7)",
            "srv01    info: Resource db is kept from srv03 by constraint cli-ban-db-on-srv03: an operator's move left it behind",
            "srv01    info: Resource db : Move srv01 -> srv02",
            "srv01    info: fail-over succeeded.",
        ];
        assert_eq!(text.lines().count(), want.len(), "{text}");
        for (line, want) in text.lines().zip(want) {
            assert!(line.ends_with(want), "{line}");
        }
        let mut bytes = [0; 4096];
        let length = journal.recv(&mut bytes).expect("a record");
        let record = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(record.contains("MESSAGE=Start to fail-over.\nPRIORITY=3\n"), "{record}");
        assert!(record.ends_with("HOLDFAST_MSGNO=F0\n"), "{record}");
    }

    #[test]
    fn a_rotated_file_is_left_and_a_new_one_begun() {
        let folder = Folder::new("rotation");
        let path = folder.0.join("operator.log");
        let say = |node: &str| {
            let mut log = OperatorLog::new(&path, None, "srv01", Suffix::Words);
            log.event(&Event::NodeLost { node: node.into() });
            assert!(log.close(Duration::from_secs(20)));
        };
        say("n1");
        std::fs::rename(&path, folder.0.join("operator.log.1")).expect("renaming");
        say("n2");
        let text = std::fs::read_to_string(&path).expect("the log");
        assert!(text.ends_with("srv01 warning: Node n2 is lost\n") && text.lines().count() == 1, "{text}");
    }
}
