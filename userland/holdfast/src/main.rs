//! `holdfast`: the administrator's command, one binary for many names.
//!
//! The name it is called by, or else its first argument, chooses what it is. Exit status: 0 done, 1 failed, 64 usage; an
//! applet that stands in for another command has that command's.

#![forbid(unsafe_code)]

mod demo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Run and look after a Holdfast cluster.
#[derive(Parser, Debug)]
#[command(name = "holdfast", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Applet,
}

#[derive(Subcommand, Debug)]
enum Applet {
    /// Watch three real nodes on this machine form a cluster, one die, and its services move
    #[command(
        after_help = "Examples:\n  holdfast demo\n  holdfast demo --keep      # then explore from another terminal\n  holdfast demo --loopback  # without namespaces"
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
    match Cli::parse().command {
        Applet::Demo(args) => demo::run(&args),
        Applet::DemoInit { args } => demo::init(&args),
        Applet::DemoWorker { args } => demo::worker(&args),
        Applet::FenceDemo { socket } => demo::fence(&socket),
    }
}
