//! `holdfast quorum`: who has votes, how many are needed, and every change of that, shown before it is made and refused where it
//! would cost the running partition its quorum.

mod change;
mod count;
mod device;
mod edit;
pub(crate) mod file;
mod report;
mod seen;

use clap::Subcommand;

use self::change::{How, Work, make};
use self::count::Change;
pub(crate) use self::file::find as configuration;
use self::seen::Seen;
use crate::exit::Exit;
use crate::io::Io;

/// Show votes and quorum, and change them without losing it.
///
/// Every change is shown first, before and after, and refused where the running partition would lose its quorum by it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show the votes possible, needed and present, by node and by device
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Set how many votes are expected, until the node list changes or all nodes restart
    ///
    /// As "cman_tool expected" and "corosync-quorumtool -e". More than half of them are needed. It is for a partition that has
    /// lost nodes for good: make sure that they are down.
    #[command(after_help = EXPECTED_EXAMPLES)]
    Expected(Expected),
    /// Set the votes of a node, until the node list changes or the node restarts
    ///
    /// As "cman_tool votes" and "corosync-quorumtool -v". To keep them, write quorum_votes into the node's section in the
    /// configuration files, and "corosync-cfgtool -R".
    #[command(after_help = VOTES_EXAMPLES)]
    Votes(SetVotes),
    /// Add, remove, enable or disable the quorum device
    Device(device::Args),
    /// Take a node out of the count, or put it back
    ///
    /// A node in maintenance has no vote, and none is expected of it. That is remembered by all nodes until it is ended, also
    /// over restarts.
    #[command(after_help = MAINTENANCE_EXAMPLES)]
    Maintenance(Maintenance),
    /// Have all nodes and the device count as the configuration file says
    ///
    /// Ends every maintenance, enables the device, and takes back what was set at run time.
    #[command(after_help = RESET_EXAMPLES)]
    Reset(Reset),
}

#[derive(clap::Args)]
struct Status {
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Expected {
    /// So many votes are expected of all nodes and the device together
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    votes: u32,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct SetVotes {
    /// The node, by name or id
    #[arg(value_name = "NODE")]
    node: String,
    /// How many votes it has from now on
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(..=65_535))]
    votes: u32,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct Maintenance {
    /// The node, by name or id
    #[arg(value_name = "NODE")]
    node: String,
    /// Whether it is in maintenance
    #[arg(value_name = "on|off")]
    switch: Switch,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct Reset {
    #[command(flatten)]
    how: How,
}

/// A switch's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    /// Its votes are neither counted nor expected
    On,
    /// Its votes count again
    Off,
}

/// Runs `holdfast quorum`.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match &args.what {
        What::Status(args) => status(args, io),
        What::Expected(args) => make("expected", |_| Ok(Change::Expected(args.votes)), &args.how, io),
        What::Votes(args) => {
            let pick = |seen: &Seen| Ok(Change::Votes { node: node(seen, &args.node)?, votes: args.votes });
            make("votes", pick, &args.how, io)
        }
        What::Maintenance(args) => {
            let on = args.switch == Switch::On;
            let pick = |seen: &Seen| Ok(Change::Maintenance { node: node(seen, &args.node)?, on });
            make("maintenance", pick, &args.how, io)
        }
        What::Reset(args) => make("reset", |_| Ok(Change::Reset), &args.how, io),
        What::Device(args) => device::run(args, io),
    }
}

fn status(args: &Status, io: &mut Io) -> Exit {
    let how = How { force: None, dry_run: true, wait: 0, json: args.json };
    let mut work = Work::new("status", &how, io);
    match work.look() {
        Ok((_, seen)) if args.json => {
            work.io.say(format_args!("{:#}\n", report::status_json(&seen)));
            Exit::Ok
        }
        Ok((_, seen)) => {
            work.io.say(format_args!("{}", report::status_text(&seen)));
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// The id of a node, by its name or id.
fn node(seen: &Seen, name: &str) -> Result<u32, String> {
    let voters = &seen.votes.voters;
    let by_name = voters.iter().find(|v| v.name == name);
    let found = by_name.or_else(|| name.parse().ok().and_then(|id| seen.votes.voter(id)));
    found.map(|v| v.id).ok_or_else(|| {
        let names: Vec<String> = voters.iter().map(|v| format!("{} ({})", v.name, v.id)).collect();
        format!("there is no node {name}; there are {}", names.join(", "))
    })
}

const EXAMPLES: &str = "\
Examples:
  holdfast quorum status                 votes possible, needed and present; by node and device
  holdfast quorum maintenance n3 on      n3 is repaired: its vote is neither counted nor expected
  holdfast quorum maintenance n3 off     it is back
  holdfast quorum device disable         the same for the quorum device
  holdfast quorum device add disk /dev/disk/by-id/scsi-36001405    on every node
  holdfast quorum expected 2 --dry-run   what would follow, and how many failures would be stood

Exit status:
  0   done, and in force
  1   refused: the partition would lose quorum, or another one could be quorate beside it;
      nothing was changed
  64  wrong usage: no such node, another cluster's name
  69  cmmd does not answer
  70  cmmd refused it
  73  the configuration file cannot be used or replaced
  75  asked for, and not in force yet
  77  only root may do that";
const STATUS_EXAMPLES: &str = "\
Examples:
  holdfast quorum status
  holdfast quorum status --json | jq -r '[.possible, .needed, .present] | @tsv'
  holdfast quorum status --json | jq -r '.nodes[] | select(.present | not) | .name'

Possible are the votes that count of all nodes and the device, here or not. \"Stands\" is how many
voters may be lost at once, whichever they are.

Exit status: 0 cmmd answered; 69 it did not";
const EXPECTED_EXAMPLES: &str = "\
Examples:
  holdfast quorum expected 3 --dry-run     what would follow
  holdfast quorum expected 3
  holdfast quorum expected 1 --force web   two of three nodes of cluster web are lost, and off

Exit status: 0 in force; 1 refused, nothing was changed; 64 wrong usage; 69 cmmd does not answer;
             70 cmmd refused it; 75 not in force yet; 77 not permitted";
const VOTES_EXAMPLES: &str = "\
Examples:
  holdfast quorum votes n1 2
  holdfast quorum votes 3 0 --dry-run

Exit status: 0 in force; 1 refused, nothing was changed; 64 wrong usage; 69 cmmd does not answer;
             70 cmmd refused it; 75 not in force yet; 77 not permitted";
const MAINTENANCE_EXAMPLES: &str = "\
Examples:
  holdfast quorum maintenance n3 on
  holdfast quorum maintenance 3 off --wait 60

Exit status: 0 in force; 1 refused, nothing was changed; 64 wrong usage; 69 cmmd does not answer;
             70 cmmd refused it; 75 not in force yet; 77 not permitted";
const RESET_EXAMPLES: &str = "\
Examples:
  holdfast quorum reset --dry-run
  holdfast quorum reset

Exit status: 0 in force; 1 refused, nothing was changed; 69 cmmd does not answer;
             70 cmmd refused it; 75 not in force yet; 77 not permitted";

#[cfg(test)]
mod tests;
