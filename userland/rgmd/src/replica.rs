//! The state that every synchronised member keeps. It changes only by ordered messages and by views, in the same order
//! everywhere, so all members have the same (local clocks are noted, but nothing is decided by them here).

use std::collections::{BTreeMap, VecDeque};

use cib::Cib;
use holdfast_types::Boottime;
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::history::{Entry, Histories, History, Pending};
use crate::local::is_recorded;
use crate::message::{Order, StateReport, Tag};

/// Fence requests that are remembered.
pub(crate) const FENCE_HISTORY_MAX: usize = 100;

/// The replicated state.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    /// Number of the agreement; 0: none yet.
    pub(crate) epoch: u64,
    /// The last agreement in which this node was quorate.
    pub(crate) quorate_epoch: u64,
    /// Changes with every view.
    pub(crate) term: u64,
    /// Members, the longest-standing one first: that one is the designated controller.
    pub(crate) order: Vec<u32>,
    /// Every configured node, and any other that ever joined, without those that were removed.
    pub(crate) nodes: BTreeMap<u32, Node>,
    /// What nodes were called that were removed, for the history.
    pub(crate) former: BTreeMap<u32, String>,
    /// The configuration in force.
    pub(crate) cib: Cib,
    /// Transient attributes of members.
    pub(crate) attributes: Attributes,
    /// Fence requests, oldest first.
    pub(crate) fencing: VecDeque<FenceEntry>,
}

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// Whether it takes part.
    pub(crate) standing: Standing,
    /// Last known life of its ring daemon; 0: not known.
    pub(crate) incarnation: u64,
    /// Highest life whose death is confirmed.
    pub(crate) confirmed: u64,
    /// It was fenced while its life was not known; void when it joins again.
    pub(crate) fenced: bool,
    /// It is leaving, since so many seconds after 1970.
    pub(crate) leaving: Option<i64>,
    /// It has said goodbye: nothing runs there, nothing is started there.
    pub(crate) goodbye: Option<bool>,
    /// What its resources have been through.
    pub(crate) history: Histories,
    /// Since when it stands so, on this member's clock.
    pub(crate) since: Boottime,
}

/// Whether a node takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Not seen since the cluster began.
    #[default]
    Never,
    /// A member that has told what it runs.
    Online,
    /// Stopped everything, then left.
    Left,
    /// Known to be dead.
    Dead,
    /// Lost: it may still run what it ran.
    Unclean(String),
}

/// What one member knows of a node that is no member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Absent {
    /// Its name; empty: not known.
    #[serde(default)]
    pub(crate) name: String,
    /// How it left.
    pub(crate) standing: Standing,
    /// Its last known life.
    pub(crate) incarnation: u64,
    /// Highest life whose death is confirmed.
    pub(crate) confirmed: u64,
}

/// A fence request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FenceEntry {
    /// The victim.
    pub(crate) target: u32,
    /// Its life; 0: not known.
    pub(crate) incarnation: u64,
    /// `off`, `reboot`.
    pub(crate) action: String,
    /// Why.
    pub(crate) reason: String,
    /// Who asked.
    pub(crate) client: String,
    /// The controller that runs or ran it.
    pub(crate) origin: u32,
    /// The device; empty: none yet.
    pub(crate) device: String,
    /// Who ran its agent; 0: nobody yet.
    pub(crate) executor: u32,
    /// When it was asked, in microseconds since the Unix epoch.
    pub(crate) requested_us: i64,
    /// When it ended; 0: not yet.
    pub(crate) completed_us: i64,
    /// Why it failed; `None`: it did not, or goes on.
    pub(crate) error: Option<String>,
}

impl Replica {
    pub(crate) fn new(cib: Cib, names: &BTreeMap<u32, String>) -> Self {
        let node = |name: &String| Node { name: name.clone(), ..Node::default() };
        Self {
            epoch: 0,
            quorate_epoch: 0,
            term: 0,
            order: Vec::new(),
            nodes: names.iter().map(|(id, name)| (*id, node(name))).collect(),
            former: BTreeMap::new(),
            cib,
            attributes: Attributes::default(),
            fencing: VecDeque::new(),
        }
    }

    /// The designated controller.
    pub(crate) fn dc(&self) -> Option<u32> {
        self.order.first().copied()
    }

    /// A node's name, or its number where it has none.
    pub(crate) fn name(&self, node: u32) -> String {
        let name = self.nodes.get(&node).map(|n| &n.name).or_else(|| self.former.get(&node));
        name.cloned().unwrap_or_else(|| format!("node {node}"))
    }

    /// A node is forgotten, but for what it was called.
    pub(crate) fn remove(&mut self, node: u32) {
        self.attributes.forget(node);
        self.former.extend(self.nodes.remove(&node).map(|n| (node, n.name)));
    }

