//! `crmadmin`: which nodes there are, which one decides, and how far it is.

use cib::Element;

use super::crm_node::Nodes;
use super::options::{Given, Grammar, Group, flag, maybe, value};
use super::output::{Node, Out};
use super::session::Session;
use super::{Stop, USAGE, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crmadmin",
    about: "crmadmin - the cluster's nodes, the one that decides, and its state",
    rest: "",
    output: true,
    help: 'h',
    main: &[flag("quiet", 'q', "Show only what was asked for")],
    groups: &[
        Group {
            name: "command",
            title: "Commands:",
            about: "Show command options",
            options: &[
                value("status", 'S', "NODE", "Show the state of a node"),
                flag("pacemakerd", 'P', "Show whether the resource manager runs here"),
                flag("dc_lookup", 'D', "Show the node that decides"),
                maybe(
                    "nodes",
                    'N',
                    "TYPE",
                    "Show nodes: all (default), cluster, guest, remote; several with commas",
                ),
            ],
        },
        Group {
            name: "additional",
            title: "Additional Options:",
            about: "Show additional options",
            options: &[
                value("timeout", 't', "TIMESPEC", "Taken and not needed: rgmd answers at once"),
                flag("bash-export", 'B', "With -N: as export NAME=ID"),
                value("ipc-name", 'i', "NAME", "Taken and not needed"),
                flag("health", 'H', ""),
            ],
        },
    ],
    examples: "\
Examples:
  crmadmin -D          which node decides?
  crmadmin -S n1       is n1 working on something?
  crmadmin -N          which nodes are configured?

Exit status: 0; 64 wrong usage; 102 the cluster does not run on this node; 105 no such node",
};

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, |given, out| {
        out.simple_lists = true;
        work(grammar, given, out)
    })
}

fn work(grammar: &Grammar, given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    if given.has("health") {
        out.error(format_args!("Cluster-wide health option not supported"));
    }
    let command = given.last_of(&["status", "pacemakerd", "dc_lookup", "nodes"]);
    if command.is_none() {
        out.error(format_args!("error: Must specify a command option"));
    }
    let Some(command) = command.filter(|_| !given.has("health")) else {
        out.error(format_args!("{}", grammar.usage(&[])));
        return Ok(USAGE);
    };
    let server = if command == "pacemakerd" { "launcher" } else { "controller" };
    let failed = |stop: Stop, out: &mut Out<'_>| {
        if command != "nodes" {
            out.error(format_args!("error: Could not connect to {server}: {}", stop.text));
        }
        out.error(format_args!("error: Command failed: {}", stop.text));
        Ok(stop.exit)
    };
    let mut session = match Session::open() {
        Ok(session) => session,
        Err(refusal) => return failed(refusal.into(), out),
    };
    if command == "nodes" {
        let document = match session.document() {
            Ok(document) => document,
            Err(refusal) => return failed(refusal.into(), out),
        };
        list(&document, given.get("nodes"), given.has("bash-export"), out);
        return Ok(0);
    }
    let asked = if command == "status" { Nodes::ask_controller } else { Nodes::ask };
    let nodes = match asked(&mut session) {
        Ok(nodes) => nodes,
        Err(stop) => return failed(stop, out),
    };
    match command {
        "dc_lookup" => {
            if out.is_xml() {
                out.add(Node::new("dc").with("node_name", nodes.dc.unwrap_or_default()));
            } else if out.quiet {
                if let Some(dc) = nodes.dc {
                    out.print(format_args!("{dc}\n"));
                }
            } else {
                let dc = nodes.dc.as_deref().unwrap_or("not yet elected");
                out.print(format_args!("Designated Controller is: {dc}\n"));
            }
        }
        "status" => {
            let node = given.get("status").unwrap_or_default();
            let Some(known) = nodes.all.iter().find(|n| n.name == node) else {
                out.error(format_args!("error: Command failed: no node \"{node}\"; crm_node -l lists them"));
                return Ok(super::NO_SUCH);
            };
            // One node decides, and the others do as it says.
            let state = match (known.member, nodes.dc.as_deref() == Some(node)) {
                (false, _) => "S_PENDING",
                (true, true) => nodes.state.as_str(),
                (true, false) => "S_NOT_DC",
            };
            if out.is_xml() {
                let xml = Node::new("crmd").with("node_name", node).with("state", state);
                out.add(xml.with("result", "ok"));
            } else if out.quiet {
                out.print(format_args!("{state}\n"));
            } else {
                out.print(format_args!("Controller on {node} in state {state}: ok\n"));
            }
        }
        _ => {
            let now = super::session::ctime(super::session::clock().0);
            if out.is_xml() {
                let xml = Node::new("pacemakerd").with("sys_from", "pacemakerd").with("state", "running");
                out.add(xml.with("last_updated", now));
            } else if out.quiet {
                out.print(format_args!("running\n"));
            } else {
                out.print(format_args!(
                    "Status of pacemakerd: 'Pacemaker is running' (last updated {now})\n"
                ));
            }
        }
    }
    Ok(0)
}

/// Kind, name and id of the nodes of these kinds.
fn list(document: &Element, kinds: Option<&str>, export: bool, out: &mut Out<'_>) {
    let kinds: Vec<&str> = kinds.unwrap_or("all").split(',').collect();
    let wanted = |kind: &str| kinds.iter().any(|k| *k == kind || matches!(*k, "all" | ""));
    let mut found: Vec<(&str, String, String)> = Vec::new();
    let configuration = document.child("configuration");
    let nodes = configuration.and_then(|c| c.child("nodes"));
    if wanted("cluster") {
        let nodes = nodes.into_iter().flat_map(|n| n.children_named("node"));
        for node in nodes.filter(|n| n.get("type").is_none_or(|t| t == "member")) {
            found.push((
                "cluster",
                node.get("uname").unwrap_or_default().to_owned(),
                node.id().unwrap_or_default().to_owned(),
            ));
        }
    }
    if let Some(resources) = configuration.and_then(|c| c.child("resources")) {
        resources.walk(&mut |e| {
            if wanted("guest") && e.name == "nvpair" && e.get("name") == Some("remote-node") {
                let name = e.get("value").unwrap_or_default().to_owned();
                found.push(("guest", name.clone(), name));
            }
            let connection = (e.get("class"), e.get("provider"), e.get("type"));
            if wanted("remote") && connection == (Some("ocf"), Some("pacemaker"), Some("remote")) {
                let name = e.id().unwrap_or_default().to_owned();
                found.push(("remote", name.clone(), name));
            }
        });
    }
    if found.is_empty() {
        out.info(format_args!("No nodes configured"));
    }
    if out.is_xml() {
        out.open(Node::new("nodes"));
    }
    for (kind, name, id) in found {
        if out.is_xml() {
            out.add(Node::new("node").with("type", kind).with("name", name).with("id", id));
        } else if export {
            out.print(format_args!("export {name}={id}\n"));
        } else if out.quiet {
            out.print(format_args!("{name}\n"));
        } else {
            out.print(format_args!("{kind} node: {name} ({id})\n"));
        }
    }
    out.close();
}
