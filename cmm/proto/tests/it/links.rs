//! Several links: what fails over, what is told, and that the ring does not notice.

use cmm_proto::links::Traffic;
use cmm_proto::{CpgEvent, Event, LinkMode, LinksConfig, Output, Request};
use cmm_proto::{Guarantee, Refusal};
use holdfast_types::{LinkId, LinkSet, NodeId, Span};

use crate::cluster::{Cluster, conn, node};

fn two(mode: LinkMode) -> LinksConfig {
    LinksConfig::equal(2, mode)
}

fn set(links: &[u8]) -> LinkSet {
    links.iter().map(|l| LinkId::new(*l)).collect()
}

/// Sends `count` messages from every node, a few milliseconds apart.
fn talk(c: &mut Cluster, nodes: &[u32], from: u32, count: u32) {
    for n in from..from + count {
        for id in nodes {
            let payload = format!("{id}-{n}");
            let request = Request::CpgMcast {
                conn: conn(1),
                guarantee: Guarantee::Agreed,
                fragment: None,
                past_gate: false,
                payload: payload.as_bytes(),
            };
            match c.submit(*id, request) {
                Ok(()) => {}
                Err(Refusal::TryAgain) => panic!("the gate is shut: the ring has noticed"),
                Err(other) => panic!("{other}"),
            }
        }
        c.run(Span::from_millis(10));
    }
}

/// What the client of a node was given, in order.
fn heard(c: &Cluster, id: u32) -> Vec<String> {
    let of = |t: &crate::cluster::Told| match &t.output {
        Output::Cpg { event: CpgEvent::Deliver { payload, .. }, .. } => {
            Some(String::from_utf8_lossy(payload).into_owned())
        }
        _ => None,
    };
    c.told(id).iter().filter_map(of).collect()
}

fn link_events(c: &Cluster, id: u32) -> Vec<(NodeId, u8, bool)> {
    let of = |e: &&Event| match e {
        Event::Link { node, link, up, .. } => Some((*node, link.get(), *up)),
        _ => None,
    };
    c.events(id).iter().filter_map(of).collect()
}

fn no_ring_was_formed(c: &Cluster, nodes: &[u32]) {
    for id in nodes {
        let regular = c.regular(*id);
        assert!(regular.is_empty(), "node {id} has reconfigured: {regular:?}");
        assert!(!c.quorum_told(*id).contains(&false), "node {id} lost quorum");
    }
}

fn fails_over(mode: LinkMode) {
    let all = [1, 2, 3];
    let mut c = Cluster::formed_with(3, two(mode));
    for id in all {
        c.join(id, 1, id, b"talk");
    }
    c.run(Span::from_secs(1));
    c.forget();
    talk(&mut c, &all, 0, 50);
    c.cut_link(0);
    talk(&mut c, &all, 50, 100);
    c.run(Span::from_secs(2));
    no_ring_was_formed(&c, &all);
    for id in all {
        assert_eq!(heard(&c, id).len(), 450, "node {id} has every message once");
        assert_eq!(heard(&c, id), heard(&c, 1), "in the same order");
        assert_eq!(c.node(id).links().up(node(if id == 1 { 2 } else { 1 })), set(&[1]));
        assert_eq!(c.node(id).links().faulty(), set(&[0]));
    }
    c.heal();
    talk(&mut c, &all, 150, 100);
    c.run(Span::from_secs(1));
    no_ring_was_formed(&c, &all);
    assert_eq!(c.node(1).links().up(node(2)), set(&[0, 1]));
    let mut told = link_events(&c, 1);
    told.sort_unstable();
    assert_eq!(told, [(node(2), 0, false), (node(2), 0, true), (node(3), 0, false), (node(3), 0, true)]);
    assert_eq!(heard(&c, 2).len(), 750);
}

#[test]
fn a_passive_link_fails_without_a_reconfiguration() {
    fails_over(LinkMode::Passive);
}

#[test]
fn an_active_link_fails_without_a_reconfiguration() {
    fails_over(LinkMode::Active);
}

#[test]
fn each_pair_uses_what_it_has() {
    let mut c = Cluster::formed_with(3, two(LinkMode::Passive));
    // 1–2 only over link 0, 1–3 only over link 1, 2–3 over both.
    for (a, b, link) in [(1, 2, 1), (1, 3, 0)] {
        c.cut_link_one_way(link, a, b);
        c.cut_link_one_way(link, b, a);
    }
    c.run(Span::from_secs(2));
    for id in [1, 2, 3] {
        c.join(id, 1, id, b"talk");
    }
    c.run(Span::from_secs(1));
    talk(&mut c, &[1, 2, 3], 0, 50);
    c.run(Span::from_secs(1));
    no_ring_was_formed(&c, &[1, 2, 3]);
    assert_eq!(c.node(1).links().route(node(3), false), set(&[1]));
    assert_eq!(c.node(1).links().route(node(2), false), set(&[0]));
    assert_eq!(heard(&c, 3).len(), 150);
}

