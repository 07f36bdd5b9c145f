//! `attrd_updater`: node attributes that last until the node leaves, as agents set them.

use serde_json::{Value, json};

use super::crm_attribute::named_by_caller;
use super::options::{Given, Grammar, Group, flag, value};
use super::output::{Node, Out};
use super::session::Session;
use super::{Stop, USAGE, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "attrd_updater",
    about: "attrd_updater - show and set node attributes that last until the node leaves",
    rest: "",
    output: true,
    help: 'h',
    main: &[],
    groups: &[
        Group {
            name: "required",
            title: "Required Arguments:",
            about: "Show required arguments",
            options: &[value("name", 'n', "NAME", "The attribute")],
        },
        Group {
            name: "command",
            title: "Command:",
            about: "Show command options (mutually exclusive)",
            options: &[
                value("update", 'U', "VALUE", "Set it: a value, value++ or value+=N"),
                value("update", 'v', "VALUE", ""),
                value("update-both", 'B', "VALUE", "Set it and how long to wait for more changes; needs -d"),
                flag("update-delay", 'Y', "Set how long to wait for more changes; needs -d"),
                flag("query", 'Q', "Show its value"),
                flag("delete", 'D', "Delete it"),
                flag("refresh", 'R', "Write all values into the document once more"),
            ],
        },
        Group {
            name: "additional",
            title: "Additional Options:",
            about: "Show additional options",
            options: &[
                value(
                    "delay",
                    'd',
                    "SECONDS",
                    "How long to wait for more changes before the cluster is told",
                ),
                value("set", 's', "SET", "The block that it stands in"),
                value("node", 'N', "NODE", "Of this node instead of the one that it is called on"),
                flag("all", 'A', "Show the values of all nodes"),
                value("lifetime", 'l', "SECTION", "Taken and not needed"),
                flag("private", 'p', "Never write it into the document"),
            ],
        },
        Group {
            name: "deprecated",
            title: "Deprecated Options:",
            about: "Show deprecated options",
            options: &[flag("quiet", 'q', ""), value("section", 'S', "SECTION", "")],
        },
    ],
    examples: "\
Examples:
  attrd_updater -n pingd -v 100 -d 5s    tell the cluster when it has been so for five seconds
  attrd_updater -n pingd -Q -A           the values of all nodes
  attrd_updater -n failures -v value++   one more
  attrd_updater -n pingd -D

Exit status: 0; 64 wrong usage; 78 no node has such an attribute; 102 the cluster does not run on this node",
};

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, |given, out| {
        // An old option that changes nothing.
        out.quiet = false;
        work(given, out)
    })
}

fn work(given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    for section in given.all("lifetime").chain(given.all("section")) {
        if !matches!(section, "nodes" | "forever" | "status" | "reboot" | "state") {
            return Err(Stop::new(USAGE, format!("Unknown value for --lifetime: {section}")));
        }
    }
    let commands = ["update", "update-both", "update-delay", "query", "delete", "refresh"];
    let command = given.last_of(&commands).unwrap_or("query");
    let name = given.get("name");
    if command != "refresh" && name.is_none() {
        return Err(Stop::new(USAGE, "Command requires --name argument"));
    }
    let name = name.unwrap_or_default();
    let delay = given.get("delay").map(|text| {
        let ms = cib::parse_duration_ms(text);
        ms.ok_or_else(|| Stop::new(USAGE, format!("--delay {text}: write a time such as 5s")))
    });
    let delay = delay.transpose()?;
    if matches!(command, "update-both" | "update-delay") && delay.is_none() {
        let letter = if command == "update-both" { 'B' } else { 'Y' };
        out.info(format_args!("Warning: '{letter}' command given without required --delay"));
    }
    let node = named_by_caller(given.get("node").map(str::to_owned));
    let mut session = Session::open().map_err(|r| refused(command, name, given, r.into()))?;
    if command == "query" {
        let node = if given.has("all") { Some(Value::Null) } else { node.map(Value::from) };
        // Without a name of a node that of this one is meant, which rgmd knows best by its own.
        let node = match node {
            Some(node) => node,
            None => {
                super::crm_node::own_name(&mut session).map_err(|s| refused(command, name, given, s))?.into()
            }
        };
        let answer = session
            .ask(&json!({ "cmd": "attribute-query", "name": name, "node": node }))
            .map_err(|r| refused(command, name, given, r.into()))?;
        let found = answer["attributes"].as_array().cloned().unwrap_or_default();
        for pair in &found {
            let (host, value) =
                (pair["host"].as_str().unwrap_or_default(), pair["value"].as_str().unwrap_or_default());
            if out.is_xml() {
                out.add(Node::new("attribute").with("name", name).with("value", value).with("host", host));
            } else {
                out.print(format_args!("name=\"{name}\" host=\"{host}\" value=\"{value}\"\n"));
            }
        }
        if found.is_empty() {
            return Err(Stop::new(78, format!("Could not query value of {name}: attribute does not exist")));
        }
        return Ok(0);
    }
    if command == "refresh" {
        // rgmd's document and its attributes are one thing: there is nothing to write once more.
        return Ok(0);
    }
    let value = given.options.iter().rev().find(|(o, _)| *o == command).and_then(|(_, v)| v.clone());
    // How long to wait is set by itself with -Y, together with the value by -B, and by -U only for an attribute that is new.
    let request = json!({
        "cmd": "attribute-update", "name": name, "value": value, "node": node,
        "dampen_ms": delay.filter(|_| command != "delete"),
        "set_dampen_only": command == "update-delay",
        "private": given.has("private"),
    });
    session.ask(&request).map_err(|r| refused(command, name, given, r.into()))?;
    Ok(0)
}

fn refused(command: &str, name: &str, given: &Given, stop: Stop) -> Stop {
    let text = match command {
        "query" => format!("Could not connect to attrd: {}", stop.text),
        _ => {
            let value = given.get(if command == "update-both" { command } else { "update" });
            // With the number of ECONNREFUSED, as the original has it.
            let number = if stop.exit == 102 { " (111)" } else { "" };
            format!("Could not update {name}={}: {}{number}", value.unwrap_or("(null)"), stop.text)
        }
    };
    Stop { text, ..stop }
}
