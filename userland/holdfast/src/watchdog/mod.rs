//! `holdfast watchdog`: the devices of this machine, and the proof that one of them resets it.

mod list;
mod trial;

use clap::Subcommand;

use crate::exit::Exit;
use crate::io::Io;

/// Find the machine's watchdogs, and prove that they reset it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show all watchdogs: what they are called, what they can do, who uses them, which are configured. Opens none
    List(list::Args),
    /// Arm a watchdog and do not feed it: a machine that is still there afterwards has no watchdog
    ///
    /// Not while cmmd (or corosync) runs here, and not with a device that is running or in use. With --dry-run it is armed, fed and stopped.
    Test(trial::Args),
}

pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match &args.what {
        What::List(args) => list::run(args, io),
        What::Test(args) => trial::run(args, io),
    }
}

const EXAMPLES: &str = "\
Examples:
  holdfast watchdog list                            what there is, and which is configured
  holdfast watchdog test /dev/watchdog0 --dry-run   armed, fed for a few seconds, stopped
  holdfast watchdog test \"i6300ESB timer\"           RESETS THIS MACHINE, after a question
  holdfast watchdog test /dev/watchdog0 --yes n1    the same without one, on host n1 only

In the configuration:
  failfast {
    watchdog_identity: i6300ESB timer
    watchdog_timeout: 10000
  }

Exit status: 0 done; 1 refused, nothing was opened; 64 usage; 70 the device does not do what it should; 77 only root may";
