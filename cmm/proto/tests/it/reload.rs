//! Intervals and limits are changed while the ring turns: nobody notices, and no lease is waited for too short a time.

use cmm_proto::{Event, Output, QuorumOptions, Refusal, Request, Settings, SettingsTaken, Timers};
use holdfast_types::{NodeId, Span};

use crate::cluster::{Cluster, node};

fn settings(token: u64) -> Settings {
    let timers = Timers::from_token(Span::from_millis(token));
    Settings { timers, window_frames: 50, frames_per_visit: 17, quorum: None }
}

/// With heartbeats each 2 seconds: far more seldom than others wait for by default.
fn slow() -> Settings {
    let new = settings(60_000);
    Settings { timers: new.timers.with_limit(Span::from_secs(12)), ..new }
}

impl Cluster {
    fn taken(&self, id: u32) -> Vec<&SettingsTaken> {
        let outputs = self.told(id).iter().map(|t| &t.output);
        outputs.filter_map(|o| if let Output::Settings(taken) = o { Some(taken) } else { None }).collect()
    }

    fn asked(&self, id: u32) -> bool {
        self.told(id).iter().any(|t| matches!(t.output, Output::Reload { .. }))
    }

    fn settings(&self, id: u32) -> Settings {
        self.node(id).config().settings
    }

    /// Every member is asked, and has read nothing yet.
    fn ask(&mut self, by: u32) {
        self.submit(by, Request::Reload).expect("the gate is open");
        self.until("asked", |c| [1, 2, 3].iter().all(|id| !c.runs(*id) || c.asked(*id)));
    }

    fn undisturbed(&self, nodes: &[u32]) -> bool {
        nodes.iter().all(|id| {
            let events = self.events(*id);
            !events
                .iter()
                .any(|e| matches!(e, Event::Suspect { .. } | Event::NewMembership(_) | Event::Quorate(_)))
        })
    }
}

#[test]
fn timers_change_on_all_members_at_once_and_nobody_is_suspected() {
    let mut c = Cluster::formed(3);
    let first = c.settings(1);
    for (from, to) in [(first, slow()), (slow(), settings(100)), (settings(100), settings(1_000))] {
        c.forget();
        c.ask(2);
        for id in [1, 2] {
            c.submit(id, Request::Reread(Some(to))).expect("sane");
            c.run(Span::from_secs(1));
        }
        assert!([1, 2, 3].iter().all(|id| c.settings(*id) == from), "3 has not read its file");
        c.submit(3, Request::Reread(Some(to))).expect("sane");
        c.until("taken", |c| [1, 2, 3].iter().all(|id| c.settings(*id) == to));
        c.run(Span::from_secs(30));
        for id in [1, 2, 3] {
            assert_eq!(c.taken(id), [&SettingsTaken::default()]);
            assert!(c.quorate(id));
        }
        assert!(c.undisturbed(&[1, 2, 3]), "{from:?} to {to:?}");
    }
    // The new limits hold: a death is seen as fast as they say.
    c.forget();
    let killed = c.now;
    c.kill(3);
    c.until("left", |c| c.settled(&[1, 2]));
    assert!(c.now.since(killed) < settings(1_000).timers.heartbeat_limit.scale(2, 1));
}

#[test]
fn two_node_comes_and_goes_with_a_reload() {
    let mut c = Cluster::formed(2);
    for two_node in [true, false] {
        let to = Settings {
            quorum: Some(QuorumOptions { two_node, wait_for_all: two_node, ..QuorumOptions::default() }),
            ..settings(1_000)
        };
        c.forget();
        c.submit(1, Request::Reload).expect("the gate is open");
        c.until("asked", |c| c.asked(1) && c.asked(2));
        for id in [1, 2] {
            c.submit(id, Request::Reread(Some(to))).expect("sane");
        }
        c.until("taken", |c| [1, 2].iter().all(|id| c.node(*id).quorum_view().two_node == two_node));
        assert!(c.undisturbed(&[1, 2]) && c.quorate(1) && c.quorate(2), "{two_node}");
        c.cut(&[1], &[2]);
        c.until("apart", |c| c.settled(&[1]) && c.settled(&[2]));
        let quorate = [1, 2].map(|id| c.quorate(id));
        assert_eq!(quorate, [two_node; 2], "both halves, or none");
        c.heal();
        c.until("together", |c| c.settled(&[1, 2]) && c.quorate(1) && c.quorate(2));
    }
}

