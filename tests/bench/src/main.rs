//! Figures: how long a death takes to be noticed, a group to move, a ring to form; what `cmmd` costs when nothing happens. Prints
//! tables, with corosync beside us in the same run where it is installed. Nothing here is asserted: figures belong to a
//! machine and a moment, and a test that fails by the clock teaches nothing.

#![forbid(unsafe_code)]

mod calls;
mod daemon;
mod disk;
mod fail_over;
mod idle;
mod membership;
mod probe;
mod resources;
mod scale;
mod scheduler;
mod seal;
mod stability;
mod table;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use daemon::{Daemon, Ring};
use fail_over::Stack;
use membership::Fault;
use stability::Load;
use table::Table;
use traffic::{On, Role, Senders};

/// Measure Holdfast, and corosync beside it.
#[derive(Parser, Debug)]
#[command(after_help = "\
Needs root, namespaces and release builds (cargo build --release --workspace).

Examples:
  cargo run --release -p bench -- all
  cargo run --release -p bench -- detect --times 100 --token 300
  cargo run --release -p bench -- detect --fault node --nodes 8 --default-timers
  cargo run --release -p bench -- faults --daemon cmmd --daemon corosync-sealed
  cargo run --release -p bench -- scale --nodes 3,16 --daemon cmmd
  cargo run --release -p bench -- throughput --size 1024 --senders one --times 5
  cargo run --release -p bench -- throughput --libcpg --daemon cmmd --daemon corosync-sealed
  cargo run --release -p bench -- fail-over --times 5
  cargo run --release -p bench -- resources --resources 500 --changes 5000
  cargo run --release -p bench -- calls
  cargo run --release -p bench -- disk
  cargo run --release -p bench -- scheduler --primitives 100,1000 --state steady
  cargo run --release -p bench -- disk arbitration --delay 20 --times 5
  cargo run --release -p bench -- stability --load busy --seconds 600 --token 100 --daemon cmmd")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand, Debug)]
