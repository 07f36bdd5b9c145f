//! A document in a file. Changes are durable, and at no instant half; two commands at once change it one after the other.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cib::Element;
use cib::operation::{Operation, Refusal, apply, query};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use crate::{Cluster, for_user, refusal};

/// A document in a file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    document: Element,
    /// A pipe or a device: it was read, and cannot be written.
    is_stream: bool,
}

impl File {
    /// Reads the document of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no XML.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Refusal> {
        let path = path.into();
        let mut file = fs::File::open(&path).map_err(|e| unreadable(&path, &e))?;
        let kind = file.metadata().map_err(|e| unreadable(&path, &e))?.file_type();
        let is_stream = kind.is_fifo() || kind.is_socket() || kind.is_char_device();
        let document = read(&mut file, &path)?;
        Ok(Self { path, document, is_stream })
    }

    /// The document as it was read or last changed.
    #[must_use]
    pub fn document(&self) -> &Element {
        &self.document
    }
}

impl Cluster for File {
    fn cib(&mut self, operation: &Operation) -> Result<Option<Element>, Refusal> {
        let operation = for_user(operation);
        if operation.is_query() {
            return query(&self.document, &operation).map(Some);
        }
        if self.is_stream {
            let what =
                format!("{} is a stream and cannot be written; name a file in CIB_file", self.path.display());
            return Err(refusal(74, "Input/output error", what));
        }
        let mut locked = lock(&self.path).map_err(|e| unreadable(&self.path, &e))?;
        // Another command may have changed it since it was opened.
        let document = read(&mut *locked, &self.path)?;
        let applied = apply(&document, &operation)?;
        if applied.patch.is_some() || applied.document != document {
            write_document(&self.path, &applied.document).map_err(|e| {
                let what = format!("{}: {e}; it is as it was before", self.path.display());
                refusal(73, "Can't create output file", what)
            })?;
        }
        self.document = applied.document;
        Ok(applied.answer)
    }

    fn ask(&mut self, _: &Value) -> Result<Value, Refusal> {
        Err(refusal(
            102,
            "Transport endpoint is not connected",
            format!(
                "{} stands for the cluster, and no daemon is behind it; to reach the running one: unset CIB_file CIB_shadow",
                self.path.display()
            ),
        ))
    }

    fn is_live(&self) -> bool {
        false
    }
}

/// Writes a document so that after a crash there is the old one or the new one. Owner and mode stay as they are.
///
/// # Errors
/// When it cannot be written; the old one stays.
pub fn write_document(path: &Path, document: &Element) -> io::Result<()> {
    // Through a symlink, as the peer writes.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        match fs::metadata(&path) {
            Ok(old) => {
                file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
                // Only root may give a file away; who changes an own file keeps it.
                let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
            }
            Err(_) => file.set_permissions(fs::Permissions::from_mode(0o640))?,
        }
        file.write_all(document.to_xml().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Waits until nobody else changes the file. A writer puts a new file in its place, so what was locked must still be the one there.
fn lock(path: &Path) -> io::Result<Flock<fs::File>> {
    loop {
        let file = fs::File::open(path)?;
        let own = file.metadata()?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| io::Error::from(e))?;
        let now = fs::metadata(path)?;
        if (now.dev(), now.ino()) == (own.dev(), own.ino()) {
            return Ok(locked);
        }
    }
}

fn read(file: &mut impl Read, path: &Path) -> Result<Element, Refusal> {
    let mut text = String::new();
    // One byte beyond the limit tells the parser that there is more.
    let limit = cib::limits::DOCUMENT.bytes as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(|e| unreadable(path, &e))?;
    let name = path.display().to_string();
    Element::parse(&text, &name)
        .map_err(|e| refusal(78, "Update does not conform to the configured schema", e.to_string()))
}

fn unreadable(path: &Path, error: &io::Error) -> Refusal {
    let (rc, text) = match error.kind() {
        io::ErrorKind::NotFound => (105, "No such device or address"),
        io::ErrorKind::PermissionDenied => (4, "Permission denied"),
        _ => (74, "Input/output error"),
    };
    refusal(rc, text, format!("{}: {error}", path.display()))
}
