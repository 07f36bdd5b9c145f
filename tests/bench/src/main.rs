//! Figures: how long a death takes to be noticed, a group to move, a ring to form; what `cmmd` costs when nothing happens. Prints
//! tables, with corosync beside us in the same run where it is installed. Nothing here is asserted: figures belong to a
//! machine and a moment, and a test that fails by the clock teaches nothing.

#![forbid(unsafe_code)]

mod daemon;
mod fail_over;
mod idle;
mod membership;
mod probe;
mod table;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use daemon::Daemon;
use table::Table;

/// Measure Holdfast, and corosync beside it.
#[derive(Parser, Debug)]
#[command(
    after_help = "Needs root, namespaces and release builds (cargo build --release --workspace).\n\nExamples:\n  \
                        cargo run --release -p bench -- all\n  cargo run --release -p bench -- detect --kills 100 --token 300"
)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand, Debug)]
enum Bench {
    /// Everything below, at the defaults
    All,
    /// SIGKILL of one of three nodes → the survivors' new configuration
    Detect {
        /// How many deaths of each kind
        #[arg(long, default_value_t = 30)]
        kills: u32,
        /// `totem.token` in milliseconds
        #[arg(long, default_value_t = 1000)]
        token: u32,
    },
    /// Start of three daemons → every one of them has all members and quorum
    Form {
        /// How many formations
        #[arg(long, default_value_t = 5)]
        times: u32,
        /// `totem.token` in milliseconds
        #[arg(long, default_value_t = 1000)]
        token: u32,
    },
    /// SIGKILL of the node that runs a group → the group started elsewhere
    FailOver {
        /// How many deaths of each kind
        #[arg(long, default_value_t = 10)]
        kills: u32,
        /// `totem.token` in milliseconds
        #[arg(long, default_value_t = 1000)]
        token: u32,
    },
    /// CPU time and memory of a daemon in a ring of three that has nothing to do
    Idle {
        /// For how long
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        /// `totem.token` in milliseconds
        #[arg(long, default_value_t = 1000)]
        token: u32,
    },
    /// Inside of a node: prints each membership notice with its time
    #[command(hide = true)]
    Probe,
}

fn main() -> ExitCode {
    let result = match Cli::parse().bench {
        Bench::Probe => probe::run(),
        Bench::Detect { kills, token } => detect(kills, token),
        Bench::Form { times, token } => form(times, token),
        Bench::FailOver { kills, token } => fail_over(kills, token),
        Bench::Idle { seconds, token } => idle(seconds, token),
        Bench::All => detect(30, 1000)
            .and_then(|()| form(5, 1000))
            .and_then(|()| fail_over(10, 1000))
            .and_then(|()| idle(30, 1000)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn detect(kills: u32, token: u32) -> Result<()> {
    let mut table =
        Table::new(&format!("SIGKILL of one of 3 nodes → survivors' new configuration, ms, token {token}"));
    for daemon in Daemon::present() {
        for victim in membership::Victim::of(daemon) {
            let (first, last) = membership::deaths(daemon, victim, kills, token)?;
            table.samples(&format!("{daemon}, {victim}: first survivor"), first);
            table.samples(&format!("{daemon}, {victim}: last survivor"), last);
        }
    }
    table.print();
    Ok(())
}

fn form(times: u32, token: u32) -> Result<()> {
    let mut table =
        Table::new(&format!("start of 3 daemons → all members everywhere, quorate, ms, token {token}"));
    for daemon in Daemon::present() {
        table.samples(&daemon.to_string(), membership::formations(daemon, times, token)?);
    }
    table.print();
    Ok(())
}

fn fail_over(kills: u32, token: u32) -> Result<()> {
    let mut table = Table::new(&format!(
        "SIGKILL on the node that runs a group of 3 → group started elsewhere, ms, token {token}"
    ));
    for victim in fail_over::Victim::ALL {
        table.samples(&victim.to_string(), fail_over::moves(victim, kills, token)?);
    }
    table.print();
    Ok(())
}

fn idle(seconds: u32, token: u32) -> Result<()> {
    let mut table = Table::new(&format!("one daemon of an idle ring of 3 over {seconds} s, token {token}"));
    for daemon in Daemon::present() {
        for (what, value) in idle::measure(daemon, seconds, token)? {
            table.row(&format!("{daemon}: {what}"), &value);
        }
    }
    table.print();
    Ok(())
}
