//! An observer that depends on nothing under test: does a service ever run twice?
//!
//! The service takes an exclusive lock on a file that all nodes see, and keeps it by an open descriptor until the
//! kernel ends the process. A second instance finds the lock taken and leaves a note.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::processes::Process;

/// The observer's files.
pub(crate) struct Witness {
    dir: PathBuf,
}

impl Witness {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let dir = dir.join("witness");
        fs::create_dir_all(&dir)?;
        let program = dir.join("serve");
        fs::write(&program, SERVICE.replace("@DIR@", &dir.to_string_lossy()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(Self { dir })
    }

    /// The program that stands for a service; its argument is the service's name.
    pub(crate) fn program(&self) -> PathBuf {
        self.dir.join("serve")
    }

    /// The folder that all nodes see.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether this process is an instance of the service.
    pub(crate) fn is_instance(&self, process: &Process, service: &str) -> bool {
        let held = fs::read_link(format!("/proc/{}/fd/9", process.pid));
        process.name == "sleep" && held.is_ok_and(|f| f == self.dir.join(format!("{service}.lock")))
    }

    /// Every time a service was found to run twice.
    pub(crate) fn violations(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("violations")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Every start, as `SECONDS SERVICE NODE`.
    pub(crate) fn starts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("starts")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

const SERVICE: &str = r#"#!/bin/sh
# A service that must not run twice.
cd @DIR@ || exit 1
exec 9>>"$1.lock"
if ! flock -n 9; then
    echo "$(date +%s.%N) $1 started on $(hostname) while it runs on $(cat "$1.owner")" >> violations
fi
hostname > "$1.owner"
echo "$(date +%s.%N) $1 $(hostname)" >> starts
exec sleep 1000000
"#;
