//! Agreement when members come together: each says hello with what it knows, and when all hellos of one view are there
//! every member knows the same about whose configuration is taken, who stands how long, and what absent nodes may run.
//! The member so chosen multicasts the rest (the snapshot); where it is delivered, the agreement is in force.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::attributes::Attributes;
use crate::history::{Activity, History};
use crate::message::Hello;
use crate::replica::{Absent, Node, Replica, Standing, merge};

use holdfast_types::Boottime;

/// An agreement in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sync {
    /// Members: node and pid.
    pub(crate) view: Vec<(u32, u32)>,
    /// What has been said.
    pub(crate) hellos: BTreeMap<u32, Hello>,
    /// This member has sent the snapshot.
    pub(crate) sent: bool,
}

impl Hello {
    /// Whether a node has a place in the cluster as its sender knows it.
    fn knows(&self, node: u32) -> bool {
        self.order.contains(&node) || self.absent.contains_key(&node)
    }
}

impl Sync {
    /// Every member has spoken.
    pub(crate) fn is_complete(&self) -> bool {
        self.view.iter().all(|(node, _)| self.hellos.contains_key(node))
    }

    /// The member whose configuration and history are taken: an administrator's word (`admin_epoch`) first, then who was
    /// in a quorate partition last, then the version, then the longest standing.
    pub(crate) fn source(&self) -> Option<u32> {
        let rank = |(node, hello): &(&u32, &Hello)| {
            let (admin_epoch, epoch, num_updates) = hello.cib_version;
            (admin_epoch, hello.quorate_epoch, epoch, num_updates, hello.epoch, Reverse(**node))
        };
        self.hellos.iter().max_by_key(rank).map(|(node, _)| *node)
    }

    /// All members have the same configuration.
    pub(crate) fn same_cib(&self) -> bool {
        let mut digests = self.hellos.values().map(|h| &h.cib_digest);
        let first = digests.next();
        digests.all(|d| Some(d) == first)
    }

    /// Members that stay in the source's company: they were in its last agreement, and it in theirs.
    fn continues(&self, node: u32, source: &Hello) -> bool {
        self.hellos
            .get(&node)
            .is_some_and(|h| h.epoch == source.epoch && h.epoch > 0 && source.order.contains(&node))
    }

    /// Puts the agreement in force.
    pub(crate) fn install(&self, replica: &mut Replica, now: Boottime) {
        let Some(source) = self.source().and_then(|s| self.hellos.get(&s)) else { return };
        replica.epoch = self.hellos.values().map(|h| h.epoch).max().unwrap_or(0) + 1;
        replica.term = self.hellos.values().map(|h| h.term).max().unwrap_or(0).max(replica.term) + 1;
        let members: Vec<u32> = self.view.iter().map(|(node, _)| *node).collect();
        replica.order = source
            .order
            .iter()
            .copied()
            .filter(|n| members.contains(n) && self.continues(*n, source))
            .collect();
        let newcomers: Vec<u32> = members.iter().copied().filter(|n| !replica.order.contains(n)).collect();
        replica.order.extend(newcomers);
        self.install_absent(replica, source, &members, now);
        replica.attributes = Attributes::default();
        for node in members {
            let hello = &self.hellos[&node];
            let continues = self.continues(node, source);
            let entry = replica.nodes.entry(node).or_default();
            let confirmed = entry.confirmed.max(self.confirmed(node));
            if !hello.name.is_empty() {
                entry.name.clone_from(&hello.name);
            }
            if entry.standing != Standing::Online {
                entry.since = now;
            }
            *entry = Node {
                name: std::mem::take(&mut entry.name),
                standing: Standing::Online,
                incarnation: hello.incarnation,
                confirmed,
                fenced: false,
                leaving: hello.leaving,
                goodbye: None,
                history: hello.history.clone().into(),
                since: entry.since,
            };
            if !continues {
                // It was cut off or is new: its word is tested before anything is built on it.
                entry.history.values_mut().for_each(History::doubt);
                entry.history.retain(|_, h| !h.is_blank() || h.activity == Activity::StopFailed);
            }
            replica.attributes.merge(&hello.attributes);
        }
    }

    fn install_absent(&self, replica: &mut Replica, source: &Hello, members: &[u32], now: Boottime) {
        let mut known: BTreeMap<u32, Absent> = BTreeMap::new();
        for hello in self.hellos.values() {
            // Who was away while a node was removed does not bring it back; who is new has it from the ring's configuration.
            let is_removed = |node: &u32, absent: &Absent| {
                let may_run = matches!(absent.standing, Standing::Unclean(_));
                hello.epoch > 0 && source.epoch > 0 && !may_run && !source.knows(*node)
            };
            for (node, absent) in hello.absent.iter().filter(|(node, absent)| !is_removed(node, absent)) {
                known.entry(*node).and_modify(|k| *k = merge(k, absent)).or_insert_with(|| absent.clone());
            }
        }
        replica.nodes.retain(|node, _| members.contains(node) || known.contains_key(node));
        for (node, absent) in known.into_iter().filter(|(node, _)| !members.contains(node)) {
            let entry = replica.nodes.entry(node).or_default();
            if entry.standing != absent.standing {
                entry.since = now;
            }
            (entry.standing, entry.incarnation, entry.confirmed) =
                (absent.standing, absent.incarnation, absent.confirmed);
            if entry.name.is_empty() {
                entry.name = absent.name;
            }
            if matches!(entry.standing, Standing::Left | Standing::Dead) {
                entry.history.clear();
            }
        }
    }

    fn confirmed(&self, node: u32) -> u64 {
        self.hellos.values().filter_map(|h| h.absent.get(&node)).map(|a| a.confirmed).max().unwrap_or(0)
    }
}
