//! As much of the kernel's FUSE protocol as a file system needs that is one file: what the kernel asks, and what it is answered.
//!
//! The file is mounted over another one, in the mount namespace of one node. Direct I/O always, so that nothing is cached and each
//! request of the node's daemon is a request here. Whatever ends the process that serves it closes the descriptor: then the
//! kernel fails everything that waits, and nobody hangs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::namespace::Namespace;

/// The kernel's end of a mount.
pub(crate) struct Fuse {
    file: File,
    size: u64,
    buffer: Vec<u8>,
}

/// What the kernel wants of the file's contents.
#[derive(Debug)]
pub(crate) enum Wanted {
    Read { at: u64, len: usize },
    Write { at: u64, data: Vec<u8> },
}

/// Answers belong to one request.
pub(crate) type Unique = u64;

impl Fuse {
    /// An end that nothing is mounted on yet, for a file of so many bytes.
    pub(crate) fn open(size: u64) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK);
        let file = options.open(DEVICE).with_context(|| format!("opening {DEVICE}"))?;
        Ok(Self { file, size, buffer: vec![0; HEAD_IN + MAX_WRITE + 4_096] })
    }

    /// Mounts it over the file `path` of a node. Somebody must serve it by then.
    pub(crate) fn mount(kernel: File, space: &Namespace, path: &Path) -> Result<()> {
        let mut mount = space.command("sh");
        mount.args(["-euc", MOUNT, "mount"]).arg(path).stdin(Stdio::from(kernel));
        let out = mount.output().context("running mount")?;
        ensure!(out.status.success(), "mounting over {}: {out:?}", path.display());
        Ok(())
    }

    /// For [`Fuse::mount`], and to wait for requests.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The next request for contents, everything else being answered at once; `None` when there is none now.
    ///
    /// # Errors
    /// `ENODEV`: it is mounted no more. `EPERM`: not yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Unique, Wanted)>> {
        loop {
            let len = match self.file.read(&mut self.buffer) {
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // Interrupted, or the request is gone again.
                Err(e) if matches!(e.raw_os_error(), Some(nix::libc::EINTR | nix::libc::ENOENT)) => continue,
                Err(e) => return Err(e),
            };
            let (head, body) = self.buffer[..len].split_at_checked(HEAD_IN).unwrap_or((&[0; HEAD_IN], &[]));
            let unique = u64_at(head, 8);
            let answer = match u32_at(head, 4) {
                READ => {
                    let wanted = Wanted::Read { at: u64_at(body, 8), len: u32_at(body, 16) as usize };
                    return Ok(Some((unique, wanted)));
                }
                WRITE => {
                    let data = body.get(40..).unwrap_or_default().to_vec();
                    return Ok(Some((unique, Wanted::Write { at: u64_at(body, 8), data })));
                }
                INIT => Ok(init()),
                GETATTR | SETATTR => Ok(self.attributes()),
                // A handle, and that nothing is cached.
                OPEN => Ok([1_u64.to_le_bytes(), FOPEN_DIRECT_IO.to_le_bytes()].concat()),
                STATFS => Ok(vec![0; 80]),
                RELEASE | FSYNC | FLUSH | DESTROY => Ok(Vec::new()),
                // Are not answered.
                FORGET | INTERRUPT | BATCH_FORGET => continue,
                _ => Err(nix::libc::ENOSYS),
            };
            self.answer(unique, answer.as_deref().map_err(|e| *e));
        }
    }

    /// Answers a request: what was read, nothing for a write of `len` bytes, or an error number.
    pub(crate) fn answer(&self, unique: Unique, answer: Result<&[u8], i32>) {
        let (error, data) = answer.map_or_else(|e| (-e, &[][..]), |data| (0, data));
        let mut out = Vec::with_capacity(16 + data.len());
        out.extend((16 + data.len() as u32).to_le_bytes());
        out.extend(error.to_le_bytes());
        out.extend(unique.to_le_bytes());
        out.extend(data);
        // It may be gone, with who asked.
        let _ = (&self.file).write(&out);
    }

    /// That a write of so many bytes is done.
    pub(crate) fn written(&self, unique: Unique, len: usize) {
        self.answer(unique, Ok(&(len as u64).to_le_bytes()));
    }

    /// `struct fuse_attr_out`, believed for ever.
    fn attributes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((1_u64 << 30).to_le_bytes());
        out.extend([0; 8]);
        for number in [1, self.size, self.size / 512, 0, 0, 0] {
            out.extend(number.to_le_bytes());
        }
        // Three parts of seconds; mode, links; owner, group, device; size of a block, flags.
        for number in [0, 0, 0, 0o100_600, 1, 0, 0, 0, 512, 0_u32] {
            out.extend(number.to_le_bytes());
        }
        out
    }
}

/// `struct fuse_init_out`.
fn init() -> Vec<u8> {
    let mut out = Vec::new();
    for number in [7, 31, 0, ASYNC_READ | ASYNC_DIO, 16 | 16 << 16, MAX_WRITE as u32, 1_u32] {
        out.extend(number.to_le_bytes());
    }
    out.resize(64, 0);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// The kernel's end is standard input. Asynchronous direct I/O believes the size that was asked for last, and nobody else asks.
const MOUNT: &str = r#"
mount -i -t fuse -o fd=0,rootmode=100600,user_id=0,group_id=0 disk "$1"
stat "$1" >/dev/null
"#;

pub(crate) const DEVICE: &str = "/dev/fuse";

// Of linux/fuse.h; numbers are in the machine's byte order, which is little-endian wherever these tests run.
const HEAD_IN: usize = 40;
const MAX_WRITE: usize = 65_536;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const FOPEN_DIRECT_IO: u64 = 1;
const ASYNC_READ: u32 = 1;
/// Direct I/O that is asynchronous to who asked stays so.
const ASYNC_DIO: u32 = 1 << 15;
