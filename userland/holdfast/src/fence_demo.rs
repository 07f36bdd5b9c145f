//! The demo's fence agent: takes the power from a node of the demo, which means ending every process that belongs to
//! it, and says so only when none is left.
//!
//! It keeps the contract of fence agents: `key=value` lines on standard input; exit status 0 done or on, 2 off, 1
//! failed; metadata as XML.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use holdfast_sys::process_tree::{ProcessTree, Scope, Tag};

use crate::demo::site;
use crate::exit::Exit;
use crate::io::Io;

/// The demo's fence agent.
#[derive(Parser)]
#[command(name = "fence_demo", after_help = EXAMPLES)]
pub(crate) struct Called {
    #[command(flatten)]
    pub(crate) args: Args,
}

/// The demo's fence agent: reads key=value lines from standard input.
///
/// Keys: action (metadata, monitor, list, status, off, reboot, on), plug (the node), dir (the demo's folder).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to do, where standard input does not say.
    #[arg(short = 'o', long)]
    action: Option<String>,
    /// Which node, where standard input does not say.
    #[arg(short = 'n', long)]
    plug: Option<String>,
    /// The demo's folder, where standard input does not say.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match perform(args, io) {
        Ok(exit) => exit,
        Err(e) => {
            io.complain(format_args!("fence_demo: {e:#}\n"));
            FAILED
        }
    }
}

fn perform(args: &Args, io: &mut Io) -> Result<Exit> {
    // With a full set of arguments nothing is read: a person types them.
    let asked = args.action.is_some();
    let input = if asked { String::new() } else { io.read_input().context("reading standard input")? };
    let value = |wanted: &[&str]| {
        let pairs = input.lines().filter_map(|l| l.trim().split_once('='));
        pairs.filter(|(k, _)| wanted.contains(k)).map(|(_, v)| v.to_owned()).next_back()
    };
    let action =
        value(&["action", "option"]).or_else(|| args.action.clone()).unwrap_or_else(|| "reboot".to_owned());
    let plug = value(&["plug", "port", "nodename"]).or_else(|| args.plug.clone());
    let dir = value(&["dir"]).map(PathBuf::from).or_else(|| args.dir.clone());
    if action == "metadata" {
        io.say(format_args!("{METADATA}"));
        return Ok(Exit::Ok);
    }
    let dir = dir.context("no dir=FOLDER of the demo given")?;
    let nodes = site::nodes_of(&dir)?;
    let node = || {
        let name = plug.as_deref().context("no plug=NODE given")?;
        ensure!(
            nodes.iter().any(|n| n == name),
            "{name} is no node of {}: it has {}",
            dir.display(),
            nodes.join(" ")
        );
        Ok::<_, anyhow::Error>(dir.join(name).join("run"))
    };
    match action.as_str() {
        "monitor" | "start" | "stop" | "validate-all" => Ok(Exit::Ok),
        "list" => {
            for name in &nodes {
                io.say(format_args!("{name},\n"));
            }
            Ok(Exit::Ok)
        }
        "status" if plug.is_none() => Ok(Exit::Ok),
        "status" => Ok(if tree(&node()?)?.list()?.is_empty() { OFF } else { Exit::Ok }),
        // The demo itself brings a node back: a node that is off is what the cluster waits for.
        "off" | "reboot" => {
            off(&node()?)?;
            Ok(Exit::Ok)
        }
        "on" => bail!("the demo starts its nodes itself"),
        other => bail!("unknown action {other}: metadata, monitor, list, status, off, reboot"),
    }
}

/// Ends every process of a node. Success means that none is left.
fn off(run_dir: &Path) -> Result<()> {
    let killed = tree(run_dir)?.kill(LIMIT).context("looking through the processes")?;
    ensure!(killed.is_empty(), "processes are left: {killed:?}");
    Ok(())
}

fn tree(run_dir: &Path) -> Result<ProcessTree> {
    let tag = Tag::of_run_dir(run_dir)?;
    ProcessTree::open(Scope::RunDir(tag)).context("opening /proc")
}

const LIMIT: Duration = Duration::from_secs(10);

/// As fence agents have it.
const FAILED: Exit = Exit::Of(1);
const OFF: Exit = Exit::Of(2);

const METADATA: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_demo" shortdesc="Fence agent of the Holdfast demo">
  <longdesc>Ends every process of a node of the demo, and succeeds only when none is left.</longdesc>
  <parameters>
    <parameter name="action" required="1"><getopt mixed="-o, --action=[action]"/><content type="string" default="reboot"/><shortdesc lang="en">What to do</shortdesc></parameter>
    <parameter name="plug" required="1"><getopt mixed="-n, --plug=[node]"/><content type="string"/><shortdesc lang="en">The node</shortdesc></parameter>
    <parameter name="dir" required="1"><getopt mixed="--dir=[folder]"/><content type="string"/><shortdesc lang="en">The demo's folder</shortdesc></parameter>
  </parameters>
  <actions>
    <action name="off"/>
    <action name="reboot"/>
    <action name="status"/>
    <action name="list"/>
    <action name="monitor"/>
    <action name="metadata"/>
  </actions>
</resource-agent>
"#;

const EXAMPLES: &str = "\
Examples:
  printf 'action=off\\nplug=n1\\ndir=/tmp/holdfast-demo-4711\\n' | holdfast fence-demo
  holdfast fence-demo --action status --plug n1 --dir /tmp/holdfast-demo-4711

Exit status: 0 done, or the node is on; 1 failed; 2 the node is off";
