//! The liveness phase: faults have stopped; now everything that was promised must happen within a bound of virtual
//! time, and stay.
//!
//! L1: all nodes are one configuration, and keep it. L2: it is quorate. L3: every step ends, every queued message is
//! delivered, a fresh one from each node arrives everywhere. L7: a paused node is a member again. L9: so is one that
//! was down.

use cmm_proto::{GroupMember, Guarantee};

use crate::clients::OBSERVER;
use crate::clock::{Instant, MS, SEC};
use crate::cluster::{Cluster, Event};
use crate::oracle::{MessageId, Violation, ViolationKind};

impl Cluster {
    /// Heals the cluster and checks that it converges; says how long it took until all were quorate together.
    ///
    /// # Errors
    /// What did not happen in time, or an invariant that broke on the way.
    pub fn converge(&mut self) -> Result<u64, Violation> {
        self.heal()?;
        let began = self.now;
        let end = began + self.bound();
        let mut took;
        loop {
            if !self.wait(end, Self::one_configuration)? {
                let claim = "once faults stop, all nodes are one configuration within the bound";
                return Err(self.liveness("L1/L7/L9", claim, self.state_of_all()));
            }
            if self.votes_asked > 0 && !self.restore_votes()? {
                continue;
            }
            if !self.wait(end, Self::all_settled)? {
                let claim = "the configuration of all is quorate and its steps end within the bound";
                return Err(self.liveness("L2/L3", claim, self.state_of_all()));
            }
            if !self.wait(end, Self::nothing_waits)? {
                return Err(self.liveness("L3", "each queued message goes out", self.state_of_all()));
            }
            if !self.end_maintenance()? {
                continue;
            }
            took = self.now - began;
            // What was under way when the faults stopped, and a silence just before, may still do something.
            let installs = self.counters.installs;
            let until = self.now + self.silence();
            self.run_until(until)?;
            if self.counters.installs == installs && self.all_settled() && self.nothing_waits() {
                break;
            }
        }
        let fresh = self.fresh_messages()?;
        let arrived = |cluster: &Self| fresh.iter().all(|id| cluster.delivered_everywhere(*id));
        if !self.wait(self.now + self.bound(), arrived)? {
            let missing: Vec<_> = fresh.iter().filter(|id| !self.delivered_everywhere(**id)).collect();
            let seen = format!("{missing:?}\n{}", self.state_of_all());
            return Err(self.liveness("L3", "a fresh message from each node arrives everywhere", seen));
        }
        self.keys_agree()?;
        // What was on its way when he looked last has come by now.
        self.end_maintenance()?;
        if !self.wait(self.now + self.bound(), Self::tables_agree)? {
            let claim = "the node table that all files have is in force in the end";
            return Err(self.liveness("L3", claim, self.state_of_all()));
        }
        if !self.wait(self.now + self.bound(), Self::settings_agree)? {
            let claim = "what was read at a reload is in force in the end";
            return Err(self.liveness("L3", claim, self.state_of_all()));
        }
        if !self.wait(self.now + self.bound(), Self::device_is_owned)? {
            let claim = "once faults stop somebody owns the quorum device's vote";
            return Err(self.liveness("L2 (device)", claim, self.state_of_all()));
        }
        self.stays_quiet()?;
        self.groups_agree()?;
        self.oracle.finish(self.now)?;
        Ok(took)
    }

    /// Lets events happen until `done` holds, looked at every millisecond; false if it does not by `deadline`.
    fn wait(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) -> Result<bool, Violation> {
        loop {
            if done(self) {
                return Ok(true);
            }
            if self.now >= deadline {
                return Ok(false);
            }
            self.run_until(deadline.min(self.now + MS))?;
        }
    }

    /// How long the cluster may take, generously: several rounds of losing the token, gathering, and waiting for a
    /// restarted voter.
    pub(crate) fn bound(&self) -> u64 {
        let t = &self.options.timers;
        // Who is not heard any more when timers are put back is waited for some seconds.
        let reload = if self.options.load.timers_every > 0 { 6 * SEC } else { 0 };
        let lease = self.oracle.history.lease + t.lease_margin.scale(5, 1);
        let device = self.options.quorum.device.map_or(0, |d| 4 * d.lease().as_nanos());
        // A server has to find out first who is dead.
        let server = self
            .options
            .quorum
            .server()
            .map_or(0, |s| (s.lease + s.heartbeat + s.connect_timeout).as_nanos());
        let device = device + 3 * server;
        12 * (t.token + t.consensus).as_nanos() + 4 * lease.as_nanos() + 10 * SEC + reload + device
    }

    /// After this long each timer that watches over somebody has run out.
    fn silence(&self) -> u64 {
        let t = &self.options.timers;
        t.token.max(t.heartbeat_limit.max(t.heartbeat_limit_max).scale(3, 2)).as_nanos()
    }

    pub(crate) fn one_configuration(&self) -> bool {
        let first = self.oracle.history.running[0].and_then(|l| self.oracle.history.lives[l].ring);
        first.is_some()
            && self.oracle.history.running.iter().all(|life| {
                life.is_some_and(|l| {
                    let life = &self.oracle.history.lives[l];
                    life.ring == first && life.synced == first && life.transitional.is_none()
                })
            })
            && first.is_some_and(|ring| self.oracle.history.rings[&ring].members.len() == self.machines.len())
    }

