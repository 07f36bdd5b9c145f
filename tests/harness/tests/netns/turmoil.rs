//! Twenty resources on three nodes to which anything is done, at random: daemons, guardians and services are killed and
//! stopped, the network is cut, agents fail and hang, disks are full or take nothing, the fence device is dumb, operators
//! move things. Each instance holds a lock and stamps what it does outside of the nodes: none may ever be active twice, and
//! in the end all have to run.
//!
//! `HOLDFAST_TURMOIL_SECONDS` says for how long, `HOLDFAST_TURMOIL_SEED` repeats the choices of a run, which prints its seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{
    AgentFault, Cib, Cluster, Dice, FENCE_AGENT, FencePolicy, Options, Process, Signal, patience, skip,
};

use crate::others;

/// Single resources: alone, in two groups, and one that stands on the promoted instance.
const SINGLES: [&str; 16] =
    ["p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "a1", "a2", "a3", "a4", "b1", "b2", "b3", "db"];
/// Clones on each node; the last one is promotable.
const CLONED: [&str; 3] = ["k1", "k2", "m"];
/// What operators move.
const MOVED: [&str; 5] = ["p1", "p2", "a", "b", "p3"];
/// Operations that fail or hang.
const OPERATIONS: [&str; 6] = ["start", "stop", "monitor", "monitor", "promote", "demote"];
const DAEMONS: [&str; 4] = ["cmmd", "rgmd", "rgmd", "holdfast-guardian"];

fn resource(id: &str) -> String {
    let each = if CLONED.contains(&id) { "yes" } else { "" };
    let op = |name: &str, interval: &str, timeout: u32, more: &str| {
        format!(
            "<op id=\"{id}-{name}-{interval}\" name=\"{name}\" interval=\"{interval}\" timeout=\"{timeout}s\"{more}/>"
        )
    };
    let mut operations = op("start", "0", 6, "") + &op("stop", "0", 6, "") + &op("monitor", "3s", 4, "");
    if id == "m" {
        operations += &op("promote", "0", 6, "");
        operations += &op("demote", "0", 6, "");
        operations += &op("monitor", "2s", 4, " role=\"Promoted\"");
    }
    format!(
        "<primitive id=\"{id}\" class=\"ocf\" provider=\"harness\" type=\"record\">\
         <instance_attributes id=\"{id}-params\"><nvpair id=\"{id}-each\" name=\"each\" value=\"{each}\"/></instance_attributes>\
         <meta_attributes id=\"{id}-meta\"><nvpair id=\"{id}-forgets\" name=\"failure-timeout\" value=\"5s\"/></meta_attributes>\
         <operations>{operations}</operations></primitive>\n"
    )
}

fn configuration() -> Cib {
    let group = |id: &str, members: &[&str]| {
        format!("<group id=\"{id}\">{}</group>\n", members.iter().map(|m| resource(m)).collect::<String>())
    };
    let clone = |id: &str, of: &str, meta: &str| {
        format!(
            "<clone id=\"{id}\"><meta_attributes id=\"{id}-meta\">{meta}</meta_attributes>{}</clone>\n",
            resource(of)
        )
    };
    let promotable = "<nvpair id=\"ms-promotable\" name=\"promotable\" value=\"true\"/><nvpair id=\"ms-notify\" name=\"notify\" value=\"true\"/>";
    let mut cib = Cib::new()
        .fencing(FENCE_AGENT)
        .property("no-quorum-policy", "stop")
        .property("start-failure-is-fatal", "false")
        .property("cluster-recheck-interval", "5s")
        .resource(&clone("c1", "k1", ""))
        .resource(&clone("c2", "k2", ""))
        .resource(&clone("ms", "m", promotable))
        .resource(&group("a", &SINGLES[8..12]))
        .resource(&group("b", &SINGLES[12..15]));
    for id in SINGLES[..8].iter().chain(&SINGLES[15..]) {
        cib = cib.resource(&resource(id));
    }
    cib.constraint("<rsc_colocation id=\"db-with-ms\" rsc=\"db\" with-rsc=\"ms\" with-rsc-role=\"Promoted\" score=\"INFINITY\"/>")
        .constraint("<rsc_order id=\"ms-then-db\" first=\"ms\" first-action=\"promote\" then=\"db\" then-action=\"start\" kind=\"Mandatory\"/>")
        .constraint("<rsc_order id=\"c1-then-b\" first=\"c1\" then=\"b\" kind=\"Mandatory\"/>")
        .constraint("<rsc_colocation id=\"p2-without-p1\" rsc=\"p2\" with-rsc=\"p1\" score=\"-100\"/>")
}

/// What is undone after a while.
enum Undo {
    Wake(Process),
    Agent(&'static str, u32, &'static str),
    Room(u32),
    Thaw(u32),
    Fence,
    Online(u32),
    Clear(&'static str),
}

/// One run.
struct Turmoil<'a> {
    cluster: &'a Cluster,
    dice: Dice,
    started: Instant,
    undo: Vec<(Instant, Undo)>,
    done: BTreeMap<&'static str, u32>,
}

impl Turmoil<'_> {
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
        let cib = self.cluster.node_dir(1).join("../cib.xml");
        if !self.cluster.is_on(node) {
            self.say("boot", &format!("n{node}"));
            self.cluster.power_on(node)?;
            self.cluster.start_ring(node)?;
        } else if !runs("cmmd") {
            // Not while something of the life before is there: what ends it may still be at it.
            let left = self.cluster.recorded_services(node);
            if left.is_empty() && !runs("rgmd") && !runs("holdfast-guardi") {
                self.say("start", &format!("cmmd of n{node}"));
                self.cluster.start_ring(node)?;
            }
        } else if !runs("rgmd") {
            self.say("start", &format!("rgmd of n{node}"));
            self.cluster.start(node, "rgmd", &["-f", "--cib", &cib.to_string_lossy()])?;
        }
        Ok(())
    }

    fn later(&mut self, most_ms: u64, undo: Undo) {
        let time = Duration::from_millis(50 + self.dice.below(most_ms));
        self.undo.push((Instant::now() + time, undo));
    }

    /// A daemon, or a service of one of the resources.
    fn victim(&mut self) -> Option<(u32, Process)> {
        let node = self.dice.one(&self.cluster.all());
        let name = if self.dice.chance(500) { "sleep" } else { self.dice.one(&DAEMONS) };
        let found = self.cluster.find(node, name);
        let which = usize::try_from(self.dice.below(found.len() as u64)).ok()?;
        Some((node, found.get(which)?.clone()))
    }

    fn step(&mut self) {
        let all = self.cluster.all();
        let node = self.dice.one(&all);
        match self.dice.below(24) {
            0..=3 => {
                if let Some((node, process)) = self.victim() {
                    self.say("kill", &format!("{} ({}) of n{node}", process.name, process.inner_pid));
                    let _ = process.signal(Signal::SIGKILL);
                }
            }
            4 | 5 => {
                if let Some((node, process)) = self.victim() {
                    self.say("stop", &format!("{} ({}) of n{node}", process.name, process.inner_pid));
                    let _ = process.signal(Signal::SIGSTOP);
                    self.later(4_000, Undo::Wake(process));
                }
            }
            6 => {
                self.say("isolate", &format!("n{node}"));
                self.cluster.isolate(node);
            }
            7 => {
                let to = self.dice.one(&others(self.cluster, &[node]));
                self.say("cut", &format!("n{node} to n{to}"));
                self.cluster.cut_one_way(node, to);
            }
            8 => {
                let percent = u32::try_from(self.dice.below(15)).unwrap();
                self.say("lose", &format!("{percent} %"));
                self.cluster.lose(percent);
            }
            9 => {
                self.say("power", &format!("n{node} is off"));
                self.cluster.power_off(node).unwrap();
            }
            10..=14 => {
                let resource = self.dice.one(&[&SINGLES[..], &CLONED].concat());
                let operation = self.dice.one(&OPERATIONS);
                let fault = self.dice.one(&[AgentFault::Fails, AgentFault::Hangs]);
                self.say("agent", &format!("{resource} on n{node}: {operation} {fault:?}"));
                self.cluster.set_agent(resource, node, operation, Some(fault));
                self.later(8_000, Undo::Agent(resource, node, operation));
            }
            15 => {
                if !self.disk_is_troubled(node) && self.cluster.fill_disk(node, true).is_ok() {
                    self.say("full", &format!("disk of n{node}"));
                    self.later(6_000, Undo::Room(node));
                }
            }
            16 => {
                if !self.disk_is_troubled(node) && self.cluster.freeze_disk(node, true).is_ok() {
                    self.say("slow", &format!("disk of n{node}"));
                    self.later(2_000, Undo::Thaw(node));
                }
            }
            17 => {
                let policy = self.dice.one(&[FencePolicy::Fails, FencePolicy::Hangs]);
                self.say("fence", &format!("{policy:?}"));
                self.cluster.set_fence_policy(policy);
                self.later(4_000, Undo::Fence);
            }
            18 => {
                let at = self.dice.one(&others(self.cluster, &[node]));
                self.say("standby", &format!("n{node}, typed on n{at}"));
                self.type_in(at, &format!("crm_standby -N n{node} -v on"));
                self.later(6_000, Undo::Online(node));
            }
            19 => {
                let (what, to) = (self.dice.one(&MOVED), self.dice.one(&all));
                self.say("move", &format!("{what} to n{to}"));
                self.type_in(node, &format!("crm_resource --move -r {what} -N n{to}"));
                self.later(6_000, Undo::Clear(what));
            }
            _ => {
                self.say("heal", "all links");
                self.cluster.heal();
            }
        }
    }

    /// Full or frozen: who fills a frozen disk, or makes room there, waits for the thaw, and here the same thread is to see to that.
    fn disk_is_troubled(&self, node: u32) -> bool {
        self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Room(n) | Undo::Thaw(n) if *n == node))
    }

    /// What an operator types; that it may be refused just now is a part of it.
    fn type_in(&self, node: u32, command: &str) -> bool {
        let words: Vec<&str> = ["10", "holdfast"].into_iter().chain(command.split(' ')).collect();
        self.cluster.exec(node, "timeout", &words).is_ok_and(|o| o.status.success())
    }

    fn undo(&mut self, all: bool) {
        let now = Instant::now();
        let (due, rest) =
            std::mem::take(&mut self.undo).into_iter().partition(|(until, _)| all || *until <= now);
        self.undo = rest;
        let due: Vec<(Instant, Undo)> = due;
        for (until, undo) in due {
            let again = match undo {
                Undo::Wake(process) => {
                    let _ = process.signal(Signal::SIGCONT);
                    None
                }
                Undo::Agent(resource, node, operation) => {
                    self.cluster.set_agent(resource, node, operation, None);
                    None
                }
                Undo::Room(node) => {
                    // A node that was switched off meanwhile has made room when it was switched on.
                    let _ = self.cluster.fill_disk(node, false);
                    None
                }
                Undo::Thaw(node) => {
                    self.cluster.freeze_disk(node, false).unwrap();
                    None
                }
                Undo::Fence => {
                    self.cluster.set_fence_policy(FencePolicy::Works);
                    None
                }
                Undo::Online(node) => {
                    let typed = |n: &u32| self.type_in(*n, &format!("crm_standby -N n{node} -D"));
                    (!self.cluster.all().iter().any(typed)).then_some(Undo::Online(node))
                }
                Undo::Clear(what) => {
                    let typed = |n: &u32| self.type_in(*n, &format!("crm_resource --clear -r {what}"));
                    (!self.cluster.all().iter().any(typed)).then_some(Undo::Clear(what))
                }
            };
            self.undo.extend(again.map(|undo| (until + Duration::from_secs(2), undo)));
        }
    }

    /// A round of so long.
    fn rage(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let pause = Instant::now() + Duration::from_millis(100 + self.dice.below(1500));
            self.step();
            while Instant::now() < pause {
                self.undo(false);
                std::thread::sleep(Duration::from_millis(20));
            }
            // Now and then nobody looks after the machines for a while.
            if self.dice.below(3) > 0 {
                self.manage();
            }
            self.cluster.assert_nothing_ran_twice();
        }
    }

    /// Until all is well, as long as the machines are looked after and failures are cleaned up.
    fn recover(&mut self) {
        self.cluster.heal();
        self.cluster.lose(0);
        println!("{:8.2} the end of it", self.started.elapsed().as_secs_f64());
        let (since, mut well, mut cleaned) = (Instant::now(), 0, Instant::now());
        while well < WELL {
            self.undo(true);
            let wrong = self.wrong();
            if cleaned.elapsed() > CLEANED_EVERY && wrong.is_some() {
                println!("{:8.2} not yet: {wrong:?}", self.started.elapsed().as_secs_f64());
                for node in self.cluster.all() {
                    self.type_in(node, "crm_resource --cleanup");
                    // A node that was cut off found nothing to take back, of what was typed on the other side: that passed for done.
                    self.type_in(node, &format!("crm_standby -N n{node} -D"));
                }
                for what in MOVED {
                    self.type_in(self.cluster.all()[0], &format!("crm_resource --clear -r {what}"));
                }
                cleaned = Instant::now();
            }
            let late = since.elapsed() > 4 * patience();
            assert!(!late, "never well: {wrong:?}\n{}", self.cluster.report());
            self.manage();
            self.cluster.assert_nothing_ran_twice();
            well = if wrong.is_none() && self.undo.is_empty() { well + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(300));
        }
        println!("{:8.2} all is well: {:?}", self.started.elapsed().as_secs_f64(), self.done);
    }

    /// What is not as it should be.
    fn wrong(&self) -> Option<String> {
        let all = self.cluster.all();
        let mut places: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for node in &all {
            for service in self.cluster.recorded_services(*node) {
                places.entry(service).or_default().push(*node);
            }
        }
        for id in SINGLES.iter().copied().chain(["m!"]) {
            if places.get(id).map_or(0, Vec::len) != 1 {
                return Some(format!("{id} runs on {:?}", places.get(id)));
            }
        }
        for (id, node) in CLONED.iter().flat_map(|id| all.iter().map(move |n| (id, n))) {
            if places.get(&format!("{id}@n{node}")) != Some(&vec![*node]) {
                return Some(format!("{id} does not run on n{node}"));
            }
        }
        if places["db"] != places["m!"] {
            return Some("db is not where m is promoted".to_owned());
        }
        for node in &all {
            let Ok(status) = self.cluster.status(*node) else {
                return Some(format!("n{node} does not answer"));
            };
            if let Some(other) = status.nodes.iter().find(|n| !n.online || n.unclean || n.standby) {
                return Some(format!("n{node} sees {other:?}"));
            }
            if let Some(resource) =
                status.resources.iter().find(|r| r.failed || r.blocked || r.nodes.is_empty())
            {
                return Some(format!("n{node} sees {resource:?}"));
            }
        }
        None
    }
}

