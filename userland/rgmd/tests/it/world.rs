//! The world that the managers live in: process group, quorum, executors, agents, deaths.
//!
//! Ordering is that of virtual synchrony: a message goes to all members of the sender's partition at one place in their
//! order. After a cut the two sides are told late, and what is multicast meanwhile reaches the sender's side only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cib::Cib;
use executor::{Job, OpStatus, Outcome, Work};
use holdfast_types::{Boottime, Span, WallTime};
use rgmd::{Admin, Config, Input, Manager, Now, Output, StepAt};
use status::{ClusterStatus, Role};

/// Small, fast, the same everywhere (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 … n-1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

/// How often agents misbehave, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) start: u64,
    pub(crate) stop: u64,
    /// Only there; 0: everywhere.
    pub(crate) stop_on: u32,
    pub(crate) fence: u64,
    /// Of giving this node access, always; 0: nowhere.
    pub(crate) unfence_on: u32,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Boottime,
    pub(crate) nodes: BTreeMap<u32, Node>,
    /// Where each resource really runs.
    pub(crate) running: BTreeMap<String, BTreeSet<u32>>,
    pub(crate) faults: Faults,
    pub(crate) cib: Cib,
    pub(crate) log: Vec<String>,
    /// Who has access to what is shared, where nodes have to be given it.
    pub(crate) access: Option<BTreeSet<u32>>,
    /// Starts of each resource so far.
    pub(crate) starts: BTreeMap<String, u32>,
    /// Who has said that it is done with which step of a reconfiguration.
    pub(crate) steps_done: BTreeSet<(u32, u32)>,
    last_life: u64,
    last_view: u64,
    last_reply: Option<Result<serde_json::Value, String>>,
}

pub(crate) struct Node {
    pub(crate) manager: Option<Manager>,
    pub(crate) life: u64,
    pid: u32,
    /// Partition that it is in.
    pub(crate) side: u32,
    /// Members that it was last told of.
    view: BTreeMap<u32, u32>,
    /// Which view that was.
    view_id: u64,
    /// A view that is due.
    view_due: Option<Boottime>,
    inbox: VecDeque<Input>,
    jobs: Vec<Run>,
    /// Lives whose death its ring daemon will learn of, and when.
    news: Vec<(Boottime, u32, u64)>,
    pub(crate) left: Option<bool>,
    /// The last word on quorum that it has heard.
    told_quorate: bool,
}

impl Node {
    /// Its processes are gone.
    fn forget(&mut self) {
        self.jobs.clear();
        self.inbox.clear();
        self.news.clear();
        self.view_due = None;
    }
}

