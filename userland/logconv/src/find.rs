//! Handlers: what a line that a rule has picked says. Each knows the wordings of every generation of the logs, since rules of one site
//! are used on several.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::event::{Event, Operation, Outcome};
use crate::failover::Planned;
use crate::line::Raw;
use crate::words;

/// What a line means to the converter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Something to say.
    Say(Event),
    /// Nothing to say; the rule's trigger counts.
    Nothing,
    /// A node is lost, or a member.
    Member { node: String, member: bool },
    /// The scheduler found a node online, or not.
    Online { node: String, online: bool },
    /// The controller has a new name; an empty one: it is none any more.
    Controller { node: String },
    /// A calculation begins.
    Calculates,
    /// What it wants for a resource.
    Plans { resource: String, planned: Planned },
    /// What was calculated is going to be done.
    Acts,
    /// Something is done to a resource.
    Operates { resource: String },
    /// Nothing more is to be done, or this controller goes.
    Settled,
    /// A call of a fence device ended, whose victim the line may leave out.
    DeviceEnded { device: String, node: Option<String>, ok: bool },
    /// The layer is gone, and with it what was known of members.
    Forget(Event),
}

type Handler = fn(&Raw) -> Option<Signal>;

/// Handlers by the names that rules call them by.
pub(crate) const HANDLERS: [(&str, Handler); 40] = [
    ("try_to_operate", tries),
    ("operation_succeeded", result),
    ("operation_failed", result),
    ("operation_timedout_ocf", result),
    ("detect_rsc_failure", result),
    ("node_status_updated", member),
    ("node_status_determined", online),
    ("detect_iconnlan_dead", ring_faulty),
    ("detect_iconnlan_recover", ring_recovered),
    ("detect_node_dead", network_lost),
    ("detect_disk_error", disk_error),
    ("respawn_start", process_started),
    ("respawn_exited_abnormally", process_exited),
    ("respawn_killed", process_killed),
    ("respawn_exited_normally", process_stopped),
    ("respawn_too_fast", respawn_exceeded),
    ("detect_pe_calc", calculates),
    ("detect_fo_complete", settled),
    ("no_output_msg", nothing),
    ("add_rsc_start", plans),
    ("add_rsc_stop", plans),
    ("add_no_action", plans),
    ("add_rsc_move", plans),
    ("rsc_init_action", operates),
    ("detect_pe_done", acts),
    ("dc_election_complete", controller_set),
    ("detect_unset_dc", controller_unset),
    ("detect_cs_stopping", ring_stops),
    ("detect_cs_shutdown", ring_stopped),
    ("detect_pcmk_stopping", manager_stops),
    ("detect_pcmk_shutdown", manager_stopped),
    ("detect_shutdown_request", node_leaves),
    ("fence_op_started", fence_begins),
    ("fence_op_ended", fence_ended),
    ("fence_too_many_failures", fence_given_up),
    ("exec_st_device_started", device_begins),
    ("exec_st_device_ended", device_ended),
    ("detect_attr_updated", attribute),
    ("detect_cs_start", starts),
    ("detect_pcmk_start", starts),
];

/// Handlers under other names.
pub(crate) const ALIASES: [(&str, &str); 1] = [("detect_attr_deleted", "detect_attr_updated")];

/// Those of rules that need no look at the line: the section's name as it stands, and the whole line.
pub(crate) const STATIC: &str = "output_static_msg";
/// See [`STATIC`].
pub(crate) const ORIGINAL: &str = "output_original_log";

/// The handler of a name.
pub(crate) fn handler(name: &str) -> Option<Handler> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    HANDLERS.iter().find(|(known, _)| *known == name).map(|(_, handler)| *handler)
}

/// Wordings, each a regular expression for one generation or several.
macro_rules! wordings {
    ($($name:ident: $($text:literal),+;)+) => { $(
        static $name: LazyLock<Vec<Regex>> =
            LazyLock::new(|| [$($text),+].iter().map(|text| Regex::new(text).expect("written here")).collect());
    )+ };
}