/// How often in a row, a third of a second and more apart, all must be well.
const WELL: u32 = 3;
/// Failures without an end (a fence device's) are cleaned up by an operator who is in no hurry.
const CLEANED_EVERY: Duration = Duration::from_secs(8);
/// Seconds of turmoil after which all must come to be well.
const ROUND: Duration = Duration::from_secs(40);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn no_resource_is_ever_active_twice_whatever_happens_and_in_the_end_all_run() {
    if skip() {
        return;
    }
    let seconds = number("HOLDFAST_TURMOIL_SECONDS").unwrap_or(18);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("HOLDFAST_TURMOIL_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("HOLDFAST_TURMOIL_SEED={seed} HOLDFAST_TURMOIL_SECONDS={seconds} repeats the choices");
    let options = Options { state_mib: 16, ..Options::default() };
    let cluster = Cluster::new("turmoil", options, &configuration()).unwrap();
    cluster.boot_all().unwrap();
    let (done, undo) = (BTreeMap::new(), Vec::new());
    let mut turmoil =
        Turmoil { cluster: &cluster, dice: Dice::new(seed), started: Instant::now(), undo, done };
    turmoil.recover();
    let first = cluster.records().len();
    assert!(first > SINGLES.len() + 3 * CLONED.len(), "every instance stamps its start: {first}");
    // What a round has broken must not be healed by the next one's deaths.
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        turmoil.rage((end - Instant::now()).min(ROUND));
        turmoil.recover();
    }
    println!("{} starts and stops were stamped", cluster.records().len());
}
