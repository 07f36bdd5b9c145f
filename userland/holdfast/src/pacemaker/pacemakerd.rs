//! `pacemakerd`: which version the commands stand for. The daemons are started by systemd, not by this.

use super::options::{Given, Grammar, flag, value};
use super::output::{Node, Out};
use super::{BUILD, FEATURE_SET, FEATURES, Stop, VERSION, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "pacemakerd",
    about: "pacemakerd - which version of Pacemaker Holdfast's commands stand for; systemctl start holdfast.target starts the cluster",
    rest: "",
    output: true,
    help: 'h',
    main: &[
        flag("features", 'F', "Show what it was built with"),
        flag("foreground", 'f', "Taken and not needed"),
        value("pid-file", 'p', "FILE", "Taken and not needed"),
        flag("shutdown", 'S', "Stop the cluster on this node: systemctl stop holdfast.target does"),
        flag("standby", 's', "Start it in standby: set that before with crm_standby"),
    ],
    groups: &[],
    examples: "\
Examples:
  pacemakerd --version
  pacemakerd --features

Exit status: 0; 69 this starts no cluster: systemctl start holdfast.target",
};

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, work)
}

fn work(given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    if given.has("features") {
        out.print(format_args!(
            "Pacemaker {VERSION} (Build: {BUILD})\n Supporting v{FEATURE_SET}: {}\n",
            FEATURES.join(" ")
        ));
        let mut features = Node::new("features");
        for feature in FEATURES {
            features.push(Node::new("feature").text(feature));
        }
        let mut node = Node::new("pacemakerd").with("version", VERSION).with("build", BUILD);
        node = node.with("feature_set", FEATURE_SET);
        node.push(features);
        out.add(node);
        return Ok(0);
    }
    let verb = if given.has("shutdown") { "stop" } else { "start" };
    Err(Stop::new(
        69,
        format!("the cluster is started and stopped by systemd: systemctl {verb} holdfast.target"),
    ))
}
