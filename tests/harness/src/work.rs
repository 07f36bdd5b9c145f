//! What every kind of cluster needs: its turn on this machine, a folder, and how long a test waits for something.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a test waits for one event: a minute and a half, times `$HOLDFAST_TEST_PATIENCE`.
#[must_use]
pub fn patience() -> Duration {
    let factor = std::env::var("HOLDFAST_TEST_PATIENCE").ok().and_then(|v| v.parse().ok());
    Duration::from_secs(90).saturating_mul(factor.unwrap_or(1))
}

/// The folder of a cluster, removed in the end unless `HOLDFAST_KEEP` is set.
pub struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    /// A new one, named after the cluster. Those of runs that were killed are removed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir();
        sweep(&base);
        let path = base.join(format!("{PREFIX}{}-{number}-{name}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if std::env::var_os("HOLDFAST_KEEP").is_some() {
            eprintln!("harness: kept {}", self.path.display());
        } else if let Err(e) = fs::remove_dir_all(&self.path) {
            eprintln!("harness: {}: {e}", self.path.display());
        }
    }
}

/// Removes folders of runs that were killed.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid =
            name.strip_prefix(PREFIX).and_then(|n| n.split('-').next()).and_then(|p| p.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

const PREFIX: &str = "holdfast-harness-";

/// Clusters take turns, across test programs too: many realtime daemons at once would only starve each other.
pub struct Turn {
    _file: File,
}

impl Turn {
    /// Waits for it. It ends when this value is dropped.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn take() -> Result<Self> {
        let path = std::env::temp_dir().join("holdfast-harness.lock");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        file.lock().context("waiting for the turn")?;
        // What is tested beside a cluster runs with a lower priority, and a cluster's programs are to be ordinary ones. Without the right
        // to that they are slower.
        let _ = holdfast_sys::realtime::set_nice(0);
        Ok(Self { _file: file })
    }
}

/// So many bytes that nobody can guess.
///
/// # Errors
/// When the system has none.
pub fn random_bytes(count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
