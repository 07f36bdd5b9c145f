//! The key is changed while the ring turns: nothing is lost, nobody is locked out for ever, nobody comes in.

use cmm_proto::wire::{ClusterKey, PacketKind, Sealer};
use cmm_proto::{Event, Guarantee, KeyEvent, Output, RejectReason, Request};
use holdfast_types::{Incarnation, LinkId, Span};

use crate::cluster::{Cluster, conn, node};

fn key(byte: u8) -> ClusterKey {
    ClusterKey::new([byte; 32])
}

impl Cluster {
    /// Puts a key into the files of these nodes.
    fn put_key(&mut self, nodes: &[u32], byte: u8) {
        for id in nodes {
            self.nodes.get_mut(id).expect("a configured node").file = Some(key(byte));
        }
    }

    /// Seals with this key, and accepts no other.
    fn has(&self, id: u32, byte: u8) -> bool {
        let view = self.node(id).key_view();
        view.key == key(byte).fingerprint() && view.next.is_none() && view.accepted == 1
    }

    fn all_have(&self, nodes: &[u32], byte: u8) -> bool {
        nodes.iter().all(|id| self.has(*id, byte))
    }

    fn key_events(&self, id: u32) -> Vec<&KeyEvent> {
        self.events(id)
            .into_iter()
            .filter_map(|e| if let Event::Key(k) = e { Some(k) } else { None })
            .collect()
    }

    fn rejected(&self, id: u32) -> Vec<(RejectReason, Option<u32>)> {
        let of = |e: &&Event| match e {
            Event::PacketRejected { why, claims } => Some((*why, claims.map(|n| n.get()))),
            _ => None,
        };
        self.events(id).iter().filter_map(of).collect()
    }

    fn loads(&self, id: u32) -> usize {
        self.told(id).iter().filter(|t| matches!(t.output, Output::LoadKey)).count()
    }
}

#[test]
fn a_change_under_load_loses_no_packet_and_changes_no_membership() {
    let all = [1, 2, 3];
    let mut c = Cluster::formed(3);
    for id in all {
        c.join(id, id.into(), id, b"g");
    }
    c.run(Span::from_millis(100));
    c.forget();
    let old_gasp = c.gasp_of(2);
    c.put_key(&all, 8);
    let mut sent = 0;
    for round in 0..400 {
        if round == 50 {
            c.submit(1, Request::ChangeKey).expect("taken");
        }
        let id = round % 3 + 1;
        let payload = format!("{round}");
        let request = Request::CpgMcast {
            conn: conn(id.into()),
            guarantee: Guarantee::Agreed,
            fragment: None,
            past_gate: false,
            payload: payload.as_bytes(),
        };
        sent += usize::from(c.submit(id, request).is_ok());
        c.run(Span::from_millis(1));
    }
    c.until("the old key is forgotten", |c| c.all_have(&all, 8));
    c.run(Span::from_millis(500));
    for id in all {
        assert_eq!(c.rejected(id), [], "node {id}");
        assert!(c.regular(id).is_empty(), "the ring holds");
        let steps: Vec<_> = c.key_events(id);
        assert!(
            matches!(
                steps[..],
                [KeyEvent::Accepted { .. }, KeyEvent::Changed { .. }, KeyEvent::Forgotten { .. }]
            ),
            "{steps:?}"
        );
        assert_eq!(c.client(id, id.into()).len(), sent, "every message is delivered");
        assert_eq!(c.loads(id), 1);
    }
    c.forget();
    c.inject(1, old_gasp);
    assert_eq!(c.rejected(1), [(RejectReason::OldKey, Some(2))]);
    c.kill_with_gasp(2, true);
    c.until("the gasp sealed anew is believed", |c| c.confirmed(1) == [(2, 1)]);
}

