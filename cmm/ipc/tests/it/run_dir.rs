//! A run directory of one test.

use std::path::PathBuf;

use cmm_ipc::Place;

/// Removed at the end.
pub(crate) struct RunDir(pub(crate) PathBuf);

impl RunDir {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("holdfast-ipc-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("shm")).expect("run dir");
        Self(dir)
    }

    pub(crate) fn place(&self) -> Place {
        Place::Dir(self.0.clone())
    }

    /// How much there is of clients' files.
    pub(crate) fn ring_files(&self) -> usize {
        std::fs::read_dir(self.0.join("shm")).expect("ring dir").count()
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
