//! Faults: each class strikes at random intervals, does something to the network or to a machine, and undoes it later.

use clap::ValueEnum;
use cmm_proto::{Hint, LinkLoss};
use holdfast_types::LinkId;

use crate::clock::MS;
use crate::cluster::{Accepted, Cluster, Event};
use crate::machine::Death;
use crate::oracle::Violation;
use crate::random::Random;
use crate::sabotage::Bug;

/// A class of faults that strikes at random intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Strike {
    /// A cut in two, both ways.
    Split,
    /// A cut in two, one way.
    OneWay,
    /// A cut between two nodes.
    Pair,
    /// A cut that opens and closes.
    Flap,
    /// A cut of one link.
    Link,
    /// Pairs are cut one by one, and mended in another order.
    Swizzle,
    /// Some packets are late for a while.
    DelayStep,
    /// A thin pipe for a while.
    Thin,
    /// Packets arrive many times for a while.
    Storm,
    /// A machine stands still.
    Pause,
    /// A daemon dies.
    Crash,
    /// All daemons die.
    Blackout,
    /// A daemon leaves.
    Leave,
    /// A daemon is killed by another one's word.
    Kill,
    /// An operator changes votes or expected votes, or ends the wait for all.
    Votes,
    /// An operator brings another key.
    Key,
    /// An operator removes a link, brings it back, or gives it other addresses.
    Links,
    /// Clients of a node do not keep up for a while.
    Lag,
    /// Somebody says of a living node that it refuses packets, or an interface flickers.
    Hint,
    /// An operator changes timers.
    Timers,
    /// An operator has the ring formed anew.
    Gather,
    /// Quorum disks are out of reach, or the quorum server is.
    Disk,
    /// An operator changes the node table.
    Nodes,
    /// An operator takes votes out of the count, or puts them back.
    Maintain,
}

/// What ends later.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    /// The cuts of these pairs, and some of them may come back: flaps left, length of each.
    Cuts { pairs: Vec<(usize, usize)>, flaps: u32, each: u64 },
    /// The cut of a link between these pairs.
    Link { link: LinkId, pairs: Vec<(usize, usize)> },
    /// One more pair of a swizzle is cut.
    Cut { pair: (usize, usize) },
    /// Extra delay, a thin pipe or a storm between these pairs.
    Slow { pairs: Vec<(usize, usize)> },
    /// These disks were out of reach for these machines.
    Disks { cuts: Vec<(usize, usize)> },
    /// The quorum server was out of reach for these machines, or down.
    Server { cuts: Vec<usize>, down: bool },
    /// A link was removed everywhere.
    Links,
    /// Clients of this node do not keep up.
    Lag { node: usize },
}

impl Strike {
    fn name(self) -> &'static str {
        match self {
            Self::Split => "split in two",
            Self::OneWay => "one-way cut",
            Self::Pair => "cut of a pair",
            Self::Flap => "flapping cut",
            Self::Link => "cut of a link",
            Self::Swizzle => "swizzle",
            Self::DelayStep => "step in delay",
            Self::Thin => "thin pipe",
            Self::Storm => "storm of duplicates",
            Self::Pause => "pause",
            Self::Crash => "crash",
            Self::Blackout => "blackout",
            Self::Leave => "leave",
            Self::Kill => "kill",
            Self::Votes => "operator changes votes",
            Self::Key => "key change",
            Self::Links => "operator changes links",
            Self::Lag => "lagging clients",
            Self::Hint => "false hint",
            Self::Timers => "operator changes timers",
            Self::Gather => "operator has the ring formed anew",
            Self::Disk => "cut of quorum disks or server",
            Self::Nodes => "operator changes the node table",
            Self::Maintain => "operator takes votes out of the count",
        }
    }
}

/// One strike of a run: its class, and its number among those of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StrikeId(pub Strike, pub u32);

