//! The demo's nodes: real daemons, each node with its own run-time and state folders.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cmm_ipc::client::QuorumClient;
use holdfast_sys::process_tree::{ProcessTree, Scope, Tag};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::clock::Clock;
use super::network::{Network, hub_dir};
use super::site::{Site, nodes_of};
use crate::gather::Sources;

/// Programs of a node, found next to this one.
const PROGRAMS: [&str; 3] = ["cmmd", "rgmd", "holdfast-guardian"];

/// All nodes. Dropping it ends every process and removes every file, unless told to keep them.
pub(crate) struct Cluster {
    pub(crate) site: Site,
    pub(crate) network: Network,
    bin: PathBuf,
    daemons: Vec<Daemon>,
    keep: bool,
}

struct Daemon {
    node: usize,
    name: &'static str,
    child: Child,
}

impl Cluster {
    /// Folders and configuration of `nodes` nodes; nothing runs yet.
    pub(crate) fn new(nodes: u32, loopback: bool) -> Result<Self> {
        let exe = std::env::current_exe().context("finding this program")?;
        let bin = exe.parent().context("this program lies in no folder")?.to_owned();
        let missing: Vec<_> = PROGRAMS.iter().filter(|p| !bin.join(p).is_file()).copied().collect();
        ensure!(
            missing.is_empty(),
            "{} not found in {}; build all of it: cargo build --release --workspace",
            missing.join(", "),
            bin.display()
        );
        // Orphans of the nodes come to this process, so that none stays a zombie for want of a parent that waits.
        let _ = nix::sys::prctl::set_child_subreaper(true);
        let namespaces = if loopback { None } else { Network::namespaces_work() };
        let site = Site::new(nodes, &exe, namespaces.is_some())?;
        let mut cluster = Self { site, network: Network::Loopback, bin, daemons: Vec::new(), keep: false };
        if let Some(in_user_namespace) = namespaces {
            cluster.network = Network::bridge(in_user_namespace, &cluster.site.dir)?;
        }
        Ok(cluster)
    }

    /// Ids of all nodes.
    pub(crate) fn ids(&self) -> Vec<usize> {
        (1..=self.site.nodes.len()).collect()
    }

    /// The name of a node.
    pub(crate) fn name(&self, id: usize) -> &str {
        &self.site.nodes[id - 1]
    }

    /// Where to ask a node.
    pub(crate) fn sources(&self, id: usize) -> Sources {
        Sources::of_node(self.run_dir(id), self.node_dir(id).join("state"))
    }

    /// Starts these nodes at the same time: the ring daemon, and the resource-group manager when that serves clients.
    pub(crate) fn boot(&mut self, ids: &[usize], clock: &Clock) -> Result<()> {
        for id in ids {
            let (address, run_dir) = (self.site.address(*id), self.run_dir(*id));
            self.network.plug(*id, &address, &run_dir)?;
            self.start(*id, "cmmd")?;
        }
        for id in ids {
            let place = self.sources(*id).place;
            let what = format!("cmmd of {} serves clients", self.name(*id));
            clock.wait(&what, || {
                self.check(*id, "cmmd")?;
                Ok(QuorumClient::connect(&place, Duration::from_secs(2)).ok())
            })?;
            self.start(*id, "rgmd")?;
        }
        Ok(())
    }

    /// Kills every process of a node at once, as a machine that loses its power; gives their number.
    pub(crate) fn power_off(&mut self, id: usize) -> Result<u32> {
        let count = kill_node(&self.run_dir(id))?;
        self.reap(Some(id));
        Ok(count)
    }

    /// `kill -9` of a node's ring daemon, and of nothing else.
    pub(crate) fn kill_cmmd(&mut self, id: usize) -> Result<()> {
        let daemon = self.daemons.iter_mut().find(|d| d.node == id && d.name == "cmmd");
        daemon.context("it does not run")?.child.kill().context("kill -9")
    }

    /// Waits for what a dead node leaves to its parent.
    pub(crate) fn bury(&mut self, id: usize, clock: &Clock) -> Result<()> {
        let tag = Tag::of_run_dir(&self.run_dir(id))?;
        clock.wait(&format!("every process of {} is gone", self.name(id)), || {
            self.reap(None);
            let left = ProcessTree::open(Scope::RunDir(tag.clone()))?.list()?;
            Ok(left.is_empty().then_some(()))
        })?;
        self.daemons.retain_mut(|d| d.node != id || matches!(d.child.try_wait(), Ok(None)));
        Ok(())
    }

