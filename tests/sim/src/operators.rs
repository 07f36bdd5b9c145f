//! Operators who change votes, links and timers of the running cluster, and clients that do not keep up. What an operator asks
//! for is never an order to split: expected votes never fall below what is configured, a node's votes never rise above
//! it. (Both can be asked for; a restarted node has forgotten, and two majorities of two tables need not share a voter.)

use cmm_proto::{DeviceEntry, LinksConfig, NodeTable, QuorumOptions, Request, Settings, Whose};
use holdfast_types::{LinkSet, Votes};

use crate::clock::{MS, SEC};
use crate::cluster::{Accepted, Cluster, Event};
use crate::faults::Undo;
use crate::oracle::Violation;

impl Cluster {
    /// An operator changes expected votes or those of a node, or ends the wait for all.
    pub(crate) fn change_votes(&mut self) -> Result<(), Violation> {
        let n = self.machines.len();
        let by = self.faults.index(n);
        if self.machines[by].paused.is_some() {
            return Ok(());
        }
        match self.faults.below(10) {
            0 | 1 => {
                let _ = self.submit(by, Request::CancelWaitForAll)?;
            }
            2..=5 => {
                let whose = self.faults.index(n);
                let most = u64::from(self.options.nodes[whose].votes.get());
                let votes = u32::try_from(self.faults.below(most + 1)).unwrap_or(0);
                self.set_votes(by, whose, votes)?;
            }
            _ => {
                let votes = self.options.expected_votes() + u32::try_from(self.faults.below(3)).unwrap_or(0);
                self.set_expected(by, votes)?;
            }
        }
        Ok(())
    }

    /// An operator has the ring formed anew.
    pub(crate) fn form_anew(&mut self) -> Result<(), Violation> {
        let n = self.faults.index(self.machines.len());
        if self.options.calm() || self.machines[n].paused.is_some() {
            return Ok(());
        }
        self.submit(n, Request::FormAnew).map(drop)
    }

    fn set_votes(&mut self, by: usize, whose: usize, votes: u32) -> Result<(), Violation> {
        let node = self.options.nodes[whose].id;
        let taken = self.submit(by, Request::SetVotes { node, votes: Votes::new(votes) })?;
        self.votes_asked += u32::from(taken == Accepted(true));
        Ok(())
    }

    fn set_expected(&mut self, by: usize, votes: u32) -> Result<(), Violation> {
        let taken = self.submit(by, Request::SetExpectedVotes(Votes::new(votes)))?;
        self.votes_asked += u32::from(taken == Accepted(true));
        Ok(())
    }

    /// All are one configuration again: the operator looks at the numbers and puts them back to what is configured.
    /// Each change that a daemon takes is made: no more of them are needed than there are numbers to put back, after
    /// those that others had asked for before. False: the configuration broke up, and he has to come again.
    pub(crate) fn restore_votes(&mut self) -> Result<bool, Violation> {
        let (sum, before) = (self.options.expected_votes(), self.votes_asked);
        let enough = before + self.options.nodes.len() as u32 + 2;
        let deadline = self.now + self.bound();
        while !self.votes_as_configured() {
            let Some(view) = self.node(0).map(|node| node.quorum_view().clone()) else { return Ok(false) };
            let other = |(n, v): (usize, &cmm_proto::NodeVotes)| {
                (v.votes != self.options.nodes[n].votes).then_some(n)
            };
            let other = view.nodes.iter().enumerate().find_map(other);
            match other {
                // Where there is no quorum votes cannot be set: first those present have to be enough.
                Some(_) if !view.quorate && view.highest_expected.get() != present(&view) => {
                    self.set_expected(0, present(&view))?;
                }
                Some(whose) => self.set_votes(0, whose, self.options.nodes[whose].votes.get())?,
                None => self.set_expected(0, sum)?,
            }
            if self.now >= deadline || self.votes_asked - before > enough {
                let claim =
                    "an operator can put votes back when all nodes are there, and what is taken is made";
                return Err(self.liveness("L3", claim, self.state_of_all()));
            }
            if !self.one_configuration() {
                return Ok(false);
            }
            let until = self.now + 50 * MS;
            self.run_until(until)?;
        }
        self.votes_asked = 0;
        Ok(true)
    }

    fn votes_as_configured(&self) -> bool {
        (0..self.len()).all(|n| {
            self.node(n).is_some_and(|node| {
                let view = node.quorum_view();
                let same = |(v, c): (&cmm_proto::NodeVotes, &cmm_proto::NodeEntry)| v.votes == c.votes;
                !node.votes_change_pending()
                    && view.nodes.iter().zip(&self.options.nodes).all(same)
                    && view.highest_expected.get() == self.options.expected_votes()
            })
        })
    }

