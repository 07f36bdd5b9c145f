//! Where a node keeps its files, and the lock that keeps two daemons out of one folder.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::exit::{self, Fatal};

/// Folders and configuration of this node.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// `$HOLDFAST_RUN_DIR`, else `/run/holdfast`.
    pub(crate) run: PathBuf,
    /// The environment names the run directory: then IPC goes over files in it.
    pub(crate) run_given: bool,
    /// `$HOLDFAST_STATE_DIR`, else `/var/lib/holdfast`.
    pub(crate) state: PathBuf,
    /// The configuration.
    pub(crate) config: PathBuf,
}

impl Paths {
    /// From the environment and `-c`.
    ///
    /// # Errors
    /// Where a folder is not named by an absolute path: it would change its meaning in the background, and the processes
    /// of a node are found by the very bytes of its name.
    pub(crate) fn find(config: Option<&Path>) -> Result<Self, Fatal> {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let run = var("HOLDFAST_RUN_DIR");
        for (name, dir) in [("HOLDFAST_RUN_DIR", &run), ("HOLDFAST_STATE_DIR", &var("HOLDFAST_STATE_DIR"))] {
            if let Some(dir) = dir.as_ref().filter(|d| !d.is_absolute()) {
                let text =
                    format!("{name}={} is no absolute path; write it with a leading slash", dir.display());
                return Err(Fatal::new(exit::USAGE, text));
            }
        }
        let config = config.map(Path::to_owned).or_else(|| var("HOLDFAST_CONF")).unwrap_or_else(|| {
            let ours = PathBuf::from("/etc/holdfast/holdfast.conf");
            if ours.exists() { ours } else { "/etc/corosync/corosync.conf".into() }
        });
        Ok(Self {
            run_given: run.is_some(),
            run: run.unwrap_or_else(|| "/run/holdfast".into()),
            state: var("HOLDFAST_STATE_DIR").unwrap_or_else(|| "/var/lib/holdfast".into()),
            config,
        })
    }

    /// Makes both folders and takes the run directory for this process.
    pub(crate) fn claim(&self) -> Result<Claim, Fatal> {
        let make = |dir: &Path, mode| {
            DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(|e| {
                let text = format!("cannot create {}: {e}; create it, or name another folder in the environment (cmmd --help)", dir.display());
                Fatal::new(exit::FILES, text)
            })
        };
        make(&self.run, 0o755)?;
        make(&self.state, 0o700)?;
        let path = self.run.join("cmmd.pid");
        let cannot = |e: &dyn std::fmt::Display| {
            Fatal::new(exit::FILES, format!("cannot write {}: {e}", path.display()))
        };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .open(&path)
            .map_err(|e| cannot(&e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).unwrap_or_default();
                let text = format!(
                    "cmmd runs already with pid {} in {}; stop it first, or give this one another HOLDFAST_RUN_DIR",
                    pid.trim(),
                    self.run.display()
                );
                return Err(Fatal::new(exit::RUNNING, text));
            }
            Err(TryLockError::Error(e)) => return Err(cannot(&e)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(|e| cannot(&e))?;
        Ok(Claim { path, _locked: file })
    }
}

/// The run directory is ours while this lives.
pub(crate) struct Claim {
    path: PathBuf,
    _locked: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Still locked: nobody else's file can be removed here.
        let _ = fs::remove_file(&self.path);
    }
}