impl std::fmt::Display for StrikeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = self.0.to_possible_value();
        write!(f, "{}:{}", class.as_ref().map_or("", |v| v.get_name()), self.1)
    }
}

impl std::str::FromStr for StrikeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" should be CLASS:NUMBER, such as crash:0");
        let (class, number) = text.split_once(':').ok_or_else(bad)?;
        let class = Strike::from_str(class, true).map_err(|_| bad())?;
        Ok(Self(class, number.parse().map_err(|_| bad())?))
    }
}

impl Cluster {
    /// Every class of faults that is on will strike from now on.
    pub fn unleash(&mut self) {
        for strike in Strike::value_variants() {
            self.next(StrikeId(*strike, 0));
        }
    }

    fn next(&mut self, id: StrikeId) {
        let (f, l) = (&self.options.faults, &self.options.load);
        let every = match id.0 {
            Strike::Split => f.split_every,
            Strike::OneWay => f.one_way_every,
            Strike::Pair => f.pair_every,
            Strike::Flap => f.flap_every,
            Strike::Link => f.link_every,
            Strike::Swizzle => f.swizzle_every,
            Strike::DelayStep => f.delay_step_every,
            Strike::Thin => f.thin_every,
            Strike::Storm => f.storm_every,
            Strike::Pause => f.pause_every,
            Strike::Crash => f.crash_every,
            Strike::Blackout => f.blackout_every,
            Strike::Leave => f.leave_every,
            Strike::Kill => f.kill_every,
            Strike::Votes => l.votes_every,
            Strike::Key => l.key_every,
            Strike::Links => l.links_every,
            Strike::Lag => l.lag_every,
            Strike::Hint => f.hint_every,
            Strike::Timers => l.timers_every,
            Strike::Gather => l.gather_every,
            Strike::Disk if self.disks.paths() > 0 || self.options.quorum.server().is_some() => {
                f.disk_cut_every
            }
            Strike::Disk => 0,
            Strike::Nodes => l.nodes_every,
            Strike::Maintain => l.maintain_every,
        };
        if every > 0 {
            let mut rng = Random::of_strike(self.options.seed, id.0 as u64, id.1);
            let at = self.now + rng.exponential(every) + 1;
            self.agenda.at(at, Event::Strike(id, Box::new(rng)));
        }
    }

