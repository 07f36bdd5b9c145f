//! What is known of the cluster from here: `rgmd`'s answer, and over it what `cmmd` itself says of ring and quorum. Works
//! when either is down, and says so with the next command to type.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use cmm_ipc::Place;
use cmm_ipc::abi::quorum::Event;
use cmm_ipc::abi::votequorum::flags;
use cmm_ipc::client::{CmapClient, QuorumClient, VotequorumClient};
use status::{ClusterStatus, NodeStatus, Note, QuorumStatus, UnitStatus};

/// A daemon that does not answer within this is as good as down, for a person at a terminal.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks both daemons.
pub(crate) fn collect() -> ClusterStatus {
    let run_dir = std::env::var_os("HOLDFAST_RUN_DIR")
        .filter(|d| !d.is_empty())
        .map_or_else(|| PathBuf::from("/run/holdfast"), PathBuf::from);
    let (mut status, rgmd) = match ask_rgmd(&run_dir.join("rgmd.sock")) {
        Ok(status) => (status, None),
        Err(e) => (ClusterStatus::default(), Some(e)),
    };
    status.answered.rgmd = rgmd.is_none();
    match ask_cmmd(&mut status) {
        Ok(()) => status.answered.cmmd = true,
        Err(e) => {
            status.answered.cmmd = false;
            status.notes.push(Note {
                what: format!("cmmd does not answer: {e}"),
                remedy: "check its configuration with: cmmd -t; then start it: cmmd -f".into(),
            });
        }
    }
    if let Some(e) = rgmd {
        status.notes.push(Note {
            what: format!("rgmd does not answer, so resources are not shown: {e:#}"),
            remedy: "start it with: rgmd -f".into(),
        });
    }
    if status.updated_unix_ms == 0 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        status.updated_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    }
    status
}

/// Seconds east of Greenwich at an instant, by this machine's zone.
pub(crate) fn local_zone(unix: i64) -> i32 {
    jiff::Timestamp::from_second(unix).map_or(0, |t| jiff::tz::TimeZone::system().to_offset(t).seconds())
}

fn ask_rgmd(socket: &Path) -> Result<ClusterStatus> {
    let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    (&stream).write_all(b"{\"cmd\":\"status\"}\n")?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    serde_json::from_str(&line)
        .with_context(|| format!("unexpected answer {:?}", line.get(..80).unwrap_or(&line)))
}

fn ask_cmmd(status: &mut ClusterStatus) -> Result<()> {
    let place = Place::from_env();
    let mut cmap = CmapClient::connect(&place, PATIENCE)?;
    if let Some(name) = cmap.get_str("totem.cluster_name")? {
        status.cluster_name = name;
    }
    if let Some(id) = cmap.get_u64("runtime.votequorum.this_node_id")? {
        status.node.id = u32::try_from(id).unwrap_or_default();
    }
    nodes(&mut cmap, status)?;
    if let Some(state) = cmap.get_str("holdfast.ring.state")? {
        status.ring.state = state;
    }
    if let Some(step) = cmap.get_str("holdfast.step.current")? {
        status.ring.step = step;
    }
    units(&mut cmap, status)?;
    quorum(&place, &mut cmap, status)
}

/// The configured nodes, where `rgmd` has not named them.
fn nodes(cmap: &mut CmapClient, status: &mut ClusterStatus) -> Result<()> {
    // Readers of the node list stop at the first gap.
    for index in 0.. {
        let Some(id) = cmap.get_u64(&format!("nodelist.node.{index}.nodeid"))? else { break };
        let id = u32::try_from(id).unwrap_or_default();
        let name = cmap.get_str(&format!("nodelist.node.{index}.name"))?;
        let name = name.unwrap_or_else(|| format!("Node{id}"));
        if id == status.node.id {
            status.node.name.clone_from(&name);
        }
        let joined = cmap.get_str(&format!("runtime.members.{id}.status"))?.as_deref() == Some("joined");
        let confirmed = cmap.get_u64(&format!("holdfast.confirmed.{id}"))?.unwrap_or_default();
        let incarnation = cmap.get_u64(&format!("holdfast.incarnation.{id}"))?.unwrap_or_default();
        match status.nodes.iter_mut().find(|n| n.id == id) {
            Some(node) => {
                node.incarnation = incarnation.max(node.incarnation);
                node.confirmed_dead = confirmed.max(node.confirmed_dead);
            }
            None => status.nodes.push(NodeStatus {
                id,
                name,
                online: joined,
                incarnation,
                confirmed_dead: confirmed,
                ..NodeStatus::default()
            }),
        }
    }
    Ok(())
}

fn units(cmap: &mut CmapClient, status: &mut ClusterStatus) -> Result<()> {
    const PREFIX: &str = "holdfast.failfast.unit.";
    let mut units: Vec<UnitStatus> = Vec::new();
    for (key, value) in cmap.entries(PREFIX)? {
        // NAME may hold dots itself; the field is what stands behind the last one.
        let Some((name, field)) = key[PREFIX.len()..].rsplit_once('.') else { continue };
        let at = units.iter().position(|u| u.name == name).unwrap_or_else(|| {
            units.push(UnitStatus { name: name.to_owned(), ..UnitStatus::default() });
            units.len() - 1
        });
        let number = value.as_u64().unwrap_or_default();
        match field {
            "state" => units[at].state = value.as_str().unwrap_or_default().to_owned(),
            "pid" => units[at].pid = u32::try_from(number).unwrap_or_default(),
            "delay_ms" => units[at].delay_ms = number,
            "heartbeat_ms" => units[at].heartbeat_ms = number,
            _ => {}
        }
    }
    if !units.is_empty() {
        status.units = units;
    }
    Ok(())
}

fn quorum(place: &Place, cmap: &mut CmapClient, status: &mut ClusterStatus) -> Result<()> {
    let mut tracker = QuorumClient::connect(place, PATIENCE)?;
    tracker.track()?;
    while let Some(event) = tracker.dispatch()? {
        match event {
            Event::Notification { view, .. } => status.ring.members = view.iter().map(|n| n.get()).collect(),
            Event::Quorum { ring, view, .. } => {
                status.ring.id = ring.to_string();
                status.ring.members = view.iter().map(|n| n.get()).collect();
            }
            Event::NodeList { .. } => {}
        }
    }
    let info = VotequorumClient::connect(place, PATIENCE)?.info(None)?;
    let names = [
        (flags::TWO_NODE, "2Node"),
        (flags::QUORATE, "Quorate"),
        (flags::WAIT_FOR_ALL, "WaitForAll"),
        (flags::LAST_MAN_STANDING, "LastManStanding"),
        (flags::AUTO_TIE_BREAKER, "AutoTieBreaker"),
        (flags::ALLOW_DOWNSCALE, "AllowDownscale"),
        (flags::QDEVICE_REGISTERED, "Qdevice"),
    ];
    status.quorum = QuorumStatus {
        quorate: info.flags & flags::QUORATE != 0,
        expected: info.expected.get(),
        highest_expected: info.highest_expected.get(),
        total: info.total.get(),
        needed: info.quorum.get(),
        flags: names.iter().filter(|(bit, _)| info.flags & bit != 0).map(|(_, n)| (*n).to_owned()).collect(),
        reason: cmap.get_str("holdfast.quorum.reason")?.unwrap_or_default(),
        waits_for_lease: cmap.get_u64("holdfast.lease.waits")? == Some(1),
    };
    Ok(())
}
