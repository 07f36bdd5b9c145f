//! The invariants M1 to M10, held against what every node was told.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// One stay of one node in one regular configuration.
#[derive(Debug)]
struct Stay {
    node: NodeId,
    ring: RingId,
    /// Delivered in the regular configuration, in order.
    regular: Vec<MsgId>,
    /// Delivered in the transitional one after it, in order.
    transitional: Vec<MsgId>,
    /// Who went on together, if the node did.
    together: Option<BTreeSet<NodeId>>,
    /// The configuration after it.
    next: Option<RingId>,
    /// It ended because the node did.
    ended: bool,
}

impl Stay {
    fn all(&self) -> impl Iterator<Item = MsgId> + '_ {
        self.regular.iter().chain(&self.transitional).copied()
    }
}

/// Holds all logs against M1 to M8 and M10. Self-delivery (M9) needs a quiet network: [`check_settled`].
pub(super) fn check(net: &Net) {
    let members = check_configurations(net);
    let stays: Vec<Stay> = net.nodes.iter().flat_map(stays).collect();
    check_deliveries(net, &members);
    check_order(&stays);
    check_causality(net);
    check_synchrony(&stays);
    check_safe(net, &stays, &members);
}

/// M1, M2, M3.
fn check_configurations(net: &Net) -> BTreeMap<RingId, Vec<NodeId>> {
    let mut members: BTreeMap<RingId, Vec<NodeId>> = BTreeMap::new();
    for node in &net.nodes {
        let mut last = RingId::default();
        let mut current: Option<&Configuration> = None;
        let mut together: Option<&Configuration> = None;
        for told in &node.told {
            match told {
                Told::Start(_) => (current, together) = (None, None),
                Told::Config(c) if c.kind == ConfigurationKind::Regular => {
                    assert!(c.ring > last, "M3: {} after {last} at {}", c.ring, node.id);
                    last = c.ring;
                    assert!(c.members.contains(&node.id), "M2: {} installs {c:?}", node.id);
                    let known = members.entry(c.ring).or_insert_with(|| c.members.clone());
                    assert_eq!(*known, c.members, "M1: {}", c.ring);
                    let stayed: Vec<NodeId> = together.map_or(vec![], |t| t.members.clone());
                    let before = current.map_or(vec![], |c| c.members.clone());
                    let minus = |a: &[NodeId], b: &[NodeId]| -> Vec<NodeId> {
                        a.iter().filter(|n| !b.contains(n)).copied().collect()
                    };
                    assert_eq!(c.joined, minus(&c.members, &stayed), "{} at {}", c.ring, node.id);
                    assert_eq!(c.left, minus(&before, &stayed), "{} at {}", c.ring, node.id);
                    (current, together) = (Some(c), None);
                }
                Told::Config(c) => {
                    let before = current.expect("a transitional configuration leads out of one");
                    assert_eq!(c.ring, before.ring);
                    assert!(c.members.contains(&node.id), "M2: transitional {c:?} at {}", node.id);
                    assert!(c.members.iter().all(|m| before.members.contains(m)), "M8: {c:?}");
                    assert!(together.replace(c).is_none(), "two transitional ones in a row");
                }
                _ => {}
            }
        }
    }
    members
}

fn stays(node: &TestNode) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let mut open = false;
    for told in &node.told {
        match told {
            Told::Start(_) => open = false,
            Told::End => {
                if let Some(stay) = stays.last_mut().filter(|_| open) {
                    stay.ended = true;
                }
                open = false;
            }
            Told::Config(c) if c.kind == ConfigurationKind::Regular => {
                if let Some(stay) = stays.last_mut().filter(|_| open) {
                    stay.next = Some(c.ring);
                }
                open = true;
                stays.push(Stay {
                    node: node.id,
                    ring: c.ring,
                    regular: Vec::new(),
                    transitional: Vec::new(),
                    together: None,
                    next: None,
                    ended: false,
                });
            }
            Told::Config(c) => {
                let stay = stays.last_mut().expect("in a configuration");
                stay.together = Some(c.members.iter().copied().collect());
            }
            Told::Deliver(_, _, msg) => {
                let stay = stays.last_mut().expect("in a configuration");
                if stay.together.is_some() { &mut stay.transitional } else { &mut stay.regular }.push(*msg);
            }
            Told::Submit(..) => {}
        }
    }
    stays
}

/// M4 and FIFO of M6.
fn check_deliveries(net: &Net, members: &BTreeMap<RingId, Vec<NodeId>>) {
    let mut where_sent: BTreeMap<MsgId, RingId> = BTreeMap::new();
    for node in &net.nodes {
        let mut once = BTreeSet::new();
        let mut current = None;
        let mut newest: BTreeMap<(u32, u64), u32> = BTreeMap::new();
        for told in &node.told {
            match told {
                Told::Start(_) => current = None,
                Told::Config(c) if c.kind == ConfigurationKind::Regular => current = Some(c.ring),
                Told::Deliver(ring, sender, msg) => {
                    assert!(net.guarantees.contains_key(msg), "M4: {msg:?} was never submitted");
                    assert_eq!(Some(*ring), current, "M4: {msg:?} of another ring at {}", node.id);
                    assert_eq!(sender.get(), msg.node, "M4");
                    assert!(members[ring].contains(sender), "M4: {sender} is no member of {ring}");
                    assert!(once.insert(*msg), "M4: {msg:?} twice at {}", node.id);
                    let sent_in = where_sent.entry(*msg).or_insert(*ring);
                    assert_eq!(sent_in, ring, "M4: {msg:?} in two rings");
                    let newest = newest.entry((msg.node, msg.life)).or_default();
                    assert!(msg.number > *newest, "M6: {msg:?} after {newest} at {}", node.id);
                    *newest = msg.number;
                }
                _ => {}
            }
        }
    }
}