    /// An operator changes links and reloads every daemon, one after the other: a link goes for a while, or has other
    /// addresses. One thing at a time: who takes the next link away while daemons that refused the first change still
    /// use the other one parts the cluster by hand.
    pub(crate) fn change_links(&mut self) -> Result<(), Violation> {
        let all = self.options.links.clone();
        if self.machines.iter().any(|m| m.running.as_ref().is_some_and(|r| r.links != all.all())) {
            return Ok(());
        }
        let link = all.links[self.faults.index(all.links.len())].id;
        let moved = self.faults.chance(300_000);
        let mut config = all;
        if !moved {
            config.links.retain(|l| l.id != link);
        }
        self.trace.line(self.now, None, || format!("link {link} {}", if moved { "moves" } else { "goes" }));
        for n in 0..self.machines.len() {
            self.set_links(n, &config, if moved { LinkSet::of(link) } else { LinkSet::default() })?;
        }
        let length = self.faults.log_uniform(MS, 2 * self.options.timers.token.as_nanos());
        self.agenda.at(self.now + length, Event::Undo(Undo::Links));
        Ok(())
    }

    /// Every daemon is reloaded with all links.
    pub(crate) fn all_links(&mut self) -> Result<(), Violation> {
        let all = self.options.links.clone();
        for n in 0..self.machines.len() {
            if self.machines[n].running.as_ref().is_some_and(|r| r.links != all.all()) {
                self.set_links(n, &all, LinkSet::default())?;
            }
        }
        Ok(())
    }

    fn set_links(&mut self, n: usize, links: &LinksConfig, moved: LinkSet) -> Result<(), Violation> {
        if self.machines[n].paused.is_some() {
            return Ok(());
        }
        let taken = self.submit(n, Request::SetLinks { links, moved })?;
        if let Some(running) = self.machines[n].running.as_mut().filter(|_| taken == Accepted(true)) {
            running.links = links.all();
        }
        Ok(())
    }

    /// An operator writes other timers, now and then other options of votequorum, into the files of all machines or of some, and has them read, or does not: whoever
    /// starts meanwhile begins with them. They are longer than those of the run, by different factors, or these again: on a calm day
    /// what was drawn for the network still fits.
    pub(crate) fn change_timers(&mut self) -> Result<(), Violation> {
        let first = self.options.settings();
        let mut new = first;
        if self.faults.chance(600_000) {
            let ring = self.faults.pick(&[1, 2, 5]);
            let beats = self.faults.pick(&[1, 2, 5]);
            let lease = beats * self.faults.pick(&[1, 1, 2, 3]);
            let t = &mut new.timers;
            for span in [
                &mut t.token,
                &mut t.token_retransmit,
                &mut t.hold,
                &mut t.join,
                &mut t.consensus,
                &mut t.merge,
            ] {
                *span = span.scale(ring, 1);
            }
            for span in
                [&mut t.heartbeat, &mut t.heartbeat_limit, &mut t.heartbeat_limit_max, &mut t.lease_margin]
            {
                *span = span.scale(beats, 1);
            }
            t.lease = t.lease.scale(lease, 1);
            new.window_frames = self.faults.pick(&[first.window_frames, 30, 100]);
        }
        if self.faults.chance(300_000) {
            // With a node of two that an operator has left without a vote, `two_node` is not to be taken away: see the limits.
            let two = self.machines.len() == 2 && self.options.quorum.device.is_none();
            let switch = two && self.options.load.votes_every == 0;
            let two_node = self.faults.chance(500_000);
            let two_node = if switch { two_node } else { self.options.quorum.two_node };
            let scaling = &self.options.scaling;
            let other = self.faults.chance(500_000);
            new.quorum = Some(QuorumOptions {
                two_node,
                wait_for_all: self.faults.chance(400_000),
                last_man_standing: scaling.last_man_standing.filter(|_| !other),
                allow_downscale: scaling.allow_downscale,
            });
        }
        let n = self.machines.len();
        let calm = self.options.calm();
        let everywhere = calm || self.faults.chance(600_000);
        let reloads = |c: &Self| {
            c.one_configuration()
                && c.machines.iter().all(|m| m.running.as_ref().is_some_and(|r| r.node.gate_open()))
        };
        if calm && !reloads(self) {
            // Whoever starts with other timers than the rest has, and the rest is not told, has made a fault.
            return Ok(());
        }
        for machine in 0..n {
            if everywhere || self.faults.chance(500_000) {
                self.put_settings(machine, new);
            }
        }
        let by = self.faults.index(n);
        if self.machines[by].paused.is_none() && (everywhere || self.faults.chance(700_000)) {
            self.reload(by)?;
        }
        Ok(())
    }

