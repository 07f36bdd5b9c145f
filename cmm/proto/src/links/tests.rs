//! Two nodes, their links, and what gets through.

use std::collections::BTreeSet;

use super::*;

const BEAT: Span = Span::from_millis(50);

fn id(n: u32) -> NodeId {
    NodeId::new(n)
}

fn link(n: u8) -> LinkId {
    LinkId::new(n)
}

fn set(links: &[u8]) -> LinkSet {
    links.iter().map(|l| link(*l)).collect()
}

/// Nodes 1 and 2 with the same links; a packet takes no time.
struct Pair {
    now: Boottime,
    nodes: [Links; 2],
    /// Sender's index and link.
    cut: BTreeSet<(usize, u8)>,
    events: Vec<(usize, Event)>,
}

impl Pair {
    fn new(config: &LinksConfig) -> Self {
        let now = Boottime::from_nanos(9_000_000_000);
        let node = |peer| Links::new(config.clone(), [id(peer)], BEAT, now);
        Self { now, nodes: [node(2), node(1)], cut: BTreeSet::new(), events: Vec::new() }
    }

    fn send(&mut self, from: usize, link: LinkId) {
        let (me, peer) = (id(from as u32 + 1), id(2 - from as u32));
        let beat = self.nodes[from].compose(self.now, peer, link, true);
        if self.cut.contains(&(from, link.get())) {
            return;
        }
        let to = 1 - from;
        if self.nodes[to].beat(self.now, me, link, &beat) {
            self.send(to, link);
        }
    }

    /// Lets beats go for so many intervals.
    fn run(&mut self, intervals: u32) {
        for _ in 0..intervals * 10 {
            for from in [0, 1] {
                let peer = id(2 - from as u32);
                self.nodes[from].turn(self.now);
                self.nodes[from].handle_timeout(self.now);
                if self.now.as_nanos().is_multiple_of(BEAT.as_nanos())
                    || self.nodes[from].due(self.now) == Some(peer)
                {
                    for link in self.nodes[from].all().iter() {
                        self.send(from, link);
                    }
                }
                while let Some((_, link, len)) = self.nodes[from].next_probe(self.now) {
                    if !self.cut.contains(&(0, link.get())) && !self.cut.contains(&(1, link.get())) {
                        self.nodes[from].probe_answered(self.now, peer, link, len);
                    }
                }
            }
            for from in [0, 1] {
                while let Some(event) = self.nodes[from].poll_event() {
                    self.events.push((from, event));
                }
            }
            self.now = self.now + BEAT.scale(1, 10);
        }
    }

    fn up(&self) -> [LinkSet; 2] {
        [self.nodes[0].up(id(2)), self.nodes[1].up(id(1))]
    }

    fn route(&self) -> [LinkSet; 2] {
        [self.nodes[0].route(id(2), false), self.nodes[1].route(id(1), false)]
    }

    fn changes(&mut self) -> Vec<(usize, u8, bool)> {
        let of = |(n, e)| match e {
            Event::Link { link, up, .. } => Some((n, link.get(), up)),
            _ => None,
        };
        std::mem::take(&mut self.events).into_iter().filter_map(of).collect()
    }
}

fn three() -> LinksConfig {
    let mut config = LinksConfig::equal(3, LinkMode::Passive);
    config.links[2].priority = 9;
    config
}

#[test]
fn links_come_up_within_the_first_exchange() {
    let mut p = Pair::new(&three());
    assert_eq!(p.route(), [set(&[2]); 2], "data goes to the preferred one before anything is known");
    assert_eq!(p.nodes[0].route(id(2), true), set(&[0, 1, 2]), "and what is urgent everywhere");
    p.run(1);
    assert_eq!(p.up(), [set(&[0, 1, 2]); 2]);
    assert_eq!(p.route(), [set(&[2]); 2]);
    assert_eq!(p.nodes[0].route(id(2), true), set(&[2]));
}

