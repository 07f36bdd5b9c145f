//! What happens in the demo, and what of it is shown.

use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result, ensure};
use failfast::black_box::{self, Class};

use super::clock::{Clock, Interrupted};
use super::cluster::Cluster;
use super::observer::Observer;
use super::site::{GROUP, SERVICES, service_log};
use crate::io::Io;

/// The times of one act, in milliseconds since the kill.
#[derive(Default)]
struct Act {
    title: &'static str,
    ring: u64,
    confirmed: u64,
    group: u64,
}

/// The whole story. On any error the cluster is ended, after the end of its logs is shown.
pub(crate) fn tell(nodes: u32, keep: bool, loopback: bool, io: &mut Io) -> Result<()> {
    let cluster = Cluster::new(nodes, loopback)?;
    let mut story = Story { cluster, eyes: Vec::new(), marks: Vec::new(), io };
    match story.play() {
        Ok(()) => {}
        Err(e) if e.is::<Interrupted>() => return Err(e),
        Err(e) => {
            story.show_logs();
            return Err(e);
        }
    }
    if keep {
        story.cluster.keep();
        story.explain();
    }
    Ok(())
}

struct Story<'a> {
    cluster: Cluster,
    eyes: Vec<Observer>,
    /// How long the survivors' logs were before the kill.
    marks: Vec<(usize, usize)>,
    io: &'a mut Io,
}

