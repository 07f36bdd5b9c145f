//! Asking this node's daemons, whichever of them runs, for the state of the cluster.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cmm_ipc::abi::cmap::Map;
use cmm_ipc::abi::quorum::Event;
use cmm_ipc::abi::votequorum::{Info, flags};
use cmm_ipc::client::{CmapClient, Error, QuorumClient, VotequorumClient};
use cmm_ipc::{CsError, Place};
use status::{
    Answered, ClusterStatus, DevicePart, DeviceStatus, Lateness, NodeRef, NodeStatus, Note, TimingReport,
    TimingRow, Timings, UnitStatus,
};

use crate::why_down;

/// Where a node's daemons are, and how long each may take.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The ring daemon's sockets.
    pub(crate) place: Place,
    /// `$HOLDFAST_RUN_DIR`.
    pub(crate) run_dir: PathBuf,
    /// `$HOLDFAST_STATE_DIR`.
    pub(crate) state_dir: PathBuf,
    /// Limit of one question.
    pub(crate) limit: Duration,
}

impl Sources {
    /// Those of the environment.
    pub(crate) fn from_env() -> Self {
        let dir = |name, default: &str| std::env::var_os(name).map_or_else(|| default.into(), PathBuf::from);
        Self {
            place: Place::from_env(),
            run_dir: dir("HOLDFAST_RUN_DIR", "/run/holdfast"),
            state_dir: dir("HOLDFAST_STATE_DIR", "/var/lib/holdfast"),
            limit: Duration::from_secs(5),
        }
    }

    /// Those of a node that keeps its files in these folders.
    pub(crate) fn of_node(run_dir: PathBuf, state_dir: PathBuf) -> Self {
        Self { place: Place::Dir(run_dir.clone()), run_dir, state_dir, limit: Duration::from_secs(5) }
    }
}

/// What the node knows. A daemon that does not answer leaves its part empty and a note behind.
pub(crate) fn gather(sources: &Sources) -> ClusterStatus {
    let from_rgmd = ask_rgmd(sources, r#"{"cmd":"status"}"#).and_then(|reply| {
        serde_json::from_str::<ClusterStatus>(&reply)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{e}: {}", head(&reply))))
    });
    let rgmd = from_rgmd.is_ok();
    let (mut status, rgmd_note) = match from_rgmd {
        Ok(status) => (status, None),
        Err(e) => (ClusterStatus::default(), Some(rgmd_note(&e, sources))),
    };
    status.answered.rgmd = rgmd;
    if rgmd {
        status.notes.extend(forgotten_moves(sources));
    }
    if status.updated_unix_ms == 0 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        status.updated_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    }
    match ask_cmmd(sources, &mut status) {
        Ok(()) => {
            status.answered.cmmd = true;
            // Without cmmd the other note would only repeat the news.
            status.notes.extend(rgmd_note);
        }
        Err(e) => {
            status.answered.cmmd = false;
            status.notes.push(cmmd_note(&e, "holdfast status"));
            status.notes.extend(last_death(sources, status.updated_unix_ms));
        }
    }
    status.deaths = why_down::last_unclean(sources);
    status
}