/// M5: the messages that two nodes both deliver in a ring, they deliver in the same order.
fn check_order(stays: &[Stay]) {
    for (n, a) in stays.iter().enumerate() {
        let place: BTreeMap<MsgId, usize> = a.all().enumerate().map(|(n, m)| (m, n)).collect();
        for b in stays[n + 1..].iter().filter(|b| b.ring == a.ring) {
            let places: Vec<usize> = b.all().filter_map(|m| place.get(&m).copied()).collect();
            assert!(places.is_sorted(), "M5: {} and {} in {}", a.node, b.node, a.ring);
        }
    }
}

/// M6: who delivers a message has delivered before it what its sender had delivered in that ring when submitting.
fn check_causality(net: &Net) {
    // For each message: the last one that its sender had delivered before, and in which ring.
    let mut cause: BTreeMap<MsgId, (RingId, MsgId)> = BTreeMap::new();
    for node in &net.nodes {
        let mut last = None;
        for told in &node.told {
            match told {
                Told::Start(_) => last = None,
                Told::Deliver(ring, _, msg) => last = Some((*ring, *msg)),
                Told::Submit(msg, _) => {
                    cause.extend(last.map(|last| (*msg, last)));
                }
                _ => {}
            }
        }
    }
    for node in &net.nodes {
        let mut before = BTreeSet::new();
        for told in &node.told {
            if let Told::Deliver(ring, _, msg) = told {
                if let Some((_, needed)) = cause.get(msg).filter(|(r, _)| r == ring) {
                    assert!(before.contains(needed), "M6: {msg:?} without {needed:?} at {}", node.id);
                }
                before.insert(*msg);
            }
        }
    }
}

/// M7 and M8.
fn check_synchrony(stays: &[Stay]) {
    for (n, a) in stays.iter().enumerate() {
        let Some(next) = a.next else { continue };
        let together =
            a.together.as_ref().expect("a transitional configuration leads to the next regular one");
        for b in stays[n + 1..].iter().filter(|b| b.next == Some(next)) {
            let (p, q) = (a.node, b.node);
            assert_eq!(
                a.ring == b.ring,
                together.contains(&q),
                "M8: {p} of {} and {q} of {}",
                a.ring,
                b.ring
            );
            if a.ring == b.ring {
                assert_eq!(a.together, b.together, "M8: {p} and {q} from {} to {next}", a.ring);
                assert_eq!(a.regular, b.regular, "M7: {p} and {q} in {}", a.ring);
                assert_eq!(a.transitional, b.transitional, "M7: {p} and {q} after {}", a.ring);
            }
        }
    }
}

/// M10: a safe message delivered in a configuration is delivered by all its members but those that fail.
fn check_safe(net: &Net, stays: &[Stay], members: &BTreeMap<RingId, Vec<NodeId>>) {
    let safe = |m: &&MsgId| net.guarantees[m] == Guarantee::Safe;
    for a in stays {
        let must = |who: &mut dyn Iterator<Item = NodeId>, msgs: &[MsgId]| {
            let msgs: Vec<MsgId> = msgs.iter().filter(safe).copied().collect();
            if msgs.is_empty() {
                return;
            }
            for q in who {
                let Some(b) = stays.iter().find(|b| b.node == q && b.ring == a.ring) else {
                    let alive = net.nodes.iter().any(|n| n.id == q && !crashed_since(n, a.ring));
                    assert!(!alive, "M10: {q} never was in {}, {} delivers safe there", a.ring, a.node);
                    continue;
                };
                if b.ended || b.next.is_none() {
                    continue;
                }
                let has: BTreeSet<MsgId> = b.all().collect();
                let lacks: Vec<_> = msgs.iter().filter(|m| !has.contains(m)).collect();
                assert!(lacks.is_empty(), "M10: {} delivers {lacks:?} in {}, {q} never", a.node, a.ring);
            }
        };
        must(&mut members[&a.ring].iter().copied(), &a.regular);
        if let Some(together) = &a.together {
            must(&mut together.iter().copied(), &a.transitional);
        }
    }
}

/// Whether the node's life that could have been in `ring` has ended, or has not told of any later ring yet.
fn crashed_since(node: &TestNode, ring: RingId) -> bool {
    let mut life_before = false;
    for told in &node.told {
        match told {
            Told::Start(_) => life_before = true,
            Told::Config(c) if c.kind == ConfigurationKind::Regular && c.ring > ring => return !life_before,
            Told::End if life_before => return true,
            _ => {}
        }
    }
    true
}

/// M9 and liveness, of a network at rest: one ring of all, everything submitted in a life that lasts is delivered at
/// its sender.
pub(super) fn check_settled(net: &Net) {
    for node in &net.nodes {
        let delivered: BTreeSet<MsgId> = net.delivered(node.id.get()).into_iter().collect();
        for told in &node.told {
            if let Told::Submit(msg, _) = told
                && msg.life == node.life
            {
                assert!(delivered.contains(msg), "M9: {msg:?} is not delivered at {}", node.id);
            }
        }
    }
}
