//! `holdfast`: the administrator's command, one binary for many names.
//!
//! The name it is called by, or else its first argument, chooses what it is. Exit status: 0 done, 1 failed, 64 usage; an
//! applet that stands in for another command has that command's.

#![forbid(unsafe_code)]

mod applets;
mod collect;
mod demo;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use applets::{STAND_INS, crm_mon, link, status};

/// Run and look after a Holdfast cluster.
#[derive(Parser, Debug)]
#[command(
    name = "holdfast",
    version,
    arg_required_else_help = true,
    after_help = "Called by another name (see `holdfast link`), it is that command.\nThe cluster is the one whose run \
                  directory $HOLDFAST_RUN_DIR names, else this machine's."
)]
struct Cli {
    #[command(subcommand)]
    command: Applet,
}

#[derive(Subcommand, Debug)]
enum Applet {
    /// Show members, quorum, ring, failfast units and resources as this node sees them
    #[command(
        after_help = "Exit status: 0 quorate, 2 not quorate, 1 no daemon answers.\n\nExamples:\n  holdfast status\n  \
                      holdfast status --json | jq .quorum"
    )]
    Status(status::Args),
    /// The screen that Pacemaker's users know
    #[command(name = "crm_mon", after_help = "Examples:\n  holdfast crm_mon -1\n  holdfast crm_mon -1rf")]
    CrmMon(crm_mon::Args),
    /// Make links under the names people know
    #[command(
        after_help = "Examples:\n  holdfast link /usr/local/sbin --dry-run\n  holdfast link /usr/local/sbin"
    )]
    Link(link::Args),
    /// Watch three real nodes on this machine form a cluster, one die, and its services move
    #[command(
        after_help = "Examples:\n  holdfast demo\n  holdfast demo --keep      # then explore from another terminal\n  \
                      holdfast demo --loopback  # without namespaces"
    )]
    Demo(demo::Args),
    /// Process 1 of a demo node
    #[command(hide = true, name = "demo-init")]
    DemoInit { args: Vec<String> },
    /// A resource's process in the demo
    #[command(hide = true, name = "demo-worker")]
    DemoWorker { args: Vec<String> },
    /// The demo's fence agent: key=value lines on standard input
    #[command(hide = true, name = "fence-demo")]
    FenceDemo { socket: PathBuf },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no mistakes; everything else is a usage error in sysexits' number.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Applet::Status(args) => status::run(&args),
        Applet::CrmMon(args) => crm_mon::run(&args),
        Applet::Link(args) => link::run(&args),
        Applet::Demo(args) => demo::run(&args),
        Applet::DemoInit { args } => demo::init(&args),
        Applet::DemoWorker { args } => demo::worker(&args),
        Applet::FenceDemo { socket } => demo::fence(&socket),
    }
}

/// The arguments with the applet first, wherever it was named.
fn arguments(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let called =
        args.first().and_then(|a| Path::new(a).file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    if STAND_INS.contains(&called) {
        args.insert(0, "holdfast".into());
        args[1] = Path::new(&args[1]).file_name().map(OsString::from).unwrap_or_default();
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_it_is_called_by_chooses_the_applet() {
        let args = |words: &[&str]| arguments(words.iter().map(OsString::from));
        assert_eq!(args(&["/usr/sbin/crm_mon", "-1"]), ["holdfast", "crm_mon", "-1"]);
        assert_eq!(args(&["/usr/sbin/holdfast", "status"]), ["/usr/sbin/holdfast", "status"]);
        for name in STAND_INS {
            assert!(Cli::try_parse_from(args(&[name, "-1"])).is_ok(), "{name} is an applet");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