#[test]
fn nobody_seals_with_a_key_that_a_member_does_not_have() {
    let all = [1, 2, 3];
    let mut c = Cluster::formed(3);
    c.put_key(&[1, 2], 8);
    c.submit(2, Request::ChangeKey).expect("taken");
    c.run(Span::from_secs(60));
    for id in all {
        assert_eq!((c.rejected(id), c.regular(id).len()), (vec![], 0));
        assert_eq!(c.node(id).key_view().key, key(7).fingerprint());
    }
    assert_eq!(c.node(1).key_view().waits_for, [node(3)]);
    let missed = KeyEvent::Missed { wanted: key(8).id(), file: key(7).fingerprint() };
    assert_eq!(c.key_events(3), [&missed], "told once");
    // A file that cannot be read is told, and no reason to give up.
    c.nodes.get_mut(&3).unwrap().file = None;
    c.run(Span::from_secs(15));
    assert!(matches!(c.key_events(3)[..], [_, KeyEvent::NotLoaded { .. }]), "{:?}", c.key_events(3));
    c.put_key(&[3], 8);
    c.until("all change when the file is there", |c| c.all_have(&all, 8));
    assert!(all.iter().all(|id| c.rejected(*id).is_empty() && c.regular(*id).is_empty()));
}

#[test]
fn a_partition_in_the_middle_locks_nobody_out() {
    let all = [1, 2, 3];
    for cut_after in [0, 1, 3, 5, 8, 60, 9_000] {
        let mut c = Cluster::formed(3);
        c.put_key(&all, 8);
        c.submit(1, Request::ChangeKey).expect("taken");
        c.run(Span::from_millis(cut_after));
        c.cut(&[3], &[1, 2]);
        c.until("the majority changes", |c| c.all_have(&[1, 2], 8));
        c.run(Span::from_secs(30));
        c.heal();
        c.until("all are one ring with the new key", |c| c.all_have(&all, 8) && c.settled(&all));
    }
}

#[test]
fn halves_that_change_to_different_keys_agree_once_the_files_do() {
    let all = [1, 2, 3, 4];
    let mut c = Cluster::formed(4);
    c.cut(&[1, 2], &[3, 4]);
    c.put_key(&[1, 2], 8);
    c.put_key(&[3, 4], 9);
    c.submit(1, Request::ChangeKey).expect("taken");
    c.submit(3, Request::ChangeKey).expect("taken");
    c.until("both halves change", |c| c.all_have(&[1, 2], 8) && c.all_have(&[3, 4], 9));
    c.heal();
    c.run(Span::from_secs(60));
    assert!(!c.settled(&all), "files that differ keep them apart");
    c.put_key(&[3, 4], 8);
    c.until("one ring", |c| c.all_have(&all, 8) && c.settled(&all));
}

#[test]
fn who_starts_with_the_old_key_stays_out_until_its_file_is_replaced() {
    let mut c = Cluster::formed(3);
    c.put_key(&[1, 2], 8);
    c.kill(3);
    c.until("two remain", |c| c.settled(&[1, 2]));
    c.submit(1, Request::ChangeKey).expect("taken");
    c.until("they change", |c| c.node(1).key_view().key == key(8).fingerprint());
    c.run(Span::from_millis(300));
    c.forget();
    // In the grace time, when packets of old lives under the old key are still good.
    c.start(3);
    c.run(Span::from_secs(40));
    for id in [1, 2] {
        assert!(c.rejected(id).contains(&(RejectReason::OldKey, Some(3))), "with a line that says so");
        assert!(c.regular(id).is_empty(), "it disturbs nobody");
    }
    assert!(c.rejected(3).iter().all(|r| matches!(r, (RejectReason::UnknownKey, Some(_)))));
    assert!(c.has(1, 8) && c.has(2, 8));
    c.put_key(&[3], 8);
    c.until("it comes in without a restart", |c| c.settled(&[1, 2, 3]) && c.has(3, 8));
}

#[test]
fn who_starts_with_the_new_key_brings_it_to_those_who_have_it_in_their_files() {
    let all = [1, 2, 3];
    let mut c = Cluster::formed(3);
    c.put_key(&all, 8);
    c.kill(3);
    c.run(Span::from_secs(5));
    c.start(3);
    c.until("one ring with the new key", |c| c.all_have(&all, 8) && c.settled(&all));

    // And not to those who have not: a start alone changes no key.
    let mut c = Cluster::formed(3);
    c.put_key(&[3], 8);
    c.kill(3);
    c.until("two remain", |c| c.settled(&[1, 2]));
    c.forget();
    c.start(3);
    c.run(Span::from_secs(60));
    assert!(c.has(1, 7) && c.has(2, 7) && c.regular(1).is_empty());
    c.put_key(&[1, 2], 8);
    c.until("one ring", |c| c.all_have(&all, 8) && c.settled(&all));
}