impl Story<'_> {
    fn play(&mut self) -> Result<()> {
        self.opening()?;
        let first = self.first_act()?;
        self.interlude()?;
        let second = self.second_act()?;
        self.interlude()?;
        self.summary(&[first, second])
    }

    fn opening(&mut self) -> Result<()> {
        let ids = self.cluster.ids();
        let site = &self.cluster.site;
        let (first, last) = (site.address(1), site.address(ids.len()));
        let text = format!(
            "{HEAD}Holdfast demo{HEAD:#}: {} nodes {}, {first} to {last}, files in {}\n",
            ids.len(),
            self.cluster.network.describe(),
            site.dir.display()
        );
        self.io.say(format_args!("{text}"));
        let clock = Clock::start();
        let all = self.names(&ids);
        self.line(&clock, PLAIN, &format!("{all} start: cmmd, its guardian, rgmd"));
        self.cluster.boot(&ids, &clock)?;
        self.eyes = ids.iter().map(|id| Observer::new(*id, self.cluster.sources(*id))).collect();
        self.wait(&clock, "all nodes form a ring", |eyes| {
            eyes.iter().all(|e| e.has_ring_of(&ids) && e.quorate).then_some(())
        })?;
        let ring = self.ring_name();
        self.line(&clock, GOOD, &format!("ring {ring} of {all}, quorate"));
        let place = self.wait_for_group(&clock, None)?;
        self.line(&clock, GOOD, &format!("group {GROUP} ({}) runs on {place}", SERVICES.join(", ")));
        self.settle(&clock)
    }

    /// A machine dies with all that runs on it; nobody is left to say so.
    fn first_act(&mut self) -> Result<Act> {
        let victim = self.runs_group()?;
        let name = self.cluster.name(victim).to_owned();
        self.heading(&format!(
            "Act one: {name}, which runs the group, dies: SIGKILL to every process at once"
        ));
        let since = unix_ms();
        self.mark_logs(victim);
        let clock = Clock::start();
        let count = self.cluster.power_off(victim)?;
        self.line(&clock, BAD, &format!("{name} is dead: {count} processes, guardian included"));
        let mut act = Act { title: "a node dies at once", ..Act::default() };
        self.survivors_close_ranks(&clock, victim, &mut act)?;
        let fence = self.wait(&clock, "the fence agent reports success", |eyes| {
            eyes.iter().find_map(|e| e.fenced(&name, since))
        })?;
        let took = fence.completed_unix_ms.saturating_sub(fence.requested_unix_ms);
        self.line(&clock, PLAIN, &format!("fence agent on {}: {name} is off ({took} ms)", fence.executor));
        self.death_is_confirmed(&clock, victim, &mut act)?;
        self.takeover(&clock, &name, &mut act)?;
        Ok(act)
    }

    /// The ring daemon dies alone; its guardian takes the rest of the node down and tells the others.
    fn second_act(&mut self) -> Result<Act> {
        let victim = self.runs_group()?;
        let name = self.cluster.name(victim).to_owned();
        self.heading(&format!("Act two: on {name}, which runs the group now, cmmd alone dies (kill -9)"));
        self.mark_logs(victim);
        let clock = Clock::start();
        self.cluster.kill_cmmd(victim)?;
        self.line(&clock, BAD, &format!("cmmd of {name} is killed; its services are still up"));
        let box_path = self.cluster.node_dir(victim).join("state/blackbox");
        let reason = clock.wait("the guardian writes down its reason", || {
            let records = black_box::read(&box_path).unwrap_or_default();
            let death = records.iter().rev().find(|r| r.class == Class::Death);
            Ok(death.map(|r| r.text.to_string().trim_end().to_owned()))
        })?;
        self.line(&clock, PLAIN, &format!("guardian of {name}: {reason}"));
        let mut act = Act { title: "cmmd dies alone", ..Act::default() };
        self.survivors_close_ranks(&clock, victim, &mut act)?;
        self.death_is_confirmed(&clock, victim, &mut act)?;
        self.takeover(&clock, &name, &mut act)?;
        self.cluster.bury(victim, &clock)?;
        Ok(act)
    }

    fn survivors_close_ranks(&mut self, clock: &Clock, victim: usize, act: &mut Act) -> Result<()> {
        self.eyes.retain(|e| e.id != victim);
        let ids: Vec<_> = self.eyes.iter().map(|e| e.id).collect();
        let all = self.names(&ids);
        self.wait(clock, "the survivors form a ring", |eyes| {
            eyes.iter().all(|e| e.has_ring_of(&ids)).then_some(())
        })?;
        act.ring = clock.ms();
        let ring = self.ring_name();
        self.line(clock, GOOD, &format!("{all}: new configuration, ring {ring}"));
        self.wait(clock, "the survivors are quorate", |eyes| eyes.iter().all(|e| e.quorate).then_some(()))
    }

    fn death_is_confirmed(&mut self, clock: &Clock, victim: usize, act: &mut Act) -> Result<()> {
        let life = self.wait(clock, "the death is confirmed on every survivor", |eyes| {
            let lives: Option<Vec<_>> = eyes.iter().map(|e| e.confirmed.get(&victim).copied()).collect();
            lives?.into_iter().max()
        })?;
        ensure!(life > 0, "a death without a life was confirmed");
        act.confirmed = clock.ms();
        // Guardian and fence agent race; the survivors' logs have who was first.
        let line = format!("Death of node {victim} is confirmed: ");
        let (cluster, marks) = (&self.cluster, &self.marks);
        let why = clock.wait("a survivor has logged why", || {
            let logged = |(id, mark): &(usize, usize)| {
                let log = cluster.log(*id, "cmmd");
                let new = log.get(*mark..)?;
                new.lines().find_map(|l| Some(l.split_once(&line)?.1.to_owned()))
            };
            Ok(marks.iter().find_map(logged))
        })?;
        let by = match why.as_str() {
            w if w.starts_with("every process of the node was killed") => {
                "its guardian's last word: nothing of it runs any more"
            }
            w if w.contains(" fenced it (") => "by the fence agent",
            other => other,
        };
        let name = self.cluster.name(victim).to_owned();
        self.line(clock, GOOD, &format!("death of {name} is confirmed on all survivors ({by})"));
        Ok(())
    }

    fn takeover(&mut self, clock: &Clock, old: &str, act: &mut Act) -> Result<()> {
        let place = self.wait_for_group(clock, Some(old))?;
        act.group = clock.ms();
        self.line(clock, GOOD, &format!("group {GROUP} runs on {place}"));
        Ok(())
    }

    fn mark_logs(&mut self, victim: usize) {
        let survivors = self.eyes.iter().map(|e| e.id).filter(|id| *id != victim);
        self.marks = survivors.map(|id| (id, self.cluster.log(id, "cmmd").len())).collect();
    }

    /// The dead node comes back, so that the next act has as many nodes as the first.
    fn interlude(&mut self) -> Result<()> {
        let seen: Vec<_> = self.eyes.iter().map(|e| e.id).collect();
        let back: Vec<_> = self.cluster.ids().into_iter().filter(|id| !seen.contains(id)).collect();
        let place = self.wait_for_group(&Clock::start(), None)?;
        // A fence agent that has been called strikes even when the death is known by now: not the next life.
        self.wait(&Clock::start(), "no fence agent runs", |eyes| {
            eyes.iter().all(|e| !e.is_fencing()).then_some(())
        })?;
        let clock = Clock::start();
        self.cluster.boot(&back, &clock)?;
        for id in &back {
            self.eyes.push(Observer::new(*id, self.cluster.sources(*id)));
        }
        self.eyes.sort_by_key(|e| e.id);
        self.settle(&clock)?;
        let names = self.names(&back);
        let ring = self.ring_name();
        self.line(&clock, PLAIN, &format!("{names} is back: ring {ring} of all nodes"));
        let now = self.wait_for_group(&clock, None)?;
        ensure!(now == place, "the group moved from {place} to {now} though nothing had happened to it");
        self.line(&clock, PLAIN, &format!("group {GROUP} stays on {place}"));
        Ok(())
    }

    fn summary(&mut self, acts: &[Act]) -> Result<()> {
        let (starts, violations) = service_log(&self.cluster.site.dir)?;
        self.heading("What it took, in milliseconds since the kill");
        let mut table = format!("  {:<24}{:>10}{:>12}{:>14}\n", "", "new ring", "death sure", "group runs");
        for act in acts {
            table.push_str(&format!(
                "  {:<24}{:>10}{:>12}{:>14}\n",
                act.title, act.ring, act.confirmed, act.group
            ));
        }
        self.io.say(format_args!("{table}"));
        ensure!(violations.is_empty(), "a service ran twice: {}", violations.join("; "));
        let expected = SERVICES.len() * (1 + acts.len());
        ensure!(
            starts.len() == expected,
            "{} starts of services, {expected} expected: {starts:#?}",
            starts.len()
        );
        let text = format!("{} starts of services, and never did one run twice.", starts.len());
        self.io.say(format_args!("  {GOOD}{text}{GOOD:#}\n"));
        Ok(())
    }

    /// The node that runs the group.
    fn runs_group(&mut self) -> Result<usize> {
        let place = self.wait_for_group(&Clock::start(), None)?;
        let index = self.cluster.site.nodes.iter().position(|n| *n == place);
        index.map(|i| i + 1).with_context(|| format!("the group runs on {place}, which is no node"))
    }

    /// Waits until everyone who can be asked sees the group on one node, and that is not `except`.
    fn wait_for_group(&mut self, clock: &Clock, except: Option<&str>) -> Result<String> {
        self.wait(clock, "the group runs", |eyes| {
            let places: Vec<_> = eyes.iter().map(Observer::group_runs_on).collect::<Option<_>>()?;
            let first = places.first()?;
            let agreed = places.iter().all(|p| p == first) && except != Some(first.as_str());
            agreed.then(|| first.clone())
        })
    }

    /// Waits until all nodes take part and nothing is under way.
    fn settle(&mut self, clock: &Clock) -> Result<()> {
        let ids = self.cluster.ids();
        let names = self.cluster.site.nodes.clone();
        self.wait(clock, "all nodes take part", |eyes| {
            let settled = |e: &Observer| e.has_ring_of(&ids) && e.is_settled_with(&names);
            (eyes.len() == ids.len() && eyes.iter().all(settled)).then_some(())
        })
    }

    fn wait<T>(
        &mut self,
        clock: &Clock,
        what: &str,
        mut check: impl FnMut(&[Observer]) -> Option<T>,
    ) -> Result<T> {
        let eyes = &mut self.eyes;
        clock.wait(what, || {
            for eye in eyes.iter_mut() {
                eye.look();
            }
            Ok(check(eyes))
        })
    }

    fn ring_name(&self) -> String {
        self.eyes.iter().find_map(|e| e.ring.as_ref()).map_or_else(String::new, |(id, _)| id.clone())
    }

    fn names(&self, ids: &[usize]) -> String {
        ids.iter().map(|id| self.cluster.name(*id)).collect::<Vec<_>>().join(" ")
    }

    fn heading(&mut self, text: &str) {
        self.io.say(format_args!("\n{HEAD}{text}{HEAD:#}\n"));
    }

    fn line(&mut self, clock: &Clock, style: Style, text: &str) {
        self.io.say(format_args!("{:>7} ms  {style}{text}{style:#}\n", clock.ms()));
    }

    fn show_logs(&mut self) {
        for id in self.cluster.ids() {
            for daemon in ["cmmd", "rgmd"] {
                let (name, tail) = (self.cluster.name(id).to_owned(), self.cluster.log_tail(id, daemon, 25));
                self.io.complain(format_args!("---- {daemon} of {name}\n{tail}\n"));
            }
        }
    }

    fn explain(&mut self) {
        let dir = self.cluster.site.dir.display().to_string();
        let run = self.cluster.node_dir(1).join("run").display().to_string();
        let exe = std::env::current_exe().map_or_else(|_| "holdfast".to_owned(), |p| p.display().to_string());
        self.heading("The cluster runs on");
        self.io.say(format_args!(
            "  look:     HOLDFAST_RUN_DIR={run} {exe} status\n            \
             HOLDFAST_RUN_DIR={run} {exe} crm_mon -1rf\n  \
             logs:     {dir}/n1/log/cmmd.log {dir}/n1/log/rgmd.log\n  \
             kill:     {exe} fence-demo --action off --plug n1 --dir {dir}\n  \
             stop it:  {exe} demo --stop {dir}\n"
        ));
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const PLAIN: Style = Style::new();
const HEAD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
