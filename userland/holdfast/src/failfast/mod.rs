//! `holdfast failfast`: what would take this node down, and whether it could.

mod maintenance;
mod rehearsal;
mod table;
mod units;

use std::time::Duration;

use clap::Subcommand;
use failfast::Client;
use failfast::client::ClientError;
use holdfast_types::Span;

use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;

/// See what would take this node down, rehearse it, and keep it from happening while it is worked on.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show units, guardian and watchdogs: what runs, what is in trouble, and when the node goes down for it
    Status(table::Args),
    /// Arm a unit for a process that does not do so itself
    ///
    /// The node goes down when that process has been dead for the delay, unless the unit is armed again by then. It ends with "disarm" or
    /// with cmmd; what is to last stands in the configuration: failfast { unit { } }.
    Arm(units::Arm),
    /// Stop watching a unit: the node goes down for it no more
    ///
    /// A unit of the configuration is armed again when its process is another one.
    Disarm(units::Disarm),
    /// Have trouble of units only logged for a while; it ends by itself
    ///
    /// A unit that is dead when it ends has its delay from then on. Loss of quorum, and the death of cmmd or its guardian, are never under
    /// maintenance. It ends with cmmd, too.
    Maintenance(maintenance::Args),
    /// Rehearse going down: what would be written and done, and whether it would work; nothing is written, sent or done
    Test(rehearsal::Args),
}

pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match &args.what {
        What::Status(args) => table::run(args, io),
        What::Arm(args) => units::arm(args, io),
        What::Disarm(args) => units::disarm(args, io),
        What::Maintenance(args) => maintenance::run(args, io),
        What::Test(args) => rehearsal::run(args, io),
    }
}

fn connect() -> Result<Client, ClientError> {
    let Sources { run_dir, limit, .. } = Sources::from_env();
    Client::connect(&run_dir, limit)
}

/// Says why it did not work, and ends with the status for that.
fn fail(error: &ClientError, io: &mut Io) -> Exit {
    let (hint, exit) = match error {
        ClientError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            ("; run it as root", Exit::NoPermission)
        }
        ClientError::Io { path: Some(_), .. } => ("; start it: systemctl start cmmd", Exit::Unavailable),
        ClientError::Io { .. } | ClientError::NoAnswer => ("; try again", Exit::Unavailable),
        ClientError::Refused(_) => ("; nothing was changed", Exit::Of(REFUSED)),
    };
    io.complain(format_args!("{error}{hint}\n"));
    exit
}

/// A time as people write it: a number and its unit, `500ms`, `35s`, `10m`, `2h`.
fn span(text: &str) -> Result<Span, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = number.parse::<u64>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f));
    // A year is beyond what any of these may be, and is no overflow.
    let millis = millis.filter(|ms| *ms < 365 * 24 * 3_600_000);
    millis.map(Span::from_millis).ok_or_else(|| "write a number and its unit: 500ms, 35s, 10m, 2h".into())
}

/// A time as people read it, rounded to what matters: `350 ms`, `35 s`, `9 min 30 s`, `3 h 5 min`.
fn words(span: Span) -> String {
    let ms = span.as_millis();
    let seconds = Duration::from_millis(ms + 500).as_secs();
    match (ms, seconds) {
        (0..1_000, _) => format!("{ms} ms"),
        (_, 0..100) => format!("{seconds} s"),
        (_, 100..3_600) if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        (_, 100..3_600) => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if (seconds / 60).is_multiple_of(60) => format!("{} h", seconds / 3_600),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// What was asked for cannot be done; nothing has changed.
const REFUSED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  holdfast failfast status                       units, guardian, watchdogs
  holdfast failfast status --watch               the same, live; what has changed is marked; q ends it
  holdfast failfast test                         would this node go down, and say why?
  holdfast failfast maintenance on --for 10m pg  restart pg without losing the node
  holdfast failfast maintenance off pg           done with it
  holdfast failfast maintenance on --for 1h --all
  holdfast failfast arm nfs --pid 4711 --delay 35s
  holdfast failfast disarm nfs

Exit status: 0 done; 1 refused, or (test) this node would not go down; 64 usage; 69 cmmd does not answer; 77 only root may";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_as_people_do() {
        let ms = |text: &str| span(text).map(Span::as_millis).ok();
        let read = ["500ms", "35s", "10m", "10min", "2h", "0s"].map(ms);
        assert_eq!(read, [500, 35_000, 600_000, 600_000, 7_200_000, 0].map(Some));
        for bad in ["", "10", "m", "1d", "-5s", "1.5h", "99999999999999999999s", "99999999999999999h"] {
            assert!(span(bad).is_err(), "{bad}");
        }
        let table = [(350, "350 ms"), (35_000, "35 s"), (570_000, "9 min 30 s"), (600_000, "10 min")];
        for (ms, text) in table {
            assert_eq!(words(Span::from_millis(ms)), text);
        }
        assert_eq!(words(Span::from_secs(11_100)), "3 h 5 min");
        assert_eq!(words(Span::from_secs(14_400)), "4 h");
    }
}