    /// Writes other timers into the file of machine `n`.
    pub fn put_settings(&mut self, n: usize, settings: Settings) {
        self.oracle.history.lease = self.oracle.history.lease.max(settings.timers.lease);
        self.machines[n].file = settings;
        let id = self.machines[n].id;
        self.trace.line(self.now, Some(id.get()), || format!("its file says {:?} now", settings.timers));
    }

    /// An operator tells the daemon of machine `n` that all are to read their files.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn reload(&mut self, n: usize) -> Result<(), Violation> {
        self.submit(n, Request::Reload).map(drop)
    }

    /// The daemon of machine `n` has its file read: soon, or late if the disk or the resolver has a bad moment.
    pub(crate) fn read_file(&mut self, n: usize) {
        let late = self.files_fail() && self.chance.chance(100_000);
        let delay = if late { self.chance.log_uniform(MS, 8 * SEC) } else { self.chance.below(100 * MS) };
        let Some(running) = self.machines[n].running.as_ref() else { return };
        self.agenda.at(self.now + delay, Event::Reread { node: n, life: running.life });
    }

    /// Whether files may be read late, or refused.
    fn files_fail(&self) -> bool {
        !self.healed && !self.options.calm() && !self.options.scripted
    }

    /// The file of machine `n` was read; now and then it is refused.
    pub(crate) fn reread(&mut self, n: usize) -> Result<(), Violation> {
        let machine = &self.machines[n];
        let life = machine.running.as_ref().map_or(0, |r| r.life);
        if machine.paused.is_some() {
            self.agenda.at(self.now + 10 * MS, Event::Reread { node: n, life });
            return Ok(());
        }
        let refused = self.files_fail() && self.chance.chance(50_000);
        let settings = (!refused).then_some(machine.file);
        self.timers_first(n)?;
        if !refused {
            self.hand_in_table(n)?;
        }
        self.hand_in(n, settings)
    }

    fn hand_in(&mut self, n: usize, settings: Option<Settings>) -> Result<(), Violation> {
        let Some(running) = self.machines[n].running.as_mut().filter(|r| !r.leaving) else { return Ok(()) };
        running.staged = settings;
        let taken = self.submit(n, Request::Reread(settings))?;
        assert_eq!(taken, Accepted(true), "the simulator draws timers that can run");
        Ok(())
    }

    /// All files are as they were at first, and every daemon has read its own.
    pub(crate) fn first_settings(&mut self) -> Result<(), Violation> {
        let first = self.options.settings();
        for n in 0..self.machines.len() {
            if self.machines[n].file != first {
                self.put_settings(n, first);
            }
            if self.machines[n]
                .running
                .as_ref()
                .is_some_and(|r| r.node.config().settings != first || r.staged.is_some())
            {
                self.hand_in(n, Some(first))?;
            }
        }
        Ok(())
    }

    /// An operator takes a node or the quorum device out of the node table, puts one back, or gives one other votes: writes all files or some, and has them read, or
    /// does not. A node that goes is stopped before, mostly, and starts again with the file that it has.
    pub(crate) fn change_nodes(&mut self) -> Result<(), Violation> {
        let n = self.machines.len();
        let whose = self.faults.index(n);
        // Machines that were never part of a quorate cluster, with different files, are two clusters by intent.
        if self.machines.iter().any(|m| m.tables.is_none()) {
            return Ok(());
        }
        let id = self.machines[whose].id;
        let mut table = self.machines[self.faults.index(n)].table.clone();
        let votes = Votes::new(u32::try_from(self.faults.below(4)).unwrap_or(0));
        let change = self.faults.chance(250_000);
        let first = self.options.quorum.device.map(|device| device.entry());
        let of_device = first.is_some() && self.faults.chance(500_000);
        let goes = table.votes(id).is_some() && !change && !of_device;
        if of_device {
            table.device = match table.device {
                Some(device) if change => Some(DeviceEntry { votes: votes.max(Votes::new(1)), ..device }),
                Some(_) => None,
                None => first,
            };
        } else {
            match table.nodes.iter_mut().find(|node| node.id == id) {
                Some(node) if change => node.votes = votes,
                Some(_) => table.nodes.retain(|node| node.id != id),
                None => {
                    table.nodes.push(self.options.nodes[whose].clone());
                    table.nodes.sort_by_key(|node| node.id);
                }
            }
        }
        let device = table.device;
        let table = NodeTable::new(table.nodes, None).with_tie_break(table.tie_break).with_device(device);
        if table.expected.get() == 0 {
            return Ok(());
        }
        if goes && self.faults.chance(800_000) {
            self.leave(whose)?;
        }
        let everywhere = self.faults.chance(700_000);
        for machine in 0..n {
            if everywhere || self.faults.chance(500_000) {
                self.put_table(machine, &table);
            }
        }
        let by = self.faults.index(n);
        if self.machines[by].paused.is_none() && self.faults.chance(800_000) {
            self.reload(by)?;
        }
        Ok(())
    }

    /// Writes another node table into the file of machine `n`, if it is one for it.
    pub fn put_table(&mut self, n: usize, table: &NodeTable) {
        let id = self.machines[n].id;
        if table.votes(id).is_some() {
            self.machines[n].table = table.clone();
            self.trace.line(self.now, Some(id.get()), || format!("its file says {table:?} now"));
        }
    }

    /// An operator takes the votes of a node or of the device out of the count, or puts them back, or those of all.
    pub(crate) fn maintain(&mut self) -> Result<(), Violation> {
        let n = self.machines.len();
        let (by, whose) = (self.faults.index(n), self.faults.index(n));
        if self.machines[by].paused.is_some() {
            return Ok(());
        }
        let on = self.faults.chance(600_000);
        let all = !on && self.faults.chance(300_000);
        let device = self.options.quorum.device.is_some() && self.faults.chance(400_000);
        let whose = match (all, device) {
            (true, _) => Whose::All,
            (_, true) => Whose::Device,
            _ => Whose::Node(self.machines[whose].id),
        };
        self.submit(by, Request::Maintain { whose, on }).map(drop)
    }

    /// Everybody's votes count again. What is ordered may be void in the next ring, or find another change under way: he asks again.
    pub(crate) fn end_maintenance(&mut self) -> Result<bool, Violation> {
        let deadline = self.now + self.bound();
        let maintained = |c: &Self| {
            c.machines.iter().filter_map(|m| m.running.as_ref()).any(|r| {
                let tables = r.node.tables();
                let next = tables.next.iter().map(|(_, table)| table);
                next.chain([&tables.table]).any(|t| t.scale.device_out || !t.scale.maintained.is_empty())
            })
        };
        while maintained(self) {
            if self.now >= deadline {
                let claim = "an operator can end maintenance when all nodes are there";
                return Err(self.liveness("L3", claim, self.state_of_all()));
            }
            if !self.one_configuration() {
                return Ok(false);
            }
            let _ = self.submit(0, Request::Maintain { whose: Whose::All, on: false })?;
            let until = self.now + 50 * MS;
            self.run_until(until)?;
        }
        Ok(true)
    }

    fn hand_in_table(&mut self, n: usize) -> Result<(), Violation> {
        if self.machines[n].running.as_ref().is_none_or(|r| r.leaving) {
            return Ok(());
        }
        let table = self.machines[n].table.clone();
        let device = self.options.device_of(&table);
        let taken = self.submit(n, Request::SetDevice(device))?;
        assert_eq!(taken, Accepted(true), "there is one device in a run");
        let taken = self.submit(n, Request::SetTable(&table))?;
        assert_eq!(taken, Accepted(true), "the simulator writes tables that can run");
        Ok(())
    }

    /// All files have all nodes, and every daemon has read its own.
    pub(crate) fn first_tables(&mut self) -> Result<(), Violation> {
        let first = self.options.table();
        for n in 0..self.machines.len() {
            if self.options.load.nodes_every > 0 {
                self.put_table(n, &first);
                self.hand_in_table(n)?;
            }
        }
        Ok(())
    }

    /// Whether the table of all files is in force on every node.
    #[must_use]
    pub fn tables_agree(&self) -> bool {
        self.machines.iter().all(|m| {
            m.running.as_ref().is_some_and(|r| {
                let tables = r.node.tables();
                tables.table == m.table && tables.next.is_none()
            })
        })
    }

    /// Whether every daemon runs with what its file says.
    #[must_use]
    pub fn settings_agree(&self) -> bool {
        self.machines.iter().all(|m| m.running.as_ref().is_some_and(|r| r.node.config().settings == m.file))
    }

    /// Clients of machine `n` do not keep up, or do again.
    pub(crate) fn lag(&mut self, n: usize, on: bool) -> Result<(), Violation> {
        let now = self.local(n);
        let machine = &mut self.machines[n];
        let Some(running) = machine.running.as_mut().filter(|r| machine.paused.is_none() && r.lags != on)
        else {
            return Ok(());
        };
        running.lags = on;
        running.node.set_lagging(now, on);
        self.drain(n)?;
        self.end_turn(n)
    }
}

/// Votes of the nodes that are there, and of the quorum device.
fn present(view: &cmm_proto::QuorumView) -> u32 {
    let absent = view.device.filter(|d| !d.counts).map_or(0, |d| d.votes.get());
    view.total.get() + absent
}
