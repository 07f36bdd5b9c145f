//! A node.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use cib::{Attributes, Score};

use super::ResourceId;
use crate::unpack::base_name;

/// Fail counts and times of last failures by whose they are, without the number of an instance.
pub(crate) type Failures = BTreeMap<String, Vec<Failure>>;

/// One attribute about failures.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Whose it is, with the number of an instance.
    pub(crate) owner: String,
    /// How often.
    pub(crate) count: Score,
    /// When last, in seconds.
    pub(crate) last: i64,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A member of the cluster.
    Member,
    /// Reached over a connection: a remote node, or a guest of a resource.
    Remote,
    /// Not able to run anything.
    Ping,
}

/// A node as configuration and status have it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id in the configuration.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Score of every resource on it.
    pub score: Score,
    /// Attributes, built-in ones included.
    pub attributes: Attributes,
    /// What those say of failures; set anew with them.
    pub(crate) failures: OnceCell<Failures>,
    /// Utilization: capacity by name.
    pub utilization: Attributes,
    /// It can be talked to.
    pub online: bool,
    /// It is to be fenced before what it may run is run elsewhere.
    pub unclean: bool,
    /// Nothing was heard of it in this life of the cluster.
    pub unseen: bool,
    /// It wants to go down, or the cluster wants it to.
    pub shutdown: bool,
    /// It was lost as a whole: who fences it may be asked to wait (`priority-fencing-delay`).
    pub(crate) lost: bool,
    /// It is expected to be up.
    pub expected_up: bool,
    /// It has not finished joining.
    pub pending: bool,
    /// It is to run nothing.
    pub standby: bool,
    /// That is so because of a failure.
    pub standby_on_fail: bool,
    /// Nothing is to be touched on it.
    pub maintenance: bool,
    /// Resources may be probed on it.
    pub discovery: bool,
    /// It is the guest of a bundle: nothing but its own replica may run there.
    pub reserved: bool,
    /// Its connection resource, where it is reached over one.
    pub connection: Option<ResourceId>,
    /// A guest whose container failed, a remote node whose state is unknown.
    pub requires_reset: bool,
    /// The status says that it was fenced.
    pub was_fenced: bool,
    /// It has been told that it is in maintenance.
    pub told_maintenance: bool,
    /// Its history was read.
    pub(crate) unpacked: bool,
    /// Its name is among its attributes: it is in the configuration, or a state of it was read.
    pub(crate) named: bool,
    /// How many primitives have been given to it.
    pub(crate) assigned: u32,
    /// Primitives that run on it.
    pub running: Vec<ResourceId>,
}

impl Node {
    pub(crate) fn new(id: &str, name: &str, kind: NodeKind, score: Score) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            kind,
            score,
            attributes: [(
                "#kind".to_owned(),
                if kind == NodeKind::Remote { "remote" } else { "cluster" }.to_owned(),
            )]
            .into_iter()
            .collect(),
            failures: OnceCell::new(),
            utilization: Attributes::new(),
            online: false,
            unclean: false,
            unseen: false,
            shutdown: false,
            expected_up: false,
            pending: false,
            standby: false,
            standby_on_fail: false,
            maintenance: false,
            discovery: true,
            reserved: false,
            connection: None,
            requires_reset: false,
            was_fenced: false,
            told_maintenance: false,
            lost: false,
            unpacked: false,
            named: true,
            assigned: 0,
            running: Vec::new(),
        }
    }
}

impl Node {
    /// What is known of failures on it, by resource: so that each resource finds its own without looking at all attributes.
    pub(crate) fn failures(&self) -> &Failures {
        self.failures.get_or_init(|| {
            let mut found = Failures::new();
            for (attribute, value) in &self.attributes {
                let of = |prefix: &str| attribute.strip_prefix(prefix)?.split('#').next();
                let (owner, count, last) = if let Some(owner) = of("fail-count-") {
                    (owner, Score::parse(value).unwrap_or_default(), 0)
                } else if let Some(owner) = of("last-failure-") {
                    (owner, Score::ZERO, value.trim().parse().unwrap_or(0))
                } else {
                    continue;
                };
                let failure = Failure { owner: owner.to_owned(), count, last };
                found.entry(base_name(owner).to_owned()).or_default().push(failure);
            }
            found
        })
    }
}

/// Names as people sort them: case does not count, and a run of digits is a number.
#[must_use]
pub fn compare_names(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return std::cmp::Ordering::Equal,
            (None, Some(_)) => return std::cmp::Ordering::Less,
            (Some(_), None) => return std::cmp::Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (take_number(&mut a), take_number(&mut b));
                // Without leading zeros the longer one is the larger one.
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
                if order.is_ne() {
                    return order;
                }
            }
            (Some(x), Some(y)) => {
                let order = x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase());
                if order.is_ne() {
                    return order;
                }
                (a, b) = (&a[1..], &b[1..]);
            }
        }
    }
}

fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().take_while(|c| **c == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_do() {
        let mut names = ["node10", "Node2", "node1", "c", "node02a", "node2-b"];
        names.sort_by(|a, b| compare_names(a, b));
        assert_eq!(names, ["c", "node1", "Node2", "node2-b", "node02a", "node10"]);
    }
}