enum Bench {
    /// The figures of the README, each at its defaults
    All,
    /// Death, cut or leave of one node → the others' new configuration, and the way back
    Detect {
        /// What happens to it; may be given several times [default: node, daemon]
        #[arg(long)]
        fault: Vec<Fault>,
        /// How many times each
        #[arg(long, default_value_t = 30)]
        times: u32,
        #[command(flatten)]
        rig: Rig,
    },
    /// Every fault there is, one row each → the first survivor's new configuration; beside it the peer, where it can happen to it
    Faults {
        /// How many times each
        #[arg(long, default_value_t = 20)]
        times: u32,
        #[command(flatten)]
        rig: Rig,
    },
    /// Start of all daemons at once → every one of them has all members and quorum
    Form {
        /// How many formations
        #[arg(long, default_value_t = 5)]
        times: u32,
        #[command(flatten)]
        rig: Rig,
    },
    /// A fault → the group of three resources up again (3 nodes), with corosync and Pacemaker beside us
    FailOver {
        /// Under whom; may be given several times
        #[arg(long, default_values_t = [fail_over::Stack::Holdfast, fail_over::Stack::Pacemaker], value_enum)]
        stack: Vec<fail_over::Stack>,
        /// What happens; may be given several times
        #[arg(long, default_values_t = [fail_over::Fault::Node, fail_over::Fault::Daemon, fail_over::Fault::Service, fail_over::Fault::Standby], value_enum)]
        fault: Vec<fail_over::Fault>,
        /// How many times each
        #[arg(long, default_value_t = 5)]
        times: u32,
        /// `totem.token` in milliseconds; 0: every timer at its default
        #[arg(long, default_value_t = 0)]
        token: u32,
        /// How often resources are monitored
        #[arg(long, default_value = "10s")]
        monitor: String,
    },
    /// Hundreds of resources: how long they take to start, move and stop, and how many changes of the configuration are taken
    Resources {
        /// How many nodes
        #[arg(long, default_value_t = 3)]
        nodes: u32,
        /// How many resources
        #[arg(long, default_value_t = 500)]
        resources: usize,
        /// How many changes of the configuration
        #[arg(long, default_value_t = 5000)]
        changes: u32,
        /// Over how many connections at once
        #[arg(long, default_value_t = 8)]
        connections: u32,
    },
    /// CPU time and memory of a daemon in a ring that has nothing to do
    Idle {
        /// For how long
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        #[command(flatten)]
        rig: Rig,
    },
    /// Configurations that a ring goes through under load; a good ring: none
    Stability {
        /// What it has to stand; may be given several times
        #[arg(long, default_values_t = [Load::Busy, Load::Flood], value_enum)]
        load: Vec<Load>,
        /// For how long each
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        #[command(flatten)]
        rig: Rig,
    },
    /// Ordered messages a second at the slowest receiver, and MB/s; medians, and ratios to our daemon
    Throughput {
        /// Bytes of a message; may be given several times
        #[arg(long, default_values_t = [64, 1024, 65_536])]
        size: Vec<usize>,
        /// Who sends; may be given several times
        #[arg(long, default_values_t = [Senders::One, Senders::All], value_enum)]
        senders: Vec<Senders>,
        #[command(flatten)]
        runs: Runs,
        #[command(flatten)]
        rig: Rig,
    },
    /// Delivery of one message of 64 bytes to its sender, one after the other, in microseconds
    Latency {
        /// Node that sends, 1 is the representative; may be given several times
        #[arg(long, default_values_t = [1, 2])]
        sender: Vec<u32>,
        #[command(flatten)]
        runs: Runs,
        #[command(flatten)]
        rig: Rig,
    },
    /// Calls of corosync's libcmap, libquorum and libvotequorum at an idle ring, one after the other, in microseconds
    Calls {
        /// Microseconds between two calls; may be given several times
        #[arg(long, default_values_t = [0, 1000])]
        pause: Vec<u32>,
        #[command(flatten)]
        runs: Runs,
        #[command(flatten)]
        rig: Rig,
    },
    /// Checks of packets that nobody should believe: how many a second one core bears (needs no namespaces)
    Hostile,
    /// What one more node costs: packets, CPU time and memory of a daemon, times of changes, by number of nodes
    Scale {
        /// How many nodes, one row each
        #[arg(long, value_delimiter = ',', default_values_t = [2, 3, 5, 8, 16])]
        nodes: Vec<u32>,
        /// How long the quiet ring is looked at
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// How many formations, and deaths of each kind
        #[arg(long, default_value_t = 5)]
        times: u32,
        /// `totem.token` in milliseconds, without the coefficient
        #[arg(long, default_value_t = 1000)]
        token: u32,
        /// Which daemons, in turn; may be given several times [default: cmmd, corosync-udpu]
        #[arg(long)]
        daemon: Vec<Daemon>,
    },
    /// Quorum disks: an idle daemon with one, arbitration of the vote, the ring while it stalls
    Disk(disk::How),
    /// Inside of a node: times of writes to a quorum disk's last block and reads behind them
    #[command(hide = true)]
    DiskRoundTrips { path: std::path::PathBuf },
    /// What a decision costs: our scheduler beside Pacemaker's, by size and state of the cluster (needs neither root nor namespaces)
    Scheduler(scheduler::How),
    /// Runs one command and prints what it took
    #[command(hide = true)]
    Child {
        limit: u64,
        #[arg(last = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Inside of a node: prints each membership notice with its time
    #[command(hide = true)]
    Probe,
    /// Inside of a node: a member of a group in a bench of messages
    #[command(hide = true)]
    Client { group: String, nodes: usize, role: Role, size: usize, seconds: u32 },
    /// Inside of a node: sends to a group as fast as it is let
    #[command(hide = true)]
    Flood {
        #[arg(long)]
        size: usize,
        #[arg(long)]
        seconds: u32,
    },
}

/// How often and for how long.
#[derive(Args, Clone, Copy, Debug)]
struct Runs {
    /// How many runs of each, daemons in turn
    #[arg(long, default_value_t = 3)]
    times: u32,
    /// For how long each
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Clients on corosync's libcpg instead of ours
    #[arg(long)]
    libcpg: bool,
}

impl Runs {
    fn on(&self) -> On {
        if self.libcpg { On::Libcpg } else { On::Ours }
    }
}

/// What is measured.
#[derive(Args, Debug)]
struct Rig {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// `totem.token` in milliseconds, without the coefficient
    #[arg(long, default_value_t = 1000)]
    token: u32,
    /// Set no timer at all
    #[arg(long, conflicts_with = "token")]
    default_timers: bool,
    /// Which daemons, in turn; may be given several times [default: cmmd, corosync-udpu]
    #[arg(long)]
    daemon: Vec<Daemon>,
}

impl Rig {
    fn at(token: u32) -> Self {
        Self { nodes: 3, token, default_timers: false, daemon: Vec::new() }
    }

    fn ring(&self) -> Ring {
        Ring { nodes: self.nodes, token: (!self.default_timers).then_some(self.token) }
    }