#[test]
fn the_best_link_that_is_up_carries_everything_and_comes_back_later() {
    let mut p = Pair::new(&three());
    p.run(2);
    p.cut.extend([(0, 2), (1, 2)]);
    p.run(6);
    assert_eq!(p.up(), [set(&[0, 1]); 2]);
    assert_eq!(p.route(), [set(&[0]); 2], "of equal ones the lowest");
    assert!(p.nodes[0].take_rerouted());
    p.cut.extend([(0, 0), (1, 0)]);
    p.run(6);
    assert_eq!(p.route(), [set(&[1]); 2]);
    p.cut.clear();
    p.run(1);
    assert_eq!(p.route(), [set(&[1]); 2], "one beat proves nothing");
    p.run(8);
    assert_eq!(p.route(), [set(&[2]); 2]);
    assert_eq!(p.up(), [set(&[0, 1, 2]); 2]);
}

#[test]
fn active_mode_uses_all_that_are_up() {
    let mut config = three();
    config.mode = LinkMode::Active;
    let mut p = Pair::new(&config);
    p.run(2);
    assert_eq!(p.route(), [set(&[0, 1, 2]); 2]);
    p.cut.extend([(0, 1), (1, 1)]);
    p.run(6);
    assert_eq!(p.route(), [set(&[0, 2]); 2]);
    assert!(p.nodes[0].sends_doubles());
}

#[test]
fn a_link_that_works_one_way_only_is_down_on_both_sides() {
    let mut p = Pair::new(&three());
    p.run(2);
    p.events.clear();
    p.cut.insert((0, 2));
    p.run(8);
    assert_eq!(p.up(), [set(&[0, 1]); 2]);
    let why = |n: usize| {
        p.events.iter().find_map(|(at, e)| match e {
            Event::Link { why, up: false, .. } if *at == n => Some(*why),
            _ => None,
        })
    };
    assert_eq!(why(0), Some("it does not hear us"));
    assert_eq!(why(1), Some("nothing is heard on it"));
    assert!(p.nodes[0].stats(id(2), link(2)).one_way && !p.nodes[1].stats(id(1), link(2)).one_way);
    assert_eq!(p.nodes[0].heard_on(id(2)), set(&[0, 1, 2]));
}

#[test]
fn without_any_link_data_goes_to_the_preferred_one_and_the_rest_everywhere() {
    let mut p = Pair::new(&three());
    p.run(2);
    p.events.clear();
    p.cut.extend([0, 1, 2].into_iter().flat_map(|l| [(0, l), (1, l)]));
    p.run(12);
    assert_eq!((p.route()[0], p.nodes[0].route(id(2), true)), (set(&[2]), set(&[0, 1, 2])));
    let none = p.events.iter().any(|(_, e)| matches!(e, Event::BestLink { link: None, .. }));
    assert!(none, "{:?}", p.events);
    assert!(!p.events.iter().any(|(_, e)| matches!(e, Event::LinkFaulty { .. })), "the node may be dead");
}

#[test]
fn a_link_that_reaches_nobody_while_another_does_is_faulty_until_it_recovers() {
    let mut p = Pair::new(&three());
    p.run(2);
    p.events.clear();
    p.cut.extend([(0, 1), (1, 1)]);
    p.run(10);
    assert_eq!(p.nodes[0].faulty(), set(&[1]));
    p.cut.clear();
    p.run(6);
    assert_eq!(p.nodes[0].faulty(), set(&[]));
    let told: Vec<bool> = p
        .events
        .iter()
        .filter(|(n, _)| *n == 0)
        .filter_map(|(_, e)| if let Event::LinkFaulty { faulty, .. } = e { Some(*faulty) } else { None })
        .collect();
    assert_eq!(told, [true, false]);
}

