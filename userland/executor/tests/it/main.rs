//! The executor with real agents, daemons, plugins and a real bus.

#![forbid(unsafe_code)]

mod agents;
mod alerts;
mod catalog;
mod classes;
mod fencing;
mod ours;
mod running;
mod units;
mod watching;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::Receiver;
use executor::{Executor, ExecutorConfig, Job, JobId, Outcome, Work};
use holdfast_types::Span;

/// A private OCF root with the agents of one test, removed at the end.
pub(crate) struct Bench {
    pub(crate) root: PathBuf,
    pub(crate) config: ExecutorConfig,
}

impl Bench {
    pub(crate) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("holdfast-executor-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("resource.d/test")).expect("temporary folder");
        let mut config = ExecutorConfig::new("node1", 1, root.clone());
        config.ocf_roots.insert(0, root.clone());
        config.fence_dirs.insert(0, root.clone());
        config.parallel_max = 4;
        Self { root, config }
    }

    pub(crate) fn agent(&self, name: &str, body: &str) {
        write_executable(&self.root.join("resource.d/test").join(name), body);
    }

    pub(crate) fn start(&self) -> (Executor, Receiver<Outcome>) {
        Executor::new(self.config.clone(), || {}).expect("executor starts")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

pub(crate) fn write_executable(path: &Path, body: &str) {
    // Written under another name and renamed: a concurrent fork of this test process must not hold it open for writing
    // when it is executed (ETXTBSY).
    let draft = path.with_extension("draft");
    std::fs::write(&draft, format!("#!/bin/sh\n{body}\n")).expect("agent written");
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).expect("mode set");
    std::fs::rename(&draft, path).expect("agent in place");
}

pub(crate) fn job(id: u64, resource: &str, agent: &str, action: &str) -> Job {
    Job {
        id: JobId(id),
        resource: resource.into(),
        work: Work::Ocf { provider: "test".into(), agent: agent.into(), action: action.into() },
        params: Vec::new(),
        meta: Vec::new(),
        timeout: Span::from_secs(60),
        interval: Span::ZERO,
    }
}

pub(crate) fn next(outcomes: &Receiver<Outcome>) -> Outcome {
    outcomes.recv_timeout(Duration::from_secs(60)).expect("an outcome arrives")
}

pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while std::time::Instant::now() < deadline {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    holds()
}

/// Whether a process has ended (it may not have been taken leave of).
pub(crate) fn gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat.contains(") Z "),
    }
}
