//! The long run: everything that draws its faults at random, one after the other.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::times;

/// A run of real daemons with a quorum disk takes about so long.
const DISK_RUN: Duration = Duration::from_secs(3);

/// What is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    minutes: u64,
    /// Nothing but the twenty resources.
    resources: bool,
}

impl Plan {
    /// From the words behind `soak`.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let mut plan = Self { minutes: 30, resources: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--minutes" => {
                    plan.minutes = words.next()?.parse().ok().filter(|n| (1..=100_000).contains(n))?
                }
                "--resources" => plan.resources = true,
                _ => return None,
            }
        }
        Some(plan)
    }
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let began = Instant::now();
    let whole = Duration::from_secs(plan.minutes * 60);
    let part = whole / 4;
    times::build()?;
    if plan.resources {
        resources(whole)?;
        println!("nothing was found in {:.0} minutes", began.elapsed().as_secs_f64() / 60.0);
        return Ok(());
    }
    let cargo = |args: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(args).current_dir(crate::root());
        cargo
    };
    // Never the same seeds again: the second in which it began, with room for what an hour runs.
    let first = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() * 1_000;
    let (seeds, seconds) = (format!("{first}..{}", first + 1_000_000), part.as_secs().to_string());
    let commit =
        Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(crate::root()).output()?;
    let commit = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
    let mut sim = cargo(&[
        "run",
        "--release",
        "-p",
        "holdfast-sim",
        "--",
        "soak",
        "--dir",
        "target/soak",
        "--threads",
        "2",
    ]);
    sim.args(["--commit", &commit, "--seeds", &seeds, "--seconds", &seconds]);
    step("simulator", &mut sim)?;
    let mut disks = cargo(&["test", "-p", "harness", "--test", "netns", "--", "qdisk_random", "--nocapture"]);
    let runs = (part.as_secs() / DISK_RUN.as_secs() / SHAPES).max(1).to_string();
    disks.env("HOLDFAST_QDISK_RUNS", runs).env("HOLDFAST_QDISK_SHAPES", "2x1,2x3,3x1,3x3,4x1,4x3");
    step("quorum disks that fail", disks.env("HOLDFAST_BIN_DIR", crate::root().join("target/release")))?;
    resources(part)?;
    let mut machines = times::virtual_machines(&["random_faults"]);
    step("virtual machines", machines.env("HOLDFAST_VM_SECONDS", part.as_secs().to_string()))?;
    println!(
        "nothing was found in {:.0} minutes on {commit}; docs/soak.md has a table for it",
        began.elapsed().as_secs_f64() / 60.0
    );
    Ok(())
}

const SHAPES: u64 = 6;

/// Twenty resources in namespaces, to which anything is done; each round of it ends with all well.
fn resources(time: Duration) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "-p", "harness", "--test", "netns", "--", "turmoil", "--nocapture"]);
    cargo.current_dir(crate::root()).env("HOLDFAST_BIN_DIR", crate::root().join("target/release"));
    step("resources in turmoil", cargo.env("HOLDFAST_TURMOIL_SECONDS", time.as_secs().to_string()))
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    println!("== soak: {name}");
    let status = command.status().with_context(|| format!("cannot run: {name}"))?;
    ensure!(status.success(), "soak: {name}: {status}; what was found is above");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_soaked_is_read_from_its_words() {
        let plan = |minutes, resources| Some(Plan { minutes, resources });
        assert_eq!(Plan::parse(&[]), plan(30, false));
        assert_eq!(Plan::parse(&["--resources", "--minutes", "5"]), plan(5, true));
        for wrong in [&["--minutes"][..], &["--minutes", "0"], &["--minutes", "x"], &["more"]] {
            assert_eq!(Plan::parse(wrong), None, "{wrong:?}");
        }
    }
}