    pub(crate) fn strike(&mut self, id: StrikeId, rng: Random) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        self.next(StrikeId(id.0, id.1 + 1));
        if self.options.strikes.as_ref().is_some_and(|only| !only.contains(&id)) {
            return Ok(());
        }
        self.faults = rng;
        self.struck.push((self.now, id));
        self.trace.mix(&[self.now, id.0 as u64]);
        self.trace.line(self.now, None, || format!("strike {id}: {}", id.0.name()));
        self.coverage.reach("fault", id.0.name(), "", "");
        let n = self.machines.len();
        match id.0 {
            Strike::Split => {
                let pairs = self.groups().into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect();
                self.cut_for_a_while(pairs, 0);
            }
            Strike::OneWay => {
                let pairs = self.groups();
                self.cut_for_a_while(pairs, 0);
            }
            Strike::Pair => {
                let (a, b) = self.two();
                let pairs = if self.faults.chance(500_000) { vec![(a, b), (b, a)] } else { vec![(a, b)] };
                self.cut_for_a_while(pairs, 0);
            }
            Strike::Flap => {
                let pairs = if self.faults.chance(500_000) {
                    let (a, b) = self.two();
                    vec![(a, b), (b, a)]
                } else {
                    self.groups().into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
                };
                let flaps = u32::try_from(self.faults.between(2, 20)).unwrap_or(2);
                self.cut_for_a_while(pairs, flaps);
            }
            Strike::Link => self.cut_a_link(),
            Strike::Swizzle => self.swizzle(),
            Strike::DelayStep => {
                let pairs = self.some_pairs();
                let token = self.options.timers.token.as_nanos();
                let extra = self.faults.log_uniform(MS, token);
                for (a, b) in &pairs {
                    self.network.set_extra_delay(*a, *b, extra);
                }
                self.slow_for_a_while(pairs);
            }
            Strike::Thin => {
                let pairs = self.some_pairs();
                let nanos_per_byte = self.faults.log_uniform(80, 80_000); // 100 Mbit/s to 100 kbit/s
                for (a, b) in &pairs {
                    self.network.set_thin(*a, *b, nanos_per_byte);
                }
                self.slow_for_a_while(pairs);
            }
            Strike::Storm => {
                let pairs = self.some_pairs();
                let copies = u32::try_from(self.faults.log_uniform(1, 20)).unwrap_or(1);
                for (a, b) in &pairs {
                    self.network.set_storm(*a, *b, copies);
                }
                self.slow_for_a_while(pairs);
            }
            Strike::Pause => {
                let length = self.faults.log_uniform(MS, self.options.faults.pause_max.max(MS));
                let victims = if self.faults.chance(100_000) { self.faults.between(1, n as u64) } else { 1 };
                for victim in self.faults.shuffled(n).into_iter().take(usize::try_from(victims).unwrap_or(1))
                {
                    self.pause(victim, length);
                }
            }
            Strike::Crash => {
                let victim = self.faults.index(n);
                self.kill_and_restart(victim)?;
            }
            Strike::Blackout => {
                for victim in 0..n {
                    let delay = self.restart_delay();
                    if self.machines[victim].running.is_some() {
                        self.crash(victim, Death::Silent)?;
                        self.restart_after(victim, delay, true);
                    }
                }
            }
            Strike::Leave => {
                let victim = self.faults.index(n);
                self.leave(victim)?;
            }
            Strike::Kill => self.kill()?,
            Strike::Key => self.bring_key()?,
            Strike::Hint => self.insinuate()?,
            Strike::Votes => self.change_votes()?,
            Strike::Links => self.change_links()?,
            Strike::Timers => self.change_timers()?,
            Strike::Gather => self.form_anew()?,
            Strike::Disk if self.options.quorum.server().is_some() => self.strike_server(),
            Strike::Disk => self.cut_disks(),
            Strike::Nodes => self.change_nodes()?,
            Strike::Maintain => self.maintain()?,
            Strike::Lag => {
                let victim = self.faults.index(n);
                let length = self.faults.log_uniform(MS, 2 * self.options.timers.token.as_nanos());
                self.lag(victim, true)?;
                self.agenda.at(self.now + length, Event::Undo(Undo::Lag { node: victim }));
            }
        }
        Ok(())
    }

    fn kill_and_restart(&mut self, victim: usize) -> Result<(), Violation> {
        let f = self.options.faults;
        let Some(running) = self.machines[victim].running.as_mut() else { return Ok(()) };
        let life = running.life;
        if self.faults.chance(200_000) {
            // In the middle of its work: between two outputs of some turn soon.
            running.doom = Some(u32::try_from(self.faults.below(40)).unwrap_or(0));
        }
        let doomed = running.doom.is_some();
        let death = if self.faults.chance(f.gasp) {
            if self.faults.chance(400_000) { Death::UnitDied } else { Death::Gasp }
        } else if self.faults.chance(f.fence) {
            Death::Fenced
        } else {
            Death::Silent
        };
        if death == Death::Fenced && self.saboteur.strikes(Bug::FenceLies, 1_000_000) {
            let at = self.now + 10 * MS;
            self.agenda.at(at, Event::FenceReport { node: victim, life, tries: 0 });
            return Ok(());
        }
        let delay = self.restart_delay();
        if doomed {
            // Whoever restarts it looks a little later than that.
            self.agenda.at(self.now + delay + 500 * MS, Event::Restart { node: victim });
            return Ok(());
        }
        self.crash(victim, death)?;
        if death == Death::UnitDied {
            return Ok(()); // it lives a little longer
        }
        let reboot = death == Death::Fenced || self.faults.chance(500_000);
        self.restart_after(victim, delay, reboot);
        Ok(())
    }

    /// Somebody forges an ICMP error, or an interface flickers: nothing of it is true.
    fn insinuate(&mut self) -> Result<(), Violation> {
        let (at, of) = self.two();
        if self.faults.chance(200_000) {
            let link = self.options.links.links[self.faults.index(self.options.links.links.len())].id;
            return self.tell(at, |node, now| node.link_lost(now, link, LinkLoss::Carrier));
        }
        let about = self.machines[of].id;
        self.tell(at, |node, now| node.hint(now, about, Hint::Refused))
    }

    fn kill(&mut self) -> Result<(), Violation> {
        let (by, victim) = self.two();
        let node = self.machines[victim].id;
        if self.machines[by].running.is_none() || self.machines[by].paused.is_some() {
            return Ok(());
        }
        self.kills.push(node);
        if self.submit(by, cmm_proto::Request::KillNode { node, why: "the operator wants it" })?
            == Accepted(true)
        {
            let (by, id) = (self.machines[by].id, self.machines[by].id.get());
            self.trace.line(self.now, Some(id), || format!("{by} asks to kill {node}"));
        }
        Ok(())
    }

    /// Ends every fault: nothing is cut, slow or paused any more, and what is down comes up.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.healed = true;
        self.trace.line(self.now, None, || "faults stop".to_owned());
        self.network.heal();
        self.disks.heal();
        self.qnetd.heal();
        let last = self.now + self.options.timers.token.as_nanos();
        self.agenda.purge(|at, event| match event {
            Event::Strike(..) | Event::Undo(_) | Event::Restart { .. } => true,
            // A slow userland is a fault as well: what runs there now is over soon.
            Event::StepDone { .. } => true,
            // So is a packet that stays under way for longer than any promise allows for.
            Event::Arrive(_) => at > last,
            _ => false,
        });
        for n in 0..self.machines.len() {
            if let Some(running) = self.machines[n].running.as_mut() {
                running.doom = None;
            }
            self.lag(n, false)?;
            if self.machines[n].paused.is_some() {
                self.resume(n)?;
            }
            if let Some(step) = self.node(n).and_then(cmm_proto::Node::step).cloned() {
                self.take_part(n, step);
            }
            if self.machines[n].running.is_none() {
                let at = self.now + self.chance.below(10 * MS);
                self.agenda.at(at, Event::Restart { node: n });
            }
        }
        self.all_links()?;
        self.first_settings()?;
        self.first_tables()?;
        self.agree_on_key()
    }

    pub(crate) fn undo(&mut self, undo: Undo) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        match undo {
            Undo::Cuts { pairs, flaps, each } => {
                let cut = self.network.reaches(pairs[0].0, pairs[0].1);
                for (a, b) in &pairs {
                    if flaps > 0 && cut { self.network.cut(*a, *b) } else { self.network.mend(*a, *b) }
                }
                self.trace
                    .line(self.now, None, || format!("reachable again: {}, {pairs:?}", !cut || flaps == 0));
                if flaps > 0 || cut {
                    let at = self.now + self.faults.exponential(each) + 1;
                    self.agenda
                        .at(at, Event::Undo(Undo::Cuts { pairs, flaps: flaps.saturating_sub(1), each }));
                }
            }
            Undo::Link { link, pairs } => {
                self.trace.line(self.now, None, || format!("link {link} works again: {pairs:?}"));
                for (a, b) in pairs {
                    self.network.mend_link(link, a, b);
                }
            }
            Undo::Cut { pair } => self.network.cut(pair.0, pair.1),
            Undo::Disks { cuts } => self.mend_disks(&cuts),
            Undo::Server { cuts, down } => self.mend_server(&cuts, down),
            Undo::Links => self.all_links()?,
            Undo::Lag { node } => self.lag(node, false)?,
            Undo::Slow { pairs } => {
                for (a, b) in pairs {
                    self.network.set_extra_delay(a, b, 0);
                    self.network.set_thin(a, b, 0);
                    self.network.set_storm(a, b, 0);
                }
            }
        }
        Ok(())
    }

    fn cut_for_a_while(&mut self, pairs: Vec<(usize, usize)>, flaps: u32) {
        if pairs.is_empty() {
            return;
        }
        self.trace.line(self.now, None, || format!("cut: {pairs:?}, {flaps} flaps"));
        for (a, b) in &pairs {
            self.network.cut(*a, *b);
        }
        let length = self.faults.log_uniform(MS, self.options.faults.cut_max.max(MS));
        let each = if flaps > 0 { length / u64::from(flaps) + MS } else { length };
        self.agenda.at(self.now + length.min(each), Event::Undo(Undo::Cuts { pairs, flaps, each }));
    }

    /// Cuts one link: everywhere, or between some pairs.
    fn cut_a_link(&mut self) {
        let link = self.options.links.links[self.faults.index(self.options.links.links.len())].id;
        let n = self.machines.len();
        let pairs = if self.faults.chance(400_000) {
            (0..n).flat_map(|a| (0..n).map(move |b| (a, b))).filter(|(a, b)| a != b).collect()
        } else {
            self.some_pairs()
        };
        self.trace.line(self.now, None, || format!("link {link} is cut: {pairs:?}"));
        for (a, b) in &pairs {
            self.network.cut_link(link, *a, *b);
        }
        let length = self.faults.log_uniform(MS, self.options.faults.cut_max.max(MS));
        self.agenda.at(self.now + length, Event::Undo(Undo::Link { link, pairs }));
    }

    /// Cuts a random subset of the pairs one by one, and mends them in another order.
    fn swizzle(&mut self) {
        let mut pairs = self.some_pairs();
        pairs.truncate(24);
        let length = self.faults.log_uniform(10 * MS, self.options.faults.cut_max.max(10 * MS));
        self.trace.line(self.now, None, || format!("swizzle: {pairs:?}"));
        for pair in pairs {
            let cut = self.now + self.faults.below(length);
            let mend = cut.max(self.now + length) + self.faults.below(length);
            self.agenda.at(cut, Event::Undo(Undo::Cut { pair }));
            self.agenda.at(mend, Event::Undo(Undo::Cuts { pairs: vec![pair], flaps: 0, each: MS }));
        }
    }

    fn slow_for_a_while(&mut self, pairs: Vec<(usize, usize)>) {
        self.trace.line(self.now, None, || format!("slow: {pairs:?}"));
        let length = self.faults.log_uniform(10 * MS, 4 * self.options.timers.token.as_nanos());
        self.agenda.at(self.now + length, Event::Undo(Undo::Slow { pairs }));
    }

    /// The pairs from one group to another, of a random split in two, neither empty.
    fn groups(&mut self) -> Vec<(usize, usize)> {
        let n = self.machines.len();
        let order = self.faults.shuffled(n);
        let size = 1 + self.faults.index(n - 1);
        let (one, other) = order.split_at(size);
        one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))).collect()
    }

    /// Pairs of one node, or a random subset of all.
    fn some_pairs(&mut self) -> Vec<(usize, usize)> {
        let n = self.machines.len();
        let one = self.faults.index(n);
        let of_one = self.faults.chance(500_000);
        let mut pairs = Vec::new();
        for a in 0..n {
            for b in 0..n {
                let wanted = if of_one { a == one || b == one } else { self.faults.chance(300_000) };
                if a != b && wanted {
                    pairs.push((a, b));
                }
            }
        }
        pairs
    }

    fn two(&mut self) -> (usize, usize) {
        let n = self.machines.len();
        let a = self.faults.index(n);
        let b = (a + 1 + self.faults.index(n - 1)) % n;
        (a, b)
    }
}
