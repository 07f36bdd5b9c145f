//! Packets that are not what they should be: counted, and nothing else.

use cmm_proto::wire::{ClusterKey, Echo, Heartbeat, LinkBeat, PacketKind, Sealer};
use cmm_proto::{Event, Output, RejectReason};
use holdfast_types::{BootId, Boottime, Incarnation, LinkId, NodeId, Span};

use crate::cluster::{Cluster, node};

fn rejected(c: &Cluster, id: u32) -> Vec<RejectReason> {
    let why = |e: &&Event| if let Event::PacketRejected { why, .. } = e { Some(*why) } else { None };
    c.events(id).iter().filter_map(why).collect()
}

fn sealer(key: u8, sender: NodeId, life: u64) -> Sealer {
    Sealer::new(&ClusterKey::new([key; 32]), "it", sender, Incarnation::new(life))
}

fn heartbeat(c: &Cluster, echoes: Vec<Echo>) -> Vec<u8> {
    let (ring, send_time) = (c.node(1).ring_id(), c.now);
    let heartbeat = Heartbeat {
        ring,
        send_time,
        boot_id: BootId([2; 16]),
        watchdog: Span::ZERO,
        lease: Span::ZERO,
        device: Span::ZERO,
        echoes,
    };
    let beat = LinkBeat {
        seq: 1,
        interval: Span::from_millis(50),
        sent: send_time,
        echo: None,
        hears: true,
        received: 32,
        heartbeat: true,
        asks: false,
    };
    beat.before(&heartbeat.encode())
}

#[test]
fn strangers_noise_and_replays_change_counters_only() {
    let mut c = Cluster::formed(3);
    let before = c.node(1).stats();
    let beat = heartbeat(&c, vec![]);
    let link = LinkId::new(0);
    let stranger = sealer(9, node(2), 5).seal(PacketKind::Heartbeat, link, &beat);
    let unknown = sealer(7, node(8), 1).seal(PacketKind::Heartbeat, link, &beat);
    let myself = sealer(7, node(1), 9).seal(PacketKind::Heartbeat, link, &beat);
    let garbled = sealer(7, node(3), 1).seal(PacketKind::Heartbeat, link, b"not a heartbeat");
    for packet in [stranger, unknown, myself, vec![], vec![0; 2_000], b"HFst".to_vec()] {
        c.inject(1, packet);
    }
    assert_eq!(
        rejected(&c, 1),
        [
            RejectReason::UnknownKey,
            RejectReason::UnknownSender,
            RejectReason::UnknownSender,
            RejectReason::Malformed,
            RejectReason::Malformed,
            RejectReason::Malformed
        ]
    );
    assert_eq!(c.node(1).stats().packets_rejected, before.packets_rejected + 6);
    c.forget();
    c.inject(1, garbled);
    assert!(matches!(rejected(&c, 1)[..], [RejectReason::Replay | RejectReason::Content]));
    c.run(Span::from_secs(3));
    assert!(c.settled(&[1, 2, 3]) && c.regular(1).is_empty());
}

#[test]
fn an_echo_of_what_was_never_sent_is_worth_nothing() {
    let mut c = Cluster::formed(3);
    c.cut(&[1], &[2, 3]);
    // A member with a lying clock echoes the future and the past before this life.
    let mut liar = sealer(7, node(2), 1);
    for _ in 0..200_000 {
        // Past every counter that the real node 2 has used.
        let _ = liar.seal(PacketKind::Heartbeat, LinkId::new(0), b"");
    }
    for send_time in [Boottime::from_nanos(u64::MAX), c.now + Span::from_secs(900), Boottime::from_nanos(1)] {
        let beat = heartbeat(&c, vec![Echo { node: node(1), send_time }]);
        let packet = liar.seal(PacketKind::Heartbeat, LinkId::new(0), &beat);
        c.inject(1, packet);
    }
    assert!(rejected(&c, 1).is_empty(), "they open and parse: {:?}", rejected(&c, 1));
    c.run(c.timers().lease + Span::from_millis(1));
    assert!(!c.quorate(1), "the lease ends when it must");
    let lost = c.told(1).iter().find(|t| matches!(&t.output, Output::Quorum(v) if !v.quorate));
    assert!(lost.is_some());
}