wordings! {
    TRIES:
        r"Performing key=\S+ op=(?P<resource>\S+)_(?P<op>start|stop|promote|demote|migrate_to|migrate_from)_\d+",
        r"Requesting local execution of (?P<op>\S+) operation for (?P<resource>\S+)";
    RESULT:
        // Up to 1.1.16.
        r"[Oo]peration (?P<resource>\S+)_(?P<op>start|stop|monitor|promote|demote|migrate_to|migrate_from)_(?P<interval>\d+): (?P<text>.*?) \((?:node=[^,]*, )?call=\d+(?:, rc=(?P<rc>-?\d+)|, status=(?P<status>\d+))?",
        r"[Oo]peration (?P<resource>\S+)_(?P<op>start|stop|monitor|promote|demote|migrate_to|migrate_from)_(?P<interval>\d+) \((?:node=[^,]*, )?call=\d+(?:, rc=(?P<rc>-?\d+)|, status=(?P<status>\d+))[^)]*\) (?P<text>.*)",
        r"[Oo]peration (?P<resource>\S+)_(?P<op>start|stop|monitor|promote|demote|migrate_to|migrate_from)_(?P<interval>\d+) \(\d+\) (?P<text>Timed Out)",
        // 1.1.17, then 2.x and ours.
        r"Result of (?P<op>\S+) operation for (?P<resource>\S+)(?: on \S+?)?: (?P<rc>\d+) \((?P<text>.*?)\)(?: \||$)",
        r"Result of (?:\S+-interval )?(?P<op>\S+) operation for (?P<resource>\S+)(?: on \S+?)?: (?P<text>.+)";
    MEMBER:
        r"^(?:(?:Cluster|Remote) node )?(?P<node>[^\s:]+) is now (?P<state>lost|member)\b",
        r"^Node (?P<node>[^\s\[:]+)(?:\[\d+\])?(?: -)? state is now (?P<state>lost|member)\b";
    ONLINE: r"^Node (?P<node>\S+) is (?P<state>online|offline|OFFLINE|UNCLEAN|unclean|pending|shutting down)\b";
    RING_FAULTY: r"Marking (?:seqid \d+ )?ringid (?P<ring>\d+) interface (?P<interface>\S+) FAULTY";
    RING_RECOVERED: r"Automatically recovered ring (?P<ring>\d+)";
    NETWORK_LOST: r"(?:^|\s)(?P<host>\S+) is inactive:";
    DISK_ERROR:
        r"disk status is changed, attr_name=(?P<attribute>[^,\s]+), target=(?P<device>[^,\s]+), new_status=ERROR";
    PROCESS_STARTED: r"Forked child (?P<pid>\d+) for process (?P<process>\S+)";
    PROCESS_EXITED:
        r"(?P<process>\S+) process \((?P<pid>\d+)\) exited: .*\((?P<rc>-?\d+)\)",
        r"process (?P<process>\S+) \((?P<pid>\d+)\) exited: .*\((?P<rc>-?\d+)\)",
        r"(?P<process>[^\s\[]+)\[(?P<pid>\d+)\] exited with status (?P<rc>-?\d+)";
    PROCESS_NOT_RESTARTED:
        r"(?P<process>\S+) process \((?P<pid>\d+)\) can no longer be respawned",
        r"because (?P<process>[^\s\[]+)\[(?P<pid>\d+)\] had fatal failure";
    PROCESS_RESETS:
        r"(?P<process>\S+) process \((?P<pid>\d+)\) instructed the machine to reset",
        r"(?P<process>[^\s\[]+)\[(?P<pid>\d+)\] instructed the machine to reset";
    PROCESS_KILLED:
        r"(?P<process>\S+) process \((?P<pid>\d+)\) terminated with signal (?P<signal>\d+)",
        r"process (?P<process>\S+) terminated with signal (?P<signal>\d+) \(pid=(?P<pid>\d+)",
        r"(?P<process>[^\s\[]+)\[(?P<pid>\d+)\] terminated with signal (?P<signal>\d+)";
    RESPAWN_EXCEEDED: r"[Rr]espawn count exceeded by (?P<process>\S+)";
    SHUTS: r"I_SHUTDOWN";
    PLANS:
        r"^(?:Actions: )?(?:\* )?(?P<change>Start|Stop|Move|Recover|Migrate|Restart|Reload|Leave|Promote|Demote|Re-promote)\s+(?P<resource>\S+)\s*\(\s*(?P<where>.*?)\s*\)";
    OPERATES:
        r"Initiating .*?(?P<resource>[^\s:]\S*)_(?P<op>start|stop|promote|demote|migrate_to|migrate_from)_\d+\b";
    CONTROLLER_SET: r"Set DC to (?P<node>\S+)";
    CONTROLLER_UNSET: r"Unset DC(?:\. Was (?P<node>\S+))?";
    NODE_LEAVES: r"Creating shutdown request for (?P<node>\S+)";
    FENCE_BEGINS:
        r"Requesting (?:peer )?fencing \((?P<action>[^)]+)\) (?:of|targeting) (?:node )?(?P<node>[^\s:|]+)",
        r"Executing (?P<action>\S+) fencing operation \(\d+\) on (?P<node>\S+)";
    FENCE_ENDED:
        r"Peer (?P<node>\S+) was (?P<not>not )?terminated \((?P<action>[^)]+)\) by (?P<by>a human|the cluster|[^\s:]+)";
    FENCE_GIVEN_UP:
        r"Too many failures \(\d+\) to fence (?P<node>[^\s,]+)",
        r"Too many failures to fence (?P<node>[^\s,]+)";
    DEVICE_BEGINS:
        r"Requesting that '?(?P<executor>[^\s']+)'? perform op '(?P<node>\S+) (?P<action>[^\s']+)' with '(?P<device>[^']+)'",
        r"Requesting that '?(?P<executor>[^\s']+)'? perform op (?P<action>\S+) (?P<node>\S+) with (?P<device>\S+)",
        r"Requesting that '?(?P<executor>[^\s']+)'? perform '(?P<action>[^']+)' action targeting (?P<node>\S+) using '(?P<device>[^']+)'";
    DEVICE_ENDED:
        r"Call to '?(?P<device>[^\s']+)'? for '?(?P<node>[^\s']+)(?: (?P<action>[^\s']+))?'? on behalf of .*\((?P<rc>-?\d+)\)",
        r"Operation '(?P<action>off|reboot|on)' (?:\[\d+\] )?(?:\([^)]*\) )?(?:targeting (?P<node>\S+) )?using (?P<device>\S+) returned (?P<rc>\S+)";
    ATTRIBUTE:
        r"Setting (?P<name>[^\s\[]+)\[(?P<node>[^\]]+)\](?: in \S+)?: .*? -> (?P<value>.+?)(?: from \S+)?(?: \|.*)?$";
    RING_STARTS:
        r"Corosync Cluster Engine \('(?P<version>[^']+)'\): started",
        r"Corosync Cluster Engine (?P<version>\S+) starting up",
        r"Holdfast cmmd (?P<version>\S+) starting up";
    MANAGER_STARTS: r"Starting Pacemaker (?P<version>[^\s-]+)";
}

