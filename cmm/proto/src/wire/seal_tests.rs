//! What the seal lets in, and that nothing else changes anything.

use super::*;
use crate::wire::replay::REORDER_MAX;

const KEY: [u8; 32] = [7; 32];
const OTHER: [u8; 32] = [8; 32];

fn id(n: u32) -> NodeId {
    NodeId::new(n)
}

fn key(bytes: [u8; 32]) -> ClusterKey {
    ClusterKey::new(bytes)
}

fn sealer(node: u32, incarnation: u64) -> Sealer {
    Sealer::new(&key(KEY), "alpha", id(node), Incarnation::new(incarnation))
}

fn opener(me: u32) -> Opener {
    Opener::new(&key(KEY), "alpha", id(me), [1, 2, 3].map(id))
}

fn seal(s: &mut Sealer) -> Vec<u8> {
    s.seal(PacketKind::Ring, LinkId::new(0), b"body")
}

/// Another key with the same name on the wire, by trying.
fn namesake() -> ClusterKey {
    let wanted = key(KEY).id();
    let keys = (0_u64..).map(|n| ClusterKey::from_secret("namesake", &n.to_le_bytes()));
    keys.into_iter().find(|k| k.id() == wanted).expect("one in 65536 has it")
}

#[test]
fn a_peer_opens_what_was_sealed() {
    let mut packet = sealer(1, 10).seal(PacketKind::Heartbeat, LinkId::new(3), b"hello");
    let mut peer = opener(2);
    let opened = peer.open(&mut packet).unwrap();
    assert_eq!(opened.body, b"hello");
    assert_eq!((opened.header.sender, opened.header.link), (id(1), LinkId::new(3)));
    assert!(opened.new_incarnation && opened.new_keys);
    assert_eq!(peer.incarnation(id(1)), Some(Incarnation::new(10)));
    assert_eq!(peer.incarnation(id(3)), None);
}

