//! What a cluster costs as a function of its number of nodes: packets at rest, and time and packets of a change. On the
//! virtual network, so the figures are those of the protocol alone: nobody's CPU, kernel or cable takes part.

use holdfast_types::Span;

use crate::clock::{MS, SEC};
use crate::cluster::Cluster;
use crate::machine::Death;
use crate::options::Options;
use crate::oracle::Violation;
use crate::trace::Mode;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Nodes.
    pub nodes: u32,
    /// At rest, one second of all nodes.
    pub idle: Cost,
    /// From the death of a daemon whose guardian tells.
    pub killed: Cost,
    /// From the death of a node without a word.
    pub silent: Cost,
    /// From the end of a cut into halves.
    pub merge: Cost,
}

/// Time, and what all nodes sent in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Nanoseconds until all have told their clients the new configuration and what it means for quorum.
    pub took: u64,
    /// Nanoseconds until all have installed the new ring.
    pub ring: u64,
    /// Datagrams: a packet to all peers is one for each of them.
    pub packets: u64,
    /// UDP payload in bytes, seals included.
    pub bytes: u64,
}

/// The head of the table, in Markdown.
pub const HEAD: &str = "\
| nodes | idle packets/s: one node | all | idle kB/s: one node | `kill -9`: ring, quorum, ms | datagrams | silent death: ring, quorum, ms | datagrams | merge of halves: ring, quorum, ms | datagrams |
|---|---|---|---|---|---|---|---|---|---|";

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n = u64::from(self.nodes);
        let ms =
            |cost: &Cost| format!("{:.1}, {:.1}", cost.ring as f64 / MS as f64, cost.took as f64 / MS as f64);
        write!(
            f,
            "| {n} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.idle.packets / n,
            self.idle.packets,
            self.idle.bytes / n / 1_000,
            ms(&self.killed),
            self.killed.packets,
            ms(&self.silent),
            self.silent.packets,
            ms(&self.merge),
            self.merge.packets,
        )
    }
}

/// Options of a calm cluster of `nodes` with the defaults of the configuration: token 3 s, and 650 ms more for each node
/// beyond two.
#[must_use]
pub fn defaults(seed: u64, nodes: u32) -> Options {
    let token = 3_000 + 650 * u64::from(nodes.saturating_sub(2));
    let timers = cmm_proto::Timers::from_token(Span::from_millis(token));
    Options { timers, eager: false, ..Options::quiet(seed, nodes) }
}

/// Measures a cluster of so many nodes.
///
/// # Errors
/// An invariant that does not hold, or a change that does not come to its end.
pub fn measure(nodes: u32) -> Result<Row, Violation> {
    let mut c = Cluster::new(defaults(1, nodes), Mode::Tail, None);
    let all: Vec<usize> = (0..c.len()).collect();
    c.start_all(50 * MS);
    c.comes_together(&all)?;
    let idle = c.cost(|c| c.run_until(c.now + 2 * SEC))?;
    let (last, rest) = (c.len() - 1, &all[..all.len() - 1]);
    let killed = c.change(rest, |c| c.crash(last, Death::Gasp))?;
    c.start(last)?;
    c.comes_together(&all)?;
    let silent = c.change(rest, |c| c.crash(last, Death::Silent))?;
    c.start(last)?;
    c.comes_together(&all)?;
    let (one, other) = all.split_at(all.len() / 2);
    c.part(one, other, true);
    c.comes_together(one)?;
    c.comes_together(other)?;
    c.run_until(c.now + SEC)?;
    let merge = c.change(&all, |c| {
        c.part(one, other, false);
        Ok(())
    })?;
    let idle = Cost { packets: idle.packets / 2, bytes: idle.bytes / 2, took: SEC, ring: 0 };
    Ok(Row { nodes, idle, killed, silent, merge })
}

impl Cluster {
    /// Cuts or mends every way between the two groups.
    pub fn part(&mut self, one: &[usize], other: &[usize], cut: bool) {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
            for (a, b) in [(a, b), (b, a)] {
                if cut { self.network.cut(a, b) } else { self.network.mend(a, b) }
            }
        }
    }

    /// Lets a second pass once these are one configuration, so that nothing of the change is left.
    fn comes_together(&mut self, machines: &[usize]) -> Result<(), Violation> {
        self.change(machines, |_| Ok(()))?;
        self.run_until(self.now + SEC)
    }

    /// What it costs from `begin` until these are one configuration that is synchronised and has told its clients.
    fn change(
        &mut self,
        machines: &[usize],
        begin: impl FnOnce(&mut Self) -> Result<(), Violation>,
    ) -> Result<Cost, Violation> {
        let began = self.now;
        let mut ring = 0;
        let cost = self.cost(|c| {
            begin(c)?;
            let formed = c.run_while_not(c.now + 60 * SEC, |c| c.in_one_ring(machines))?;
            ring = c.now - began;
            if formed && c.run_while_not(c.now + 60 * SEC, |c| c.together(machines))? {
                return Ok(());
            }
            Err(c.liveness("L1", "nodes that reach each other are one configuration", c.state_of_all()))
        })?;
        Ok(Cost { ring, ..cost })
    }

    fn in_one_ring(&self, machines: &[usize]) -> bool {
        let first = self.ring(machines[0]);
        let same = |n: &usize| {
            self.ring(*n) == first && self.node(*n).is_some_and(|n| n.ring_state() == "OPERATIONAL")
        };
        first.is_some_and(|(_, members)| members.len() == machines.len()) && machines.iter().all(same)
    }

    fn cost(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Violation>) -> Result<Cost, Violation> {
        let (began, before) = (self.now, self.network.counters);
        act(self)?;
        let after = self.network.counters;
        let (packets, bytes) = (after.sent - before.sent, after.bytes - before.bytes);
        Ok(Cost { took: self.now - began, ring: 0, packets, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_the_timers_and_the_detector_promise() {
        let row = measure(3).unwrap_or_else(|v| panic!("{}: {}", v.name, v.seen));
        let timers = defaults(1, 3).timers;
        let beats = 3 * 2 * SEC / timers.heartbeat.as_nanos();
        assert!(row.idle.packets >= beats && row.idle.packets < 3 * beats, "{row}");
        assert!(row.killed.ring < 5 * MS && row.killed.ring <= row.killed.took, "{row}");
        assert!(
            row.silent.ring > timers.heartbeat_limit.as_nanos() - 2 * timers.heartbeat.as_nanos(),
            "{row}"
        );
        assert!(row.silent.ring < 300 * MS, "{row}");
        assert!(row.merge.packets > 0 && row.merge.ring < SEC, "{row}");
        assert_eq!(
            HEAD.lines().next().map(|l| l.matches('|').count()),
            Some(row.to_string().matches('|').count())
        );
    }
}
