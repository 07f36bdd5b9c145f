//! One event of each kind, and the lines that they make.

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

/// From a table of nodes 1 and 2 to one with 2 and 3, or the first one.
fn tables(from: Option<&[u32]>, next: &[u32]) -> DaemonEvent {
    let table = |ids: &[u32]| {
        let entry = |n: &u32| cmm_proto::NodeEntry { id: id(*n), votes: holdfast_types::Votes::new(1) };
        NodeTable::new(ids.iter().map(entry).collect(), None)
    };
    let view = |ring, ids: &[u32], next: &[u32]| TableView {
        tables: cmm_proto::Tables {
            id: cmm_proto::TableId { ring, number: 0 },
            table: table(ids),
            next: (!next.is_empty()).then(|| (cmm_proto::TableId { ring: 9, number: 1 }, table(next))),
        },
        nodes: Vec::new(),
        waits: String::new(),
    };
    let before = from.map(|from| view(4, from, &[])).unwrap_or_default();
    DaemonEvent::NodeTable { before: Box::new(before), now: Box::new(view(8, &[2, 3, 4], next)) }
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
    let owner = cmm_qdisk::Owner { slot: 2, life: Incarnation::new(17) };
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
        Event::Forced,
        Event::CannotForm,
        Event::Device(Device::Disk { disk: 0, failure: Some(cmm_qdisk::Failure::Io(5)) }),
        Event::Device(Device::Disk { disk: 0, failure: Some(cmm_qdisk::Failure::Lost) }),
        Event::Device(Device::Disk { disk: 1, failure: None }),
        Event::Device(Device::Decided(cmm_qdisk::Decided { term: 7, owner })),
        Event::Device(Device::Gained { term: 7 }),
        Event::Device(Device::Lost { term: 7, why: "the lease ran out" }),
        Event::Device(Device::NotInLast { owner }),
        Event::Device(Device::Contradiction { term: 7 }),
        Event::Device(Device::LaterLife(Incarnation::new(19))),
        Event::Server(Server::Connected { channel: Channel::Member }),
        Event::Server(Server::Disconnected { channel: Channel::Member, why: "no answer in time" }),
        Event::Server(Server::Verdict { ring: RingId { representative: id(1), seq: 28 }, ack: true }),
        Event::Server(Server::Verdict { ring: RingId { representative: id(1), seq: 28 }, ack: false }),
        Event::Server(Server::Gained),
        Event::Server(Server::Lost { why: "the server has taken it" }),
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
        Event::Testimony {
            by: id(2),
            life: Incarnation::new(17),
            news: 8,
            at: holdfast_types::WallTime(0),
            text: "Death of node 3 is confirmed: fenced".into(),
        },
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
    let data_disk = |event| DaemonEvent::DataDisk { path: "/dev/sda".into(), event };
    let daemon = vec![
        data_disk(DataDisk::Disk(Some(cmm_scsi::Failure::Io(5)))),
        data_disk(DataDisk::Disk(None)),
        data_disk(DataDisk::Registered),
        data_disk(DataDisk::Preempted { slot: 3 }),
        data_disk(DataDisk::Conflict),
        data_disk(DataDisk::Forgotten),
        data_disk(DataDisk::Foreign(cmm_scsi::Cluster::of_name("db").key(1))),
        data_disk(DataDisk::Volatile),
        DaemonEvent::Started {
            node: id(2),
            name: "beta".into(),
            cluster: "shop".into(),
            life: Incarnation::new(17),
            mode: "panic",
        },
        DaemonEvent::NodeList {
            members: vec![id(1), id(2)],
            joined: vec![id(2)],
            left: vec![id(3)],
            lives: vec![(id(2), Incarnation::new(17))],
        },
        DaemonEvent::Synchronised,
        step(StepPhase::Begin),
        step(StepPhase::Done),
        step(StepPhase::Aborted),
        DaemonEvent::NoQuorum { reason: "1 of 3 votes, 2 needed".into() },
        DaemonEvent::WaitsForQuorum {
            lost: false,
            waits_for: "1 more vote (1 of 3 are here, 2 needed); missing: node 2 (beta), node 3".into(),
        },
        DaemonEvent::WaitsForQuorum {
            lost: true,
            waits_for: "the leases of nodes that are not here to end".into(),
        },
        DaemonEvent::LeaseWait { ring: ring() },
        DaemonEvent::Confirmed { node: id(3), incarnation: Incarnation::new(17), why: "fenced".into() },
        DaemonEvent::Tombstone { node: id(3), life: Incarnation::new(17), why: "it was told to".into() },
        DaemonEvent::NotScheduled { at: Boottime::from_nanos(77_000_000), late: ms(1_234), limit: ms(800) },
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
        DaemonEvent::LinkFaulty { link: LinkId::new(1), interface: "10.0.1.1".parse().ok(), faulty: true },
        DaemonEvent::LinkFaulty { link: LinkId::new(1), interface: None, faulty: false },
        DaemonEvent::Reloading { by: id(2) },
        DaemonEvent::Reloaded { outcome: Ok(reloaded(&[], &[])) },
        DaemonEvent::Reloaded { outcome: Ok(reloaded(&["totem.token", "logging.debug"], &[])) },
        DaemonEvent::Reloaded {
            outcome: Ok(Reloaded {
                settings: cmm_proto::SettingsTaken { late: vec![id(3)], others: vec![id(2)] },
                ..reloaded(&[], &["failfast.mode"])
            }),
        },
        DaemonEvent::Reloaded { outcome: Ok(reloaded(&["totem.token"], &["totem.transport"])) },
        DaemonEvent::Reloaded { outcome: Result::Err("c.conf:7: error: no".into()) },
        tables(None, &[]),
        tables(Some(&[1, 2, 3]), &[1, 2, 4]),
        DaemonEvent::NodeTableWaits {
            why: "the file of node 2 has another one, or was not read again".into(),
        },
        DaemonEvent::PersistFailed { error: "/var/lib/holdfast/ringid_1: No space left on device".into() },
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
    let failfast = vec![failfast_core::Event::Disarmed { name: unit, by: None }];
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
        let row = format!("{name} {priority} [{:<6}] {} {{{}}}", line.subsystem, line.text, fields.join(" "));
        table.push_str(row.trim_end());
        table.push('\n');
    }
    let want = include_str!("../events.txt");
    for (got, want) in table.lines().zip(want.lines()) {
        assert_eq!(got, want, "the wording is a contract: change events.txt only on purpose");
    }
    assert_eq!(table.lines().count(), want.lines().count(), "{table}");
}
