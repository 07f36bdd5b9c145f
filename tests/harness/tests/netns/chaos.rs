//! Pacemaker and a CPG load on nodes whose daemons are killed and stopped and whose network is cut, at random. In the
//! end all are online, nothing hangs, and nothing ever ran twice.
//!
//! `HOLDFAST_CHAOS_SECONDS` says for how long, `HOLDFAST_CHAOS_SEED` repeats the choices of a run, which prints its seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Cluster, Dice, Process, Signal, patience, skip};

use crate::pacemaker::{ask, boot, place_of_shop, shop, start_pacemaker};
use crate::{compile, others};

/// A daemon that something is done to; Pacemaker's are named as they are listed.
const VICTIMS: [&str; 9] = [
    "cmmd",
    "cmmd",
    "pacemakerd",
    "pacemaker-based",
    "pacemaker-fenced",
    "pacemaker-execd",
    "pacemaker-attrd",
    "pacemaker-schedulerd",
    "pacemaker-controld",
];

/// One run.
struct Chaos<'a> {
    cluster: &'a Cluster,
    churn: &'a str,
    dice: Dice,
    started: Instant,
    /// What is stopped, and until when.
    stopped: Vec<(Instant, Process)>,
    done: BTreeMap<&'static str, u32>,
}

impl Chaos<'_> {
    fn say(&mut self, kind: &'static str, text: &str) {
        *self.done.entry(kind).or_default() += 1;
        println!("{:8.2} {kind} {text}", self.started.elapsed().as_secs_f64());
    }

    /// What a machine's power and its service manager do: switch on, start what has ended.
    fn manage(&mut self) {
        for node in self.cluster.all() {
            // A fence device may strike in the middle of it.
            let _ = self.manage_node(node);
        }
    }

    fn manage_node(&mut self, node: u32) -> Result<()> {
        let running = self.cluster.processes(node);
        let runs = |name: &str| running.iter().any(|p| p.name == name);
        if !self.cluster.is_on(node) {
            self.say("boot", &format!("n{node}"));
            boot(self.cluster, node)?;
        } else {
            if !runs("cmmd") {
                self.say("start", &format!("cmmd of n{node}"));
                self.cluster.start(node, "cmmd", &["-f"])?;
            }
            if !runs("pacemakerd") {
                self.say("start", &format!("pacemakerd of n{node}"));
                start_pacemaker(self.cluster, node)?;
            }
        }
        if !runs("churn") {
            self.cluster.start_as(node, "churn", self.churn, &[])?;
        }
        Ok(())
    }

    fn victim(&mut self, names: &[&str]) -> Option<(u32, Process)> {
        let (node, name) = (self.dice.one(&self.cluster.all()), self.dice.one(names));
        Some((node, self.cluster.find(node, name).pop()?))
    }

    fn step(&mut self) {
        let all = self.cluster.all();
        match self.dice.below(16) {
            0..=4 => {
                if let Some((node, process)) = self.victim(&VICTIMS) {
                    self.say("kill", &format!("{} of n{node}", process.name));
                    let _ = process.signal(Signal::SIGKILL);
                }
            }
            5..=7 => {
                let time = Duration::from_millis(50 + self.dice.below(4000));
                let names = [&VICTIMS[..], &["churn", "churn"]].concat();
                if let Some((node, process)) = self.victim(&names) {
                    self.say("stop", &format!("{} of n{node} for {time:?}", process.name));
                    let _ = process.signal(Signal::SIGSTOP);
                    self.stopped.push((Instant::now() + time, process));
                }
            }
            8 | 9 => {
                let node = self.dice.one(&all);
                self.say("isolate", &format!("n{node}"));
                self.cluster.isolate(node);
            }
            10 => {
                let from = self.dice.one(&all);
                let to = self.dice.one(&others(self.cluster, &[from]));
                self.say("cut", &format!("n{from} to n{to}"));
                self.cluster.cut_one_way(from, to);
            }
            11 => {
                let percent = u32::try_from(self.dice.below(20)).unwrap();
                self.say("lose", &format!("{percent} %"));
                self.cluster.lose(percent);
            }
            12 => {
                let node = self.dice.one(&all);
                self.say("power", &format!("n{node} is off"));
                self.cluster.power_off(node).unwrap();
            }
            _ => {
                self.say("heal", "all links");
                self.cluster.heal();
            }
        }
    }

    fn wake(&mut self, all: bool) {
        let now = Instant::now();
        self.stopped.retain(|(until, process)| {
            let due = all || *until <= now;
            if due {
                let _ = process.signal(Signal::SIGCONT);
            }
            !due
        });
    }

    fn look(&self) {
        for node in self.cluster.all() {
            let log = self.cluster.log(node, "churn");
            assert!(!log.contains("wrong"), "n{node}: {log}\n{}", self.cluster.report());
        }
        self.cluster.assert_nothing_ran_twice();
    }

    /// A round of so long.
    fn rage(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let pause = Instant::now() + Duration::from_millis(100 + self.dice.below(2500));
            self.step();
            while Instant::now() < pause {
                self.wake(false);
                std::thread::sleep(Duration::from_millis(20));
            }
            self.wake(false);
            // Now and then nobody looks after the machines for a while.
            if self.dice.below(3) > 0 {
                self.manage();
            }
            self.look();
        }
    }

    /// Until all is well, as long as the machines are looked after. Pacemaker takes its time: nodes that were lost fence
    /// each other, elections wait for 20 s.
    fn recover(&mut self) {
        self.wake(true);
        self.cluster.heal();
        self.cluster.lose(0);
        let since = Instant::now();
        println!("{:8.2} the end of it", self.started.elapsed().as_secs_f64());
        // What they show at first may be what they showed before: they have not heard of their last loss yet.
        let mut well = 0;
        while well < WELL {
            let report = || self.cluster.report();
            assert!(since.elapsed() < 4 * patience(), "not all are online:\n{}", report());
            self.manage();
            self.look();
            std::thread::sleep(Duration::from_millis(500));
            well = if self.is_well() { well + 1 } else { 0 };
        }
        println!("{:8.2} all is well: {:?}", self.started.elapsed().as_secs_f64(), self.done);
    }

    fn is_well(&self) -> bool {
        let online = "  * Online: [ n1 n2 n3 ]";
        let sees_all = |n: &u32| {
            let screen = ask(self.cluster, *n, "crm_mon -1").0;
            screen.lines().any(|l| l == online) && !screen.contains("(Pending") && !screen.contains("UNCLEAN")
        };
        let places = self.cluster.all().iter().map(|n| place_of_shop(self.cluster, *n)).collect::<Vec<_>>();
        self.cluster.all().iter().all(sees_all)
            && places[0].is_some_and(|place| self.cluster.service_runs_on("shop") == [place])
            && places.iter().all(|p| *p == places[0])
    }
}