/// What moves have left behind in the configuration. Where that cannot be had there is nothing to say of it.
fn forgotten_moves(sources: &Sources) -> Vec<status::Note> {
    let answer = ask_rgmd(sources, r#"{"cmd":"cib"}"#).ok();
    let answer: Option<serde_json::Value> = answer.and_then(|a| serde_json::from_str(&a).ok());
    let root = answer.and_then(|a| cib::Element::parse(a.get("xml")?.as_str()?, "rgmd").ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    root.map(|root| crate::moves::left_behind(&root, now, holdfast_sys::timezone::utc_offset))
        .unwrap_or_default()
}

/// One question to `rgmd`'s admin socket: a line of JSON each way.
///
/// # Errors
/// What the socket says; `TimedOut` for no answer within the limit.
pub(crate) fn ask_rgmd(sources: &Sources, request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(sources.run_dir.join("rgmd.sock"))?;
    stream.set_read_timeout(Some(sources.limit))?;
    stream.set_write_timeout(Some(sources.limit))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    let read = BufReader::new(stream.take(REPLY_MAX)).read_line(&mut line);
    match read {
        Ok(_) if line.ends_with('\n') => Ok(line),
        Ok(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {:?}", sources.limit)))
        }
        Err(e) => Err(e),
    }
}

/// Ring, votes, units: what the ring daemon knows best.
fn ask_cmmd(sources: &Sources, status: &mut ClusterStatus) -> Result<(), Error> {
    let Sources { place, limit, .. } = sources;
    let mut cmap = CmapClient::connect(place, *limit)?;
    cmap.connection().set_limit(*limit);
    let text = |cmap: &mut CmapClient, key: &str| cmap.get_str(key).map(Option::unwrap_or_default);
    status.cluster_name = text(&mut cmap, "totem.cluster_name")?;
    status.ring.state = text(&mut cmap, "holdfast.ring.state")?;
    status.ring.step = text(&mut cmap, "holdfast.step.current")?;
    if status.ring.step.ends_with("/end") {
        status.ring.step.clear();
    }
    let own_id = cmap.get_u64("runtime.votequorum.this_node_id")?.unwrap_or(0);
    let configured = configured_nodes(&mut cmap)?;
    status.timings = timings(&mut cmap)?;
    status.quorum.reason = text(&mut cmap, "holdfast.quorum.reason")?;
    status.quorum.waits_for_lease = cmap.get_u64("holdfast.lease.waits")?.unwrap_or(0) != 0;

    let mut votes = VotequorumClient::connect(place, *limit)?;
    votes.connection().set_limit(*limit);
    let info = votes.info(None)?;
    let q = &mut status.quorum;
    q.expected = info.expected.get();
    q.highest_expected = info.highest_expected.get();
    q.total = info.total.get();
    q.needed = info.quorum.get();
    q.quorate = info.flags & flags::QUORATE != 0;
    q.flags = quorum_flags(info.flags);
    if q.quorate {
        q.reason.clear();
    } else {
        q.waits_for = text(&mut cmap, "holdfast.quorum.waits_for")?;
        let since = cmap.get_u64("holdfast.quorum.waits_since")?.filter(|since| *since > 0);
        let now = holdfast_sys::clock::boottime_nanos();
        q.waiting_ms = since.map_or(0, |since| now.saturating_sub(since) / 1_000_000);
    }
    q.away = ids(&text(&mut cmap, "holdfast.quorum.away")?);
    q.maintained = ids(&text(&mut cmap, "holdfast.quorum.maintained")?);
    q.device = device(&mut cmap, &info, &configured)?;
    if let Some((ring, members)) = ring_of(place, *limit)? {
        status.ring.id = ring;
        status.ring.members = members;
    }
    let own_id = u32::try_from(own_id).unwrap_or(0);
    merge_nodes(status, own_id, configured);
    for node in &mut status.nodes {
        let life = cmap.get_u64(&format!("holdfast.incarnation.{}", node.id))?.unwrap_or(0);
        node.incarnation = node.incarnation.max(life);
        let dead = cmap.get_u64(&format!("holdfast.confirmed.{}", node.id))?.unwrap_or(0);
        node.confirmed_dead = node.confirmed_dead.max(dead);
    }
    // A real corosync has no failfast: no units then, and nothing to say about it.
    if let Ok(units) = failfast::client::Client::connect(&sources.run_dir, *limit).and_then(|mut c| c.list())
    {
        status.units = units
            .iter()
            .map(|u| UnitStatus {
                name: u.name.to_string(),
                pid: u.pid,
                state: u.state.to_string(),
                delay_ms: u.delay.as_millis(),
                heartbeat_ms: u.heartbeat.as_millis(),
                since_ms: u.since.as_millis(),
                trouble: u.trouble.map_or("", |t| t.word()).to_owned(),
                // Of a unit in mode off nothing follows but a line.
                deadline_ms: u
                    .deadline
                    .filter(|_| u.mode != Some(failfast::core::Mode::Off))
                    .map(|d| d.as_millis()),
                maintenance_ms: u.maintenance.map(|m| m.as_millis()),
            })
            .collect();
    }
    Ok(())
}

/// `1 2 3`
fn ids(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// The quorum device. Of a real corosync's no more is known than its name and votes.
pub(crate) fn device(
    cmap: &mut CmapClient,
    info: &Info,
    nodes: &[NodeRef],
) -> Result<Option<DeviceStatus>, Error> {
    let mut text = |key: &str| cmap.get_str(key).map(Option::unwrap_or_default);
    let model = text("holdfast.quorum.device.model")?;
    if model.is_empty() {
        return Ok((info.flags & flags::QDEVICE_REGISTERED != 0).then(|| DeviceStatus {
            model: info.qdevice_name.clone(),
            votes: info.qdevice_votes.get(),
            counts: info.flags & flags::QDEVICE_CAST_VOTE != 0,
            ..DeviceStatus::default()
        }));
    }
    let why = text("holdfast.quorum.device.why")?;
    let part = |name: String| DevicePart { name, ..DevicePart::default() };
    let parts = match model.as_str() {
        "disk" => {
            let mut disks = Vec::new();
            for disk in 0..cmap.get_u64("holdfast.qdisk.disks")?.unwrap_or(0) {
                let mut text = |key: &str| {
                    cmap.get_str(&format!("holdfast.qdisk.{disk}.{key}")).map(Option::unwrap_or_default)
                };
                let (name, path, state) = (text("name")?, text("path")?, text("state")?);
                disks.push(DevicePart {
                    path: if path == name { String::new() } else { path },
                    failure: if state == "works" { String::new() } else { state },
                    name,
                });
            }
            disks
        }
        "scsi" => vec![part(text("quorum.device.scsi.device")?)],
        _ => {
            let host = text("quorum.device.net.host")?;
            // As it stands in the file, where it does.
            let port = text("quorum.device.net.port")?;
            vec![part(if port.is_empty() { host } else { format!("{host}:{port}") })]
        }
    };
    let mut number = |key: &str| -> Result<u32, Error> {
        let number = cmap.get_u64(&format!("holdfast.quorum.device.{key}"))?;
        Ok(number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0))
    };
    let owner = Some(number("owner")?).filter(|id| *id > 0);
    let name =
        |id: u32| nodes.iter().find(|n| n.id == id).map_or_else(|| format!("node {id}"), |n| n.name.clone());
    Ok(Some(DeviceStatus {
        model,
        parts,
        votes: number("votes")?,
        counts: number("counts")? != 0,
        owner: owner.map(name),
        why,
    }))
}

/// The intervals and limits in force.
pub(crate) fn timings(cmap: &mut CmapClient) -> Result<Timings, Error> {
    let mut number = |key: &str| -> Result<u64, Error> {
        cmap.get_u64(&format!("runtime.config.totem.{key}")).map(Option::unwrap_or_default)
    };
    Ok(Timings {
        token_ms: number("token")?,
        consensus_ms: number("consensus")?,
        heartbeat_ms: number("heartbeat_interval")?,
        heartbeat_limit_ms: number("heartbeat_limit")?,
        lease_ms: number("lease")?,
        lease_margin_ms: number("lease_margin")?,
    })
}

/// The timing model in force, and what the daemon says of it.
pub(crate) fn timing(sources: &Sources) -> TimingReport {
    let mut report = TimingReport::default();
    match ask_timing(sources, &mut report) {
        Ok(()) => report.answered = true,
        Err(e) => {
            report.notes.push(cmmd_note(&e, "holdfast status --timing"));
            report.notes.push(Note {
                what: "the timing model of a configuration file can be computed without a daemon".to_owned(),
                remedy: "cmmd -t".to_owned(),
            });
        }
    }
    report
}

fn ask_timing(sources: &Sources, report: &mut TimingReport) -> Result<(), Error> {
    let Sources { place, limit, .. } = sources;
    let mut cmap = CmapClient::connect(place, *limit)?;
    cmap.connection().set_limit(*limit);
    report.cluster_name = cmap.get_str("totem.cluster_name")?.unwrap_or_default();
    let own = cmap.get_u64("runtime.votequorum.this_node_id")?;
    let nodes = configured_nodes(&mut cmap)?;
    report.node = nodes.into_iter().find(|n| own == Some(n.id.into())).unwrap_or_default();
    let names = cmap.get_str("holdfast.timing.rows")?.unwrap_or_default();
    for name in names.split_whitespace() {
        report.rows.push(TimingRow {
            name: name.to_owned(),
            us: cmap.get_u64(&format!("holdfast.timing.{name}.us"))?,
            why: cmap.get_str(&format!("holdfast.timing.{name}.why"))?.unwrap_or_default(),
        });
    }
    if report.rows.is_empty() {
        report.notes.push(Note {
            what: "this daemon does not publish its timing model: it is a corosync, or of another release"
                .to_owned(),
            remedy: "corosync-cmapctl runtime.config.totem.    shows what it has".to_owned(),
        });
    }
    if let Some(broken) = cmap.get_str("holdfast.timing.broken")? {
        report.safe = Some(broken.is_empty());
        report.broken = broken;
    }
    let mut stats = CmapClient::connect_map(place, Map::Stats, *limit)?;
    stats.connection().set_limit(*limit);
    let mut wakeup = |what: &str| {
        let n = stats.get_u64(&format!("stats.holdfast.loop.wakeup_{what}"))?;
        Ok::<u64, Error>(n.unwrap_or(0))
    };
    report.lateness =
        Lateness { count: wakeup("count")?, p99_us: wakeup("p99_us")?, max_us: wakeup("max_us")? };
    Ok(())
}

/// Votequorum's flags as corosync-quorumtool names them.
pub(crate) fn quorum_flags(set: u32) -> Vec<String> {
    FLAGS.iter().filter(|(bit, _)| set & bit != 0).map(|(_, name)| (*name).to_owned()).collect()
}

/// Id and name of every `nodelist.node.N`.
pub(crate) fn configured_nodes(cmap: &mut CmapClient) -> Result<Vec<NodeRef>, Error> {
    let mut nodes = Vec::new();
    for (key, value) in cmap.entries("nodelist.node.")? {
        let Some(position) = key.strip_suffix(".nodeid") else { continue };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let name = cmap.get_str(&format!("{position}.name"))?;
        let name = match name {
            Some(name) => name,
            None => cmap.get_str(&format!("{position}.ring0_addr"))?.unwrap_or_else(|| id.to_string()),
        };
        nodes.push(NodeRef { id, name });
    }
    nodes.sort_by_key(|n| n.id);
    Ok(nodes)
}

/// The ring as quorum clients are told of it; `None` when the daemon says nothing within the limit.
pub(crate) fn ring_of(place: &Place, limit: Duration) -> Result<Option<(String, Vec<u32>)>, Error> {
    let mut quorum = QuorumClient::connect(place, limit)?;
    quorum.connection().set_limit(limit);
    quorum.track()?;
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match quorum.dispatch()? {
            Some(Event::Quorum { ring, view, .. } | Event::NodeList { ring, members: view, .. }) => {
                return Ok(Some((ring.to_string(), view.iter().map(|n| n.get()).collect())));
            }
            Some(Event::Notification { .. }) => {}
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    Ok(None)
}

/// `rgmd` knows more of a node than the ring does; where it does not answer, membership is all there is.
fn merge_nodes(status: &mut ClusterStatus, own_id: u32, configured: Vec<NodeRef>) {
    if let Some(me) = configured.iter().find(|n| n.id == own_id) {
        status.node = me.clone();
    }
    for node in configured {
        if status.nodes.iter().any(|n| n.id == node.id) {
            continue;
        }
        let member = status.ring.members.contains(&node.id);
        status.nodes.push(NodeStatus {
            id: node.id,
            name: node.name,
            pending: member,
            ..NodeStatus::default()
        });
    }
    status.nodes.sort_by_key(|n| n.id);
}

/// Why the ring daemon does not answer, and what to type next; `asked` is the command that asked.
pub(crate) fn cmmd_note(error: &Error, asked: &str) -> Note {
    let as_root = format!("ask as root: sudo {asked}");
    let later = format!(
        "look again in a moment: {asked}; if it lasts, look at its log for the nodes it cannot reach"
    );
    let (what, remedy) = match error {
        Error::Connect(e)
            if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            (
                "cmmd does not run on this node: it is in no cluster, and nothing is protected here"
                    .to_owned(),
                "start it: cmmd    (in the foreground, to see what it says: cmmd -f; its configuration: cmmd -t)",
            )
        }
        Error::Connect(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            (format!("cmmd may not be asked by this user: {e}"), as_root.as_str())
        }
        Error::Refused(CsError::Access) => ("cmmd does not talk to this user".to_owned(), as_root.as_str()),
        Error::Refused(CsError::TryAgain) => {
            ("cmmd is starting: it has no membership yet".to_owned(), later.as_str())
        }
        Error::TimedOut => (
            "cmmd does not answer: it is stopped or stuck, and the other nodes take this one for dead"
                .to_owned(),
            "look at its state: ps -o pid,stat,wchan:20,args -C cmmd",
        ),
        other => (format!("cmmd cannot be asked: {other}"), "look at its log; is it of the same release?"),
    };
    Note { what, remedy: remedy.to_owned() }
}

fn rgmd_note(error: &io::Error, sources: &Sources) -> Note {
    let socket = sources.run_dir.join("rgmd.sock");
    let (what, remedy) = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => (
            "rgmd does not run on this node: no resources are managed here, and what the others run is not shown"
                .to_owned(),
            "start it: rgmd -f --cib FILE    (or ask another node)".to_owned(),
        ),
        io::ErrorKind::PermissionDenied => {
            ("rgmd does not talk to this user".to_owned(), "ask as root: sudo holdfast status".to_owned())
        }
        io::ErrorKind::TimedOut => (
            format!("rgmd does not answer: {error}"),
            "look at its state: ps -o pid,stat,wchan:20,args -C rgmd".to_owned(),
        ),
        _ => cannot_ask("rgmd", error, &socket),
    };
    Note { what, remedy }
}

fn cannot_ask(who: &str, error: &dyn Display, socket: &Path) -> (String, String) {
    let what = format!("{who} cannot be asked through {}: {error}", socket.display());
    (what, "is it of the same release as this command?".to_owned())
}

/// Why this node's last life ended, if it did not end in order.
pub(crate) fn last_death(sources: &Sources, now_unix_ms: u64) -> Option<Note> {
    let death = why_down::last_of_this_node(sources)?;
    let age = status::age(now_unix_ms.saturating_sub(death.at_unix_ms));
    Some(Note {
        what: format!("this node went down {age} ago: {}", death.why),
        remedy: "what is known of it: holdfast why-down".to_owned(),
    })
}

/// Beginning of a text, for an error message.
fn head(text: &str) -> String {
    text.chars().take(80).collect()
}

/// As corosync-quorumtool names them.
const FLAGS: [(u32, &str); 7] = [
    (flags::TWO_NODE, "2Node"),
    (flags::QUORATE, "Quorate"),
    (flags::WAIT_FOR_ALL, "WaitForAll"),
    (flags::LAST_MAN_STANDING, "LastManStanding"),
    (flags::AUTO_TIE_BREAKER, "AutoTieBreaker"),
    (flags::ALLOW_DOWNSCALE, "AllowDownscale"),
    (flags::QDEVICE_REGISTERED, "Qdevice"),
];

/// A status of a large cluster is some hundred kilobytes.
const REPLY_MAX: u64 = 64 << 20;

/// Whether everything was answered, for exit statuses.
pub(crate) fn is_complete(answered: Answered) -> bool {
    answered.cmmd && answered.rgmd
}
