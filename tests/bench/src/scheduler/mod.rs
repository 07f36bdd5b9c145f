//! The scheduler beside Pacemaker's: CPU time and peak memory of one run over a document, by the number of primitives and the state
//! that they are in.

mod documents;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;

use crate::table::Table;
use documents::{State, document};

/// How.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// How many primitives, one row each; a fifth of them in the forms of groups, clones and colocations
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300, 1000, 3000])]
    primitives: Vec<usize>,
    /// Which state; may be given several times [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    state: Vec<State>,
    /// How many nodes
    #[arg(long, default_value_t = 32)]
    nodes: usize,
    /// The peer is given so many seconds for one document; what takes longer is shown as that
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// A folder of documents that each command decides in one process instead (crm_simulate -P)
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Options of both commands; what is not there yet in ours says so
    #[arg(long, default_value = "-sQ", allow_hyphen_values = true)]
    options: String,
    /// Ours alone
    #[arg(long)]
    alone: bool,
    /// Write the documents here and leave them, instead of measuring
    #[arg(long)]
    write: Option<PathBuf>,
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taken {
    Done { seconds: f64, mebibytes: f64 },
    TooLong(u64),
}

pub(crate) fn run(how: &How) -> Result<()> {
    let all = [State::Fresh, State::Steady, State::Lost];
    let states = if how.state.is_empty() { &all[..] } else { &how.state };
    if let Some(folder) = &how.write {
        for (state, primitives) in states.iter().flat_map(|s| how.primitives.iter().map(move |p| (*s, *p))) {
            let path = folder.join(format!("{}-{}-{primitives}.xml", how.nodes, slug(state)));
            std::fs::write(&path, document(how.nodes, primitives, state))
                .with_context(|| format!("writing {}", path.display()))?;
            println!("{}", path.display());
        }
        return Ok(());
    }
    // Its neighbour: nothing else of a node is needed.
    let ours = std::env::current_exe()?.with_file_name("holdfast");
    if !ours.is_file() {
        bail!("{} is not there; build it first: cargo build --release -p holdfast", ours.display());
    }
    let title = format!(
        "one run of simulate {}: CPU seconds and MiB, ours · crm_simulate's · ratio of each",
        how.options
    );
    let mut table = Table::new(&title);
    if let Some(dir) = &how.dir {
        let mine = measure(&ours, true, how, &["-P".as_ref(), dir.as_os_str()])?;
        let peer = (!how.alone)
            .then(|| measure("crm_simulate".as_ref(), false, how, &["-P".as_ref(), dir.as_os_str()]));
        table.row(&dir.display().to_string(), &compare(mine, peer.transpose()?));
        table.print();
        return Ok(());
    }
    let path = std::env::temp_dir().join(format!("holdfast-bench-{}.xml", std::process::id()));
    let _removed_at_the_end = Removed(&path);
    for state in states {
        for primitives in &how.primitives {
            std::fs::write(&path, document(how.nodes, *primitives, *state))?;
            let input = ["-x".as_ref(), path.as_os_str()];
            let mine = measure(&ours, true, how, &input)?;
            let peer = (!how.alone).then(|| measure("crm_simulate".as_ref(), false, how, &input));
            let name = format!("{} nodes, {primitives:4} primitives, {state}", how.nodes);
            table.row(&name, &compare(mine, peer.transpose()?));
        }
    }
    table.print();
    Ok(())
}

struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

fn slug(state: State) -> &'static str {
    match state {
        State::Fresh => "fresh",
        State::Steady => "steady",
        State::Lost => "lost",
    }
}

fn compare(mine: Taken, peer: Option<Taken>) -> String {
    let Taken::Done { seconds, mebibytes } = mine else { return "ours took too long".to_owned() };
    let own = format!("{seconds:7.2} s {mebibytes:6.0} MiB");
    match peer {
        None => own,
        Some(Taken::TooLong(limit)) => {
            format!("{own} · more than {limit} s · < 1/{:.0}", limit as f64 / seconds)
        }
        Some(Taken::Done { seconds: theirs, mebibytes: of_theirs }) => format!(
            "{own} · {theirs:7.2} s {of_theirs:6.0} MiB · 1/{:.1} 1/{:.1}",
            theirs / seconds,
            of_theirs / mebibytes
        ),
    }
}

/// Runs a command in a process of its own that then says what its only child took: peaks of children do not add up.
fn measure(program: &Path, ours: bool, how: &How, input: &[&std::ffi::OsStr]) -> Result<Taken> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", &how.limit.to_string(), "--"]).arg(program);
    if ours {
        command.arg("simulate");
    }
    let output = command.arg(&how.options).args(input).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{} could not be measured; run it by hand to see why: {text}", program.display());
    }
    let mut words = text.split_whitespace();
    let mut number = || words.next().and_then(|w| w.parse::<f64>().ok());
    Ok(match (number(), number()) {
        (Some(seconds), Some(mebibytes)) => Taken::Done { seconds, mebibytes },
        _ => Taken::TooLong(how.limit),
    })
}

/// Runs a command and prints CPU seconds and peak MiB, or nothing if it had to be ended after `limit` seconds.
pub(crate) fn child(limit: u64, command: &[std::ffi::OsString]) -> Result<()> {
    let (program, arguments) = command.split_first().context("a command is missing after --")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}; is it installed?", program.display()))?;
    let deadline = Instant::now() + Duration::from_secs(limit);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.code().is_none() {
        let signal =
            std::os::unix::process::ExitStatusExt::signal(&status).and_then(|s| Signal::try_from(s).ok());
        bail!("{} ended by {signal:?}", program.display());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    println!(
        "{} {}",
        seconds(usage.user_time()) + seconds(usage.system_time()),
        usage.max_rss() as f64 / 1024.0
    );
    Ok(())
}
