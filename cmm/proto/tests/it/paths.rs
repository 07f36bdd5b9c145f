//! Path MTU: found, lost and found again while messages flow, and the ring does not notice.

use cmm_proto::limits::{PACKET_MAX, PACKET_SAFE};
use cmm_proto::links::Traffic;
use cmm_proto::wire::frame_of;
use cmm_proto::{CpgEvent, Event, Guarantee, LinkMode, LinksConfig, Output, Refusal, Request};
use holdfast_types::{LinkId, Span};

use crate::cluster::{Cluster, conn, node};

fn mtu(c: &Cluster, of: u32, to: u32) -> usize {
    c.node(of).links().stats(node(to), LinkId::new(0)).mtu
}

/// What nodes have said about the length of frames, last.
fn told(c: &Cluster, id: u32) -> Option<usize> {
    let of = |e: &&Event| if let Event::DataMtu { mtu } = e { Some(*mtu) } else { None };
    c.events(id).iter().rev().find_map(of)
}

/// A formed cluster with a client in a group on each node.
fn with_clients(nodes: u32) -> Cluster {
    let mut c = Cluster::formed(nodes);
    for id in 1..=nodes {
        c.join(id, 1, 100 + id, b"g");
    }
    c.run(Span::from_millis(100));
    c.forget();
    c
}

/// Every node sends so many long messages, as fast as it may, and `meanwhile` happens before each round. Gives how many.
fn flood(c: &mut Cluster, rounds: u32, mut meanwhile: impl FnMut(&mut Cluster, u32)) -> usize {
    let mut sent = 0;
    for round in 0..rounds {
        meanwhile(c, round);
        for id in [1, 2, 3] {
            let mut payload = vec![id as u8; 40_000];
            payload[..4].copy_from_slice(&round.to_le_bytes());
            let payload = &payload;
            let request = Request::CpgMcast {
                conn: conn(1),
                guarantee: Guarantee::Agreed,
                fragment: None,
                past_gate: false,
                payload,
            };
            match c.submit(id, request) {
                Ok(()) => sent += 1,
                Err(Refusal::TryAgain) => {}
                Err(other) => panic!("{other}"),
            }
        }
        c.run(Span::from_millis(5));
    }
    c.run(Span::from_secs(2));
    sent
}

/// What each client got: sender and round.
fn heard(c: &Cluster, id: u32) -> Vec<(u8, [u8; 4])> {
    let of = |t: &crate::cluster::Told| match &t.output {
        Output::Cpg { event: CpgEvent::Deliver { payload, .. }, .. } => {
            assert!(payload.len() == 40_000 && payload[4..].iter().all(|b| *b == payload[4]));
            Some((payload[4], payload[..4].try_into().expect("four")))
        }
        _ => None,
    };
    c.told(id).iter().filter_map(of).collect()
}

fn nobody_noticed(c: &Cluster, sent: usize) {
    for id in [1, 2, 3] {
        assert!(c.regular(id).is_empty(), "node {id} has reconfigured: {:?}", c.regular(id));
    }
    let first = heard(c, 1);
    assert_eq!(first.len(), sent);
    assert!(heard(c, 2) == first && heard(c, 3) == first, "in one order");
}

#[test]
fn the_longest_packet_is_found_and_used() {
    let mut c = Cluster::new(3, crate::cluster::PLAIN);
    c.until("forms", |c| c.settled(&[1, 2, 3]));
    c.run(Span::from_secs(1));
    assert_eq!((mtu(&c, 1, 2), mtu(&c, 3, 1)), (frame_of(PACKET_MAX), frame_of(PACKET_MAX)));
    assert_eq!(told(&c, 2), Some(frame_of(PACKET_MAX)));
    let stats = c.node(1).links().stats(node(2), LinkId::new(0));
    assert_eq!(stats.tx[Traffic::Probe as usize].packets, 2, "one asked, one answered");
}

#[test]
fn what_the_interface_refuses_is_found_without_waiting() {
    let mut c = Cluster::new(3, crate::cluster::PLAIN);
    (c.interface, c.path) = (1_472, 1_472);
    c.until("forms", |c| c.settled(&[1, 2, 3]));
    c.run(Span::from_millis(500));
    assert_eq!(mtu(&c, 1, 2), frame_of(1_472));
    assert_eq!(told(&c, 2), Some(frame_of(1_472)));
}

#[test]
fn a_path_that_loses_long_packets_loses_no_message_and_makes_no_ring() {
    let mut c = with_clients(3);
    let sent = flood(&mut c, 300, |c, round| match round {
        100 => c.path = 1_472,
        200 => c.path = 1_272,
        _ => {}
    });
    assert!(sent > 600, "{sent}");
    nobody_noticed(&c, sent);
    // Nobody tells of what is lost on the way: each length that is tried takes its time.
    c.run(Span::from_secs(10));
    let found = mtu(&c, 1, 2);
    assert!(found <= frame_of(1_272) && found > frame_of(PACKET_SAFE), "{found}");
    assert_eq!(told(&c, 1), Some(found));
    // It grows again: the next search finds it.
    c.path = usize::MAX;
    c.run(LinksConfig::MTU_INTERVAL + Span::from_secs(1));
    assert_eq!((mtu(&c, 1, 2), told(&c, 3)), (frame_of(PACKET_MAX), Some(frame_of(PACKET_MAX))));
    c.forget();
    let sent = flood(&mut c, 50, |_, _| {});
    nobody_noticed(&c, sent);
}

#[test]
fn an_interface_that_shrinks_is_noticed_when_packets_are_cut_up() {
    let mut c = with_clients(2);
    c.interface = 1_472;
    let now = c.now;
    c.act(1, |n| n.handle_cut_up(now, LinkId::new(0)));
    c.run(Span::from_millis(200));
    assert_eq!((mtu(&c, 1, 2), mtu(&c, 2, 1)), (frame_of(1_472), frame_of(PACKET_MAX)));
    assert_eq!(told(&c, 1), Some(frame_of(1_472)));
}

#[test]
fn of_several_links_the_shortest_that_is_used_counts() {
    let mut links = LinksConfig::equal(2, LinkMode::Active);
    links.links[1].packet_max = 1_400;
    let mut c = Cluster::formed_with(2, links);
    assert_eq!(mtu(&c, 1, 2), frame_of(PACKET_MAX));
    c.cut_link(1);
    c.run(Span::from_secs(1));
    assert_eq!(told(&c, 1), Some(frame_of(PACKET_MAX)), "the other one is gone");
    c.heal();
    c.run(Span::from_secs(2));
    assert_eq!(told(&c, 1), Some(frame_of(1_400)));
}