#[test]
fn a_link_that_was_never_up_is_faulty_after_a_while() {
    let mut p = Pair::new(&three());
    p.cut.extend([(0, 1), (1, 1)]);
    p.run(20);
    assert_eq!(p.nodes[0].faulty(), set(&[]), "it may come up yet");
    p.run(100);
    assert_eq!(p.nodes[0].faulty(), set(&[1]));
}

#[test]
fn after_a_pause_nobody_is_accused() {
    let mut p = Pair::new(&three());
    p.run(3);
    p.changes();
    p.now = p.now + Span::from_secs(9);
    p.run(20);
    assert_eq!(p.changes(), []);
}

#[test]
fn one_lost_beat_or_three_change_nothing() {
    let mut p = Pair::new(&three());
    p.run(3);
    p.changes();
    for _ in 0..20 {
        p.cut.extend([(0, 0), (1, 0)]);
        p.run(3);
        p.cut.clear();
        p.run(1);
    }
    assert_eq!(p.changes(), []);
    assert!(p.nodes[0].stats(id(2), link(0)).lost_in > 16, "but they are counted");
}

#[test]
fn next_timeout_is_when_something_is_to_be_done() {
    let mut p = Pair::new(&LinksConfig::equal(1, LinkMode::Passive));
    assert_eq!(p.nodes[0].next_timeout(), Some(p.now), "the first beat");
    p.run(1);
    let at = p.nodes[0].next_timeout().expect("peers have beats");
    p.nodes[0].handle_timeout(at);
    assert!(p.nodes[0].due(at).is_some(), "no heartbeat came in time: a beat goes by itself");
}

#[test]
fn a_probe_is_answered_once_whatever_links_its_copies_come_on() {
    let mut p = Pair::new(&three());
    p.run(2);
    let ask = |p: &mut Pair, at| {
        let beat = p.nodes[0].compose(at, id(2), link(0), true);
        LinkBeat { asks: true, ..beat }
    };
    let now = p.now;
    let first = ask(&mut p, now);
    assert!(!p.nodes[1].asks(id(1), &LinkBeat { asks: false, ..first }), "no probe");
    assert!(p.nodes[1].asks(id(1), &first) && !p.nodes[1].asks(id(1), &first));
    let second = ask(&mut p, now + BEAT);
    assert!(p.nodes[1].asks(id(1), &second) && !p.nodes[1].asks(id(1), &first), "an old one");
    assert!(!p.nodes[1].asks(id(9), &second), "a stranger");
    p.nodes[1].restarted(now, id(1));
    assert!(p.nodes[1].asks(id(1), &first), "another boot has another clock");
}

#[test]
fn a_link_without_carrier_is_down_at_once_and_peers_without_any_other_are_told_of() {
    let mut p = Pair::new(&LinksConfig::equal(2, LinkMode::Passive));
    p.run(2);
    p.events.clear();
    let now = p.now;
    p.cut.extend([(0, 0), (1, 0)]);
    p.nodes[0].lost(now, link(0), LinkLoss::Carrier);
    assert_eq!(p.nodes[0].up(id(2)), set(&[1]));
    assert!(p.nodes[0].take_cut_off().is_empty(), "it has another one");
    p.nodes[0].lost(now, link(1), LinkLoss::Address);
    assert_eq!(p.nodes[0].take_cut_off().as_slice(), [id(2)]);
    assert!(p.nodes[0].take_cut_off().is_empty(), "once");
    p.nodes[0].lost(now, link(1), LinkLoss::Address);
    assert!(p.nodes[0].take_cut_off().is_empty(), "it was down");
    let why = |e| if let Event::Link { up: false, why, .. } = e { Some(why) } else { None };
    let reasons: Vec<_> = std::iter::from_fn(|| p.nodes[0].poll_event()).filter_map(why).collect();
    assert_eq!(reasons, ["its interface lost the carrier", "its local address was removed"]);
    p.run(4);
    assert_eq!(p.up()[0], set(&[1]), "beats bring it back");
}
