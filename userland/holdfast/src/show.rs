//! `holdfast status`.

use crate::exit::Exit;
use crate::gather::{self, Sources, gather, is_complete};
use crate::io::Io;

/// Show ring, quorum, nodes and resources as this node sees them.
///
/// It asks the daemons of this node. Where one of them does not answer, it shows what the other knows, and says what
/// to do.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print JSON: one object, fields are only ever added.
    #[arg(long)]
    json: bool,
    /// Show the timing model in force instead, with what was measured on this machine.
    #[arg(long)]
    timing: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    if args.timing {
        return timing(args.json, io);
    }
    let status = gather(&Sources::from_env());
    let text = || status::text(&status, holdfast_sys::timezone::utc_offset);
    match (show(&status, text, args.json, io), status.answered) {
        (Err(exit), _) => exit,
        (Ok(()), a) if is_complete(a) => Exit::Ok,
        (Ok(()), a) if a.cmmd => Exit::TryAgain,
        _ => Exit::Unavailable,
    }
}

fn timing(json: bool, io: &mut Io) -> Exit {
    let report = gather::timing(&Sources::from_env());
    match (show(&report, || status::timing_text(&report), json, io), report.safe) {
        (Err(exit), _) => exit,
        _ if !report.answered => Exit::Unavailable,
        (Ok(()), Some(false)) => Exit::Of(UNSAFE),
        (Ok(()), _) => Exit::Ok,
    }
}

/// As JSON or as text.
fn show(
    model: &impl serde::Serialize,
    text: impl FnOnce() -> String,
    json: bool,
    io: &mut Io,
) -> Result<(), Exit> {
    if !json {
        io.say(format_args!("{}", text()));
        return Ok(());
    }
    let json = serde_json::to_string_pretty(model).map_err(|e| {
        io.complain(format_args!("holdfast status: {e}\n"));
        Exit::Software
    })?;
    io.say(format_args!("{json}\n"));
    Ok(())
}

/// As `cmmd -t` refuses it.
const UNSAFE: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  holdfast status
  holdfast status --json | jq -r '.resources[] | [.id, .role, .nodes[0]] | @tsv'
  holdfast status --timing        every interval and limit in force, and whether this machine keeps them
  HOLDFAST_RUN_DIR=/tmp/demo/n1/run holdfast status    a node of a demo

Exit status:
  0   cmmd and rgmd of this node answered (--timing: cmmd did)
  1   --timing: unsafe with this machine's lateness
  69  cmmd did not answer
  75  rgmd did not answer: resources are not shown";
