//! `quorum { }`: votes, and the options of votequorum(5); combinations that void each other are named.

use holdfast_types::Votes;

use crate::schema::parse_number;
use crate::{Diagnostics, Item, Node, Section};

/// Votes and options in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// `provider: corosync_votequorum` is configured. Quorum is counted in any case.
    pub provider: bool,
    /// `expected_votes`; `None`: the sum of the node list.
    pub expected_votes: Option<Votes>,
    /// `two_node`, only with two nodes.
    pub two_node: bool,
    /// `wait_for_all`: as set, else as `two_node` implies.
    pub wait_for_all: bool,
}

pub(crate) fn read(root: &Section, nodes: &[Node], found: &mut Diagnostics) -> Quorum {
    let get = |key: &str| root.get(&["quorum"], key);
    let number = |key: &str| get(key).and_then(|i| parse_number(&i.value));
    let on = |key: &str| number(key) == Some(1);
    let at = |key: &str| get(key).map_or((1, 0), Item::at);

    let device = root.all("quorum").flat_map(|q| q.all("device")).next();
    let sum: u64 = nodes.iter().map(|n| u64::from(n.votes.get())).sum();
    let mut two_node = on("two_node");
    if two_node && nodes.len() != 2 {
        let text = format!("two_node with {} nodes; remove the line (it is for exactly two)", nodes.len());
        found.error(at("two_node"), text);
        two_node = false;
    }
    if two_node {
        let text = "with two_node both halves of a split report quorate, and what the lost half may run starts only after \
                    its death is confirmed; configure a fence device, or a third node and no two_node";
        found.warn(at("two_node"), text);
        for key in ["auto_tie_breaker", "last_man_standing"].into_iter().filter(|k| on(k)) {
            found.error(at(key), format!("{key} and two_node void each other; remove one of them"));
        }
        if let Some(device) = device {
            found.error(device.at(), "a quorum device and two_node void each other; remove two_node");
        }
        if number("wait_for_all") == Some(0) {
            let text = "two_node without wait_for_all: after a cold start two nodes that do not see each other both go ahead; \
                        remove \"wait_for_all: 0\"";
            found.error(at("wait_for_all"), text);
        }
    }
    if let Some(device) = device {
        for key in ["auto_tie_breaker", "last_man_standing", "allow_downscale"].into_iter().filter(|k| on(k))
        {
            found.error(device.at(), format!("a quorum device and {key} void each other; remove {key}"));
        }
    }
    if on("last_man_standing") && nodes.iter().any(|n| n.votes.get() != 1) {
        found.error(
            at("last_man_standing"),
            "last_man_standing needs one vote in every node; remove the quorum_votes",
        );
    }
    let expected = number("expected_votes");
    match expected {
        // Quorum is expected/2 + 1: it must be more than half of what two partitions may have together.
        Some(ev) if !two_node && (ev / 2 + 1) * 2 <= sum => {
            let text = format!(
                "expected_votes {ev} with {sum} votes in the node list lets two halves be quorate at once; write {sum}, or remove the line"
            );
            found.error(at("expected_votes"), text);
        }
        Some(ev) if device.is_none() && ev / 2 + 1 > sum && sum > 0 => {
            let text = format!(
                "expected_votes {ev} can never be reached by half with {sum} votes in the node list; write {sum}, or remove the line"
            );
            found.error(at("expected_votes"), text);
        }
        Some(ev) if two_node && ev != 2 => {
            found.error(
                at("expected_votes"),
                format!("two_node wants expected_votes 2, not {ev}; remove the line"),
            );
        }
        _ => {}
    }
    if sum == 0 && !nodes.is_empty() {
        found.error(
            (nodes[0].line, 0),
            "no node has a vote, so there is never quorum; remove \"quorum_votes: 0\"",
        );
    }
    let provider = get("provider").is_some();
    if !provider {
        let line = root.all("quorum").last().map_or(root.at(), Section::at);
        let text = "no quorum provider, so corosync-quorumtool shows no votes; write \"provider: corosync_votequorum\" into quorum";
        found.warn(line, text);
    }
    Quorum {
        provider,
        expected_votes: expected.map(|v| Votes::new(v as u32)),
        two_node,
        wait_for_all: number("wait_for_all").map_or(two_node, |v| v == 1),
    }
}
