//! Where the operator's lines go: a file, syslog, or both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use logconv::{Level, Line};
use serde::{Deserialize, Serialize};

/// How far the file was written when this was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// Its inode; 0: none.
    inode: u64,
    /// Its length.
    length: u64,
}

/// See the module.
pub(super) struct Output {
    path: Option<PathBuf>,
    facility: Option<u8>,
    /// What a process that ended between writing and keeping had written: it comes once more, and is not written again.
    ahead: Vec<u8>,
    kept: Kept,
}

/// More than a batch can be.
const AHEAD_MAX: u64 = 16 << 20;

impl Output {
    pub(super) fn new(path: Option<PathBuf>, facility: Option<&str>, kept: &Kept) -> Self {
        let mut output =
            Self { path, facility: facility.and_then(number), ahead: Vec::new(), kept: kept.clone() };
        output.look_ahead();
        output
    }

    fn look_ahead(&mut self) {
        let Some(mut file) = self.path.as_ref().and_then(|path| File::open(path).ok()) else { return };
        let Ok(meta) = file.metadata() else { return };
        if self.kept.inode == meta.ino()
            && self.kept.length < meta.len()
            && file.seek(SeekFrom::Start(self.kept.length)).is_ok()
        {
            let _ = file.take(AHEAD_MAX).read_to_end(&mut self.ahead);
        }
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    /// Appends lines. The file is opened each time: it may have been rotated.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, lines: &[Line]) -> Result<(), (PathBuf, io::Error)> {
        if let Some(path) = self.path.clone() {
            self.append(&path, lines).map_err(|e| (path, e))?;
        }
        if let Some(facility) = self.facility
            && !lines.is_empty()
        {
            let said: Vec<_> = lines.iter().map(|l| (l.level, l.text.clone())).collect();
            send(facility, &said);
        }
        Ok(())
    }

    fn append(&mut self, path: &PathBuf, lines: &[Line]) -> io::Result<()> {
        if lines.is_empty() && fs::metadata(path).is_ok_and(|m| m.ino() == self.kept.inode) {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(format!("{line}\n").as_bytes());
        }
        // As far as it is there already. Should it be something else, it is not ours.
        let same = bytes.iter().zip(&self.ahead).take_while(|(a, b)| a == b).count();
        if same == bytes.len() || same == self.ahead.len() {
            self.ahead.drain(..same);
            bytes.drain(..same);
        } else {
            self.ahead.clear();
        }
        file.write_all(&bytes)?;
        let meta = file.metadata()?;
        self.kept = Kept { inode: meta.ino(), length: meta.len().saturating_sub(self.ahead.len() as u64) };
        Ok(())
    }
}

/// A facility's number, as syslog counts.
pub(super) fn number(facility: &str) -> Option<u8> {
    const NAMES: [&str; 12] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    ];
    let found = NAMES.iter().position(|name| *name == facility).and_then(|at| u8::try_from(at).ok());
    found.or_else(|| facility.strip_prefix("local")?.parse::<u8>().ok().filter(|n| *n < 8)?.checked_add(16))
}

/// To syslog. Lines are lost while nobody reads them: they are in the file.
pub(super) fn send(facility: u8, lines: &[(Level, String)]) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    if socket.set_nonblocking(true).is_err() || socket.connect("/dev/log").is_err() {
        return;
    }
    for (level, text) in lines {
        let priority = facility * 8 + level.severity();
        let id = std::process::id();
        let text = format!("<{priority}>pm_logconv[{id}]: {:>7}: {text}", level.as_str());
        let _ = socket.send(text.as_bytes());
    }
}