#[test]
fn a_one_way_failure_of_a_link_is_no_failure_of_the_ring() {
    let mut c = Cluster::formed_with(2, two(LinkMode::Passive));
    c.cut_link_one_way(0, 1, 2);
    c.run(Span::from_secs(2));
    no_ring_was_formed(&c, &[1, 2]);
    for (id, peer) in [(1, 2), (2, 1)] {
        assert_eq!(c.node(id).links().route(node(peer), false), set(&[1]));
    }
    assert!(c.node(1).links().stats(node(2), LinkId::new(0)).one_way);
}

#[test]
fn when_every_link_is_cut_the_member_is_lost_and_comes_back() {
    let mut c = Cluster::formed_with(3, two(LinkMode::Passive));
    c.cut_link(0);
    c.run(Span::from_secs(1));
    c.cut(&[3], &[1, 2]);
    c.until("the others go on", |c| c.settled(&[1, 2]));
    assert!(c.quorate(1) && !c.quorate(3));
    c.heal();
    c.until("all are back", |c| c.settled(&[1, 2, 3]));
}

#[test]
fn a_ring_forms_when_only_the_second_link_works() {
    let mut c = Cluster::with_links(3, crate::cluster::PLAIN, two(LinkMode::Passive));
    c.cut_link(0);
    c.until("forms", |c| c.settled(&[1, 2, 3]));
    c.run(Span::from_secs(6));
    assert_eq!(c.node(2).links().faulty(), set(&[0]));
}

#[test]
fn a_quiet_cluster_of_one_link_sends_its_heartbeats_and_no_other_beats() {
    let mut c = Cluster::formed(3);
    c.run(Span::from_secs(5));
    let before = c.node(1).links().stats(node(2), LinkId::new(0));
    c.run(Span::from_secs(10));
    let after = c.node(1).links().stats(node(2), LinkId::new(0));
    let beat = Traffic::Beat as usize;
    let beats = after.tx[beat].packets - before.tx[beat].packets;
    let heartbeats = Span::from_secs(10).as_nanos() / c.timers().heartbeat.as_nanos();
    assert!((heartbeats - 1..=heartbeats + 1).contains(&beats), "{beats} for {heartbeats} heartbeats");
    assert_eq!((after.lost_in, after.lost_out), (0, 0));
    assert_eq!(after.latency_ave, Span::from_micros(400), "there and back, without the time it was held");
}

/// Changes the links of every node, one after another.
fn set_links(c: &mut Cluster, config: &LinksConfig, moved: LinkSet) -> Vec<Result<(), Refusal>> {
    let mut answers = Vec::new();
    for id in [1, 2, 3] {
        answers.push(c.submit(id, Request::SetLinks { links: config, moved }));
        c.run(Span::from_millis(300));
    }
    answers
}

#[test]
fn links_come_and_go_without_a_reconfiguration() {
    let one = LinksConfig::equal(1, LinkMode::Passive);
    let mut c = Cluster::formed(3);
    assert_eq!(set_links(&mut c, &two(LinkMode::Passive), LinkSet::EMPTY), [Ok(()); 3]);
    c.run(Span::from_secs(1));
    assert_eq!(c.node(1).links().up(node(3)), set(&[0, 1]), "the new link is up");
    // Link 0 gets other addresses, node by node: the new one carries everything meanwhile.
    c.cut_link(0);
    assert_eq!(set_links(&mut c, &two(LinkMode::Passive), set(&[0])), [Ok(()); 3]);
    assert_eq!(c.node(1).links().route(node(2), false), set(&[1]));
    c.heal();
    c.run(Span::from_secs(2));
    assert_eq!(c.node(2).links().up(node(3)), set(&[0, 1]));
    assert_eq!(set_links(&mut c, &one, LinkSet::EMPTY), [Ok(()); 3]);
    c.run(Span::from_secs(2));
    assert_eq!(c.node(2).links().up(node(3)), set(&[0]));
    no_ring_was_formed(&c, &[1, 2, 3]);
}

#[test]
fn the_last_link_to_a_peer_stays() {
    let mut c = Cluster::formed_with(3, two(LinkMode::Passive));
    c.cut_link_one_way(1, 1, 2);
    c.run(Span::from_secs(1));
    let mut second = two(LinkMode::Passive);
    second.links.remove(0);
    let request = Request::SetLinks { links: &second, moved: LinkSet::EMPTY };
    assert_eq!(c.submit(1, request), Err(Refusal::Busy), "2 is reached over link 0 only");
    let all = two(LinkMode::Passive);
    assert_eq!(c.submit(2, Request::SetLinks { links: &all, moved: set(&[0]) }), Err(Refusal::Busy));
    let none = LinksConfig { links: vec![], ..second.clone() };
    let request = Request::SetLinks { links: &none, moved: LinkSet::EMPTY };
    assert_eq!(c.submit(3, request), Err(Refusal::InvalidParam));
    assert_eq!(c.submit(3, Request::SetLinks { links: &second, moved: LinkSet::EMPTY }), Ok(()));
    c.run(Span::from_secs(1));
    no_ring_was_formed(&c, &[1, 2, 3]);
}
