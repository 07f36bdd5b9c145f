//! Operators who change the cluster key: files are replaced at different times on different machines, one daemon is
//! told, and everything else that can go wrong goes on meanwhile.

use cmm_proto::Request;
use cmm_proto::wire::ClusterKey;

use crate::clock::MS;
use crate::cluster::{Cluster, Event, Machine};
use crate::oracle::Violation;

/// Keys of one run: as many as a sniffer can know.
pub(crate) const KEYS: usize = cmm_proto::limits::KEYS_MAX;

/// The keys of a run, in the order in which operators bring them. No two have the same name on the wire: one run in
/// some 20,000 would draw such keys, and what a node does with a namesake is a test of its own.
pub(crate) fn of_run(seed: u64) -> Vec<ClusterKey> {
    let mut keys: Vec<ClusterKey> = Vec::new();
    for n in 0_u64.. {
        let key = ClusterKey::from_secret("simulated", &[seed, n].map(u64::to_le_bytes).concat());
        if keys.iter().all(|k| k.id() != key.id()) {
            keys.push(key);
        }
        if keys.len() == KEYS {
            break;
        }
    }
    keys
}

impl Cluster {
    /// An operator brings the next key: to the files of all machines or of some, and tells a daemon, or does not.
    pub(crate) fn bring_key(&mut self) -> Result<(), Violation> {
        let n = self.machines.len();
        let newest = self.machines.iter().map(|m| m.key_file).max().unwrap_or(0);
        let key = if self.faults.chance(250_000) { newest } else { (newest + 1).min(KEYS - 1) };
        let everywhere = self.options.calm() || self.faults.chance(600_000);
        for machine in 0..n {
            if everywhere || self.faults.chance(500_000) {
                self.put_key(machine, key);
            }
        }
        if everywhere || self.faults.chance(700_000) {
            let told = self.faults.index(n);
            self.change_key(told)?;
        }
        Ok(())
    }

    /// Puts one of the run's keys into the key file of machine `n`.
    pub fn put_key(&mut self, n: usize, key: usize) {
        self.machines[n].key_file = key;
        let id = self.machines[n].id;
        self.trace.line(self.now, Some(id.get()), || format!("its key file holds key {key} now"));
    }

    /// The operator tells the daemon of machine `n`.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn change_key(&mut self, n: usize) -> Result<(), Violation> {
        if self.machines[n].paused.is_none() && self.machines[n].running.is_some() {
            let id = self.machines[n].id;
            self.trace.line(self.now, Some(id.get()), || "is told to change the key".to_owned());
            // Refused by one that leaves: nothing changes then.
            let _ = self.submit(n, Request::ChangeKey)?;
        }
        Ok(())
    }

    /// Every file holds the newest key, and a daemon is told: faults are over, and so are an operator's mistakes. A key
    /// that some took from files which hold another one by now is got rid of by the telling only.
    pub(crate) fn agree_on_key(&mut self) -> Result<(), Violation> {
        let newest = self.machines.iter().map(|m| m.key_file).max().unwrap_or(0);
        if newest == 0 {
            return Ok(());
        }
        for n in 0..self.machines.len() {
            self.put_key(n, newest);
        }
        // Where no daemon can be told, all of them start, and begin with the file.
        let can_be_told = |m: &Machine| m.paused.is_none() && m.running.as_ref().is_some_and(|r| !r.leaving);
        self.machines.iter().position(can_be_told).map_or(Ok(()), |n| self.change_key(n))
    }

    /// The daemon of machine `n` wants its key file read.
    pub(crate) fn load_key(&mut self, n: usize) {
        let delay = self.chance.exponential(self.options.faults.persist_mean.max(1));
        let Some(running) = self.machines[n].running.as_ref() else { return };
        self.agenda.at(self.now + delay, Event::Key { node: n, life: running.life });
    }

    /// The key file of machine `n` was read.
    pub(crate) fn key_loaded(&mut self, n: usize) -> Result<(), Violation> {
        let life = self.machines[n].running.as_ref().map_or(0, |r| r.life);
        if self.machines[n].paused.is_some() {
            self.agenda.at(self.now + 10 * MS, Event::Key { node: n, life });
            return Ok(());
        }
        self.timeout(n)?;
        let now = self.local(n);
        // Now and then it cannot be read: the disk has a bad moment.
        let unreadable = !self.healed && self.chance.chance(self.options.faults.persist_stall);
        let machine = &mut self.machines[n];
        let loaded = if unreadable {
            Err("cannot be read".to_owned())
        } else {
            Ok(self.keys[machine.key_file].clone())
        };
        let Some(running) = machine.running.as_mut() else { return Ok(()) };
        running.node.handle_key(now, loaded);
        self.drain(n)?;
        self.end_turn(n)
    }

    /// N6: once faults have stopped and an operator has put one key everywhere, all seal with it; and in the end, which
    /// takes a while and is looked at in one run of eight, nobody accepts another one.
    pub(crate) fn keys_agree(&mut self) -> Result<(), Violation> {
        let all_sealed = |cluster: &Self| cluster.sealed_with_their_files();
        let limit = self.now + 60 * self.options.timers.token.as_nanos();
        let long = self.options.seed.is_multiple_of(8);
        let done = if long {
            self.run_while_not(limit, Self::one_key)?
        } else {
            self.run_while_not(limit, all_sealed)?
        };
        if done {
            return Ok(());
        }
        let views: Vec<_> =
            self.machines.iter().map(|m| m.running.as_ref().map(|r| r.node.key_view())).collect();
        Err(self.liveness("N6", "all nodes have the key of their files, and no other", format!("{views:?}")))
    }

    fn sealed_with_their_files(&self) -> bool {
        self.machines.iter().all(|m| {
            let view = m.running.as_ref().map(|r| r.node.key_view());
            view.is_some_and(|v| v.key == self.keys[m.key_file].fingerprint() && v.next.is_none())
        })
    }

    /// Whether all nodes seal with the key in their files, and accept no other.
    #[must_use]
    pub fn one_key(&self) -> bool {
        self.machines.iter().all(|m| {
            let view = m.running.as_ref().map(|r| r.node.key_view());
            view.is_some_and(|v| v.key == self.keys[m.key_file].fingerprint() && v.accepted == 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_run_have_names_of_their_own() {
        // The first three of this seed have not.
        let names: Vec<_> = of_run(1_014_500).iter().map(ClusterKey::id).collect();
        assert_eq!(names.len(), KEYS);
        assert!((1..KEYS).all(|n| !names[..n].contains(&names[n])), "{names:?}");
    }
}