#[test]
fn who_looked_into_its_file_too_early_looks_again_soon() {
    let all = [1, 2, 3];
    let mut c = Cluster::formed(3);
    c.cut(&[3], &[1, 2]);
    c.until("apart", |c| c.settled(&[1, 2]) && c.settled(&[3]));
    c.put_key(&[1, 2], 8);
    c.submit(1, Request::ChangeKey).expect("taken");
    c.until("the majority changes", |c| c.all_have(&[1, 2], 8));
    c.heal();
    c.until("the third one has looked", |c| c.loads(3) > 0);
    c.put_key(&[3], 8);
    let began = c.now;
    c.until("they are one", |c| c.settled(&all));
    assert!(c.now.since(began) < Span::from_secs(3), "not one more look in three token times");
}

#[test]
fn a_change_can_be_called_off_and_another_one_can_follow_at_once() {
    let all = [1, 2, 3];
    let mut c = Cluster::formed(3);
    c.put_key(&[1, 2], 8);
    c.submit(1, Request::ChangeKey).expect("taken");
    c.run(Span::from_secs(1));
    c.put_key(&[1, 2], 7);
    c.submit(1, Request::ChangeKey).expect("taken");
    c.until("it is called off", |c| c.all_have(&all, 7));
    c.put_key(&all, 8);
    c.submit(1, Request::ChangeKey).expect("taken");
    c.run(Span::from_millis(5));
    c.put_key(&all, 9);
    c.submit(2, Request::ChangeKey).expect("taken");
    c.until("the last one counts", |c| c.all_have(&all, 9));
    assert!(all.iter().all(|id| c.rejected(*id).is_empty() && c.regular(*id).is_empty()));
}

#[test]
fn a_death_at_any_point_of_a_change_stops_nothing() {
    let all = [1, 2, 3];
    for after in [1, 2, 3, 4, 6, 10, 50, 400] {
        for victim in all {
            let mut c = Cluster::formed(3);
            c.put_key(&all, 8);
            c.submit(2, Request::ChangeKey).expect("taken");
            c.run(Span::from_millis(after));
            c.kill(victim);
            c.run(Span::from_millis(200 + 37 * after));
            c.start(victim);
            c.until("one ring with the new key", |c| {
                c.settled(&all) && all.iter().all(|id| c.node(*id).key_view().key == key(8).fingerprint())
            });
            c.until("and no other", |c| c.all_have(&all, 8));
        }
    }
}

#[test]
fn packets_that_nobody_sealed_cause_one_look_at_the_file_in_a_while() {
    let mut c = Cluster::formed(3);
    c.put_key(&[1], 8);
    // Whoever knows no key can name any, and any sender: even the one that is in the file.
    let began = c.now;
    let mut forger = Sealer::new(&key(66), "it", node(2), Incarnation::new(99));
    for round in 0..3_000_u32 {
        let mut packet = forger.seal(PacketKind::Ring, LinkId::new(0), b"let me in");
        let name = if round % 2 == 0 { key(8).id().get() } else { round as u16 | 1 };
        packet[4..6].copy_from_slice(&name.to_le_bytes());
        c.inject(1, packet);
        c.run(Span::from_millis(1));
    }
    let bound = c.now.since(began).as_millis() / 1_000 + 1; // one in a token time
    assert!((1..=bound).contains(&(c.loads(1) as u64)), "{} looks at the file, not {bound}", c.loads(1));
    assert!(c.has(1, 7) && c.key_events(1).is_empty() && c.regular(1).is_empty());
    assert!(c.told(1).iter().all(|t| !matches!(t.output, Output::TakeDown(_))));
}
