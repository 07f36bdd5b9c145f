//! Runs agents of all classes: OCF resource agents, init scripts, units of systemd, Nagios plugins, fence agents and plugins
//! of cluster-glue. Each run has its own process group and, where that is allowed, its own cgroup, a timeout with SIGTERM
//! and SIGKILL behind it, and capped, always drained output; a resource has at most one operation at a time, several
//! resources run at once, and monitors recur.
//!
//! What a resource's operations left running is watched: when a main process of it ends unasked, the resource's recurring
//! monitors run at once, and [`Watched::Died`] tells.
//!
//! All of it happens on one thread of the executor's own; [`Executor::submit`] and [`Executor::cancel`] only queue, so
//! the caller's event loop never waits for an agent. Outcomes arrive on a channel; `notify` is called after each, for
//! example to wake a poller.

#![forbid(unsafe_code)]

mod agent;
mod alert;
mod catalog;
mod cgroup;
mod glue;
mod job;
mod procfs;
mod run;
mod runner;
mod systemd;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use holdfast_types::Span;
use mio::{Poll, Waker};

pub use agent::{AgentError, find_fence_agent, find_ocf_agent};
pub use alert::{Alert, AlertEvent, AlertResult, Alerts, Selection};
pub use catalog::{CatalogError, agents, alternatives, metadata, providers, run_once, standards};
pub use job::{Job, JobId, OpStatus, Outcome, Work, rc};
pub use watch::Watched;

use runner::{Command, Runner, WAKE};

/// Where agents are and what surrounds them.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// OCF roots searched in order for `resource.d/PROVIDER/TYPE`; `/usr/lib/ocf` comes last in [`Self::new`].
    pub ocf_roots: Vec<PathBuf>,
    /// Folders searched in order for `fence_X`.
    pub fence_dirs: Vec<PathBuf>,
    /// Folders searched in order for `external/X`.
    pub glue_dirs: Vec<PathBuf>,
    /// Folders searched in order for init scripts.
    pub init_dirs: Vec<PathBuf>,
    /// Folders searched in order for Nagios plugins.
    pub nagios_dirs: Vec<PathBuf>,
    /// Address of the bus that systemd is on, as in `DBUS_SYSTEM_BUS_ADDRESS`.
    pub bus: String,
    /// Where drop-ins of units go; a folder only where systemd runs.
    pub systemd_dir: PathBuf,
    /// Folder of the commands that agents call (`crm_attribute`, …), put first in their `PATH` and as `HA_SBIN_DIR`.
    pub tools_dir: Option<PathBuf>,
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
    /// User and group of alert agents; `None`: ours.
    pub alert_user: Option<(u32, u32)>,
    /// How long an agent that is over its time may clean up after SIGTERM before SIGKILL.
    pub term_grace: Span,
    /// Give each run a cgroup of its own, where that is allowed.
    pub cgroups: bool,
    /// Deaths of main processes bring monitors forward; [`Executor::set_watching`] changes it.
    pub watch: bool,
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
            glue_dirs: vec!["/usr/lib/stonith/plugins".into()],
            init_dirs: vec!["/etc/init.d".into()],
            nagios_dirs: vec!["/usr/lib/nagios/plugins".into()],
            bus: std::env::var("DBUS_SYSTEM_BUS_ADDRESS")
                .unwrap_or_else(|_| "unix:path=/run/dbus/system_bus_socket".to_owned()),
            systemd_dir: "/run/systemd/system".into(),
            tools_dir: std::env::var_os("HOLDFAST_TOOLS_DIR")
                .map_or_else(|| PathBuf::from("/usr/lib/holdfast/bin"), PathBuf::from)
                .canonicalize()
                .ok()
                .filter(|dir| agent::is_executable(&dir.join("crm_attribute"))),
            node_name: node_name.to_owned(),
            node_id,
            extra_env: std::env::vars().filter(|(k, _)| k == "HOLDFAST_RUN_DIR").collect(),
            work_dir,
            parallel_max: 2 * std::thread::available_parallelism().map_or(2, usize::from),
            alert_user: None,
            term_grace: Span::from_secs(1),
            cgroups: true,
            watch: true,
        }
    }
}

impl ExecutorConfig {
    /// Tells nodes on one machine apart.
    fn node_tag(&self) -> String {
        let dir = self.extra_env.iter().find(|(k, _)| k == "HOLDFAST_RUN_DIR");
        dir.map_or_else(|| self.node_name.clone(), |(_, dir)| dir.clone())
    }
}

/// Handle of the executor's thread. Dropping it kills what still runs and ends the thread.
#[derive(Debug)]
pub struct Executor {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    watched: Receiver<Watched>,
    surroundings: String,
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
        let (news, watched) = unbounded();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let home = if config.cgroups {
            cgroup::Home::make(&config.node_tag())
        } else {
            Err("it was not asked for".to_owned())
        };
        let surroundings = match &home {
            Ok((home, _)) => format!("Agents run in cgroups of their own below {}", home.path().display()),
            Err(why) => format!(
                "Agents run without cgroups of their own ({why}): a process that leaves its agent's process group and \
                 whose parent has ended outlives the agent's timeout"
            ),
        };
        let (command, made) = (Arc::clone(&waker), home.ok());
        let runner =
            Runner::new(config, poll, command, command_queue, outcomes, news, made, Box::new(notify));
        let thread = std::thread::Builder::new()
            .name("executor".into())
            .stack_size(256 * 1024)
            .spawn(move || runner.run())?;
        Ok((Self { commands, waker, watched, surroundings, thread: Some(thread) }, outcome_queue))
    }

    /// News of what resources left running, each followed by a call of `notify`. Watching begins by itself after each
    /// operation that succeeds, but `stop`, and after the first recurring monitor that says that the resource runs; it
    /// rests while an operation is under way.
    pub fn watched(&self) -> Receiver<Watched> {
        self.watched.clone()
    }

    /// Begins to watch a resource that no operation was run for: its processes are known by its name in their
    /// environment, by cgroups of an earlier life of this daemon, and by these pid files.
    pub fn watch(&self, resource: &str, pid_files: Vec<PathBuf>) {
        self.send(Command::Watch(resource.to_owned(), pid_files));
    }

    /// Ends it.
    pub fn unwatch(&self, resource: &str) {
        self.send(Command::Unwatch(resource.to_owned()));
    }

    /// Whether deaths bring monitors forward and are told, for all resources (a resource's meta attribute
    /// `holdfast-watch=false` keeps it out in any case).
    pub fn set_watching(&self, on: bool) {
        self.send(Command::Watching(on));
    }

    /// Takes leave of orphans that have ended: to be called at SIGCHLD. An agent asks `kill -0` whether what it stops is gone, and a
    /// process that nobody has taken leave of says no.
    pub fn take_leave_of_orphans(&self) {
        self.send(Command::Orphans);
    }

    /// What agents run in, for the log; to be said once.
    pub fn surroundings(&self) -> &str {
        &self.surroundings
    }

    /// Queues an operation. It waits while another one of the same resource runs or the node is at its limit.
    pub fn submit(&self, job: Job) {
        self.send(Command::Run(Box::new(job)));
    }

    /// Ends a job: a queued one is dropped, a running one is ended with all that it started, a recurring one stops
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
