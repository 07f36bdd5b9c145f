//! `holdfast status`.

use crate::exit::Exit;
use crate::gather::{Sources, gather, is_complete};
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
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let status = gather(&Sources::from_env());
    if args.json {
        match serde_json::to_string_pretty(&status) {
            Ok(json) => io.say(format_args!("{json}\n")),
            Err(e) => {
                io.complain(format_args!("holdfast status: {e}\n"));
                return Exit::Software;
            }
        }
    } else {
        io.say(format_args!("{}", status::text(&status, holdfast_sys::timezone::utc_offset)));
    }
    match status.answered {
        a if is_complete(a) => Exit::Ok,
        a if a.cmmd => Exit::TryAgain,
        _ => Exit::Unavailable,
    }
}

const EXAMPLES: &str = "\
Examples:
  holdfast status
  holdfast status --json | jq -r '.resources[] | [.id, .role, .nodes[0]] | @tsv'
  HOLDFAST_RUN_DIR=/tmp/demo/n1/run holdfast status    a node of a demo

Exit status:
  0   cmmd and rgmd of this node answered
  69  cmmd did not answer
  75  rgmd did not answer: resources are not shown";
