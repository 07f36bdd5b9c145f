//! The machines of the demo: how a node is started and how it dies.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holdfast_sys::pidfd::{self, Signal};
use holdfast_sys::process_tree::{ProcessTree, Scope, Tag};

use super::files::{self, Binaries, NodeFiles};

/// How often the demo looks.
pub(super) const POLL: Duration = Duration::from_millis(4);
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// What keeps the nodes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Network and PID namespaces on a bridge.
    Namespaces,
    /// Loopback addresses and run directories.
    Loopback,
}

/// All nodes. Dropping it ends every process of them.
pub(super) struct World {
    kind: Kind,
    root: PathBuf,
    binaries: Binaries,
    pub(super) nodes: Vec<NodeFiles>,
    /// The demo's own children, by node.
    children: Mutex<BTreeMap<String, Vec<Child>>>,
}

impl World {
    /// Writes the files of `count` nodes below `root`; starts nothing yet.
    pub(super) fn new(kind: Kind, root: &Path, count: u32) -> Result<Self> {
        let address = |id| match kind {
            Kind::Namespaces => format!("10.77.0.{id}"),
            Kind::Loopback => format!("127.0.0.{id}"),
        };
        let nodes: Vec<NodeFiles> = (1..=count).map(|id| NodeFiles::new(root, id, address(id))).collect();
        let binaries = Binaries::find()?;
        let scope = match kind {
            Kind::Namespaces => "pid-namespace",
            Kind::Loopback => "run-dir",
        };
        files::write(root, &nodes, scope, &binaries)?;
        if kind == Kind::Namespaces {
            ip(&["link", "set", "lo", "up"])?;
            ip(&["link", "add", "br0", "type", "bridge"])?;
            ip(&["link", "set", "br0", "up"])?;
        }
        Ok(Self { kind, root: root.to_owned(), binaries, nodes, children: Mutex::default() })
    }

    /// Starts a node's daemons.
    pub(super) fn start(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        let children = match self.kind {
            Kind::Loopback => vec![
                self.command(
                    node,
                    &self.binaries.cmmd,
                    &["-f".as_ref(), "-c".as_ref(), node.conf().as_path()],
                )?,
                self.command(
                    node,
                    &self.binaries.rgmd,
                    &["-f".as_ref(), "--cib".as_ref(), files::cib_path(&self.root).as_path()],
                )?,
            ],
            Kind::Namespaces => vec![self.start_in_namespaces(node)?],
        };
        self.children().insert(name.to_owned(), children);
        Ok(())
    }

    fn start_in_namespaces(&self, node: &NodeFiles) -> Result<Child> {
        let address = format!("{}/24", node.address);
        let (conf, cib) = (node.conf(), files::cib_path(&self.root));
        let args: Vec<&Path> = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
            .iter()
            .map(Path::new)
            .chain([&self.binaries.holdfast, Path::new("demo-init"), Path::new(&address), &conf, &cib])
            .collect();
        let mut child = self.command(node, Path::new("unshare"), &args)?;
        let init = first_child(child.id()).context("the node's namespaces do not come up")?;
        let (outer, inner) = (format!("port{}", node.id), init.to_string());
        // A port of an earlier life goes away with its namespace, a moment after the last process in it.
        let _ = ip(&["link", "delete", &outer]);
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &inner])?;
        ip(&["link", "set", &outer, "master", "br0", "up"])?;
        let mut stdin = child.stdin.take().context("no pipe to the node's init")?;
        stdin.write_all(b"go\n")?;
        Ok(child)
    }

    /// A process of the node, with its environment, printing to its log.
    fn command(&self, node: &NodeFiles, program: &Path, args: &[&Path]) -> Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(node.log())?;
        Command::new(program)
            .args(args)
            .env("HOLDFAST_RUN_DIR", node.run_dir())
            .env("HOLDFAST_STATE_DIR", node.state_dir())
            .env("HOLDFAST_OCF_ROOT", self.root.join("ocf"))
            .env("HOLDFAST_FENCE_PATH", self.root.join("fence"))
            .current_dir(&node.dir)
            .stdin(if program.ends_with("unshare") { Stdio::piped() } else { Stdio::null() })
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))
    }

    /// SIGKILL to every process of a node at once; returns when none is left. A node that is off already stays off.
    pub(super) fn kill(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        let children = self.children().remove(name).unwrap_or_default();
        for mut child in children {
            // Of the namespaces it is `unshare`, whose child, the namespace's init, dies with it.
            child.kill().with_context(|| format!("killing a process of {name}"))?;
            child.wait()?;
        }
        let killed = tree(node)?.kill(KILL_LIMIT)?;
        if !killed.is_empty() {
            bail!("processes of {name} survive SIGKILL: {killed:?}");
        }
        Ok(())
    }

    /// Whether any process of the node is left.
    pub(super) fn is_on(&self, name: &str) -> Result<bool> {
        Ok(!tree(self.node(name)?)?.list()?.is_empty())
    }

    /// SIGKILL to the node's `cmmd` alone.
    pub(super) fn kill_cmmd(&self, name: &str) -> Result<()> {
        for pid in tree(self.node(name)?)?.list()? {
            let pidfd = pidfd::open(pid)?;
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if comm.trim_end() == "cmmd" {
                return pidfd::send_signal(pidfd.as_fd(), Signal::SIGKILL).context("killing cmmd");
            }
        }
        bail!("no cmmd runs on {name}")
    }

    pub(super) fn node(&self, name: &str) -> Result<&NodeFiles> {
        self.nodes.iter().find(|n| n.name == name).with_context(|| format!("no node named {name}"))
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Child>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in &self.nodes {
            if let Err(e) = self.kill(&node.name) {
                eprintln!("holdfast demo: {e:#}");
            }
        }
    }
}

fn tree(node: &NodeFiles) -> Result<ProcessTree> {
    Ok(ProcessTree::open(Scope::RunDir(Tag::of_run_dir(&node.run_dir())?))?)
}

/// The first child of a process, once it has one.
fn first_child(pid: u32) -> Result<u32> {
    let deadline = Instant::now() + KILL_LIMIT;
    while Instant::now() < deadline {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        if let Some(child) = children.split_whitespace().next() {
            return Ok(child.parse()?);
        }
        std::thread::sleep(POLL);
    }
    bail!("process {pid} has no child")
}

fn ip(args: &[&str]) -> Result<()> {
    let out = Command::new("ip").args(args).stdin(Stdio::null()).output().context("ip")?;
    if !out.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