    pub(crate) fn is_online(&self, node: u32) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.standing == Standing::Online && n.goodbye.is_none())
    }

    /// A member's resource manager is gone. Returns how it stands now.
    pub(crate) fn gone(&mut self, node: u32, why: &str, now: Boottime) -> Standing {
        self.order.retain(|n| *n != node);
        let entry = self.nodes.entry(node).or_default();
        if entry.standing == Standing::Online {
            let dead = entry.fenced || (entry.incarnation != 0 && entry.confirmed >= entry.incarnation);
            entry.standing = match entry.goodbye {
                _ if dead => Standing::Dead,
                Some(true) => Standing::Left,
                Some(false) => Standing::Unclean("it left without being able to stop everything".to_owned()),
                None => Standing::Unclean(why.to_owned()),
            };
            entry.since = now;
        }
        (entry.leaving, entry.goodbye) = (None, None);
        self.attributes.forget(node);
        let entry = self.nodes.entry(node).or_default();
        if matches!(entry.standing, Standing::Left | Standing::Dead) {
            entry.history.clear();
        }
        entry.standing.clone()
    }

    /// An order was heard: from now on the operation counts as under way, whether or not its node has heard it.
    pub(crate) fn ordered(&mut self, order: &Order) {
        let agent = order.action.resource.as_ref().filter(|_| is_recorded(&order.action.operation));
        if let (Some(node), Some(agent)) = (self.nodes.get_mut(&order.node), agent) {
            let on = node.history.entry(agent.id.clone()).or_insert_with(|| History::new(agent.clone()));
            let entry = Entry::begun(&order.action, order.transition_key.clone(), order.at_us / 1_000_000);
            on.pending = Some(Pending { order: Some(order.tag.order()), entry });
        }
    }

    /// An order will not be heard by anybody.
    pub(crate) fn void(&mut self, order: &Order) {
        let Some(agent) = &order.action.resource else { return };
        let Some(node) = self.nodes.get_mut(&order.node) else { return };
        if let Some(on) = node.history.get_mut(&agent.id) {
            on.pending.take_if(|p| p.order == Some(order.tag.order()));
            if on.is_blank() {
                node.history.remove(&agent.id);
            }
        }
    }

    /// A node's word on its own resource. What it said before it heard an order does not end the order: only the answer
    /// to it does.
    pub(crate) fn reported(&mut self, node: u32, report: &StateReport) {
        let fatal = self.cib.options.start_failure_is_fatal;
        if let Some(failure) = &report.failure {
            failure.count(node, fatal, &mut self.attributes);
        }
        let Some(entry) = self.nodes.get_mut(&node) else { return };
        let before = entry.history.remove(&report.resource);
        let open = before
            .and_then(|b| Some((b.agent, b.pending?)))
            .filter(|(_, p)| p.order.is_some() && p.order != report.tag.map(Tag::order));
        let mut now = report.history.clone();
        if let Some((agent, pending)) = open {
            now.get_or_insert_with(|| History::new(agent)).pending = Some(pending);
        }
        if let Some(now) = now {
            entry.history.insert(report.resource.clone(), now);
        }
    }

    /// An order counts: it is of the controller in charge, in this view, for a node that takes part.
    pub(crate) fn accepts(&self, sender: u32, tag: Tag, node: u32) -> bool {
        self.dc() == Some(sender) && tag.term == self.term && self.is_online(node)
    }

    /// A death is confirmed. Whether that changed how a node stands.
    pub(crate) fn confirm(&mut self, node: u32, incarnation: u64, now: Boottime) -> bool {
        let Some(entry) = self.nodes.get_mut(&node) else { return false };
        if incarnation == 0 {
            // Whatever life it was: it is over. A member is judged when it leaves.
            entry.fenced |= entry.standing == Standing::Online;
            entry.confirmed = entry.confirmed.max(entry.incarnation);
        } else {
            entry.confirmed = entry.confirmed.max(incarnation);
        }
        let frees = incarnation == 0 || entry.incarnation <= incarnation;
        if frees && matches!(entry.standing, Standing::Unclean(_) | Standing::Never) {
            (entry.standing, entry.since) = (Standing::Dead, now);
            entry.history.clear();
            return true;
        }
        false
    }

    /// Enters how a fence request stands: a running one of the same victim is replaced.
    pub(crate) fn fence(&mut self, entry: FenceEntry) {
        self.forget_fence(entry.target);
        self.fencing.push_back(entry);
        while self.fencing.len() > FENCE_HISTORY_MAX {
            self.fencing.pop_front();
        }
    }

    /// A fence request that is not needed any more.
    pub(crate) fn forget_fence(&mut self, target: u32) {
        self.fencing.retain(|e| e.target != target || e.completed_us != 0);
    }

    /// What this member would tell of nodes that are no members.
    pub(crate) fn absent(&self) -> BTreeMap<u32, Absent> {
        let absent = self.nodes.iter().filter(|(_, n)| n.standing != Standing::Online);
        absent
            .map(|(id, n)| {
                let (standing, incarnation) = (n.standing.clone(), n.incarnation);
                (*id, Absent { name: n.name.clone(), standing, incarnation, confirmed: n.confirmed })
            })
            .collect()
    }
}

