//! `holdfast ring`: links, time limits, the token and the last changes, once or as a live view.

mod gather;

use std::time::Duration;

use status::RingReport;

pub(crate) use gather::gather;

use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;
use crate::live;

/// Show the ring as this node sees it: members, links with latency and loss, limits, what the token takes, how late
/// the daemon is, what went wrong, and the last changes.
///
/// It asks cmmd of this node. It also shows what a corosync of this node knows.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print JSON: one object, fields are only ever added; with --watch one line each time.
    #[arg(long)]
    json: bool,
    /// Look again and again, every so many seconds (1 if none are given), until q or Ctrl-C.
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = live::seconds)]
    watch: Option<Duration>,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let sources = Sources::from_env();
    match args.watch {
        None => {
            let report = gather::gather(&sources);
            if args.json {
                match serde_json::to_string_pretty(&report) {
                    Ok(json) => io.say(format_args!("{json}\n")),
                    Err(e) => return broken(io, &e),
                }
            } else {
                io.say(format_args!("{}", text(&report)));
            }
            if report.answered { Exit::Ok } else { Exit::Unavailable }
        }
        Some(interval) if args.json => {
            live::lines(NAME, interval, io, || serde_json::to_string(&gather::gather(&sources)))
        }
        Some(interval) => live::view(NAME, interval, io, || text(&gather::gather(&sources))),
    }
}

const NAME: &str = "holdfast ring";

fn broken(io: &mut Io, error: &serde_json::Error) -> Exit {
    io.complain(format_args!("{NAME}: {error}\n"));
    Exit::Software
}

fn text(report: &RingReport) -> String {
    status::ring_text(report, holdfast_sys::timezone::utc_offset)
}

const EXAMPLES: &str = "\
Examples:
  holdfast ring
  holdfast ring --watch           a live view; what has changed is marked; q ends it
  holdfast ring --json | jq '.peers[].links[] | select(.connected | not)'
  holdfast ring --json --watch 5 >> ring.jsonl    one line every 5 seconds

Exit status:
  0   cmmd of this node answered
  64  wrong usage
  69  cmmd did not answer
  70  the terminal cannot be used
  --watch ends with 0 when it is told to end, whatever it showed";