struct Run {
    job: Job,
    /// When it ends (once) or runs next (recurring); `None`: waits for its turn.
    due: Option<Boottime>,
    reported: Option<i32>,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: u32, cib: &str) -> Self {
        let cib = Cib::parse(cib, "test").unwrap();
        let mut world = Self {
            rng: Rng(seed),
            now: Boottime::from_nanos(1_000_000_000),
            nodes: BTreeMap::new(),
            running: BTreeMap::new(),
            faults: Faults::default(),
            cib,
            log: Vec::new(),
            access: None,
            starts: BTreeMap::new(),
            last_life: 0,
            last_view: 0,
            last_reply: None,
            steps_done: BTreeSet::new(),
        };
        for id in 1..=nodes {
            let node = Node {
                manager: None,
                life: 0,
                pid: 0,
                side: 0,
                view: BTreeMap::new(),
                view_id: 0,
                view_due: None,
                inbox: VecDeque::new(),
                jobs: Vec::new(),
                news: Vec::new(),
                left: None,
                told_quorate: false,
            };
            world.nodes.insert(id, node);
        }
        world
    }

    pub(crate) fn clock(&self) -> Now {
        let micros = i64::try_from(self.now.as_nanos() / 1_000).unwrap();
        Now { boot: self.now, wall: WallTime(1_700_000_000_000_000 + micros) }
    }

    pub(crate) fn alive(&self) -> Vec<u32> {
        self.nodes.iter().filter(|(_, n)| n.manager.is_some()).map(|(id, _)| *id).collect()
    }

    fn members(&self, side: u32) -> BTreeMap<u32, u32> {
        let on_side = self.nodes.iter().filter(|(_, n)| n.manager.is_some() && n.side == side);
        on_side.map(|(id, n)| (*id, n.pid)).collect()
    }

    pub(crate) fn note(&mut self, text: String) {
        self.log.push(format!("{:>9} {text}", self.now.as_nanos() / 1_000_000));
    }

    // --- what the test does ---

    pub(crate) fn start(&mut self, id: u32) {
        self.last_life += 1;
        let (life, now) = (self.last_life, self.clock());
        let names = self.nodes.keys().map(|n| (*n, format!("n{n}"))).collect();
        let config = Config {
            me: id,
            nodes: names,
            cluster_name: "test".into(),
            incarnation: life,
            cib: self.cib.clone(),
        };
        let side = self.nodes[&id].side;
        let node = self.nodes.get_mut(&id).unwrap();
        node.manager = Some(Manager::new(config, now));
        (node.life, node.left) = (life, None);
        node.pid = u32::try_from(1_000 + life).unwrap();
        node.forget();
        node.view.clear();
        node.view_id = u64::MAX;
        self.note(format!("start n{id} life {life}"));
        self.tell_views(side, Span::ZERO);
        self.learn_lives();
    }

    /// Every process of the node dies. `confirmed`: its guardian has the last word.
    pub(crate) fn kill(&mut self, id: u32, confirmed: bool) {
        self.note(format!("kill n{id}, confirmed: {confirmed}"));
        if let Some(access) = &mut self.access {
            access.remove(&id);
        }
        // Also what a manager that is gone has left running.
        for on in self.running.values_mut() {
            on.remove(&id);
        }
        let node = self.nodes.get_mut(&id).unwrap();
        if node.manager.take().is_none() {
            return;
        }
        node.forget();
        let (side, life) = (node.side, node.life);
        let delay = Span::from_millis(self.rng.below(50));
        self.tell_views(side, delay);
        if confirmed {
            self.confirm(id, life);
        }
    }

    pub(crate) fn confirm(&mut self, id: u32, life: u64) {
        for other in self.alive() {
            let at = self.now + Span::from_millis(self.rng.below(300));
            self.nodes.get_mut(&other).unwrap().news.push((at, id, life));
        }
    }

    /// The nodes named are on a side of their own.
    pub(crate) fn cut(&mut self, side: &[u32]) {
        self.note(format!("cut {side:?}"));
        let fresh = self.nodes.values().map(|n| n.side).max().unwrap_or(0) + 1;
        let touched: BTreeSet<u32> = side.iter().map(|id| self.nodes[id].side).collect();
        for id in side {
            self.nodes.get_mut(id).unwrap().side = fresh;
        }
        for side in touched.into_iter().chain([fresh]) {
            let delay = Span::from_millis(self.rng.below(100));
            self.tell_views(side, delay);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.note("heal".to_owned());
        for node in self.nodes.values_mut() {
            node.side = 0;
        }
        self.tell_views(0, Span::ZERO);
        self.learn_lives();
    }

    pub(crate) fn leave(&mut self, id: u32) {
        self.note(format!("leave n{id}"));
        self.input(id, Input::Shutdown);
    }

    /// The resource's process ends by itself.
    pub(crate) fn resource_dies(&mut self, resource: &str) {
        self.note(format!("{resource} dies"));
        self.running.entry(resource.to_owned()).or_default().clear();
    }

    pub(crate) fn admin(&mut self, id: u32, request: Admin) {
        self.last_reply = None;
        self.input(id, Input::Admin { conn: 1, request });
    }

    /// The answer to the last request, waited for.
    pub(crate) fn reply(&mut self) -> Result<serde_json::Value, String> {
        for _ in 0..100_000 {
            if let Some(reply) = self.last_reply.take() {
                return reply;
            }
            self.step();
        }
        panic!("no answer\n{}", self.log.join("\n"));
    }

    fn input(&mut self, id: u32, input: Input) {
        self.nodes.get_mut(&id).unwrap().inbox.push_back(input);
    }

    /// All living nodes come to a step of a reconfiguration.
    pub(crate) fn reconfigure(&mut self, step: u32, name: &str) {
        for id in self.alive() {
            self.input(id, Input::Step(StepAt { epoch: 1, step, name: name.to_owned() }));
        }
    }

    // --- the ring daemon ---

    fn tell_views(&mut self, side: u32, delay: Span) {
        let at = self.now + delay;
        for node in self.nodes.values_mut().filter(|n| n.side == side && n.manager.is_some()) {
            node.view_due = Some(node.view_due.map_or(at, |due| due.min(at)));
        }
        if delay == Span::ZERO {
            self.deliver_views(side);
        }
    }

    /// All members of a side are told at one place in their order. Those who come from different views have lost each
    /// other in between, even where the members are the same.
    fn deliver_views(&mut self, side: u32) {
        let members = self.members(side);
        let quorate = members.len() * 2 > self.nodes.len();
        let came_from: BTreeMap<u32, u64> = members.keys().map(|id| (*id, self.nodes[id].view_id)).collect();
        self.last_view += 1;
        for id in members.keys() {
            let node = self.nodes.get_mut(id).unwrap();
            node.view_due = None;
            let together: Vec<(u32, u32)> = members
                .iter()
                .filter(|(n, pid)| node.view.get(n) == Some(pid) && came_from[n] == node.view_id)
                .map(|(n, pid)| (*n, *pid))
                .collect();
            let is_together = |n: &u32| together.iter().any(|(t, _)| t == n);
            let left: Vec<_> = node
                .view
                .iter()
                .filter(|(n, _)| !is_together(n))
                .map(|(n, p)| (*n, *p, rgmd::NODE_LOST))
                .collect();
            let joined: Vec<_> =
                members.iter().filter(|(n, _)| !is_together(n)).map(|(n, p)| (*n, *p)).collect();
            if !left.is_empty() {
                node.inbox.push_back(Input::View { members: together.clone(), left, joined: Vec::new() });
            }
            if !joined.is_empty() {
                let all = members.iter().map(|(n, p)| (*n, *p)).collect();
                node.inbox.push_back(Input::View { members: all, left: Vec::new(), joined });
            }
            node.view.clone_from(&members);
            node.view_id = self.last_view;
            node.inbox.push_back(Input::Quorum { quorate, members: members.keys().copied().collect() });
        }
    }

    fn learn_lives(&mut self) {
        let lives: Vec<(u32, u64)> =
            self.nodes.iter().filter(|(_, n)| n.manager.is_some()).map(|(id, n)| (*id, n.life)).collect();
        for id in self.alive() {
            for (node, incarnation) in &lives {
                self.input(id, Input::Life { node: *node, incarnation: *incarnation });
            }
        }
    }

    fn multicast(&mut self, sender: u32, bytes: &[u8]) {
        let side = self.nodes[&sender].side;
        // Only those who have each other in their last view hear each other.
        let pid = self.nodes[&sender].pid;
        for id in self.members(side).into_keys() {
            let node = self.nodes.get_mut(&id).unwrap();
            if node.view.get(&sender) == Some(&pid) {
                node.inbox.push_back(Input::Message { node: sender, bytes: bytes.to_vec() });
            }
        }
    }

    // --- one step ---

    /// Something happens on some node, or time passes.
    pub(crate) fn step(&mut self) {
        let alive = self.alive();
        if alive.is_empty() || self.rng.percent(30) {
            self.now = self.now + Span::from_millis(1 + self.rng.below(20));
        }
        let due: BTreeSet<u32> = self
            .nodes
            .values()
            .filter(|n| n.view_due.is_some_and(|at| at <= self.now))
            .map(|n| n.side)
            .collect();
        for side in due {
            self.deliver_views(side);
        }
        let Some(id) = alive.get(usize::try_from(self.rng.below(alive.len() as u64)).unwrap()).copied()
        else {
            return;
        };
        let now = self.clock();
        let mut inputs = Vec::new();
        let batch = 1 + self.rng.below(3);
        let node = self.nodes.get_mut(&id).unwrap();
        node.news.retain(|(at, dead, life)| {
            if *at <= now.boot {
                inputs.push(Input::Confirmed { node: *dead, incarnation: *life });
            }
            *at > now.boot
        });
        for _ in 0..batch {
            inputs.extend(node.inbox.pop_front());
        }
        inputs.extend(self.run_jobs(id).into_iter().map(|o| Input::Outcome(Box::new(o))));
        let manager = self.nodes.get_mut(&id).unwrap().manager.as_mut().unwrap();
        if inputs.is_empty() && manager.next_timeout().is_none_or(|at| at > now.boot) {
            return;
        }
        let mut told = None;
        for input in inputs {
            if let Input::Quorum { quorate, .. } = input {
                told = Some(quorate);
            }
            manager.handle(now, input);
        }
        manager.turn(now);
        let node = self.nodes.get_mut(&id).unwrap();
        node.told_quorate = told.unwrap_or(node.told_quorate);
        self.outputs(id);
    }

    fn outputs(&mut self, id: u32) {
        let mut outputs = Vec::new();
        if let Some(manager) = self.nodes.get_mut(&id).unwrap().manager.as_mut() {
            while let Some(output) = manager.poll_output() {
                outputs.push(output);
            }
        }
        for output in outputs {
            match output {
                Output::Multicast(bytes) => self.multicast(id, &bytes),
                Output::Run(job) => {
                    if let Work::Fence { action, .. } = &job.work {
                        let harmless = matches!(action.as_str(), "monitor" | "metadata");
                        let may = harmless || self.nodes[&id].told_quorate;
                        assert!(may, "n{id} fences without quorum\n{}", self.log.join("\n"));
                    }
                    self.nodes.get_mut(&id).unwrap().jobs.push(Run { job: *job, due: None, reported: None });
                }
                Output::Cancel(job) => self.cancel(id, job.0),
                Output::Confirm { node, incarnation, .. } => {
                    let life = if incarnation == 0 { self.nodes[&node].life } else { incarnation };
                    self.confirm(node, life);
                }
                Output::Log(_, text) => self.note(format!("n{id}: {text}")),
                Output::Reply { answer, .. } => self.last_reply = Some(answer),
                Output::Finished(clean) => self.finished(id, clean),
                Output::StepDone { step, .. } => {
                    self.steps_done.insert((id, step));
                }
                Output::Save(_) | Output::Said(_) => {}
                Output::Alert(_) | Output::Alerts(_) => {}
            }
        }
    }

    fn finished(&mut self, id: u32, clean: bool) {
        self.note(format!("n{id} has left, clean: {clean}"));
        if clean {
            let here: Vec<&String> =
                self.running.iter().filter(|(_, on)| on.contains(&id)).map(|(r, _)| r).collect();
            assert!(here.is_empty(), "n{id} left cleanly with {here:?} running\n{}", self.log.join("\n"));
        }
        let node = self.nodes.get_mut(&id).unwrap();
        let side = node.side;
        (node.manager, node.left) = (None, Some(clean));
        node.forget();
        self.tell_views(side, Span::from_millis(5));
    }

    // --- executors and agents ---

    fn cancel(&mut self, id: u32, job: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(at) = node.jobs.iter().position(|r| r.job.id.0 == job) else { return };
        let run = node.jobs.remove(at);
        if run.job.interval == Span::ZERO {
            // Killed in the middle: what it began may have happened.
            let outcome = outcome(&run.job, OpStatus::Cancelled, 1);
            node.inbox.push_front(Input::Outcome(Box::new(outcome)));
        }
    }

    /// Starts what may start, ends what is due.
    fn run_jobs(&mut self, id: u32) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for index in 0..self.nodes[&id].jobs.len() {
            let run = &self.nodes[&id].jobs[index];
            if run.due.is_none() {
                let resource = run.job.resource.clone();
                let busy = self.nodes[&id]
                    .jobs
                    .iter()
                    .any(|r| r.job.resource == resource && r.due.is_some() && r.job.interval == Span::ZERO);
                if !busy || run.job.interval > Span::ZERO {
                    let delay = Span::from_millis(5 + self.rng.below(200));
                    let action = run.job.work.action().to_owned();
                    self.nodes.get_mut(&id).unwrap().jobs[index].due = Some(self.now + delay);
                    if action == "start" {
                        self.begin_start(id, &resource);
                    }
                }
            }
        }
        let mut index = 0;
        while index < self.nodes[&id].jobs.len() {
            if self.nodes[&id].jobs[index].due.is_none_or(|at| at > self.now) {
                index += 1;
                continue;
            }
            let job = self.nodes[&id].jobs[index].job.clone();
            let rc = self.agent(id, &job);
            if self.nodes[&id].manager.is_none() {
                return Vec::new();
            }
            let node = self.nodes.get_mut(&id).unwrap();
            if job.interval > Span::ZERO {
                let run = &mut node.jobs[index];
                run.due = Some(self.now + job.interval);
                if run.reported != Some(rc) {
                    run.reported = Some(rc);
                    outcomes.push(outcome(&job, OpStatus::Done, rc));
                }
                index += 1;
            } else {
                node.jobs.remove(index);
                let stdout = if job.work.action() == "metadata" { METADATA } else { "" };
                outcomes.push(Outcome { stdout: stdout.to_owned(), ..outcome(&job, OpStatus::Done, rc) });
            }
        }
        outcomes
    }

    /// From the first instant of a start the resource may be running.
    fn begin_start(&mut self, id: u32, resource: &str) {
        if !self.cib.primitive(resource).is_some_and(cib::Primitive::is_fence_device) {
            let on = self.running.entry(resource.to_owned()).or_default();
            let elsewhere: Vec<u32> = on.iter().copied().filter(|n| *n != id).collect();
            on.insert(id);
            *self.starts.entry(resource.to_owned()).or_default() += 1;
            self.note(format!("n{id} begins to start {resource}"));
            assert!(
                self.access.as_ref().is_none_or(|a| a.contains(&id)),
                "{resource} is started on n{id}, which has no access\n{}",
                self.log.join("\n")
            );
            assert!(
                elsewhere.is_empty(),
                "{resource} is started on n{id} and runs on {elsewhere:?}\n{}",
                self.log.join("\n")
            );
        }
    }

    fn agent(&mut self, id: u32, job: &Job) -> i32 {
        let Work::Ocf { action, .. } = &job.work else { return self.fence_agent(id, job) };
        let on = self.running.entry(job.resource.clone()).or_default();
        match action.as_str() {
            "start" if self.rng.percent(self.faults.start) => 1,
            "start" => 0,
            "stop" if self.rng.percent(self.faults.stop) && [0, id].contains(&self.faults.stop_on) => 1,
            "stop" => {
                on.remove(&id);
                0
            }
            _ if on.contains(&id) => 0,
            _ => 7,
        }
    }

    fn fence_agent(&mut self, id: u32, job: &Job) -> i32 {
        if matches!(job.work.action(), "monitor" | "metadata") {
            return 0;
        }
        let argument = if self.access.is_some() { "plug" } else { "port" };
        let port = job.params.iter().find(|(k, _)| k == argument).map(|(_, v)| v.as_str()).unwrap();
        let target: u32 = port.trim_start_matches('n').parse().unwrap();
        if job.work.action() == "on" {
            assert_eq!(target, id, "a node gives another one access");
            if self.faults.unfence_on == id {
                return 1;
            }
            self.note(format!("n{id} has access"));
            self.access.as_mut().unwrap().insert(id);
            return 0;
        }
        assert_ne!(target, id, "a node runs the agent that fences itself");
        assert!(
            self.access.is_none() || job.work.action() == "off",
            "an agent without reboot is called for {}",
            job.work.action()
        );
        if self.rng.percent(self.faults.fence) {
            return 1;
        }
        self.note(format!("n{id} fences n{target}"));
        self.kill(target, false);
        0
    }

    // --- the end of a run ---

    /// Runs until nothing happens any more.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200 {
            for _ in 0..500 {
                self.step();
            }
            if self.is_quiet() {
                return;
            }
        }
        panic!("does not come to rest\n{}", self.log.join("\n"));
    }

    /// Nothing is under way, everybody has said what there is to say.
    fn is_quiet(&self) -> bool {
        self.nodes.values().all(|n| {
            n.inbox.is_empty()
                && n.view_due.is_none()
                && n.news.is_empty()
                && n.jobs.iter().all(|r| r.job.interval > Span::ZERO && r.reported.is_some())
                && n.manager.as_ref().is_none_or(|m| m.is_synced() && m.report().pending.is_empty())
        })
    }

    /// All members of the side of `id` know the same.
    pub(crate) fn agree(&self, id: u32) -> ClusterStatus {
        let side = self.nodes[&id].side;
        let mut reports = self.members(side).into_keys().map(|m| {
            let report = self.nodes[&m].manager.as_ref().unwrap().report();
            ClusterStatus { node: status::NodeRef::default(), ..report }
        });
        let first = reports.next().unwrap();
        for other in reports {
            assert_eq!(first.dc, other.dc, "{}", self.log.join("\n"));
            for (a, b) in first.resources.iter().zip(&other.resources) {
                let seen = |r: &status::ResourceStatus| {
                    (r.id.clone(), r.nodes.clone(), r.role, r.failed, r.fail_counts.clone())
                };
                assert_eq!(seen(a), seen(b), "{}", self.log.join("\n"));
            }
            for (a, b) in first.nodes.iter().zip(&other.nodes) {
                assert_eq!(
                    (&a.name, a.online, a.unclean),
                    (&b.name, b.online, b.unclean),
                    "{}",
                    self.log.join("\n")
                );
            }
        }
        first
    }

    /// Where a resource runs, as the cluster says; it must be true.
    pub(crate) fn whereabouts(&self, id: u32, resource: &str) -> Option<u32> {
        let status = self.agree(id);
        let found = status.resources.iter().find(|r| r.id == resource).unwrap();
        let said: BTreeSet<u32> =
            found.nodes.iter().map(|n| n.trim_start_matches('n').parse().unwrap()).collect();
        let agent = &found.agent;
        if agent.starts_with("ocf") && found.role == Role::Started {
            let real = self.running.get(resource).cloned().unwrap_or_default();
            assert_eq!(said, real, "{resource}\n{}", self.log.join("\n"));
        }
        said.first().copied()
    }
}

