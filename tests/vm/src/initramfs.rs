//! The root file system of a node: a cpio archive ("newc"), made in memory.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::kernel::output;

/// An archive in the making. Paths are without a leading slash; folders come by themselves.
pub(crate) struct Initramfs {
    /// A file for programs on their way in.
    scratch: PathBuf,
    bytes: Vec<u8>,
    inside: BTreeSet<String>,
}

/// The distribution's, for which the distribution's programs are made.
const PYTHON: &str = "/usr/bin/python3";
/// Has a fence agent say what it is, which imports all that it imports, and names those modules.
const TRACE: &str = r#"
import atexit, os, runpy, sys
out = os.dup(1)
def tell():
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    os.write(out, "".join("\nMODULE " + file for file in files if file).encode())
atexit.register(tell)
sys.argv = [sys.argv[1], "-o", "metadata"]
runpy.run_path(sys.argv[0], run_name="__main__")
"#;

const FOLDER: u32 = 0o04_0000;
const FILE: u32 = 0o10_0000;
const LINK: u32 = 0o12_0000;

impl Initramfs {
    pub(crate) fn new(scratch: PathBuf) -> Self {
        Self { scratch, bytes: Vec::new(), inside: BTreeSet::new() }
    }

    pub(crate) fn dir(&mut self, path: &str) {
        if !path.is_empty() && !self.inside.contains(path) {
            self.entry(path, FOLDER | 0o755, b"");
        }
    }

    /// Adds a file; a second one of the same path is left out.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, bytes: &[u8]) {
        if !self.inside.contains(path) {
            self.entry(path, FILE | permissions, bytes);
        }
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, target.as_bytes());
    }

    /// Adds a program of the host with the libraries that it is linked with, without symbols.
    pub(crate) fn program(&mut self, from: &Path, to: &str) -> Result<()> {
        let libraries = output(Command::new("ldd").arg(from)).unwrap_or_default(); // ldd refuses a static one
        for library in libraries.lines().filter_map(library_path) {
            let bytes = fs::read(library).with_context(|| library.to_owned())?;
            self.file(library.trim_start_matches('/'), 0o755, &bytes);
        }
        let stripped = output(Command::new("strip").arg("-o").arg(&self.scratch).arg(from));
        // What cannot be stripped is a script.
        let from = if stripped.is_ok() { &self.scratch } else { from };
        self.file(to, 0o755, &fs::read(from).with_context(|| from.display().to_string())?);
        Ok(())
    }

    /// Adds a program of the host in Python, with the interpreter, the modules that it imports, and their libraries.
    pub(crate) fn python_program(&mut self, from: &Path, to: &str) -> Result<()> {
        let mut trace = Command::new(PYTHON);
        trace.args(["-I", "-W", "ignore", "-c", TRACE]).arg(from);
        let told = output(&mut trace).with_context(|| format!("what {} imports", from.display()))?;
        let modules = told.lines().filter_map(|l| l.strip_prefix("MODULE "));
        // The interpreter's own way to text, of which it imports what the language settings of a machine ask for.
        let encodings = modules.clone().find(|m| m.ends_with("/encodings/__init__.py"));
        let encodings =
            Path::new(encodings.context("no encodings")?).parent().context("no folder")?.to_owned();
        let more = fs::read_dir(&encodings)?.flatten().map(|e| e.path()).filter(|p| p.is_file());
        for module in modules.map(PathBuf::from).chain(more) {
            let inside = module.strip_prefix("/").unwrap_or(&module).to_string_lossy().into_owned();
            if module.extension().is_some_and(|e| e == "so") {
                self.program(&module, &inside)?;
            } else {
                let bytes = fs::read(&module).with_context(|| module.display().to_string())?;
                self.file(&inside, 0o644, &bytes);
            }
        }
        self.program(Path::new(PYTHON), PYTHON.trim_start_matches('/'))?;
        self.file(to, 0o755, &fs::read(from).with_context(|| from.display().to_string())?);
        Ok(())
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent);
        }
        self.inside.insert(path.to_owned());
        let [inode, size, name] = [self.inside.len(), data.len(), path.len() + 1];
        // Magic, inode, mode, uid, gid, links, time, size, four device numbers, length of the name, checksum.
        let head = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name:08x}{0:08x}",
            0, 1
        );
        let _ = write!(self.bytes, "{head}{path}\0"); // writing to a vector does not fail
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`
fn library_path(line: &str) -> Option<&str> {
    let path = line.split_once("=>").map_or(line, |(_, path)| path).split_whitespace().next()?;
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_folders_before_files_and_is_aligned() {
        let mut archive = Initramfs::new(PathBuf::new());
        archive.file("etc/deep/name", 0o600, b"12345");
        archive.file("etc/deep/name", 0o600, b"another");
        archive.link("init", "bin/busybox");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("etc\0") < at("etc/deep\0") && at("etc/deep\0") < at("etc/deep/name\0"));
        assert_eq!(text.matches("070701").count(), 5);
        assert!(text.contains("12345") && !text.contains("another") && text.contains("TRAILER!!!"));
    }

    #[test]
    fn libraries_are_read_from_ldd() {
        assert_eq!(
            library_path("\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f4cbb94e000)"),
            Some("/lib/x/libc.so.6")
        );
        assert_eq!(library_path("\t/lib64/ld-linux-x86-64.so.2 (0x0)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library_path("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(library_path("\tlibgone.so => not found"), None);
    }
}