    /// Fails when a daemon that should run has ended.
    pub(crate) fn check(&mut self, id: usize, name: &str) -> Result<()> {
        for d in self.daemons.iter_mut().filter(|d| d.node == id && d.name == name) {
            if let Ok(Some(status)) = d.child.try_wait() {
                bail!("{name} of {} ended at once: {status}", self.site.nodes[id - 1]);
            }
        }
        Ok(())
    }

    /// What a daemon has said.
    pub(crate) fn log(&self, id: usize, daemon: &str) -> String {
        let path = self.node_dir(id).join("log").join(format!("{daemon}.log"));
        fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of it.
    pub(crate) fn log_tail(&self, id: usize, daemon: &str, lines: usize) -> String {
        let text = self.log(id, daemon);
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The folder of a node.
    pub(crate) fn node_dir(&self, id: usize) -> PathBuf {
        self.site.dir.join(self.name(id))
    }

    /// Lets the nodes run on, and their files be, when this goes.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }

    fn run_dir(&self, id: usize) -> PathBuf {
        self.node_dir(id).join("run")
    }

    fn start(&mut self, id: usize, name: &'static str) -> Result<()> {
        let dir = self.node_dir(id);
        let log = File::options().create(true).append(true).open(dir.join(format!("log/{name}.log")))?;
        let mut command = self.network.command(id, &self.bin.join(name));
        command.arg("-f");
        match name {
            "cmmd" => command.arg("-c").arg(dir.join("holdfast.conf")),
            _ => command.arg("--cib").arg(self.site.dir.join("cib.xml")),
        };
        command
            .env("HOLDFAST_RUN_DIR", dir.join("run"))
            .env("HOLDFAST_STATE_DIR", dir.join("state"))
            .env("HOLDFAST_FENCE_PATH", self.site.dir.join("agents"))
            .env("HOLDFAST_OCF_ROOT", self.site.dir.join("ocf"))
            .env_remove("HOLDFAST_CONF")
            .env_remove("NOTIFY_SOCKET")
            .current_dir(&self.site.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C is for the demo alone: it ends the nodes in its own way.
            .process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name} of {}", self.name(id)))?;
        self.daemons.push(Daemon { node: id, name, child });
        Ok(())
    }

    /// Waits for our own dead children of a node (`None`: of all), and for orphans that came to us.
    fn reap(&mut self, node: Option<usize>) {
        for d in self.daemons.iter_mut().filter(|d| node.is_none_or(|n| n == d.node)) {
            if node.is_some() {
                let _ = d.child.wait();
            } else {
                let _ = d.child.try_wait();
            }
        }
        self.daemons.retain_mut(|d| matches!(d.child.try_wait(), Ok(None)));
        reap_orphans(&self.daemons.iter().map(|d| d.child.id()).collect::<Vec<_>>());
    }
}

/// Waits for children that are none of `ours`: orphans of the nodes, which nobody else waits for.
fn reap_orphans(ours: &[u32]) {
    let me = std::process::id();
    let Ok(children) = fs::read_to_string(format!("/proc/{me}/task/{me}/children")) else { return };
    for pid in children.split_whitespace().filter_map(|p| p.parse::<i32>().ok()) {
        if !ours.iter().any(|o| i32::try_from(*o) == Ok(pid)) {
            let _ = waitpid(nix::unistd::Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let hub = hub_dir(&self.site.dir);
        for run_dir in self.ids().into_iter().map(|id| self.run_dir(id)).chain([hub]) {
            if let Err(e) = kill_node(&run_dir) {
                eprintln!("holdfast demo: {e:#}");
            }
        }
        for d in &mut self.daemons {
            let _ = d.child.wait();
        }
        self.daemons.clear();
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s != WaitStatus::StillAlive) {}
        if let Err(e) = fs::remove_dir_all(&self.site.dir) {
            eprintln!("holdfast demo: removing {}: {e}", self.site.dir.display());
        }
    }
}

/// Ends a demo that was kept.
pub(crate) fn stop(dir: &Path) -> Result<()> {
    let dir = dir.canonicalize().with_context(|| format!("finding {}", dir.display()))?;
    for node in nodes_of(&dir)? {
        kill_node(&dir.join(node).join("run"))?;
    }
    kill_node(&hub_dir(&dir))?;
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

/// Kills everything that carries this run-time folder in its environment; gives the number of processes.
fn kill_node(run_dir: &Path) -> Result<u32> {
    let mut tree = ProcessTree::open(Scope::RunDir(Tag::of_run_dir(run_dir)?)).context("opening /proc")?;
    let count = tree.list()?.len();
    let killed = tree.kill(Duration::from_secs(10)).context("looking through the processes")?;
    ensure!(killed.is_empty(), "processes of {} are left: {killed:?}", run_dir.display());
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