fn outcome(job: &Job, status: OpStatus, rc: i32) -> Outcome {
    Outcome {
        id: job.id,
        resource: job.resource.clone(),
        action: job.work.action().to_owned(),
        status,
        rc,
        reason: String::new(),
        stdout: String::new(),
        stderr: String::new(),
        exec: Span::from_millis(1),
        queued: Span::ZERO,
        recurring: job.interval > Span::ZERO,
        repeated: false,
    }
}

/// What an agent says of itself that gives nodes access and cannot restart them.
const METADATA: &str = "<resource-agent><parameters><parameter name=\"plug\"/></parameters><actions>\
    <action name=\"on\" automatic=\"1\" on_target=\"1\"/><action name=\"off\"/><action name=\"monitor\"/>\
    <action name=\"metadata\"/></actions></resource-agent>";

/// A group of three, a resource by itself, and with `stonith` a fence device.
pub(crate) fn cib(stonith: bool, more: &str) -> String {
    let primitive = |id: &str| {
        format!(
            "<primitive id=\"{id}\" class=\"ocf\" provider=\"test\" type=\"T\"><operations>\
             <op id=\"{id}-m\" name=\"monitor\" interval=\"1s\" timeout=\"5s\"/></operations></primitive>"
        )
    };
    let fence = "<primitive id=\"fence\" class=\"stonith\" type=\"fence_t\"/>";
    format!(
        "<cib epoch=\"1\"><configuration><crm_config><cluster_property_set id=\"o\">\
         <nvpair id=\"o-stonith\" name=\"stonith-enabled\" value=\"{stonith}\"/>\
         <nvpair id=\"o-dead\" name=\"dc-deadtime\" value=\"2s\"/>\
         <nvpair id=\"o-recheck\" name=\"cluster-recheck-interval\" value=\"5s\"/>{more}</cluster_property_set></crm_config>\
         <resources><group id=\"g\">{}{}{}</group>{}{}</resources></configuration></cib>",
        primitive("a"),
        primitive("b"),
        primitive("c"),
        primitive("solo"),
        if stonith { fence } else { "" }
    )
}

/// The same, with a device that gives nodes access.
pub(crate) fn unfencing() -> String {
    let plain = r#"<primitive id="fence" class="stonith" type="fence_t"/>"#;
    let device = r#"<primitive id="fence" class="stonith" type="fence_t"><instance_attributes id="f"><nvpair id="f-l" name="pcmk_host_list" value="n1 n2 n3 n4 n5"/></instance_attributes><meta_attributes id="f-m"><nvpair id="f-p" name="provides" value="unfencing"/></meta_attributes></primitive>"#;
    let text = cib(true, "").replace(plain, device);
    assert!(text.contains("unfencing"));
    text
}
