//! `holdfast demo`: a cluster of real nodes on this machine, and two deaths that it survives.

mod clock;
mod cluster;
mod network;
mod observer;
pub(crate) mod service;
pub(crate) mod site;
mod story;

use std::path::PathBuf;

use crate::exit::Exit;
use crate::io::Io;
use clock::Interrupted;

/// Watch a cluster of real nodes on this machine survive two deaths.
///
/// The nodes are real: cmmd, its guardian and rgmd, each with folders and addresses of its own, a fence agent, and a
/// group of three services that must never run twice. First a whole node dies; then, on the node that took over, cmmd
/// alone. Nothing is left behind.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=9))]
    nodes: u32,
    /// Leave the cluster running in the end, and say how to explore it.
    #[arg(long)]
    keep: bool,
    /// Use loopback addresses even where network namespaces are possible.
    #[arg(long)]
    loopback: bool,
    /// End a cluster that was kept, and remove its folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["nodes", "keep", "loopback"])]
    stop: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let result = match &args.stop {
        Some(dir) => {
            cluster::stop(dir).map(|()| io.say(format_args!("{} is stopped and removed\n", dir.display())))
        }
        None => clock::watch_signals().and_then(|()| story::tell(args.nodes, args.keep, args.loopback, io)),
    };
    match result {
        Ok(()) => Exit::Ok,
        Err(e) if e.is::<Interrupted>() => {
            io.complain(format_args!("holdfast demo: interrupted; everything is cleaned up\n"));
            Exit::Of(130)
        }
        Err(e) => {
            io.complain(format_args!("holdfast demo: {e:#}\n"));
            Exit::Software
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  holdfast demo
  holdfast demo --nodes 5
  holdfast demo --keep                          explore the cluster afterwards
  holdfast demo --stop /tmp/holdfast-demo-4711  and end it

Exit status: 0 all went well; 70 something did not, its logs are shown; 130 interrupted";