#[test]
fn any_changed_bit_and_any_missing_byte_is_refused() {
    let good = seal(&mut sealer(1, 10));
    for at in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[at / 8] ^= 1 << (at % 8);
        assert!(opener(2).open(&mut bad).is_err(), "bit {at}");
    }
    for len in 0..good.len() {
        assert!(opener(2).open(&mut good.clone()[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn another_cluster_or_key_does_not_open() {
    for (secret, name, why) in [
        (key(KEY), "beta", RejectReason::Seal),
        (key(OTHER), "alpha", RejectReason::UnknownKey),
        (namesake(), "alpha", RejectReason::Seal),
    ] {
        let mut stranger = Opener::new(&secret, name, id(2), [1, 2, 3].map(id));
        assert_eq!(stranger.open(&mut seal(&mut sealer(1, 10))), Err(why));
        assert_eq!(stranger.incarnation(id(1)), None);
    }
}

#[test]
fn strangers_and_oneself_are_not_known_senders() {
    assert_eq!(opener(2).open(&mut seal(&mut sealer(9, 1))), Err(RejectReason::UnknownSender));
    assert_eq!(opener(1).open(&mut seal(&mut sealer(1, 1))), Err(RejectReason::UnknownSender));
}

#[test]
fn a_packet_opens_once_in_any_order() {
    let mut s = sealer(1, 10);
    let mut peer = opener(2);
    peer.open(&mut seal(&mut s)).unwrap();
    let packets: Vec<_> = (0..REORDER_MAX).map(|_| seal(&mut s)).collect();
    for packet in packets.iter().rev() {
        assert!(peer.open(&mut packet.clone()).is_ok());
    }
    for packet in &packets {
        assert_eq!(peer.open(&mut packet.clone()), Err(RejectReason::Replay));
    }
}

#[test]
fn what_is_too_old_to_tell_is_refused() {
    let mut s = sealer(1, 10);
    let (first, late) = (seal(&mut s), seal(&mut s));
    let mut peer = opener(2);
    peer.open(&mut first.clone()).unwrap();
    for _ in 0..REORDER_MAX + 64 {
        assert!(peer.open(&mut seal(&mut s)).is_ok());
    }
    assert_eq!(peer.open(&mut first.clone()), Err(RejectReason::Replay));
    assert_eq!(peer.open(&mut late.clone()), Err(RejectReason::Replay), "never seen, but too late");
}

#[test]
fn a_restarted_receiver_takes_nothing_from_before_what_it_heard_first() {
    let mut s = sealer(1, 10);
    let recorded: Vec<_> = (0..100).map(|_| seal(&mut s)).collect();
    let mut restarted = opener(2);
    restarted.open(&mut seal(&mut s)).unwrap();
    for packet in recorded {
        assert_eq!(restarted.open(&mut packet.clone()), Err(RejectReason::Replay));
    }
    // Nor under another key, when it changes later.
    let mut other = sealer(1, 10);
    other.change(&key(OTHER), "alpha");
    let mut old = seal(&mut other);
    assert!(restarted.accept(&key(OTHER)));
    assert_eq!(restarted.open(&mut old), Err(RejectReason::Replay));
}

#[test]
fn a_new_life_shuts_out_the_old_one() {
    let (mut old, mut new) = (sealer(1, 10), sealer(1, 11));
    let mut peer = opener(2);
    assert!(peer.open(&mut seal(&mut old)).unwrap().new_incarnation);
    assert!(!peer.open(&mut seal(&mut old)).unwrap().new_incarnation);
    assert!(peer.open(&mut seal(&mut new)).unwrap().new_incarnation);
    assert_eq!(peer.open(&mut seal(&mut old)), Err(RejectReason::Replay));
    let gasp = old.seal(PacketKind::Gasp, LinkId::new(0), b"why");
    assert_eq!(peer.open(&mut gasp.clone()), Err(RejectReason::Replay), "a gasp of an earlier life");
}

#[test]
fn a_forged_life_counter_or_next_key_changes_nothing() {
    let mut honest = sealer(1, 10);
    let mut peer = opener(2);
    peer.open(&mut seal(&mut honest)).unwrap();
    let before = peer.keys(id(1));
    // Next key, incarnation, a counter within this series and one in another.
    for at in [6, 12, 20, 24] {
        let mut forged = seal(&mut honest);
        forged[at] ^= 0x55;
        assert_eq!(peer.open(&mut forged), Err(RejectReason::Seal), "byte {at}");
    }
    let mut next = seal(&mut honest);
    let opened = peer.open(&mut next).unwrap();
    assert!(!opened.new_incarnation && !opened.new_keys);
    assert_eq!(peer.keys(id(1)), before);
}

#[test]
fn gasps_live_apart_from_the_counters_of_packets() {
    let mut s = sealer(1, 10);
    let gasp = s.seal(PacketKind::Gasp, LinkId::new(0), b"why");
    let first = seal(&mut s);
    assert_eq!(Header::decode(&gasp).unwrap().counter, Header::decode(&first).unwrap().counter);
    let mut peer = opener(2);
    peer.open(&mut first.clone()).unwrap();
    assert_eq!(peer.open(&mut gasp.clone()).unwrap().body, b"why");
    assert!(peer.open(&mut gasp.clone()).is_ok(), "the guardian sends each three times");
    let mut mislabelled = gasp;
    mislabelled[3] = PacketKind::Ring as u8;
    assert!(opener(2).open(&mut mislabelled).is_err());
}

#[test]
fn no_aes_key_seals_more_than_one_series() {
    let mut s = sealer(1, 10);
    let mut peer = opener(2);
    peer.open(&mut seal(&mut s)).unwrap();
    s.packets.counter = (1 << SERIES_BITS) - 3;
    let mut packets: Vec<_> = (0..6).map(|_| seal(&mut s)).collect();
    packets.swap(1, 4); // late ones of the series before
    for packet in &packets {
        assert!(peer.open(&mut packet.clone()).is_ok());
    }
    // The series is part of the key: the same nonce bits under the other key do not open.
    s.packets.counter = 3 << SERIES_BITS;
    assert_eq!(
        peer.open(&mut seal(&mut s)),
        Err(RejectReason::Seal),
        "its key was not derived: a sealer's own mistake"
    );
    s.packets.counter = (4 << SERIES_BITS) - 1;
    assert!(peer.open(&mut seal(&mut s)).is_ok(), "a jump over whole series");
    assert_eq!(peer.peers[0].life.as_ref().unwrap().seals[0].packets.0.len(), 2, "two keys at most are kept");
}

#[test]
fn two_keys_are_accepted_while_they_change_and_one_afterwards() {
    let mut s = sealer(1, 10);
    let mut peer = opener(2);
    peer.open(&mut seal(&mut s)).unwrap();
    assert!(peer.accept(&key(OTHER)));
    s.announce(Some(key(OTHER).id()));
    let mut said = seal(&mut s);
    assert!(peer.open(&mut said).unwrap().new_keys);
    assert_eq!(peer.keys(id(1)), Some(Keys { key: key(KEY).id(), next: Some(key(OTHER).id()) }));
    let late = seal(&mut s);
    s.change(&key(OTHER), "alpha");
    s.announce(None);
    assert!(peer.open(&mut seal(&mut s)).unwrap().new_keys);
    assert!(!peer.open(&mut late.clone()).unwrap().new_keys, "a late packet is no news");
    assert_eq!(peer.open(&mut late.clone()), Err(RejectReason::Replay));
    assert_eq!(peer.keys(id(1)), Some(Keys { key: key(OTHER).id(), next: None }));

    peer.retire_all_but(key(OTHER).id());
    let mut started = Sealer::new(&key(KEY), "alpha", id(3), Incarnation::new(1));
    assert_eq!(
        peer.open(&mut seal(&mut started)),
        Err(RejectReason::OldKey),
        "who starts must have the new key"
    );
    let mut old = sealer(1, 10);
    old.packets.counter = 50;
    assert!(peer.open(&mut seal(&mut old)).is_ok(), "a known life may still be late");

    peer.forget_all_but(key(OTHER).id());
    assert_eq!(peer.open(&mut seal(&mut old)), Err(RejectReason::OldKey));
    let gasp = old.seal(PacketKind::Gasp, LinkId::new(0), b"why");
    assert_eq!(peer.open(&mut gasp.clone()), Err(RejectReason::OldKey));
    s.packets.counter = 60;
    assert!(peer.open(&mut seal(&mut s)).is_ok());
    assert_eq!(peer.accepted(), 1);
}

#[test]
fn keys_are_bounded_and_namesakes_are_not_accepted() {
    let mut peer = opener(2);
    assert!(peer.accept(&key(KEY)), "the same one");
    assert!(!peer.accept(&namesake()));
    for n in 1..KEYS_MAX as u8 {
        assert!(peer.accept(&key([n + 100; 32])));
    }
    assert!(!peer.accept(&key(OTHER)), "no room");
    peer.forget_all_but(key(KEY).id());
    assert!(peer.accept(&key(OTHER)));
}

#[test]
fn a_packet_proves_that_its_sender_has_a_key_without_changing_anything() {
    let mut s = Sealer::new(&key(OTHER), "alpha", id(1), Incarnation::new(4));
    let packet = seal(&mut s);
    let mut peer = opener(2);
    assert_eq!(peer.open(&mut packet.clone()), Err(RejectReason::UnknownKey));
    assert!(peer.would_open(&key(OTHER), &packet));
    assert!(!peer.would_open(&key(KEY), &packet));
    let mut forged = packet.clone();
    forged[HEADER_LEN] ^= 1;
    assert!(!peer.would_open(&key(OTHER), &forged));
    assert!(!peer.would_open(&key(OTHER), &packet[..HEADER_LEN + 3]));
    let stranger = seal(&mut Sealer::new(&key(OTHER), "alpha", id(9), Incarnation::new(4)));
    assert!(!peer.would_open(&key(OTHER), &stranger));
    peer.open(&mut seal(&mut sealer(1, 5))).unwrap();
    assert!(!peer.would_open(&key(OTHER), &packet), "an earlier life proves nothing");
}
