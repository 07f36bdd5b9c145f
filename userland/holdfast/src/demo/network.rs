//! What connects the demo's nodes: network namespaces on a bridge where this machine lets us make them (as root, or in a
//! user namespace), loopback addresses elsewhere.
//!
//! A namespace lives as long as a process is in it: a *holder*, which belongs to its node like any other process of the node. So
//! a node that dies takes its interface and addresses with it, as a machine does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The nodes' network.
pub(crate) enum Network {
    /// All nodes share the machine's.
    Loopback,
    /// Each has one of its own.
    Bridge(Bridge),
}

/// The namespace with the bridge, and the holders of the nodes'.
pub(crate) struct Bridge {
    hub: u32,
    in_user_namespace: bool,
    holders: BTreeMap<usize, u32>,
}

/// The folder that marks the bridge's holder, as a run directory marks a node's processes.
pub(crate) fn hub_dir(site: &Path) -> PathBuf {
    site.join("hub")
}

impl Network {
    /// Whether namespaces will do here: makes some and lets them go. Decided before addresses are written down.
    pub(crate) fn namespaces_work() -> Option<bool> {
        let script = format!("{HUB} && unshare --net true");
        [false, true].into_iter().find(|user| {
            let mut command = Command::new("unshare");
            if *user {
                command.args(USER);
            }
            command.args(["--net", "sh", "-c", &script]);
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|s| s.success())
        })
    }

    /// A bridge in a namespace of its own; `in_user_namespace` as [`Self::namespaces_work`] found.
    pub(crate) fn bridge(in_user_namespace: bool, site: &Path) -> Result<Self> {
        let mut prefix: Vec<OsString> = vec!["unshare".into()];
        if in_user_namespace {
            prefix.extend(USER.map(OsString::from));
        }
        prefix.push("--net".into());
        let hub = hold(&prefix, HUB, &hub_dir(site)).context("making the demo's bridge")?;
        Ok(Self::Bridge(Bridge { hub, in_user_namespace, holders: BTreeMap::new() }))
    }

    /// In words.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Loopback => "on loopback addresses",
            Self::Bridge(_) => "in network namespaces on a bridge",
        }
    }

    /// Gives a node that is about to start its network; `address` without a prefix length.
    pub(crate) fn plug(&mut self, id: usize, address: &str, run_dir: &Path) -> Result<()> {
        let Self::Bridge(bridge) = self else { return Ok(()) };
        let mut prefix = bridge.enter(bridge.hub);
        prefix.extend(["unshare", "--net"].map(OsString::from));
        let holder = hold(&prefix, "ip link set lo up", run_dir).context("making a node's namespace")?;
        let (port, inner) = (format!("port{id}"), holder.to_string());
        let address = format!("{address}/24");
        // The port of an earlier life goes with its namespace, some time after the last process in it.
        let _ = bridge.ip(bridge.hub, &["link", "delete", &port]);
        bridge.ip(
            bridge.hub,
            &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &inner],
        )?;
        bridge.ip(bridge.hub, &["link", "set", &port, "master", "br0", "up"])?;
        bridge.ip(holder, &["address", "add", &address, "dev", "eth0"])?;
        bridge.ip(holder, &["link", "set", "eth0", "up"])?;
        bridge.holders.insert(id, holder);
        Ok(())
    }

    /// A command that runs in a node's network.
    pub(crate) fn command(&self, id: usize, program: &Path) -> Command {
        match self {
            Self::Bridge(bridge) if bridge.holders.contains_key(&id) => {
                let prefix = bridge.enter(bridge.holders[&id]);
                let mut command = Command::new(&prefix[0]);
                command.args(&prefix[1..]).arg(program);
                command
            }
            _ => Command::new(program),
        }
    }
}

impl Bridge {
    /// `nsenter …` into the namespaces of a holder; what follows replaces it, so that its pid is the program's.
    fn enter(&self, holder: u32) -> Vec<OsString> {
        let mut words = vec!["nsenter".into(), "--target".into(), holder.to_string().into()];
        if self.in_user_namespace {
            words.extend(["--user", "--preserve-credentials"].map(OsString::from));
        }
        words.extend(["--net", "--"].map(OsString::from));
        words
    }

    fn ip(&self, holder: u32, args: &[&str]) -> Result<()> {
        let prefix = self.enter(holder);
        let out =
            Command::new(&prefix[0]).args(&prefix[1..]).arg("ip").args(args).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        ensure!(out.status.success(), "ip {}: {said}", args.join(" "));
        Ok(())
    }
}

/// Starts a holder: `prefix` makes its namespaces, `script` furnishes them. Returns when that is done.
fn hold(prefix: &[OsString], script: &str, run_dir: &Path) -> Result<u32> {
    let script = format!("{script} && echo up && exec sleep 1000000 >&- 2>&-");
    let mut command = Command::new(&prefix[0]);
    command.args(&prefix[1..]).args(["sh", "-c", &script]).env("HOLDFAST_RUN_DIR", run_dir);
    // A Ctrl-C is for the demo alone.
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    ensure!(line.trim_end() == "up", "{} does not come up", prefix[0].to_string_lossy());
    Ok(child.id())
}

const USER: [&str; 2] = ["--user", "--map-root-user"];
const HUB: &str = "ip link set lo up && ip link add br0 type bridge && ip link set br0 up";