    fn daemons(&self) -> Vec<Daemon> {
        Daemon::present(&self.daemon)
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().bench {
        Bench::Probe => probe::run(),
        Bench::Disk(how) => disk::run(&how),
        Bench::DiskRoundTrips { path } => disk::round_trips(&path),
        Bench::Scheduler(how) => scheduler::run(&how),
        Bench::Child { limit, command } => scheduler::child(limit, &command),
        Bench::Hostile => {
            let mut table = Table::new("one packet of 1.3 KB after another, checked by one core: packets/s");
            for (what, rate) in seal::measure() {
                table.row(what, &format!("{rate:.0}"));
            }
            table.print();
            Ok(())
        }
        Bench::Client { group, nodes, role, size, seconds } => {
            traffic::client(&group, nodes, role, size, seconds)
        }
        Bench::Throughput { size, senders, runs, rig } => throughput(&size, &senders, &runs, &rig),
        Bench::Latency { sender, runs, rig } => latency(&sender, &runs, &rig),
        Bench::Calls { pause, runs, rig } => calls(&pause, &runs, &rig),
        Bench::Flood { size, seconds } => stability::flood(size, seconds),
        Bench::Detect { fault, times, rig } => detect(&fault, times, &rig),
        Bench::Faults { times, rig } => faults(times, &rig),
        Bench::Form { times, rig } => form(times, &rig),
        Bench::FailOver { stack, fault, times, token, monitor } => {
            fail_over(&stack, &fault, times, token, &monitor)
        }
        Bench::Resources { nodes, resources, changes, connections } => {
            let mut table = Table::new(&format!("{resources} resources on {nodes} nodes"));
            let done = resources::run(nodes, resources, changes, connections, &mut table);
            table.print();
            done
        }
        Bench::Idle { seconds, rig } => idle(seconds, &rig),
        Bench::Stability { load, seconds, rig } => stability(&load, seconds, &rig),
        Bench::Scale { nodes, seconds, times, token, daemon } => {
            scale(&nodes, seconds, times, token, &daemon)
        }
        Bench::All => detect(&[], 30, &Rig::at(1000))
            .and_then(|()| form(5, &Rig::at(1000)))
            .and_then(|()| {
                fail_over(
                    &[Stack::Holdfast],
                    &[fail_over::Fault::Node, fail_over::Fault::Daemon],
                    10,
                    1000,
                    "10s",
                )
            })
            .and_then(|()| idle(30, &Rig::at(1000)))
            .and_then(|()| stability(&[Load::Busy, Load::Flood], 60, &Rig::at(1000))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn detect(faults: &[Fault], times: u32, rig: &Rig) -> Result<()> {
    let faults = if faults.is_empty() { &[Fault::Node, Fault::Daemon] } else { faults };
    let mut table = Table::new(&format!(
        "what happens to one node → the others' new configuration, ms; back: its new start, or the repair → all members \
         everywhere; {}",
        rig.ring()
    ));
    for daemon in rig.daemons() {
        for fault in faults {
            let figures = membership::strike(daemon, *fault, times, rig.ring())?;
            table.samples(&format!("{daemon}, {fault}: first"), figures.first);
            table.samples(&format!("{daemon}, {fault}: last"), figures.last);
            table.samples(&format!("{daemon}, {fault}: back"), figures.back);
        }
    }
    table.print();
    Ok(())
}

fn faults(times: u32, rig: &Rig) -> Result<()> {
    let mut table = Table::new(&format!(
        "fault of one node → the first survivor's new configuration, ms; {}",
        rig.ring()
    ));
    for fault in Fault::ALL {
        for daemon in rig.daemons().into_iter().filter(|d| fault.strikes(*d)) {
            table.samples(
                &format!("{fault}, {daemon}"),
                membership::strike(daemon, fault, times, rig.ring())?.first,
            );
        }
    }
    table.print();
    Ok(())
}

fn form(times: u32, rig: &Rig) -> Result<()> {
    let mut table =
        Table::new(&format!("start of all daemons → all members everywhere, quorate, ms; {}", rig.ring()));
    for daemon in rig.daemons() {
        table.samples(&daemon.to_string(), membership::formations(daemon, times, rig.ring())?);
    }
    table.print();
    Ok(())
}

fn fail_over(
    stacks: &[fail_over::Stack],
    faults: &[fail_over::Fault],
    times: u32,
    token: u32,
    monitor: &str,
) -> Result<()> {
    let timers = if token == 0 { "timers at their defaults".to_owned() } else { format!("token {token}") };
    let mut table =
        Table::new(&format!("fault → group of 3 up again, ms, {timers}, monitors every {monitor}"));
    let done = stacks.iter().try_for_each(|s| fail_over::run(*s, faults, times, token, monitor, &mut table));
    table.print();
    done
}

fn idle(seconds: u32, rig: &Rig) -> Result<()> {
    let mut table = Table::new(&format!("one daemon of an idle ring over {seconds} s; {}", rig.ring()));
    for daemon in rig.daemons() {
        for (what, value) in idle::measure(daemon, seconds, rig.ring())? {
            table.row(&format!("{daemon}: {what}"), &value);
        }
    }
    table.print();
    Ok(())
}

/// The peers that messages are compared with, where no daemon is named.
const SEALED_AND_CLEAR: [Daemon; 3] = [Daemon::Cmmd, Daemon::CorosyncSealed, Daemon::CorosyncUdpu];

fn peers(rig: &Rig) -> Vec<Daemon> {
    if rig.daemon.is_empty() { Daemon::present(&SEALED_AND_CLEAR) } else { rig.daemons() }
}

fn throughput(sizes: &[usize], senders: &[Senders], runs: &Runs, rig: &Rig) -> Result<()> {
    let Runs { times, seconds, json, .. } = *runs;
    let daemons = peers(rig);
    let cases: Vec<(usize, Senders)> =
        sizes.iter().flat_map(|size| senders.iter().map(|s| (*size, *s))).collect();
    let measure = |daemon, k: u32| {
        let cluster = membership::start(daemon, rig.ring())?;
        let run = |(n, (size, senders)): (usize, &(usize, Senders))| {
            let rate = traffic::throughput(&cluster, n as u32, *senders, *size, seconds, runs.on())?;
            eprintln!("{daemon}, run {}: {size} bytes, {senders}: {rate:.0} messages/s", k + 1);
            Ok(vec![rate])
        };
        cases.iter().enumerate().map(run).collect::<Result<Vec<_>>>()
    };
    let samples = in_turn(&daemons, times, measure)?;
    let title = format!("ordered messages/s at the slowest receiver, median of {times} runs; {}", rig.ring());
    let mut table = Table::new(&title);
    let mut objects = Vec::new();
    for (n, (size, senders)) in cases.iter().enumerate() {
        let rates: Vec<f64> = samples.iter().map(|of| traffic::median(of[n].clone())).collect();
        for ((daemon, rate), of) in daemons.iter().zip(&rates).zip(&samples) {
            let (megabytes, ratio) = (rate * *size as f64 / 1e6, rates[0] / rate);
            let text = format!("{rate:9.0} /s  {megabytes:7.1} MB/s  {} is {ratio:5.2} x that", daemons[0]);
            table.row(&format!("{size} bytes, {senders}: {daemon}"), &text);
            let runs: Vec<String> = of[n].iter().map(|r| format!("{r:.0}")).collect();
            objects.push(format!(
                "{{\"daemon\":\"{daemon}\",\"bytes\":{size},\"senders\":\"{senders}\",\"messages_s\":{rate:.0},\
                 \"mb_s\":{megabytes:.1},\"runs\":[{}]}}",
                runs.join(",")
            ));
        }
    }
    show(&table, json, "throughput", &objects);
    Ok(())
}

fn latency(senders: &[u32], runs: &Runs, rig: &Rig) -> Result<()> {
    let Runs { times, seconds, json, .. } = *runs;
    let daemons = peers(rig);
    let measure = |daemon, k: u32| {
        let cluster = membership::start(daemon, rig.ring())?;
        let run = |(n, sender): (usize, &u32)| {
            let mut times = traffic::latency(&cluster, n as u32, *sender, seconds, runs.on())?;
            let [p50, p99] = [50, 99].map(|p| traffic::percentile(&mut times, p));
            eprintln!("{daemon}, run {}: node {sender}: p50 {p50:.0} us, p99 {p99:.0} us", k + 1);
            Ok(times)
        };
        senders.iter().enumerate().map(run).collect::<Result<Vec<_>>>()
    };
    let mut samples = in_turn(&daemons, times, measure)?;
    let title = format!(
        "64 bytes, sent -> delivered to the sender, one after the other, {times} runs, us; {}",
        rig.ring()
    );
    let mut table = Table::new(&title);
    let mut objects = Vec::new();
    for (n, sender) in senders.iter().enumerate() {
        for (daemon, of) in daemons.iter().zip(&mut samples) {
            let [p50, p99, max] = [50, 99, 100].map(|p| traffic::percentile(&mut of[n], p));
            let text = format!("p50 {p50:8.1}  p99 {p99:8.1}  max {max:9.1}  n {}", of[n].len());
            table.row(&format!("node {sender} sends: {daemon}"), &text);
            objects.push(format!(
                "{{\"daemon\":\"{daemon}\",\"sender\":{sender},\"p50_us\":{p50:.1},\"p99_us\":{p99:.1},\"max_us\":{max:.1},\
                 \"samples\":{}}}",
                of[n].len()
            ));
        }
    }
    show(&table, json, "latency", &objects);
    Ok(())
}

fn calls(pauses: &[u32], runs: &Runs, rig: &Rig) -> Result<()> {
    let Runs { times, seconds, json, .. } = *runs;
    let daemons = peers(rig);
    let cases: Vec<(&str, u32)> =
        pauses.iter().flat_map(|pause| calls::CALLS.map(|call| (call, *pause))).collect();
    let measure = |daemon, _| {
        let cluster = membership::start(daemon, rig.ring())?;
        // A ring that has just formed is not idle yet.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let run = |(n, (call, pause)): (usize, &(&str, u32))| {
            calls::measure(&cluster, &n.to_string(), call, *pause, seconds)
        };
        cases.iter().enumerate().map(run).collect::<Result<Vec<_>>>()
    };
    let mut samples = in_turn(&daemons, times, measure)?;
    let title = format!("one call of corosync's library at an idle ring, {times} runs, us; {}", rig.ring());
    let mut table = Table::new(&title);
    let mut objects = Vec::new();
    for (n, (call, pause)) in cases.iter().enumerate() {
        for (daemon, of) in daemons.iter().zip(&mut samples) {
            let [p50, p99, max] = [50, 99, 100].map(|p| traffic::percentile(&mut of[n], p));
            let text = format!("p50 {p50:8.1}  p99 {p99:8.1}  max {max:9.1}  n {}", of[n].len());
            table.row(&format!("{call}, {pause} us between: {daemon}"), &text);
            objects.push(format!(
                "{{\"daemon\":\"{daemon}\",\"call\":\"{call}\",\"pause_us\":{pause},\"p50_us\":{p50:.1},\
                 \"p99_us\":{p99:.1},\"max_us\":{max:.1},\"samples\":{}}}",
                of[n].len()
            ));
        }
    }
    show(&table, json, "calls", &objects);
    Ok(())
}

/// Runs of all daemons in turn, a fresh ring each: what each run measured in each case, put together by daemon and case.
fn in_turn(
    daemons: &[Daemon],
    times: u32,
    measure: impl Fn(Daemon, u32) -> Result<Vec<Vec<f64>>>,
) -> Result<Vec<Vec<Vec<f64>>>> {
    let mut all: Vec<Vec<Vec<f64>>> = vec![Vec::new(); daemons.len()];
    for k in 0..times {
        for (daemon, samples) in daemons.iter().zip(&mut all) {
            let cases = measure(*daemon, k)?;
            samples.resize(cases.len(), Vec::new());
            samples.iter_mut().zip(cases).for_each(|(of, case)| of.extend(case));
        }
    }
    Ok(all)
}

fn show(table: &Table, json: bool, bench: &str, objects: &[String]) {
    if json {
        println!("{{\"bench\":\"{bench}\",\"cases\":[{}]}}", objects.join(",\n"));
    } else {
        table.print();
    }
}

fn scale(nodes: &[u32], seconds: u32, times: u32, token: u32, daemons: &[Daemon]) -> Result<()> {
    let mut table = Table::new(&format!(
        "each daemon of a quiet ring over {seconds} s, and medians of {times} changes in ms, token {token}"
    ));
    for daemon in Daemon::present(daemons) {
        for n in nodes {
            let row = scale::measure(daemon, seconds, times, Ring { nodes: *n, token: Some(token) })?;
            let text = format!(
                "CPU {:5.2} %  packets/s {:7.1}  resident {:5.1} MB  form {:7.1}  kill -9 {:7.1}  node dies {:7.1}",
                row.cpu, row.packets, row.resident, row.form, row.kill, row.death
            );
            eprintln!("{daemon}, {n} nodes: {text}");
            table.row(&format!("{daemon}, {n} nodes"), &text);
        }
    }
    table.print();
    Ok(())
}

fn stability(loads: &[Load], seconds: u32, rig: &Rig) -> Result<()> {
    let mut table = Table::new(&format!("a ring under load for {seconds} s; {}", rig.ring()));
    for daemon in rig.daemons() {
        for load in loads {
            for (what, value) in stability::measure(daemon, *load, seconds, rig.ring())? {
                table.row(&format!("{daemon}, {load}: {what}"), &value);
            }
        }
    }
    table.print();
    Ok(())
}
