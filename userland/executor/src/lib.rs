//! Runs agents: OCF resource agents and fence agents, each in its own process group, with a timeout, capped and always
//! drained output, at most one operation a resource at a time, several resources at once, and recurring monitors.
//!
//! All of it happens on one thread of the executor's own; [`Executor::submit`] and [`Executor::cancel`] only queue, so
//! the caller's event loop never waits for an agent. Outcomes arrive on a channel; `notify` is called after each, for
//! example to wake a poller.

#![forbid(unsafe_code)]

mod agent;
mod job;
mod runner;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::{Poll, Waker};

pub use agent::{AgentError, find_fence_agent, find_ocf_agent};
pub use job::{Job, JobId, OpStatus, Outcome, Work, rc};

use runner::{Command, Runner, WAKE};

/// Where agents are and what surrounds them.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// OCF roots searched in order for `resource.d/PROVIDER/TYPE`; `/usr/lib/ocf` comes last in [`Self::new`].
    pub ocf_roots: Vec<PathBuf>,
    /// Folders searched in order for `fence_X`.
    pub fence_dirs: Vec<PathBuf>,
    /// Name of this node (`CRM_meta_on_node`).
    pub node_name: String,
    /// Id of this node (`CRM_meta_on_node_uuid`).
    pub node_id: u32,
    /// Added to the fixed environment of every agent; carries the node's run directory.
    pub extra_env: Vec<(String, String)>,
    /// Working directory of agents.
    pub work_dir: PathBuf,
    /// Operations at the same time (`node-action-limit`).
    pub parallel_max: usize,
}

impl ExecutorConfig {
    /// The ordinary places; `HOLDFAST_OCF_ROOT` and `HOLDFAST_FENCE_PATH` (colon-separated lists) are searched first.
    pub fn new(node_name: &str, node_id: u32, work_dir: PathBuf) -> Self {
        let from_env = |name: &str, last: &str| {
            let mut dirs: Vec<PathBuf> =
                std::env::var_os(name).map(|v| std::env::split_paths(&v).collect()).unwrap_or_default();
            dirs.retain(|d| d.is_absolute());
            dirs.push(PathBuf::from(last));
            dirs
        };
        Self {
            ocf_roots: from_env("HOLDFAST_OCF_ROOT", "/usr/lib/ocf"),
            fence_dirs: from_env("HOLDFAST_FENCE_PATH", "/usr/sbin"),
            node_name: node_name.to_owned(),
            node_id,
            extra_env: std::env::vars().filter(|(k, _)| k == "HOLDFAST_RUN_DIR").collect(),
            work_dir,
            parallel_max: 2 * std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// Handle of the executor's thread. Dropping it kills what still runs and ends the thread.
#[derive(Debug)]
pub struct Executor {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Executor {
    /// Starts the thread. `notify` is called on it after each outcome that was queued.
    ///
    /// # Errors
    /// When the poller or the thread cannot be made.
    pub fn new(
        config: ExecutorConfig,
        notify: impl Fn() + Send + 'static,
    ) -> io::Result<(Self, Receiver<Outcome>)> {
        let (commands, command_queue) = unbounded();
        let (outcomes, outcome_queue) = unbounded();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let runner = Runner::new(config, poll, command_queue, outcomes, Box::new(notify));
        let thread = std::thread::Builder::new()
            .name("executor".into())
            .stack_size(256 * 1024)
            .spawn(move || runner.run())?;
        Ok((Self { commands, waker, thread: Some(thread) }, outcome_queue))
    }

    /// Queues an operation. It waits while another one of the same resource runs or the node is at its limit.
    pub fn submit(&self, job: Job) {
        self.send(Command::Run(Box::new(job)));
    }

    /// Ends a job: a queued one is dropped, a running one is killed with its process group, a recurring one stops
    /// recurring. Its last outcome is [`OpStatus::Cancelled`].
    pub fn cancel(&self, id: JobId) {
        self.send(Command::Cancel(id));
    }

    fn send(&self, command: Command) {
        // The thread ends only when this handle is dropped; a send that fails has nobody left to tell.
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.send(Command::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