fn find<'t>(wordings: &LazyLock<Vec<Regex>>, raw: &'t Raw) -> Option<Captures<'t>> {
    wordings.iter().find_map(|w| w.captures(&raw.text))
}

/// What a group found; empty where it found nothing.
fn get(found: &Captures<'_>, group: &str) -> String {
    found.name(group).map_or_else(String::new, |m| m.as_str().to_owned())
}

/// A number that a group found.
fn number<T: std::str::FromStr>(found: &Captures<'_>, group: &str) -> Option<T> {
    found.name(group)?.as_str().parse().ok()
}

impl Event {
    /// What an agent that watches a network or a disk says of it, in a line that it writes to standard error.
    #[must_use]
    pub fn noticed(line: &str) -> Option<Self> {
        let found = |wordings: &LazyLock<Vec<Regex>>| wordings.iter().find_map(|w| w.captures(line));
        let network = found(&NETWORK_LOST).map(|f| Self::NetworkLost { host: get(&f, "host") });
        let disk = || {
            let f = found(&DISK_ERROR)?;
            Some(Self::DiskError { device: get(&f, "device"), attribute: get(&f, "attribute") })
        };
        network.or_else(disk)
    }
}

fn say(event: Event) -> Option<Signal> {
    Some(Signal::Say(event))
}

fn tries(raw: &Raw) -> Option<Signal> {
    let found = find(&TRIES, raw)?;
    let operation = Operation::parse(&get(&found, "op")).filter(|op| *op != Operation::Monitor)?;
    say(Event::Begins { resource: get(&found, "resource"), operation, device: false })
}

fn result(raw: &Raw) -> Option<Signal> {
    let found = find(&RESULT, raw)?;
    let text = get(&found, "text");
    // What was cancelled, and what is only asked for to see where things are, is no result.
    if text.starts_with("Cancelled") || text.starts_with("cancelled") {
        return None;
    }
    let operation = Operation::parse(&get(&found, "op"))?;
    if operation == Operation::Monitor && number::<u64>(&found, "interval") == Some(0) {
        return None;
    }
    // `error (Can't start PostgreSQL.)`, `Timed Out after 1m (…) | graph action`
    let name = text.split(" | ").next().unwrap_or_default();
    let name = name.trim_end();
    let outcome = if name.starts_with("Timed Out") {
        Outcome::TimedOut
    } else if let Some(rc) = number(&found, "rc") {
        Outcome::Agent(rc)
    } else if let Some(status) = number(&found, "status") {
        Outcome::Executor(status)
    } else {
        // A reason may follow in brackets, and a few names end with such.
        let short = name.split(" (").next().unwrap_or_default();
        let status =
            || words::to_status(name).or_else(|| words::to_status(short)).filter(|_| short != "error");
        match status() {
            Some(status) => Outcome::Executor(status),
            None => Outcome::Agent(words::to_result(name).or_else(|| words::to_result(short))?),
        }
    };
    // Of a fence device the executor has no agent's result to give.
    let device = matches!(outcome, Outcome::Executor(_));
    say(Event::Ended { resource: get(&found, "resource"), operation, outcome, device })
}