/// What a client has got so far of each node, if its last word is that all are there.
fn got(cluster: &Cluster, node: u32) -> Option<Vec<u64>> {
    let log = cluster.log(node, "churn");
    let mut members: Vec<&str> =
        log.lines().rev().find_map(|l| l.strip_prefix("members "))?.split_whitespace().collect();
    members.sort_unstable();
    let counts = log.lines().rev().find_map(|l| l.strip_prefix("got "))?;
    let counts: Vec<u64> = counts.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    (members == ["1", "2", "3"] && counts.len() == 6).then_some(vec![counts[1], counts[3], counts[5]])
}

/// Every daemon answers those who ask it, and does something new.
fn nothing_hangs(cluster: &Cluster) {
    let all = cluster.all();
    for node in &all {
        for question in [
            "corosync-quorumtool -s",
            "corosync-cfgtool -n",
            "cibadmin -Q",
            "stonith_admin -L",
            "attrd_updater -n visits -U 1",
            "crm_node -p",
            "crmadmin -D",
            "crm_resource -W -r shop",
        ] {
            let (text, done) = ask(cluster, *node, question);
            assert!(done, "n{node}, {question}: {text}\n{}", cluster.report());
        }
        let groups = ask(cluster, *node, "corosync-cpgtool -e").0;
        for group in ["churn", "crmd", "attrd", "cib", "stonith-ng"] {
            let after = groups.lines().skip_while(|l| l.trim_matches([' ', '\0']) != group).skip(1);
            let count = after.take_while(|l| l.starts_with("\t\t")).count();
            assert_eq!(count, 3, "members of {group} on n{node}: {groups}");
        }
    }
    let before: Vec<_> = all.iter().map(|n| got(cluster, *n)).collect();
    cluster.wait_for("messages of all reach all", || {
        let more = |n: &u32| {
            let (now, before) = (got(cluster, *n)?, before[*n as usize - 1].as_ref()?);
            now.iter().zip(before).all(|(now, before)| now > before).then_some(())
        };
        all.iter().all(|n| more(n).is_some()).then_some(())
    });
    // The executors start and stop something.
    let place = place_of_shop(cluster, 1).unwrap();
    let (text, done) = ask(cluster, 1, &format!("crm node standby n{place}"));
    assert!(done, "{text}");
    crate::pacemaker::wait_for_shop(cluster, 1, Some(place));
    for node in &all {
        cluster.signal(*node, "churn", Signal::SIGTERM);
        cluster.signal(*node, "pacemakerd", Signal::SIGTERM);
    }
    cluster.wait_for("all of Pacemaker ends when it is told to", || {
        all.iter()
            .all(|n| cluster.processes(*n).iter().all(|p| p.name == "cmmd" || p.name.starts_with("holdfast")))
            .then_some(())
    });
    for node in &all {
        cluster.signal(*node, "cmmd", Signal::SIGTERM);
    }
    cluster
        .wait_for("nothing is left", || all.iter().all(|n| cluster.processes(*n).is_empty()).then_some(()));
}

/// How often in a row, half a second and more apart, all must be well.
const WELL: u32 = 12;

/// Seconds of chaos after which all must come to be well.
const ROUND: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn pacemaker_and_a_load_survive_random_kills_pauses_and_cuts() {
    if skip() {
        return;
    }
    let seconds = number("HOLDFAST_CHAOS_SECONDS").unwrap_or(60);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("HOLDFAST_CHAOS_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("HOLDFAST_CHAOS_SEED={seed} HOLDFAST_CHAOS_SECONDS={seconds} repeats the choices");
    let (cluster, _) = shop("chaos");
    let churn = compile(&cluster, "churn");
    let mut chaos = Chaos {
        cluster: &cluster,
        churn: churn.to_str().unwrap(),
        dice: Dice::new(seed),
        started: Instant::now(),
        stopped: Vec::new(),
        done: BTreeMap::new(),
    };
    chaos.manage();
    // What a round has broken must not be healed by the next one's deaths.
    for round in 0..seconds.div_ceil(ROUND) {
        chaos.rage(Duration::from_secs(ROUND.min(seconds - round * ROUND)));
        chaos.recover();
    }
    nothing_hangs(&cluster);
    cluster.assert_nothing_ran_twice();
}