#[test]
fn a_member_that_does_not_read_its_file_is_not_waited_for_for_ever() {
    let mut c = Cluster::formed(3);
    let (old, new) = (c.settings(3), settings(3_000));
    c.ask(1);
    c.submit(1, Request::Reread(Some(new))).expect("sane");
    c.submit(2, Request::Reread(None)).expect("a file that is refused");
    let asked = c.now;
    c.until("taken", |c| c.settings(1) == new);
    assert!(c.now.since(asked) >= Span::from_secs(5));
    let three = vec![NodeId::new(3)];
    assert_eq!(c.taken(1), [&SettingsTaken { late: three.clone(), others: vec![node(2)] }]);
    c.run(Span::from_secs(1));
    assert_eq!(c.taken(2), [&SettingsTaken { late: three, others: vec![node(1)] }]);
    assert_eq!((c.settings(2), c.settings(3)), (old, old));
    // It comes late, and its word is the last one of that reload.
    c.submit(3, Request::Reread(Some(new))).expect("sane");
    c.until("taken", |c| c.settings(3) == new);
    assert_eq!(c.taken(3), [&SettingsTaken { late: vec![], others: vec![node(2)] }]);
    assert!(c.undisturbed(&[1, 2, 3]));
}

#[test]
fn what_cannot_be_run_is_refused_and_another_ring_does_not_wait() {
    let mut c = Cluster::formed(3);
    let (old, new) = (c.settings(1), settings(3_000));
    let mut bad = new;
    bad.timers.lease = Span::ZERO;
    assert_eq!(c.submit(1, Request::Reread(Some(bad))), Err(Refusal::InvalidParam));
    c.ask(1);
    c.submit(1, Request::Reread(Some(new))).expect("sane");
    c.submit(2, Request::Reread(Some(new))).expect("sane");
    assert_eq!(c.settings(1), old);
    c.kill(3);
    c.until("left", |c| c.settled(&[1, 2]));
    assert_eq!([c.settings(1), c.settings(2)], [new; 2], "the new configuration is a place for it");
    // The one that comes back has its own file.
    c.start(3);
    c.until("back", |c| c.settled(&[1, 2, 3]) && c.quorate(3));
    assert_eq!(c.settings(3), old);
    c.submit(3, Request::Reread(Some(new))).expect("sane");
    assert_eq!(c.settings(3), new, "there is nobody to wait for");
}

#[test]
fn whoever_gave_a_longer_lease_waits_for_it_also_in_its_next_life() {
    // 3 is cut off right after leases have become short: what it was promised before still counts.
    let mut c = Cluster::formed(3);
    let long = Settings { timers: settings(1_000).timers.with_limit(Span::from_secs(24)), ..settings(1_000) };
    let all = |c: &mut Cluster, to: Settings| {
        c.ask(1);
        (1..=3).for_each(|id| c.submit(id, Request::Reread(Some(to))).expect("sane"));
        c.until("taken", |c| (1..=3).all(|id| c.settings(id) == to));
        c.forget();
    };
    all(&mut c, long);
    c.run(Span::from_secs(10));
    let short = settings(300);
    all(&mut c, short);
    let cut = c.now;
    c.cut(&[1, 2], &[3]);
    let lease = long.timers.lease;
    c.run(lease.scale(1, 2));
    let waits = |c: &Cluster, id| c.quorate(id) && c.node(id).quorum_view().members.len() == 3;
    assert!((1..=2).all(|id| c.node(id).members().len() == 2 && waits(&c, id)));
    c.until("the others go on", |c| (1..=2).all(|id| c.quorate(id) && !waits(c, id)));
    assert!(c.now.since(cut) > lease.saturating_sub(long.timers.heartbeat), "{}", c.now.since(cut));

    // Both die and come back with short timers in their files: they do not know whom they gave a lease.
    let mut c = Cluster::formed(3);
    all(&mut c, long);
    c.run(Span::from_secs(10));
    c.cut(&[1, 2], &[3]);
    (1..=2).for_each(|id| c.kill(id));
    c.run(Span::from_secs(1));
    assert!(c.quorate(3), "nobody told it");
    (1..=2).for_each(|id| c.start(id));
    c.until("ring of two", |c| c.node(1).members().len() == 2 && c.node(2).members().len() == 2);
    c.until("3 has lost quorum", |c| !c.quorate(3));
    assert!(!c.quorate(1) && !c.quorate(2), "its lease was waited for");
    c.until("the others go on", |c| c.quorate(1) && c.quorate(2));
}
