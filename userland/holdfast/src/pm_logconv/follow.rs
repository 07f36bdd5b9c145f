//! A log that is written to while it is read, and rotated.

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How far a log was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// Of the file that was read last; 0: none yet.
    inode: u64,
    /// Up to here, in bytes; always the end of a line.
    offset: u64,
    /// How the file begins: inodes are used again.
    head: String,
}

/// The file that is read.
struct Open {
    file: File,
    inode: u64,
    offset: u64,
    head: String,
    /// What was read of a line that has no end yet.
    partial: Vec<u8>,
    since: Instant,
}

/// A line that has no end for so long is taken as it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes that are taken at once: what was read and written is kept after each such batch.
const BATCH: u64 = 1 << 20;
/// How much of a file's beginning tells it from others.
const HEAD: usize = 64;
/// A longer line is taken in pieces.
const LINE_MAX: usize = 1 << 20;

/// See the module.
pub(super) struct Follower {
    pub(super) path: PathBuf,
    open: Option<Open>,
    /// Older files that have to be read before the log, the oldest first.
    before: Vec<PathBuf>,
    begun: bool,
    kept: Kept,
    /// What an operator should know.
    pub(super) complaints: Vec<String>,
    patience: Duration,
}

impl Follower {
    /// Goes on where `kept` says, or begins at the beginning.
    pub(super) fn new(path: PathBuf, kept: Kept) -> Self {
        Self {
            path,
            open: None,
            before: Vec::new(),
            begun: false,
            kept,
            complaints: Vec::new(),
            patience: PATIENCE,
        }
    }

    #[cfg(test)]
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How far it was read: up to the last whole line.
    pub(super) fn kept(&self) -> Kept {
        match &self.open {
            Some(open) => Kept {
                inode: open.inode,
                offset: open.offset - open.partial.len() as u64,
                head: open.head.clone(),
            },
            None => self.kept.clone(),
        }
    }

    /// Whole lines that have come since, without their ends. Nothing: there are none now.
    ///
    /// # Errors
    /// When the file cannot be read. A missing one is waited for.
    pub(super) fn read(&mut self) -> io::Result<Vec<Vec<u8>>> {
        if !self.begun {
            self.begun = true;
            self.find()?;
        }
        loop {
            if self.open.is_none() {
                let next = if self.before.is_empty() { self.path.clone() } else { self.before.remove(0) };
                match open(&next) {
                    Ok(file) => self.open = Some(file),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(e) => return Err(e),
                }
            }
            let Some(open) = &mut self.open else { return Ok(Vec::new()) };
            let length = open.file.metadata()?.len();
            if length < open.offset {
                // Emptied in its place: what was in it and not read yet is gone.
                self.complaints
                    .push(format!("{} was cut; it is read from its beginning", self.path.display()));
                (open.offset, open.partial) = (0, Vec::new());
                open.file.seek(SeekFrom::Start(0))?;
                open.head.clear();
            }
            let lines = open.take()?;
            if !lines.is_empty() {
                return Ok(lines);
            }
            // At its end. Is the log another file now?
            let now = fs::metadata(&self.path).map(|m| m.ino());
            let rotated = !self.before.is_empty() || now.as_ref().is_ok_and(|inode| *inode != open.inode);
            let late = !open.partial.is_empty() && open.since.elapsed() >= self.patience;
            let rest = if rotated || late { std::mem::take(&mut open.partial) } else { Vec::new() };
            if rotated {
                // Its writer may have held it a little longer than it had its name.
                let more = open.take()?;
                self.kept = Kept { inode: open.inode, offset: open.offset, head: open.head.clone() };
                self.open = None;
                let mut all: Vec<Vec<u8>> = if rest.is_empty() { Vec::new() } else { vec![rest] };
                if let Some(first) = more.first().filter(|_| !all.is_empty()) {
                    all[0].extend_from_slice(first);
                    all.extend_from_slice(&more[1..]);
                } else {
                    all.extend(more);
                }
                if all.is_empty() {
                    continue;
                }
                return Ok(all);
            }
            return Ok(if rest.is_empty() { Vec::new() } else { vec![rest] });
        }
    }

    /// Finds the file that was read last, which may have been renamed since, and all that came after it.
    fn find(&mut self) -> io::Result<()> {
        if self.kept.inode == 0 {
            return Ok(());
        }
        let is_it = |path: &Path| {
            let mut found = open(path).ok()?;
            found.read_head().ok()?;
            let same = found.inode == self.kept.inode && found.head.starts_with(&self.kept.head);
            (same && found.file.metadata().ok()?.len() >= self.kept.offset).then_some(found)
        };
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let name = self.path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let mut older: Vec<(i128, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let is_old = file.to_str().is_some_and(|f| f.len() > name.len() && f.starts_with(name));
            let Ok(meta) = entry.metadata() else { continue };
            if is_old && meta.is_file() {
                let at = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
                older.push((at, entry.path()));
            }
        }
        older.sort();
        let mut candidates: Vec<PathBuf> = older.into_iter().map(|(_, path)| path).collect();
        candidates.push(self.path.clone());
        for (at, path) in candidates.iter().enumerate() {
            let Some(mut found) = is_it(path) else { continue };
            found.offset = self.kept.offset;
            found.file.seek(SeekFrom::Start(found.offset))?;
            self.open = Some(found);
            let after = candidates.len() - 1;
            self.before = candidates.get(at + 1..after).unwrap_or_default().to_vec();
            for packed in self.before.extract_if(.., |p| is_packed(p)) {
                self.complaints.push(format!("{} is compressed, and left out", packed.display()));
            }
            return Ok(());
        }
        self.complaints.push(format!(
            "the file that was read last is gone; what was written to it since is left out, and {} is read from its beginning",
            self.path.display()
        ));
        Ok(())
    }
}

fn is_packed(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "gz" | "bz2" | "xz" | "zst"))
}

fn open(path: &Path) -> io::Result<Open> {
    let file = File::open(path)?;
    let inode = file.metadata()?.ino();
    Ok(Open { file, inode, offset: 0, head: String::new(), partial: Vec::new(), since: Instant::now() })
}

impl Open {
    fn read_head(&mut self) -> io::Result<()> {
        let mut head = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        self.head =
            String::from_utf8_lossy(head.split(|b| *b == b'\n').next().unwrap_or_default()).into_owned();
        self.file.seek(SeekFrom::Start(self.offset))?;
        Ok(())
    }

    /// What can be read now, in whole lines.
    fn take(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.file.by_ref().take(BATCH).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        self.since = Instant::now();
        self.offset += bytes.len() as u64;
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.partial.extend_from_slice(piece);
            if self.partial.ends_with(b"\n") || self.partial.len() >= LINE_MAX {
                let mut line = std::mem::take(&mut self.partial);
                if line.ends_with(b"\n") {
                    line.pop();
                }
                lines.push(line);
            }
        }
        if self.head.is_empty() {
            self.read_head()?;
        }
        Ok(lines)
    }
}

/// Reads a line, without its end; a very long one in pieces. `false`: there is none left.
pub(super) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let got = reader.take(LINE_MAX as u64).read_until(b'\n', line)?;
    if line.ends_with(b"\n") {
        line.pop();
    }
    Ok(got > 0)
}
