//! The event table: every line `cmmd` writes about the cluster, in the wording that operators and their scripts already
//! search for. Each event has a name, a subsystem, a priority, its text and its fields, and stands here once; the test
//! compares the whole table with `events.txt`.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use cmm_conf::Priority::{self, Alert, Crit, Debug, Emerg, Err, Info, Notice, Warning};
use cmm_proto::{
    ConfigurationKind, Event, HeldOut, KeyEvent, LinkMode, NodeTable, RejectReason, StepPhase, TableView,
};
use cmm_qdisk::Event as Device;
use cmm_qnet::{Channel, Event as Server};
use cmm_scsi::Event as Reservation;
use cmm_scsi::command::Holder;
use cmm_scsi::fence::Event as DataDisk;
use failfast_core::Text;
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
    /// The guardian is on guard: from here on an end of this life that is not orderly takes the node down.
    Started { node: NodeId, name: String, cluster: String, life: Incarnation, mode: &'static str },
    /// The membership, synchronised; with the lives of those who joined.
    NodeList {
        members: Vec<NodeId>,
        joined: Vec<NodeId>,
        left: Vec<NodeId>,
        lives: Vec<(NodeId, Incarnation)>,
    },
    /// Services are synchronised.
    Synchronised,
    /// A reconfiguration step.
    Step { epoch: Epoch, step: StepNumber, name: &'static str, phase: StepPhase },
    /// Why the node is not quorate.
    NoQuorum { reason: String },
    /// What this node waits for without quorum; `lost`: it had quorum before.
    WaitsForQuorum { lost: bool, waits_for: String },
    /// The partition waits for the lease of those it lost.
    LeaseWait { ring: RingId },
    /// A death is confirmed.
    Confirmed { node: NodeId, incarnation: Incarnation, why: String },
    /// What a node that has gone says on the quorum disk.
    Tombstone { node: NodeId, life: Incarnation, why: String },
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
    /// The node table that counts, or a change of it that has begun.
    NodeTable { before: Box<TableView>, now: Box<TableView> },
    /// The file's node list is not in force, and that is so for a while.
    NodeTableWaits { why: String },
    /// News of a data disk.
    DataDisk { path: String, event: DataDisk },
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

/// News of the quorum disk, in qdiskd's words where it had some.
fn device(event: &Device, out: &mut Vec<Line>) {
    let mut line = |name, priority, text: String, fields| push(out, name, "QDISK", priority, text, fields);
    match event {
        Device::Disk { disk, failure: Some(failure) } => {
            let fields = vec![("disk", disk.to_string())];
            let text = format!(
                "Quorum disk {disk} does not count: {failure}; look at its path and what else writes to it"
            );
            line("qdisk_failed", Warning, text, fields);
        }
        Device::Disk { disk, failure: None } => {
            let fields = vec![("disk", disk.to_string())];
            line("qdisk_works", Notice, format!("Quorum disk {disk} works again."), fields);
        }
        Device::Decided(decided) => {
            let (node, term) = (decided.owner.slot, decided.term);
            let fields = vec![("node", node.to_string()), ("term", term.to_string())];
            line("qdisk_master", Notice, format!("Node {node} is the master (term {term})"), fields);
        }
        Device::Gained { term } => {
            let text = "Assuming master role: the quorum device's vote counts here";
            line("qdisk_gained", Notice, text.into(), vec![("term", term.to_string())]);
        }
        Device::Lost { term, why } => {
            let fields = vec![("term", term.to_string())];
            line("qdisk_lost", Warning, format!("lost contact with quorum device: {why}"), fields);
        }
        Device::NotInLast { owner } => {
            let text = format!(
                "Quorum device can not be acquired by the current cluster members. This quorum device is held by node {}: it was in the last cluster and this node was not; start it",
                owner.slot
            );
            line("qdisk_not_in_last", Warning, text, vec![("node", owner.slot.to_string())]);
        }
        Device::Contradiction { term } => {
            let text = format!(
                "Quorum disks contradict each other about term {term}: their vote counts here no more; stop the cluster, and create them anew"
            );
            line("qdisk_contradiction", Err, text, vec![("term", term.to_string())]);
        }
        Device::LaterLife(life) => {
            let text = format!(
                "Quorum disk: a later life of this node (incarnation {life}) has written there; was its state directory put back, or does another node have its id?"
            );
            line("qdisk_later_life", Err, text, vec![("incarnation", life.to_string())]);
        }
    }
}

/// News of the disk with reservations, in Sun Cluster's words where it had some.
fn reservation(event: &Reservation, out: &mut Vec<Line>) {
    let mut line = |name, priority, text: String, fields| push(out, name, "QDISK", priority, text, fields);
    let node = |slot: &u8| vec![("node", slot.to_string())];
    match event {
        Reservation::Disk(Some(failure)) => {
            let text = format!("Erstwhile online quorum device is inaccessible now: {failure}");
            line("reservation_failed", Warning, text, vec![]);
        }
        Reservation::Disk(None) => {
            line("reservation_works", Notice, "Quorum device is accessible.".into(), vec![])
        }
        Reservation::Holder(Holder::Slot(slot)) => {
            line(
                "reservation_holder",
                Notice,
                format!("Quorum device: owner set to node {slot}."),
                node(slot),
            );
        }
        Reservation::Holder(Holder::Nobody) => {
            line("reservation_holder", Notice, "Quorum device: nobody holds its reservation.".into(), vec![]);
        }
        Reservation::Holder(Holder::Foreign(key)) | Reservation::Foreign(key) => {
            let text = format!(
                "Quorum device is used by another cluster or tool: key {key}; name another disk, or clear it there (\"holdfast scsi show DEVICE\" shows all keys)"
            );
            line("reservation_foreign", Err, text, vec![("key", key.to_string())]);
        }
        Reservation::Gained => {
            let text = "Assuming master role: the quorum device's vote counts here";
            line("reservation_gained", Notice, text.into(), vec![]);
        }
        Reservation::Lost { why } => {
            line("reservation_lost", Warning, format!("lost contact with quorum device: {why}"), vec![]);
        }
        Reservation::Preempted { slot } => {
            let text = format!(
                "Preempted node {slot} from quorum device: it is not in this cluster, and cannot write there any more"
            );
            line("reservation_preempted", Warning, text, node(slot));
        }
        Reservation::Removed => {
            let text = "Our partition has been preempted: the reason is in the log of the node that owns the quorum device";
            line("reservation_removed", Warning, text.into(), vec![]);
        }
        Reservation::NotInLast { registered } => {
            let nodes = (1..=64_u8).filter(|slot| registered & 1 << (slot - 1) != 0);
            let nodes = nodes.map(|slot| slot.to_string()).collect::<Vec<_>>().join(" ");
            let text = format!(
                "Quorum device can not be acquired by the current cluster members. This quorum device is held by node {nodes}: it was in the last cluster and this node was not; start it, or, if it is off for good, clear all keys: holdfast scsi clear DEVICE"
            );
            line("reservation_not_in_last", Warning, text, vec![("nodes", nodes)]);
        }
        Reservation::Volatile => {
            let text = "Quorum device forgets registrations when it loses its power: after that a node that was not in the last cluster is not recognised";
            line("reservation_volatile", Warning, text.into(), vec![]);
        }
    }
}

/// News of a data disk, in Sun Cluster's words where it had some.
fn data_disk(path: &str, event: &DataDisk, out: &mut Vec<Line>) {
    let mut line = |name, priority, text: String, more: Option<(&'static str, String)>| {
        let fields = std::iter::once(("device", path.to_owned())).chain(more).collect();
        push(out, name, "FENCE", priority, text, fields);
    };
    match event {
        DataDisk::Disk(Some(failure)) => {
            let text = format!(
                "Data disk {path} is inaccessible now: {failure}; repair its path: until then nothing is started in a new configuration, \
                 unless the death of all nodes outside it is confirmed"
            );
            line("data_disk_failed", Warning, text, None);
        }
        DataDisk::Disk(None) => {
            line("data_disk_works", Notice, format!("Data disk {path} is accessible."), None)
        }
        DataDisk::Registered => {
            let text = format!("Registered the reservation key of this node on data disk {path}");
            line("data_disk_registered", Notice, text, None);
        }
        DataDisk::Preempted { slot } => {
            let text = format!(
                "Preempted node {slot} from data disk {path}: it is not in this cluster, and cannot write there any more"
            );
            line("data_disk_preempted", Warning, text, Some(("node", slot.to_string())));
        }
        DataDisk::Conflict => {
            let text = format!(
                "Reservation Conflict. Disk: {path}: the key of this node was removed, and it cannot write there; \
                 the reason is in the log of the nodes whose keys \"holdfast scsi show {path}\" shows"
            );
            line("data_disk_conflict", Crit, text, None);
        }
        DataDisk::Forgotten => {
            let text = format!(
                "Data disk {path} has forgotten all registrations, this node registers anew: until it had, every machine could write there"
            );
            line("data_disk_forgotten", Err, text, None);
        }
        DataDisk::Foreign(key) => {
            let text = format!(
                "Data disk {path} is used by another cluster or tool: key {key}; nothing is started in a new configuration: name another disk, \
                 or, if nobody uses it, clear it: holdfast scsi clear {path}"
            );
            line("data_disk_foreign", Err, text, Some(("key", key.to_string())));
        }
        DataDisk::Volatile => {
            let text = format!(
                "Data disk {path} forgets registrations when it loses its power: then every machine can write there until a member registers anew"
            );
            line("data_disk_volatile", Warning, text, None);
        }
    }
}

/// News of the quorum server.
fn server(event: &Server, out: &mut Vec<Line>) {
    let mut line = |name, priority, text: String| push(out, name, "QDEVICE", priority, text, vec![]);
    match event {
        Server::Connected { channel: Channel::Member } => {
            line("qnet_connected", Notice, "Connected to the quorum server (qnetd)".to_owned());
        }
        Server::Disconnected { channel: Channel::Member, why } => {
            line("qnet_disconnected", Warning, format!("Not connected to the quorum server (qnetd): {why}"));
        }
        // A second connection, which comes and goes with the vote.
        Server::Connected { .. } | Server::Disconnected { .. } => {}
        Server::Verdict { ring, ack } => {
            let vote = if *ack { "ACK" } else { "NACK" };
            line("qnet_vote", Notice, format!("Quorum server: the vote for ring {ring} is {vote}"));
        }
        Server::Gained => {
            line("qnet_gained", Notice, "The quorum device's vote counts here".to_owned());
        }
        Server::Lost { why } => {
            line("qnet_lost", Warning, format!("lost contact with quorum device: {why}"));
        }
    }
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
        Event::Forced => line("forced", Notice, "Forcing into GATHER state".into(), vec![]),
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
        Event::Testimony { by, life, text, .. } => {
            let fields = vec![("node", by.to_string()), ("incarnation", life.to_string())];
            let text = format!("Node {by} recorded of this node's life {life}: {text}");
            push(out, "testimony", "FAILFAST", Info, text, fields);
        }
        Event::Device(event) => device(event, out),
        Event::Reservation(event) => reservation(event, out),
        Event::Server(event) => server(event, out),
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
        E::RestartedTooOften { .. } => "unit_restarted_too_often",
        E::Maintenance { .. } => "units_maintenance",
        E::MaintenanceOver { .. } => "units_maintenance_over",
        E::Paused { .. } => "units_paused",
        E::Dropped { .. } => "unit_events_dropped",
    };
    push(out, name, "FAILFAST", priority, event.to_string(), vec![]);
}

fn daemon(event: &DaemonEvent, out: &mut Vec<Line>) {
    let mut line =
        |name, subsystem, priority, text: String, fields| push(out, name, subsystem, priority, text, fields);
    match event {
        DaemonEvent::Started { node, name, cluster, life, mode } => {
            let version = env!("CARGO_PKG_VERSION");
            let text = format!(
                "Node {node} ({name}) of cluster \"{cluster}\" begins a life: incarnation {life}, failfast mode {mode}, Holdfast {version}"
            );
            let fields = vec![("node", node.to_string()), ("incarnation", life.to_string())];
            line("started", "MAIN", Info, text, fields);
        }
        DaemonEvent::NodeList { members, joined, left, .. } => {
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
        DaemonEvent::WaitsForQuorum { lost, waits_for } => {
            let news = if *lost { "lost operational quorum" } else { "doesn't have operational quorum yet" };
            let text = format!("CMM: Cluster {news}; waiting for quorum. This node waits for {waits_for}");
            line("waits_for_quorum", "QUORUM", Warning, text, vec![("waits_for", waits_for.clone())]);
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
        DaemonEvent::Tombstone { node, life, why } => {
            let text = format!("Node {node} says on the quorum disk why it went down: {why}");
            let fields = vec![("node", node.to_string()), ("incarnation", life.to_string())];
            line("tombstone", "QDISK", Notice, text, fields);
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
                (
                    "reload_differs",
                    &settings.others,
                    "other timers or quorum options; make the files equal, and reload again",
                ),
            ] {
                for node in nodes {
                    let text = format!("Config reload: node {node} has {what}");
                    line(name, "CFG", Warning, text, vec![("node", node.to_string())]);
                }
            }
        }
        DaemonEvent::NodeTable { before, now } => {
            let nodes =
                |table: &NodeTable| table.ids().map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
            let other = |a: &NodeTable, b: &NodeTable| {
                let gone = a.ids().filter(|id| b.votes(*id).is_none());
                gone.map(|id| id.to_string()).collect::<Vec<_>>().join(" ")
            };
            let device = |table: &NodeTable| {
                table.device.map_or(String::new(), |device| {
                    format!("; quorum device {}, votes {}", device.kind.name(), device.votes)
                })
            };
            let (old, new) = (&before.tables, &now.tables);
            if new.is_bound() && (!old.is_bound() || old.table != new.table) {
                let (list, expected) = (nodes(&new.table), new.table.expected_now());
                let device = device(&new.table);
                let mut text = format!("Node list in force: {list}{device}; {expected} expected votes");
                let known = if old.table.nodes.is_empty() { &new.table } else { &old.table };
                let (added, removed) = (other(&new.table, known), other(known, &new.table));
                for (what, list) in [("added", &added), ("removed", &removed)] {
                    if !list.is_empty() {
                        text.push_str(&format!("; {what}: {list}"));
                    }
                }
                for (what, list) in [
                    ("not counted until they are back", &new.table.scale.away),
                    ("in maintenance", &new.table.scale.maintained),
                ] {
                    if !list.is_empty() {
                        let list: Vec<String> = list.iter().map(NodeId::to_string).collect();
                        text.push_str(&format!("; {what}: {}", list.join(" ")));
                    }
                }
                if new.table.scale.device_out {
                    text.push_str("; the quorum device is in maintenance");
                }
                if let Some(node) = new.table.scale.tie {
                    text.push_str(&format!("; node {node} breaks ties"));
                }
                let fields = vec![("nodes", list), ("added", added), ("removed", removed)];
                line("node_list", "VOTEQ", Notice, text, fields);
            }
            if let Some((_, next)) = new.next.as_ref().filter(|next| Some(*next) != old.next.as_ref()) {
                let list = nodes(next);
                let text = format!(
                    "Node list is being changed to: {list}{}; {} expected votes",
                    device(next),
                    next.expected_now()
                );
                line("node_list_changing", "VOTEQ", Notice, text, vec![("nodes", list)]);
            }
        }
        DaemonEvent::DataDisk { path, event } => data_disk(path, event, out),
        DaemonEvent::NodeTableWaits { why } => {
            let text = format!("Node list of the configuration file is not in force yet: {why}");
            line("node_list_waits", "VOTEQ", Warning, text, vec![]);
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
            line("watchdog_unfed", "WD", Alert, watchdog_text(false, why).to_string(), vec![]);
        }
        DaemonEvent::Watchdog { fed: true, why } => {
            line("watchdog_fed", "WD", Notice, watchdog_text(true, why).to_string(), vec![]);
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
            let which = if *pid == 0 { String::new() } else { format!(" (pid {pid})") };
            let text = format!("Failfast: unit \"{name}\"{which} of the configuration is not armed: {why}");
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

/// Whether the watchdog is fed, in words: for the log, and for the black box should this be the node's end.
pub(crate) fn watchdog_text(fed: bool, why: &'static str) -> Text {
    let mut text = Text::new();
    let what = if fed { "is fed" } else { "is not fed any more" };
    let _ = write!(text, "The watchdog {what}: {why}"); // a Text takes everything
    text
}

#[cfg(test)]
mod tests;
