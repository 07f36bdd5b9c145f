//! The event table: every line `cmmd` writes about the cluster, in the wording that operators and their scripts already
//! search for. Each event has a name, a subsystem, a priority, its text and its fields, and stands here once; the test
//! compares the whole table with `events.txt`.

use std::net::{IpAddr, SocketAddr};

use cmm_conf::Priority::{self, Alert, Crit, Debug, Emerg, Err, Info, Notice, Warning};
use cmm_proto::{ConfigurationKind, Event, HeldOut, KeyEvent, LinkMode, RejectReason, StepPhase};
use holdfast_types::{Boottime, Epoch, Incarnation, LinkId, NodeId, RingId, Span, StepNumber};

use crate::reload::Reloaded;

/// What happened, as the event loop hands it to the log thread: values only, no text made for the log.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Told by the protocol core.
    Core(Event),
    /// Told by the failfast registry.
    Failfast(failfast_core::Event),
    /// Told by the daemon itself.
    Daemon(DaemonEvent),
    /// A line of the start, made off the loop.
    Text(Priority, &'static str, String),
}

/// What the daemon itself has to say.
#[derive(Debug)]
pub(crate) enum DaemonEvent {
    /// The membership, synchronised.
    NodeList { members: Vec<NodeId>, joined: Vec<NodeId>, left: Vec<NodeId> },
    /// Services are synchronised.
    Synchronised,
    /// A reconfiguration step.
    Step { epoch: Epoch, step: StepNumber, name: &'static str, phase: StepPhase },
    /// Why the node is not quorate.
    NoQuorum { reason: String },
    /// The partition waits for the lease of those it lost.
    LeaseWait { ring: RingId },
    /// A death is confirmed.
    Confirmed { node: NodeId, incarnation: Incarnation, why: String },
    /// The loop was not scheduled when it should have been.
    NotScheduled { at: Boottime, late: Span, limit: Span },
    /// The lateness of this machine breaks the timing model, or (empty) no longer does.
    Timing { broken: String },
    /// Frames asked for again since the last such line.
    Retransmits { frames: u64 },
    /// Packets refused since the last such line.
    Rejected { why: RejectReason, count: u64, claims: Option<NodeId> },
    /// Packets of senders that are not in the node list.
    Unlisted { from: SocketAddr, count: u64 },
    /// Packets that could not be sent.
    SendFailed { to: NodeId, link: LinkId, error: std::io::ErrorKind, count: u64 },
    /// Packets dropped because the socket took none for too long.
    SendOverflow { link: LinkId, count: u64 },
    /// A link reaches nobody while others do, or reaches somebody again.
    LinkFaulty { link: LinkId, interface: Option<IpAddr>, faulty: bool },
    /// The configuration was read anew: the links from now on, or why nothing has changed.
    Reloaded { outcome: Result<Reloaded, String> },
    /// A member asked for it.
    Reloading { by: NodeId },
    /// A change of votes that a reload brings is not allowed.
    VotesRefused { change: String },
    /// A state file cannot be written.
    PersistFailed { error: String },
    /// It can again.
    PersistRecovered,
    /// A signal to stop.
    Leaving { why: &'static str },
    /// The leave took too long.
    LeaveLate,
    /// The end.
    Stopped,
    /// Feeding the watchdog stops or goes on.
    Watchdog { fed: bool, why: &'static str },
    /// The guardian ended, or a new one runs.
    Guardian { error: Option<String> },
    /// A unit of the configuration cannot be armed.
    UnitNotArmed { name: String, pid: u32, why: String },
    /// A right or resource is missing; said once.
    Degraded { what: &'static str, error: String, then: &'static str },
    /// The log file is open again.
    LogsReopened,
    /// The local IPC refused or lost something.
    Client { text: String },
}

/// One line of the log.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) subsystem: &'static str,
    pub(crate) priority: Priority,
    pub(crate) text: String,
    pub(crate) fields: Vec<(&'static str, String)>,
}

/// Renders an event. On the log thread only.
pub(crate) fn lines(happening: &Happening, out: &mut Vec<Line>) {
    match happening {
        Happening::Core(event) => core(event, out),
        Happening::Failfast(event) => failfast(event, out),
        Happening::Daemon(event) => daemon(event, out),
        Happening::Text(priority, subsystem, text) => {
            push(out, "text", subsystem, *priority, text.clone(), vec![])
        }
    }
}

fn push(
    out: &mut Vec<Line>,
    name: &'static str,
    subsystem: &'static str,
    priority: Priority,
    text: String,
    fields: Vec<(&'static str, String)>,
) {
    out.push(Line { name, subsystem, priority, text, fields });
}

/// `1 2 3`, as corosync lists nodes.
fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

fn millis(span: Span) -> String {
    format!("{}.{:03}", span.as_millis(), span.as_micros() % 1_000)
}

fn core(event: &Event, out: &mut Vec<Line>) {
    let mut line = |name, priority, text: String, fields| push(out, name, "TOTEM", priority, text, fields);
    match event {
        Event::EnterGather { cause, text } => {
            let fields = vec![("cause", cause.to_string())];
            line("enter_gather", Debug, format!("entering GATHER state from {cause}({text})."), fields);
        }
        Event::EnterCommit => line("enter_commit", Debug, "entering COMMIT state.".into(), vec![]),
        Event::EnterRecovery => line("enter_recovery", Debug, "entering RECOVERY state.".into(), vec![]),
        Event::EnterOperational => {
            line("enter_operational", Debug, "entering OPERATIONAL state.".into(), vec![])
        }
        Event::TokenLost { token } => {
            let ms = token.as_millis();
            let text = format!("A processor failed, forming new configuration: token timed out ({ms}ms).");
            line("token_lost", Notice, text, vec![("token_ms", ms.to_string())]);
        }
        Event::Suspect { node, why, silent } => {
            let text = match *why {
                "leave" => format!("Node {node} is gone (leave), forming new configuration."),
                "heartbeat" => format!(
                    "A processor failed, forming new configuration: node {node} is suspected, no heartbeat for {silent}."
                ),
                why if *silent > Span::ZERO => format!(
                    "A processor failed, forming new configuration: node {node} is suspected, no heartbeat for {silent} and no answer \
                     to probes ({why})."
                ),
                why => {
                    format!("A processor failed, forming new configuration: node {node} is gone ({why}).")
                }
            };
            let fields =
                vec![("node", node.to_string()), ("why", (*why).to_owned()), ("silent_ms", millis(*silent))];
            line("suspect", Notice, text, fields);
        }
        Event::Probe { node, why } => {
            let text = format!("Node {node} is asked whether it is there ({why}).");
            line("probe", Info, text, vec![("node", node.to_string()), ("why", (*why).to_owned())]);
        }
        Event::NewMembership(c) => {
            if c.kind != ConfigurationKind::Regular {
                return;
            }
            let part = |word: &str, nodes: &[NodeId]| {
                if nodes.is_empty() { String::new() } else { format!(" {word}: {}", list(nodes)) }
            };
            let text = format!(
                "A new membership ({}) was formed. Members{}{}",
                c.ring,
                part("joined", &c.joined),
                part("left", &c.left)
            );
            let fields = vec![
                ("ring", c.ring.to_string()),
                ("members", list(&c.members)),
                ("joined", list(&c.joined)),
                ("left", list(&c.left)),
            ];
            line("new_membership", Notice, text, fields);
        }
        Event::Retransmit { frames } => {
            retransmits(u64::from(*frames), out);
        }
        Event::LeftSilently { nodes } => {
            let text = format!("Failed to receive the leave message. failed: {}", list(nodes));
            line("left_silently", Notice, text, vec![("nodes", list(nodes))]);
        }
        Event::CannotForm => {
            let text = "Totem is unable to form a cluster because of an operating system or network fault (reason: totem is \
                        continuously in gather state). The most common cause of this message is that the local firewall \
                        is configured improperly.";
            line("cannot_form", Warning, text.into(), vec![]);
        }
        Event::FailedToReceive => line("failed_to_receive", Notice, "FAILED TO RECEIVE".into(), vec![]),
        Event::TokenLate { late } => {
            let text = format!("Token has not been received in {} ms ", late.as_millis());
            line("token_late", Notice, text, vec![("late_ms", millis(*late))]);
        }
        Event::Paused { gap } => {
            let text =
                format!("Process pause detected for {} ms, flushing membership messages.", gap.as_millis());
            line("paused", Notice, text, vec![("gap_ms", millis(*gap))]);
        }
        // The loop tells it with the address.
        Event::LinkFaulty { .. } => {}
        Event::Link { .. } | Event::BestLink { .. } | Event::PathMtu { .. } | Event::DataMtu { .. } => {
            link(event, out);
        }
        Event::PacketRejected { why, claims } => rejected(*why, 1, *claims, out),
        Event::Key(event) => key(event, out),
        Event::Gasp { node, incarnation, last_word, why } => {
            let (name, text) = if *last_word {
                ("last_word", format!("Node {node} is down for good, its last word: {why}"))
            } else {
                ("gasp", format!("Node {node} goes down: {why}"))
            };
            let fields = vec![("node", node.to_string()), ("incarnation", incarnation.to_string())];
            push(out, name, "FAILFAST", Notice, text, fields);
        }
        Event::Quorate(true) => {
            let text = "This node is within the primary component and will provide service.";
            push(out, "quorum_gained", "QUORUM", Notice, text.into(), vec![]);
        }
        Event::Quorate(false) => {
            let text = "This node is within the non-primary component and will NOT provide any services.";
            push(out, "quorum_lost", "QUORUM", Notice, text.into(), vec![]);
        }
        Event::HeldOut { members, held_out } => {
            let out: Vec<NodeId> = held_out.iter().map(|out| out.node).collect();
            let why = |out: &HeldOut| match out.cannot_reach {
                Some(member) => format!("; node {} is held out: it cannot reach node {member}", out.node),
                None => format!("; node {} is held out: it does not come to agree", out.node),
            };
            let text = if held_out.is_empty() {
                "Nobody is held out any more.".to_owned()
            } else {
                let why: String = held_out.iter().map(why).collect();
                format!("Not all nodes reach each other: {} stay together{why}", list(members))
            };
            let priority = if held_out.is_empty() { Notice } else { Warning };
            line("held_out", priority, text, vec![("members", list(members)), ("held_out", list(&out))]);
        }
        Event::StepLate { step, missing } => {
            let text = format!(
                "Reconfiguration step {step} took too long, starting again. Missing: {}",
                list(missing)
            );
            let fields = vec![("step", step.to_string()), ("missing", list(missing))];
            push(out, "step_late", "SYNC", Warning, text, fields);
        }
        Event::MessageSkipped { sender } => {
            let text = format!("A message of node {sender} does not decode and was skipped on every node.");
            push(out, "message_skipped", "SYNC", Warning, text, vec![("sender", sender.to_string())]);
        }
        Event::VotesNotChanged { why } => {
            let text = format!(
                "The change of votes asked for on this node was not made: {why}. Look at corosync-quorumtool -s, and ask again."
            );
            push(out, "votes_not_changed", "VOTEQ", Warning, text, vec![("why", (*why).to_owned())]);
        }
    }
}

/// Links, in the wording of knet.
fn link(event: &Event, out: &mut Vec<Line>) {
    let mut line = |name, subsystem, priority, text: String, fields| {
        push(out, name, subsystem, priority, text, fields);
    };
    match event {
        Event::Link { node, link, up: false, why } => {
            let text = format!("link: host: {node} link: {link} is down ({why})");
            let fields =
                vec![("node", node.to_string()), ("link", link.to_string()), ("why", (*why).to_owned())];
            line("link_down", "KNET", Info, text, fields);
        }
        Event::Link { node, link, .. } => {
            let text = format!("rx: host: {node} link: {link} is up");
            line("link_up", "KNET", Info, text, vec![("node", node.to_string()), ("link", link.to_string())]);
        }
        Event::BestLink { node, link: None, .. } => {
            let text = format!("host: host: {node} has no active links");
            line("no_active_links", "KNET", Warning, text, vec![("node", node.to_string())]);
        }
        Event::BestLink { node, mode: LinkMode::Passive, link: Some(link), priority, .. } => {
            let text = format!("host: host: {node} (passive) best link: {link} (pri: {priority})");
            line(
                "best_link",
                "KNET",
                Info,
                text,
                vec![("node", node.to_string()), ("link", link.to_string())],
            );
        }
        Event::PathMtu { node, link, from, to } => {
            let text = format!("pmtud: PMTUD link change for host: {node} link: {link} from {from} to {to}");
            let fields = vec![
                ("node", node.to_string()),
                ("link", link.to_string()),
                ("from", from.to_string()),
                ("to", to.to_string()),
            ];
            line("path_mtu", "KNET", Info, text, fields);
        }
        Event::DataMtu { mtu } => {
            let text = format!("pmtud: Global data MTU changed to: {mtu}");
            line("data_mtu", "KNET", Info, text, vec![("mtu", mtu.to_string())]);
        }
        Event::BestLink { node, links, .. } => {
            let text = format!("host: host: {node} has {links} active links");
            line("active_links", "KNET", Info, text, vec![("node", node.to_string())]);
        }
        _ => {}
    }
}

/// corosync lists the sequence numbers at each token; here it is one line a second at most.
fn retransmits(frames: u64, out: &mut Vec<Line>) {
    let fields = vec![("frames", frames.to_string())];
    push(out, "retransmit", "TOTEM", Notice, format!("Retransmit List: {frames} frames"), fields);
}

fn rejected(why: RejectReason, count: u64, claims: Option<NodeId>, out: &mut Vec<Line>) {
    let text = match why {
        RejectReason::Malformed => "are no packets of this cluster",
        RejectReason::UnknownKey => {
            "are sealed with a key that this node does not have; do all nodes have the same key file? Compare \"holdfast key status\""
        }
        RejectReason::Address => {
            "came from the address of another node; do the configurations of all nodes give each node the same addresses?"
        }
        RejectReason::OldKey => {
            "are sealed with a key that this cluster has changed for another one; copy the new key file to their sender, \
             which reads it by itself"
        }
        RejectReason::UnknownSender => "name a sender that is not in the node list",
        RejectReason::Seal => {
            "do not open: forged or damaged, or another cluster has the same key; is cluster_name the same on all nodes?"
        }
        RejectReason::Replay => "were seen before, or are of an earlier life of their sender",
        RejectReason::Content => "opened but do not parse; do all nodes run the same version?",
    };
    let mut fields = vec![("why", why.name().to_owned()), ("count", count.to_string())];
    // Anybody can claim to be anyone: it is told as what it is.
    let from = claims.map_or_else(String::new, |id| format!(" that name node {id}"));
    fields.extend(claims.map(|id| ("claims", id.to_string())));
    // Duplicates are part of any network, and gasps are sent more than once on purpose.
    let priority = if why == RejectReason::Replay { Debug } else { Warning };
    push(out, "packets_rejected", "TOTEM", priority, format!("{count} packets{from} {text}"), fields);
}

fn key(event: &KeyEvent, out: &mut Vec<Line>) {
    let mut line = |name, priority, text: String, key: String| {
        push(out, name, "TOTEM", priority, text, if key.is_empty() { vec![] } else { vec![("key", key)] });
    };
    match event {
        KeyEvent::Accepted { key, sealing } => {
            let text = format!(
                "Key change, step 1: key {key} is accepted too; packets are sealed with key {sealing} until all members accept it."
            );
            line("key_accepted", Notice, text, key.to_string());
        }
        KeyEvent::Changed { key, old } => {
            let text =
                format!("Key change, step 2: packets are sealed with key {key}, no longer with key {old}.");
            line("key_changed", Notice, text, key.to_string());
        }
        KeyEvent::Forgotten { key } => {
            let text = format!("Key change done: no key is accepted but {key}.");
            line("key_forgotten", Notice, text, key.to_string());
        }
        KeyEvent::Unchanged { key } => {
            let text = format!("The key file holds key {key}, which is in use: nothing to change.");
            line("key_unchanged", Notice, text, key.to_string());
        }
        KeyEvent::Missed { wanted, file } => {
            let text = format!(
                "Other members change to key {wanted}..., but this node's key file holds key {file}: copy the new key file to \
                 this node, which reads it by itself."
            );
            line("key_missed", Warning, text, file.to_string());
        }
        KeyEvent::NotLoaded { why } => {
            line("key_not_loaded", Err, format!("Key not loaded: {why}"), String::new())
        }
    }
}

fn failfast(event: &failfast_core::Event, out: &mut Vec<Line>) {
    use failfast_core::{Event as E, Level};
    let priority = match event.level() {
        Level::Info => Info,
        Level::Warning => Warning,
        Level::Error => Err,
        Level::Emergency => Emerg,
    };
    let name = match event {
        E::Armed { .. } => "unit_armed",
        E::Rearmed { .. } => "unit_rearmed",
        E::Recovered { .. } => "unit_recovered",
        E::Disarmed { .. } => "unit_disarmed",
        E::Triggered { .. } => "unit_triggered",
        E::TimedOut { .. } => "unit_timed_out",
        E::TakingDown { .. } => "unit_taking_down",
        E::Paused { .. } => "units_paused",
        E::Dropped { .. } => "unit_events_dropped",
    };
    push(out, name, "FAILFAST", priority, event.to_string(), vec![]);
}

fn daemon(event: &DaemonEvent, out: &mut Vec<Line>) {
    let mut line =
        |name, subsystem, priority, text: String, fields| push(out, name, subsystem, priority, text, fields);
    match event {
        DaemonEvent::NodeList { members, joined, left } => {
            for (name, word, nodes) in [
                ("sync_members", "members", members),
                ("sync_joined", "joined", joined),
                ("sync_left", "left", left),
            ] {
                if !nodes.is_empty() {
                    let text = format!("Sync {word}[{}]: {}", nodes.len(), list(nodes));
                    line(name, "QUORUM", Notice, text, vec![]);
                }
            }
            let text = format!("Members[{}]: {}", members.len(), list(members));
            line("members", "QUORUM", Notice, text, vec![("members", list(members))]);
        }
        DaemonEvent::Synchronised => {
            let text = "Completed service synchronization, ready to provide service.";
            line("synchronised", "MAIN", Notice, text.into(), vec![]);
        }
        DaemonEvent::Step { epoch, step, name, phase } => {
            let word = match phase {
                StepPhase::Begin => "begins",
                StepPhase::Done => "is done on all members",
                StepPhase::Aborted => "is void, a newer reconfiguration began",
            };
            let fields = vec![
                ("epoch", epoch.to_string()),
                ("step", step.to_string()),
                ("step_name", (*name).to_owned()),
            ];
            line(
                "step",
                "SYNC",
                Debug,
                format!("Reconfiguration {epoch} step {step} ({name}) {word}."),
                fields,
            );
        }
        DaemonEvent::NoQuorum { reason } => {
            line("no_quorum", "QUORUM", Notice, format!("Not quorate: {reason}"), vec![])
        }
        DaemonEvent::LeaseWait { ring } => {
            let text = format!(
                "Votes of ring {ring} make a quorum; waiting until the lease of the lost nodes has ended."
            );
            line("lease_wait", "QUORUM", Notice, text, vec![("ring", ring.to_string())]);
        }
        DaemonEvent::Confirmed { node, incarnation, why } => {
            let text = format!("Death of node {node} is confirmed: {why}");
            let fields = vec![("node", node.to_string()), ("incarnation", incarnation.to_string())];
            line("confirmed", "QUORUM", Notice, text, fields);
        }
        DaemonEvent::NotScheduled { at, late, limit } => {
            let at = at.as_nanos() / 1_000_000;
            let (late, limit) = (millis(*late), millis(*limit));
            let text = format!(
                "cmmd main process was not scheduled (@{at}) for {late} ms (threshold is {limit} ms). Consider token timeout increase."
            );
            line("not_scheduled", "MAIN", Warning, text, vec![("late_ms", late)]);
        }
        DaemonEvent::Timing { broken } if broken.is_empty() => {
            let text = "The timing model holds again on this machine.".to_owned();
            line("timing_holds", "MAIN", Notice, text, vec![]);
        }
        DaemonEvent::Timing { broken } => {
            let text = format!("Unsafe timing: {broken} (the arithmetic: holdfast status --timing)");
            line("timing_unsafe", "MAIN", Warning, text, vec![]);
        }
        DaemonEvent::Retransmits { frames } => retransmits(*frames, out),
        DaemonEvent::Rejected { why, count, claims } => rejected(*why, *count, *claims, out),
        DaemonEvent::Unlisted { from, count } => {
            let text =
                format!("{count} packets from addresses that are not in the node list, the last from {from}");
            line("packets_unlisted", "TOTEM", Warning, text, vec![("from", from.to_string())]);
        }
        DaemonEvent::SendFailed { to, link, error, count } => {
            let text = format!("{count} packets to node {to} on link {link} could not be sent: {error}");
            let fields = vec![("node", to.to_string()), ("link", link.to_string())];
            line("send_failed", "TOTEM", Warning, text, fields);
        }
        DaemonEvent::SendOverflow { link, count } => {
            let text = format!("{count} packets were dropped: link {link} takes less than the ring sends");
            let fields = vec![("link", link.to_string()), ("count", count.to_string())];
            line("send_overflow", "TOTEM", Warning, text, fields);
        }
        DaemonEvent::LinkFaulty { link, interface, faulty: true } => {
            let interface = interface.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
            let text = format!(
                "Marking ringid {link} interface {interface} FAULTY: Ring number {link} is FAULTY, no node is reached over it"
            );
            line("link_faulty", "TOTEM", Warning, text, vec![("link", link.to_string())]);
        }
        DaemonEvent::LinkFaulty { link, .. } => {
            let text = format!("Automatically recovered ring {link}");
            line("link_recovered", "TOTEM", Notice, text, vec![("link", link.to_string())]);
        }
        DaemonEvent::Reloading { by } => {
            let text = format!("Config reload requested by node {by}");
            line("reloading", "CFG", Notice, text, vec![("node", by.to_string())]);
        }
        DaemonEvent::Reloaded { outcome: Ok(Reloaded { links, taken, waiting, settings }) } => {
            let list = links.iter().map(|l| l.to_string()).collect::<Vec<_>>().join(" ");
            for key in waiting {
                let text = format!("Modified entry '{key}' in corosync.conf cannot be changed at run-time");
                line("reload_fixed", "CFG", Notice, text, vec![("key", key.clone())]);
            }
            let (taken, waiting) = (taken.join(" "), waiting.join(" "));
            let (priority, rest) = match (taken.as_str(), waiting.as_str()) {
                ("", "") => (Notice, "nothing else has changed.".to_owned()),
                (keys, "") => (Notice, format!("taken over: {keys}")),
                ("", keys) => (Warning, format!("NOT taken over before this node is started anew: {keys}")),
                (taken, keys) => {
                    let text = format!(
                        "taken over: {taken}; NOT taken over before this node is started anew: {keys}"
                    );
                    (Warning, text)
                }
            };
            let text = format!("Config reload: links are {list}; {rest}");
            let fields = vec![("links", list), ("taken", taken), ("waiting", waiting)];
            line("reloaded", "CFG", priority, text, fields);
            for (name, nodes, what) in [
                (
                    "reload_late",
                    &settings.late,
                    "not read the configuration in time; it takes timers over when it has",
                ),
                ("reload_differs", &settings.others, "other timers; make the files equal, and reload again"),
            ] {
                for node in nodes {
                    let text = format!("Config reload: node {node} has {what}");
                    line(name, "CFG", Warning, text, vec![("node", node.to_string())]);
                }
            }
        }
        DaemonEvent::VotesRefused { change } => {
            let text = format!(
                "Config reload: {change} were not set, this partition would lose its quorum by that; start or stop nodes first, and reload again"
            );
            line("reload_votes", "VOTEQ", Warning, text, vec![]);
        }
        DaemonEvent::Reloaded { outcome: Result::Err(why) } => {
            line(
                "reload_refused",
                "CFG",
                Err,
                format!("Config reload refused, nothing has changed: {why}"),
                vec![],
            );
        }
        DaemonEvent::PersistFailed { error } => {
            let text = format!(
                "The state cannot be written, trying again until it can: {error}; make room, or repair the file system"
            );
            line("persist_failed", "MAIN", Crit, text, vec![]);
        }
        DaemonEvent::PersistRecovered => {
            line("persist_recovered", "MAIN", Notice, "The state is written again.".into(), vec![])
        }
        DaemonEvent::Leaving { why } => {
            line(
                "leaving",
                "MAIN",
                Notice,
                format!("Node was shut down by {why}"),
                vec![("why", (*why).to_owned())],
            );
        }
        DaemonEvent::LeaveLate => {
            line("leave_late", "MAIN", Warning, "The leave was not sent in time; exiting.".into(), vec![])
        }
        DaemonEvent::Stopped => {
            line("stopped", "MAIN", Notice, "Holdfast cmmd exiting normally".into(), vec![])
        }
        DaemonEvent::Watchdog { fed: false, why } => {
            line("watchdog_unfed", "WD", Alert, format!("The watchdog is not fed any more: {why}"), vec![]);
        }
        DaemonEvent::Watchdog { fed: true, why } => {
            line("watchdog_fed", "WD", Notice, format!("The watchdog is fed: {why}"), vec![]);
        }
        DaemonEvent::Guardian { error: Some(error) } => {
            line(
                "guardian_died",
                "FAILFAST",
                Err,
                format!("The guardian died, starting another: {error}"),
                vec![],
            );
        }
        DaemonEvent::Guardian { error: None } => {
            line("guardian_runs", "FAILFAST", Info, "The guardian watches this node.".into(), vec![]);
        }
        DaemonEvent::UnitNotArmed { name, pid, why } => {
            let text =
                format!("Failfast: unit \"{name}\" (pid {pid}) of the configuration is not armed: {why}");
            line(
                "unit_not_armed",
                "FAILFAST",
                Warning,
                text,
                vec![("unit", name.clone()), ("pid", pid.to_string())],
            );
        }
        DaemonEvent::Degraded { what, error, then } => {
            line("degraded", "MAIN", Warning, format!("{what}: {error}; {then}"), vec![]);
        }
        DaemonEvent::LogsReopened => {
            line("logs_reopened", "MAIN", Info, "Log file opened again.".into(), vec![])
        }
        DaemonEvent::Client { text } => line("client", "IPC", Warning, text.clone(), vec![]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reloaded(taken: &[&str], waiting: &[&str]) -> Reloaded {
        let links = [0, 1].into_iter().map(LinkId::new).collect();
        let names = |list: &[&str]| list.iter().map(|&key| key.to_owned()).collect();
        Reloaded { links, taken: names(taken), waiting: names(waiting), settings: Default::default() }
    }

    fn id(n: u32) -> NodeId {
        NodeId::new(n)
    }

    fn ring() -> RingId {
        RingId { representative: id(1), seq: 0xa4 }
    }

    /// One of each kind, in the order of the table.
    fn all() -> Vec<Happening> {
        use cmm_proto::{Configuration, Hint};
        let ms = Span::from_millis;
        let configuration = |kind| Configuration {
            kind,
            ring: ring(),
            members: vec![id(1), id(2)],
            joined: vec![id(2)],
            left: vec![id(3)],
        };
        let gasp = |last_word| Event::Gasp {
            node: id(3),
            incarnation: Incarnation::new(17),
            last_word,
            why: "Failfast: Aborting because \"rgmd\" died 35 seconds ago.".into(),
        };
        let key = |n| cmm_proto::wire::ClusterKey::new([n; 32]).fingerprint();
        let link = LinkId::new;
        let best = |mode, link: Option<LinkId>| {
            let links = if link.is_some() { 2 } else { 0 };
            Event::BestLink { node: id(2), mode, link, priority: 1, links }
        };
        let core = vec![
            Event::EnterGather { cause: 2, text: "The token was lost in the OPERATIONAL state." },
            Event::EnterCommit,
            Event::EnterRecovery,
            Event::EnterOperational,
            Event::TokenLost { token: ms(1_000) },
            Event::Suspect { node: id(3), why: "heartbeat", silent: ms(512) },
            Event::Suspect { node: id(3), why: "gasp", silent: Span::ZERO },
            Event::Suspect { node: id(3), why: "leave", silent: Span::ZERO },
            Event::Suspect { node: id(3), why: Hint::Refused.as_str(), silent: ms(53) },
            Event::Probe { node: id(3), why: Hint::LinksDown.as_str() },
            Event::NewMembership(configuration(ConfigurationKind::Transitional)),
            Event::NewMembership(configuration(ConfigurationKind::Regular)),
            Event::Retransmit { frames: 4 },
            Event::LeftSilently { nodes: vec![id(2), id(3)] },
            Event::CannotForm,
            Event::FailedToReceive,
            Event::TokenLate { late: ms(750) },
            Event::Paused { gap: ms(2_345) },
            Event::Link { node: id(2), link: link(1), up: false, why: "nothing is heard on it" },
            Event::Link { node: id(2), link: link(1), up: true, why: "" },
            Event::PathMtu { node: id(2), link: link(1), from: 1_188, to: 1_428 },
            Event::DataMtu { mtu: 1_428 },
            best(LinkMode::Passive, Some(link(1))),
            best(LinkMode::Active, Some(link(0))),
            best(LinkMode::Passive, None),
            Event::PacketRejected { why: RejectReason::Seal, claims: None },
            Event::Key(KeyEvent::Accepted { key: key(2), sealing: key(1) }),
            Event::Key(KeyEvent::Changed { key: key(2), old: key(1) }),
            Event::Key(KeyEvent::Forgotten { key: key(2) }),
            Event::Key(KeyEvent::Unchanged { key: key(2) }),
            Event::Key(KeyEvent::Missed { wanted: key(2).id(), file: key(1) }),
            Event::Key(KeyEvent::NotLoaded { why: "/etc/holdfast/authkey: has 7 bytes".into() }),
            gasp(false),
            gasp(true),
            Event::Quorate(true),
            Event::Quorate(false),
            Event::HeldOut {
                members: vec![id(1), id(2)],
                held_out: vec![
                    HeldOut { node: id(3), cannot_reach: Some(id(1)) },
                    HeldOut { node: id(4), cannot_reach: None },
                ],
            },
            Event::HeldOut { members: vec![id(1), id(2), id(3)], held_out: vec![] },
            Event::StepLate { step: StepNumber::new(3), missing: vec![id(2)] },
            Event::MessageSkipped { sender: id(2) },
            Event::VotesNotChanged { why: "the membership did not come to rest in time" },
        ];
        let step =
            |phase| DaemonEvent::Step { epoch: Epoch::new(9), step: StepNumber::new(1), name: "sync", phase };
        let daemon = vec![
            DaemonEvent::NodeList { members: vec![id(1), id(2)], joined: vec![id(2)], left: vec![id(3)] },
            DaemonEvent::Synchronised,
            step(StepPhase::Begin),
            step(StepPhase::Done),
            step(StepPhase::Aborted),
            DaemonEvent::NoQuorum { reason: "1 of 3 votes, 2 needed".into() },
            DaemonEvent::LeaseWait { ring: ring() },
            DaemonEvent::Confirmed { node: id(3), incarnation: Incarnation::new(17), why: "fenced".into() },
            DaemonEvent::NotScheduled {
                at: Boottime::from_nanos(77_000_000),
                late: ms(1_234),
                limit: ms(800),
            },
            DaemonEvent::Timing { broken: "totem.lease_margin 1ms is too little".into() },
            DaemonEvent::Timing { broken: String::new() },
            DaemonEvent::Retransmits { frames: 12 },
            DaemonEvent::Rejected { why: RejectReason::Malformed, count: 5, claims: None },
            DaemonEvent::Rejected { why: RejectReason::UnknownKey, count: 5, claims: Some(id(3)) },
            DaemonEvent::Rejected { why: RejectReason::OldKey, count: 5, claims: Some(id(3)) },
            DaemonEvent::Rejected { why: RejectReason::UnknownSender, count: 5, claims: None },
            DaemonEvent::Rejected { why: RejectReason::Address, count: 5, claims: Some(id(3)) },
            DaemonEvent::Rejected { why: RejectReason::Seal, count: 5, claims: None },
            DaemonEvent::Rejected { why: RejectReason::Replay, count: 5, claims: None },
            DaemonEvent::Rejected { why: RejectReason::Content, count: 5, claims: None },
            DaemonEvent::Unlisted { from: ([192, 0, 2, 1], 5_405).into(), count: 2 },
            DaemonEvent::SendFailed {
                to: id(2),
                link: LinkId::new(1),
                error: std::io::ErrorKind::NetworkUnreachable,
                count: 8,
            },
            DaemonEvent::SendOverflow { link: LinkId::new(0), count: 3 },
            DaemonEvent::LinkFaulty {
                link: LinkId::new(1),
                interface: "10.0.1.1".parse().ok(),
                faulty: true,
            },
            DaemonEvent::LinkFaulty { link: LinkId::new(1), interface: None, faulty: false },
            DaemonEvent::Reloading { by: id(2) },
            DaemonEvent::Reloaded { outcome: Ok(reloaded(&[], &[])) },
            DaemonEvent::Reloaded { outcome: Ok(reloaded(&["totem.token", "logging.debug"], &[])) },
            DaemonEvent::Reloaded {
                outcome: Ok(Reloaded {
                    settings: cmm_proto::SettingsTaken { late: vec![id(3)], others: vec![id(2)] },
                    ..reloaded(&[], &["quorum.two_node"])
                }),
            },
            DaemonEvent::Reloaded { outcome: Ok(reloaded(&["totem.token"], &["totem.transport"])) },
            DaemonEvent::Reloaded { outcome: Result::Err("c.conf:7: error: no".into()) },
            DaemonEvent::VotesRefused { change: "9 expected votes".into() },
            DaemonEvent::PersistFailed {
                error: "/var/lib/holdfast/ringid_1: No space left on device".into(),
            },
            DaemonEvent::PersistRecovered,
            DaemonEvent::Leaving { why: "sysadmin" },
            DaemonEvent::LeaveLate,
            DaemonEvent::Stopped,
            DaemonEvent::Watchdog { fed: false, why: "not quorate with something to protect" },
            DaemonEvent::Watchdog { fed: true, why: "the node is fit and quorate" },
            DaemonEvent::Guardian { error: Some("its process ended".into()) },
            DaemonEvent::Guardian { error: None },
            DaemonEvent::UnitNotArmed { name: "dlm".into(), pid: 4_711, why: "cannot watch pid 4711".into() },
            DaemonEvent::Degraded {
                what: "memory cannot be locked",
                error: "Operation not permitted".into(),
                then: "give cmmd CAP_IPC_LOCK",
            },
            DaemonEvent::LogsReopened,
            DaemonEvent::Client { text: "Denied connection to cpg: pid 4711, uid 1000, gid 1000".into() },
        ];
        let unit = failfast_core::UnitName::new("rgmd").expect("a name");
        let failfast = vec![failfast_core::Event::Disarmed { name: unit }];
        core.into_iter()
            .map(Happening::Core)
            .chain(daemon.into_iter().map(Happening::Daemon))
            .chain(failfast.into_iter().map(Happening::Failfast))
            .collect()
    }

    #[test]
    fn the_wording_is_the_one_operators_search_for() {
        let mut out = Vec::new();
        all().iter().for_each(|h| lines(h, &mut out));
        let mut table = String::new();
        for line in out {
            let fields: Vec<String> = line.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let (name, priority) = (line.name, line.priority.name());
            let row =
                format!("{name} {priority} [{:<6}] {} {{{}}}", line.subsystem, line.text, fields.join(" "));
            table.push_str(row.trim_end());
            table.push('\n');
        }
        let want = include_str!("events.txt");
        for (got, want) in table.lines().zip(want.lines()) {
            assert_eq!(got, want, "the wording is a contract: change events.txt only on purpose");
        }
        assert_eq!(table.lines().count(), want.lines().count(), "{table}");
    }
}