fn member(raw: &Raw) -> Option<Signal> {
    let found = find(&MEMBER, raw)?;
    Some(Signal::Member { node: get(&found, "node"), member: &found["state"] == "member" })
}

fn online(raw: &Raw) -> Option<Signal> {
    let found = find(&ONLINE, raw)?;
    Some(Signal::Online { node: get(&found, "node"), online: &found["state"] == "online" })
}

fn ring_faulty(raw: &Raw) -> Option<Signal> {
    let found = find(&RING_FAULTY, raw)?;
    say(Event::RingFaulty { ring: get(&found, "ring"), interface: get(&found, "interface") })
}

fn ring_recovered(raw: &Raw) -> Option<Signal> {
    say(Event::RingRecovered { ring: get(&find(&RING_RECOVERED, raw)?, "ring") })
}

fn network_lost(raw: &Raw) -> Option<Signal> {
    say(Event::NetworkLost { host: get(&find(&NETWORK_LOST, raw)?, "host") })
}

fn disk_error(raw: &Raw) -> Option<Signal> {
    let found = find(&DISK_ERROR, raw)?;
    say(Event::DiskError { device: get(&found, "device"), attribute: get(&found, "attribute") })
}

fn process_started(raw: &Raw) -> Option<Signal> {
    let found = find(&PROCESS_STARTED, raw)?;
    say(Event::ProcessStarted { process: get(&found, "process"), pid: number(&found, "pid")? })
}

fn process_exited(raw: &Raw) -> Option<Signal> {
    let of = |found: &Captures<'_>| Some((get(found, "process"), number(found, "pid")?));
    if let Some(found) = find(&PROCESS_NOT_RESTARTED, raw) {
        let (process, pid) = of(&found)?;
        return say(Event::ProcessNotRestarted { process, pid });
    }
    if let Some(found) = find(&PROCESS_RESETS, raw) {
        let (process, pid) = of(&found)?;
        return say(Event::ProcessResets { process, pid });
    }
    let found = find(&PROCESS_EXITED, raw)?;
    let ((process, pid), rc) = (of(&found)?, number(&found, "rc")?);
    say(if rc == 0 {
        Event::ProcessStopped { process, pid }
    } else {
        Event::ProcessExited { process, pid, rc }
    })
}

fn process_stopped(raw: &Raw) -> Option<Signal> {
    process_exited(raw)
}

fn process_killed(raw: &Raw) -> Option<Signal> {
    let found = find(&PROCESS_KILLED, raw)?;
    let (pid, signal) = (number(&found, "pid")?, number(&found, "signal")?);
    say(Event::ProcessKilled { process: get(&found, "process"), pid, signal })
}

fn respawn_exceeded(raw: &Raw) -> Option<Signal> {
    say(Event::RespawnExceeded { process: get(&find(&RESPAWN_EXCEEDED, raw)?, "process") })
}

fn calculates(raw: &Raw) -> Option<Signal> {
    find(&SHUTS, raw).is_none().then_some(Signal::Calculates)
}

#[allow(clippy::unnecessary_wraps)] // a handler
fn settled(_: &Raw) -> Option<Signal> {
    Some(Signal::Settled)
}

#[allow(clippy::unnecessary_wraps)] // a handler
fn nothing(_: &Raw) -> Option<Signal> {
    Some(Signal::Nothing)
}

#[allow(clippy::unnecessary_wraps)] // a handler
fn acts(_: &Raw) -> Option<Signal> {
    Some(Signal::Acts)
}