/// What two members know of one absent node, put together: the later life counts; of the same life a confirmed death
/// ends all doubt, and doubt outweighs a clean leave.
pub(crate) fn merge(a: &Absent, b: &Absent) -> Absent {
    let rank = |absent: &Absent| {
        let dead = absent.incarnation != 0
            && absent.confirmed.max(a.confirmed).max(b.confirmed) >= absent.incarnation;
        match &absent.standing {
            Standing::Dead => 4,
            _ if dead => 4,
            Standing::Unclean(_) => 3,
            Standing::Left => 2,
            Standing::Never | Standing::Online => 1,
        }
    };
    let confirmed = a.confirmed.max(b.confirmed);
    let newer = if (a.incarnation, rank(a)) >= (b.incarnation, rank(b)) { a } else { b };
    let mut merged = Absent { confirmed, ..newer.clone() };
    if merged.name.is_empty() {
        merged.name = if a.name.is_empty() { b.name.clone() } else { a.name.clone() };
    }
    if rank(newer) == 4 {
        merged.standing = Standing::Dead;
    }
    merged
}

#[cfg(test)]
mod tests {
    use scheduler::transition::{Action, Descriptor, Kind};

    use super::*;

    fn absent(standing: Standing, incarnation: u64, confirmed: u64) -> Absent {
        Absent { standing, incarnation, confirmed, ..Absent::default() }
    }

    /// A replica with node 1 online, which was ordered to start `a`.
    fn ordered() -> (Replica, Order) {
        let cib = Cib::parse("<cib><configuration/></cib>", "test").unwrap();
        let mut replica = Replica::new(cib, &BTreeMap::from([(1, "n1".to_owned())]));
        replica.nodes.get_mut(&1).unwrap().standing = Standing::Online;
        let tag = Tag { term: 1, transition: 2, action: 3 };
        let mut action = Action::new(3, Kind::RscOp, "start", "a_start_0");
        action.resource = Some(Descriptor { id: "a".into(), ..Descriptor::default() });
        let order = Order { tag, node: 1, action: Box::new(action), transition_key: String::new(), at_us: 0 };
        replica.ordered(&order);
        (replica, order)
    }

    fn report(tag: Option<Tag>) -> StateReport {
        StateReport { resource: "a".into(), history: None, tag, verdict: None, failure: None }
    }

    fn is_pending(replica: &Replica) -> bool {
        replica.nodes[&1].history.get("a").is_some_and(|h| h.pending.is_some())
    }

    #[test]
    fn only_the_answer_ends_an_order() {
        let (mut replica, order) = ordered();
        replica.reported(1, &report(None));
        assert!(is_pending(&replica), "said before the order was heard");
        replica.reported(1, &report(Some(Tag { action: 4, ..order.tag })));
        assert!(is_pending(&replica), "an answer to another one");
        replica.reported(1, &report(Some(order.tag)));
        assert!(!is_pending(&replica));
    }

    #[test]
    fn an_order_that_nobody_heard_is_void() {
        let (mut replica, order) = ordered();
        replica.void(&Order { tag: Tag { term: 9, ..order.tag }, ..order.clone() });
        assert!(is_pending(&replica), "another order");
        replica.void(&order);
        assert!(!is_pending(&replica));
    }

    #[test]
    fn how_a_node_stands_after_it_is_gone() {
        for (goodbye, confirmed, fenced, want) in [
            (None, 0, false, Standing::Unclean("lost".into())),
            (Some(true), 0, false, Standing::Left),
            (
                Some(false),
                0,
                false,
                Standing::Unclean("it left without being able to stop everything".into()),
            ),
            (None, 5, false, Standing::Dead),
            (None, 4, false, Standing::Unclean("lost".into())),
            (None, 0, true, Standing::Dead),
        ] {
            let (mut replica, _) = ordered();
            let node = replica.nodes.get_mut(&1).unwrap();
            (node.goodbye, node.incarnation, node.confirmed, node.fenced) = (goodbye, 5, confirmed, fenced);
            assert_eq!(
                replica.gone(1, "lost", Boottime::default()),
                want,
                "{goodbye:?} {confirmed} {fenced}"
            );
        }
    }

    #[test]
    fn knowledge_of_absent_nodes_is_put_together_with_care() {
        let lost = || Standing::Unclean("lost".into());
        for (a, b, want) in [
            (absent(lost(), 5, 0), absent(Standing::Never, 0, 0), absent(lost(), 5, 0)),
            (absent(lost(), 5, 0), absent(Standing::Left, 5, 0), absent(lost(), 5, 0)),
            (absent(lost(), 5, 0), absent(Standing::Dead, 5, 5), absent(Standing::Dead, 5, 5)),
            (absent(lost(), 6, 0), absent(Standing::Dead, 5, 5), absent(lost(), 6, 5)),
            (absent(Standing::Left, 6, 0), absent(lost(), 5, 0), absent(Standing::Left, 6, 0)),
            (absent(lost(), 5, 0), absent(Standing::Never, 0, 5), absent(Standing::Dead, 5, 5)),
        ] {
            assert_eq!(merge(&a, &b), want, "{a:?} {b:?}");
            assert_eq!(merge(&b, &a), want, "{b:?} {a:?}");
        }
    }
}
