//! `holdfast ring`: links, time limits, the token and the last changes, once or as a live view.

mod gather;
mod watch;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use status::RingReport;

use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;

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
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let interval = text.parse().ok().and_then(|s: f64| Duration::try_from_secs_f64(s).ok());
    let interval = interval.filter(|i| (INTERVAL_MIN..=INTERVAL_MAX).contains(i));
    interval.ok_or_else(|| "write seconds from 0.1 to 3600, e.g. --watch 0.5".to_owned())
}

const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

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
        Some(interval) if args.json => lines(&sources, interval, io),
        Some(_) if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() => {
            io.complain(format_args!(
                "holdfast ring: --watch needs a terminal to draw on; for a program or a file: holdfast ring --json --watch\n"
            ));
            Exit::Usage
        }
        Some(interval) => match watch::live(interval, || text(&gather::gather(&sources))) {
            Ok(()) => Exit::Ok,
            Err(e) => {
                io.complain(format_args!(
                    "holdfast ring: the terminal cannot be used: {e}; try: holdfast ring\n"
                ));
                Exit::Software
            }
        },
    }
}

/// One line of JSON each interval, until nobody reads them any more.
fn lines(sources: &Sources, interval: Duration, io: &mut Io) -> Exit {
    loop {
        let next = Instant::now() + interval;
        match serde_json::to_string(&gather::gather(sources)) {
            Ok(json) => {
                if io.try_say(format_args!("{json}\n")).is_err() {
                    return Exit::Ok;
                }
            }
            Err(e) => return broken(io, &e),
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn broken(io: &mut Io, error: &serde_json::Error) -> Exit {
    io.complain(format_args!("holdfast ring: {error}\n"));
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
