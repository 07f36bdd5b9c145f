//! What the demo shows, in order, and what it checks while it does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use status::ClusterStatus;

use super::files::{GROUP, POWER_SOCKET, VIOLATIONS};
use super::screen::Screen;
use super::status::{ask, group_node};
use super::world::{Kind, POLL, World};
use super::{Args, power};

/// Nothing in the demo takes this long on any machine; it only ends a demo that hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs the whole demo in `root`.
pub(super) fn tell(args: &Args, root: &Path, kind: Kind, stop: &Arc<AtomicBool>) -> Result<()> {
    let world = Arc::new(World::new(kind, root, args.nodes)?);
    let story = Story { world: Arc::clone(&world), root, stop };
    let told = story.run(args, kind);
    if told.is_err() && !stop.load(Ordering::Relaxed) {
        story.show_logs();
    }
    told
}

struct Story<'a> {
    world: Arc<World>,
    root: &'a Path,
    stop: &'a AtomicBool,
}

impl Story<'_> {
    fn run(&self, args: &Args, kind: Kind) -> Result<()> {
        let mut screen = Screen::new();
        let apart = match kind {
            Kind::Namespaces => "network namespaces on a bridge",
            Kind::Loopback => "loopback addresses",
        };
        anstream::println!("{} nodes in {apart}; files in {}", args.nodes, self.root.display());
        self.switch_power_on()?;

        screen.act("A cluster forms");
        let began = Instant::now();
        for node in &self.world.nodes {
            self.world.start(&node.name)?;
        }
        let all: Vec<String> = self.world.nodes.iter().map(|n| n.name.clone()).collect();
        let ring = self.wait_members(&all)?;
        screen.step(&format!("ring {ring} formed by {}, quorate", all.join(", ")), began);
        let home = self.wait_group(&all)?;
        screen.step(&format!("group {GROUP} started on {home}"), began);

        screen.act("Act one: a machine dies");
        screen.blow(&format!("SIGKILL to every process of {home} at once, its guardian included"));
        let blow = Instant::now();
        self.world.kill(&home)?;
        let next = self.fail_over(&mut screen, &home, &all, blow)?;

        screen.act(&format!("{home} comes back"));
        let began = Instant::now();
        self.world.start(&home)?;
        let ring = self.wait_members(&all)?;
        screen.step(&format!("ring {ring} formed by {}, quorate", all.join(", ")), began);
        self.wait("every node has synchronised", || {
            Ok(all
                .iter()
                .all(|n| self.ask(n).is_some_and(|s| group_node(&s).as_deref() == Some(&next)))
                .then_some(()))
        })?;
        screen.step(&format!("{home} knows that group {GROUP} runs on {next}"), began);

        screen.act("Act two: cmmd dies, the machine lives");
        screen.blow(&format!("SIGKILL to cmmd on {next}; its guardian and the group's processes are alive"));
        let log_before = self.log_len(&next);
        let blow = Instant::now();
        self.world.kill_cmmd(&next)?;
        self.fail_over(&mut screen, &next, &all, blow)?;
        let reason = self.wait("the guardian's reason", || Ok(self.reason(&next, log_before)))?;
        screen.quote(&format!("{next}: {reason}"));
        self.wait("nothing of the node is left", || Ok((!self.world.is_on(&next)?).then_some(())))?;
        self.world.kill(&next)?; // reaps what the guardian has killed

        let violations = std::fs::read_to_string(self.root.join(VIOLATIONS)).unwrap_or_default();
        if !violations.is_empty() {
            bail!("a resource ran twice:\n{violations}");
        }
        screen.summary();
        anstream::println!("\nNo resource ever ran twice.");
        if args.keep {
            self.keep(&next)?;
        }
        Ok(())
    }

    /// Waits for what follows a death and prints each step. Returns where the group runs now.
    fn fail_over(&self, screen: &mut Screen, victim: &str, all: &[String], blow: Instant) -> Result<String> {
        let survivors: Vec<String> = all.iter().filter(|n| *n != victim).cloned().collect();
        let ring = self.wait_members(&survivors)?;
        screen.step(&format!("survivors' new configuration {ring}: {}", survivors.join(", ")), blow);
        let why = self.wait("confirmed death", || {
            let status = self.ask(&survivors[0]);
            let node = status.and_then(|s| s.nodes.into_iter().find(|n| n.name == victim));
            Ok(node.filter(|n| n.confirmed_dead != 0).map(|n| n.why))
        })?;
        screen.step(
            &format!("death of {victim} confirmed{}", if why.is_empty() { why } else { format!(": {why}") }),
            blow,
        );
        let home = self.wait_group(&survivors)?;
        screen.step(&format!("group {GROUP} runs on {home}"), blow);
        Ok(home)
    }

    /// Until all of `names` say that they are the members and quorate. The ring's id.
    fn wait_members(&self, names: &[String]) -> Result<String> {
        let mut ids = Vec::new();
        for name in names {
            ids.push(self.world.node(name)?.id);
        }
        self.wait("a configuration of the right members", || {
            let mut ring = None;
            for name in names {
                match self.ask(name) {
                    Some(s) if s.ring.members == ids && s.quorum.quorate => ring = Some(s.ring.id),
                    _ => return Ok(None),
                }
            }
            Ok(ring)
        })
    }

    /// Until one of `names` says that the whole group runs on one of them.
    fn wait_group(&self, names: &[String]) -> Result<String> {
        self.wait("the group to start", || {
            let home = names.iter().find_map(|n| group_node(&self.ask(n)?));
            Ok(home.filter(|h| names.contains(h)))
        })
    }

    fn ask(&self, name: &str) -> Option<ClusterStatus> {
        ask(&self.world.node(name).ok()?.run_dir())
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if let Some(found) = look()? {
                return Ok(found);
            }
            std::thread::sleep(POLL);
        }
        bail!("waited {} s in vain: {what}", PATIENCE.as_secs())
    }

    fn switch_power_on(&self) -> Result<()> {
        let names = self.world.nodes.iter().map(|n| n.name.clone()).collect();
        let (off, look) = (Arc::downgrade(&self.world), Arc::downgrade(&self.world));
        power::serve(
            &self.root.join(POWER_SOCKET),
            names,
            move |name| off.upgrade().context("the demo is over")?.kill(name),
            move |name| look.upgrade().context("the demo is over")?.is_on(name),
        )
    }

    fn log_len(&self, name: &str) -> usize {
        self.world.node(name).and_then(|n| Ok(std::fs::read(n.log())?.len())).unwrap_or(0)
    }

    /// The line that says why the node went down, written since the log had `from` bytes.
    fn reason(&self, name: &str, from: usize) -> Option<String> {
        let log = std::fs::read(self.world.node(name).ok()?.log()).ok()?;
        let text = String::from_utf8_lossy(log.get(from..)?).into_owned();
        let at = text.find("Failfast: Aborting")?;
        text[at..].lines().next().map(str::to_owned)
    }

    fn show_logs(&self) {
        for node in &self.world.nodes {
            let log = std::fs::read(node.log()).unwrap_or_default();
            let text = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- end of {}'s log", node.name);
            for line in &lines[lines.len().saturating_sub(25)..] {
                eprintln!("{line}");
            }
        }
    }

    fn keep(&self, down: &str) -> Result<()> {
        let me = std::env::current_exe().map_or_else(|_| "holdfast".into(), |p| p.display().to_string());
        anstream::println!("\nThe cluster stays up ({down} is off). In another terminal:");
        for node in self.world.nodes.iter().filter(|n| n.name != down) {
            anstream::println!("  HOLDFAST_RUN_DIR={} {me} status", node.run_dir().display());
        }
        anstream::println!(
            "Logs: {}/node*/log. Ctrl-C here ends it and leaves nothing behind.",
            self.root.display()
        );
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}