    fn all_settled(&self) -> bool {
        self.one_configuration()
            && self.oracle.history.running.iter().flatten().all(|l| {
                let life = &self.oracle.history.lives[*l];
                life.believes() && Some(life.view.ring) == life.ring && life.settled == life.ring
            })
    }

    /// No message waits for the token: one that kills a node, say, and was asked for when there were faults.
    fn nothing_waits(&self) -> bool {
        self.machines.iter().filter_map(|m| m.running.as_ref()).all(|r| r.node.queue_room().0 == 0)
    }

    fn device_is_owned(&self) -> bool {
        self.options.quorum.device.is_none() || self.device_owner().is_some()
    }

    /// One safe message of each node's observer.
    fn fresh_messages(&mut self) -> Result<Vec<MessageId>, Violation> {
        let mut fresh = Vec::new();
        for n in 0..self.machines.len() {
            let deadline = self.now + self.bound();
            loop {
                if let Some(id) = self.multicast(n, OBSERVER, Guarantee::Safe, 100)? {
                    fresh.push(id);
                    break;
                }
                if self.now >= deadline {
                    let seen =
                        format!("node {} takes no message\n{}", self.machines[n].id, self.state_of_all());
                    return Err(self.liveness("L3", "a quiet cluster takes messages", seen));
                }
                let until = self.now + 10 * MS;
                self.run_until(until)?;
            }
        }
        Ok(fresh)
    }

    fn delivered_everywhere(&self, id: MessageId) -> bool {
        self.oracle.history.running.iter().all(|life| {
            life.and_then(|l| self.oracle.history.stay(l)).is_some_and(|(_, s)| s.position.contains_key(&id))
        })
    }

    /// For a few token timeouts nothing changes any more.
    fn stays_quiet(&mut self) -> Result<(), Violation> {
        let installs = self.counters.installs;
        let lost = self.counters.quorum_lost;
        let until = self.now + self.options.patience * self.silence() / 10;
        self.run_until(until)?;
        if self.counters.installs != installs || self.counters.quorum_lost != lost {
            let claim = "without faults the one configuration stays, and stays quorate";
            return Err(self.liveness("L1/L6", claim, self.state_of_all()));
        }
        Ok(())
    }

    /// M12 at rest: every daemon's group table is what the clients of all daemons make up.
    fn groups_agree(&mut self) -> Result<(), Violation> {
        let deadline = self.now + self.bound();
        if self.wait(deadline, Self::tables_are_true)? {
            return Ok(());
        }
        let truth = self.true_groups();
        let tables: Vec<_> = (0..self.len()).map(|n| self.node(n).map(cmm_proto::Node::cpg_groups)).collect();
        Err(Violation {
            kind: ViolationKind::Safety,
            name: "M12",
            claim: "at rest every group table holds the processes that live and joined, and no other",
            seen: format!("there are {truth:?}, the tables say {tables:?}"),
            at: self.now,
        })
    }

    fn tables_are_true(&self) -> bool {
        let truth = self.true_groups();
        (0..self.len()).all(|n| {
            self.node(n).is_some_and(|node| {
                let table = node.cpg_groups();
                let mut table: Vec<_> = table.iter().map(|(g, m)| (&g[..], m.clone())).collect();
                table.retain(|(_, members)| !members.is_empty());
                table.sort();
                table == truth
            })
        })
    }

    fn true_groups(&self) -> Vec<(&'static [u8], Vec<GroupMember>)> {
        let mut groups = std::collections::BTreeMap::<&'static [u8], Vec<GroupMember>>::new();
        for machine in &self.machines {
            for (group, pid) in machine.running.iter().flat_map(|r| r.clients.joined()) {
                groups.entry(group).or_default().push(GroupMember { node: machine.id, pid });
            }
        }
        groups.values_mut().for_each(|members| members.sort_unstable());
        groups.into_iter().collect()
    }

    /// A line about each node, for the report of a failure.
    pub(crate) fn state_of_all(&self) -> String {
        let mut text = String::new();
        for machine in &self.machines {
            let Some(running) = &machine.running else {
                text += &format!("\n  node {}: down", machine.id);
                continue;
            };
            let (life, node) = (&self.oracle.history.lives[running.life], &running.node);
            text += &format!(
                "\n  node {} {}: ring {} {:?}, synced {:?}, steps {:?}, quorate {} ({}), {} writes under way",
                machine.id,
                node.ring_state(),
                node.ring_id(),
                node.members(),
                life.synced.map(|r| r.to_string()),
                node.step().map(|s| (s.epoch, s.step, s.name, s.phase)),
                life.view.quorate,
                life.view.reason,
                running.writes.len(),
            );
            let tables = node.tables();
            if tables.table != machine.table || tables.next.is_some() {
                text += &format!("\n    counts by {tables:?}, its file says {:?}", machine.table);
            }
        }
        text
    }
}

/// Everything that a seed makes happen.
///
/// # Errors
/// The first invariant that does not hold.
pub(crate) fn whole_run(cluster: &mut Cluster) -> Result<u64, Violation> {
    let duration: Instant = cluster.options.duration;
    cluster.start_all(cluster.options.start_spread);
    cluster.unleash();
    cluster.run_until(duration)?;
    cluster.converge()
}

impl Cluster {
    /// Drops what is under way in the network.
    pub fn lose_packets_under_way(&mut self) {
        self.agenda.purge(|_, event| matches!(event, Event::Arrive(_)));
    }
}