/// `Started srv01 -> srv02`, `srv01 -> srv02`, `Started srv01`, `srv02 - blocked`, `Stopped`, `Started unmanaged`
fn plans(raw: &Raw) -> Option<Signal> {
    let found = find(&PLANS, raw)?;
    let where_ = &found["where"];
    const ROLES: [&str; 8] =
        ["Started", "Stopped", "Unknown", "Promoted", "Unpromoted", "Master", "Slave", "blocked"];
    let node = |part: &str| {
        part.split_whitespace().rev().find(|word| !ROLES.contains(word) && *word != "-").map(str::to_owned)
    };
    if where_.split_whitespace().any(|word| word == "unmanaged") {
        return Some(Signal::Plans { resource: get(&found, "resource"), planned: Planned::Unmanaged });
    }
    let (from, to) = match where_.split_once("->") {
        Some((from, to)) => (node(from), node(to)),
        None => (None, node(where_)),
    };
    let planned = match (&found["change"], from, to) {
        ("Stop", _, _) => Planned::Stop,
        ("Start", _, Some(node)) => Planned::Start(node),
        (_, Some(from), Some(to)) if from != to => Planned::Move { from, to },
        (_, _, Some(node)) => Planned::Stays(node),
        (_, Some(node), None) => Planned::Stays(node),
        (_, None, None) => Planned::StaysDown,
    };
    Some(Signal::Plans { resource: get(&found, "resource"), planned })
}

fn operates(raw: &Raw) -> Option<Signal> {
    Some(Signal::Operates { resource: get(&find(&OPERATES, raw)?, "resource") })
}

fn controller_set(raw: &Raw) -> Option<Signal> {
    Some(Signal::Controller { node: get(&find(&CONTROLLER_SET, raw)?, "node") })
}

fn controller_unset(raw: &Raw) -> Option<Signal> {
    let found = find(&CONTROLLER_UNSET, raw)?;
    match get(&found, "node") {
        // Ours leaves out who it was.
        node if node.is_empty() => Some(Signal::Controller { node }),
        node => say(Event::ControllerUnset { node }),
    }
}

fn ring_stops(_: &Raw) -> Option<Signal> {
    say(Event::RingStops)
}

#[allow(clippy::unnecessary_wraps)] // a handler
fn ring_stopped(_: &Raw) -> Option<Signal> {
    Some(Signal::Forget(Event::RingStopped))
}

fn manager_stops(_: &Raw) -> Option<Signal> {
    say(Event::ManagerStops)
}

fn manager_stopped(_: &Raw) -> Option<Signal> {
    say(Event::ManagerStopped)
}

fn node_leaves(raw: &Raw) -> Option<Signal> {
    say(Event::NodeLeaves { node: get(&find(&NODE_LEAVES, raw)?, "node") })
}

fn fence_begins(raw: &Raw) -> Option<Signal> {
    let found = find(&FENCE_BEGINS, raw)?;
    say(Event::FenceBegins { action: get(&found, "action"), node: get(&found, "node") })
}

fn fence_ended(raw: &Raw) -> Option<Signal> {
    let found = find(&FENCE_ENDED, raw)?;
    let (action, node, by) = (get(&found, "action"), get(&found, "node"), get(&found, "by"));
    let ok = found.name("not").is_none();
    say(if ok && by == "a human" {
        Event::FenceConfirmed { action, node }
    } else {
        Event::FenceEnded { action, node, by, ok }
    })
}

fn fence_given_up(raw: &Raw) -> Option<Signal> {
    say(Event::FenceGivenUp { node: get(&find(&FENCE_GIVEN_UP, raw)?, "node") })
}

fn device_begins(raw: &Raw) -> Option<Signal> {
    let found = find(&DEVICE_BEGINS, raw)?;
    let get = |group| get(&found, group);
    say(Event::DeviceBegins {
        device: get("device"),
        executor: get("executor"),
        action: get("action"),
        node: get("node"),
    })
}

fn device_ended(raw: &Raw) -> Option<Signal> {
    let found = find(&DEVICE_ENDED, raw)?;
    let node = Some(get(&found, "node")).filter(|node| !node.is_empty());
    Some(Signal::DeviceEnded { device: get(&found, "device"), node, ok: &found["rc"] == "0" })
}

fn attribute(raw: &Raw) -> Option<Signal> {
    let found = find(&ATTRIBUTE, raw)?;
    let (name, node, value) = (get(&found, "name"), get(&found, "node"), get(&found, "value"));
    if !Event::speaks_of(&name) {
        return None;
    }
    say(if matches!(value.as_str(), "(null)" | "(unset)") {
        Event::AttributeDeleted { name, node }
    } else {
        Event::AttributeSet { name, value, node }
    })
}

/// What starts: of the ring, and of the manager.
fn starts(raw: &Raw) -> Option<Signal> {
    if let Some(found) = find(&RING_STARTS, raw) {
        return Some(Signal::Forget(Event::RingStarts { version: get(&found, "version") }));
    }
    let found = find(&MANAGER_STARTS, raw)?;
    Some(Signal::Forget(Event::ManagerStarts { version: get(&found, "version") }))
}
