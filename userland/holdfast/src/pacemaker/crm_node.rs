//! `crm_node`: what this node is called, who is in the cluster, whether it has quorum.

use serde_json::{Value, json};

use super::options::{Given, Grammar, Group, flag, value};
use super::output::Out;
use super::session::Session;
use super::{Stop, USAGE, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_node",
    about: "crm_node - what the cluster knows of its nodes",
    rest: "",
    output: false,
    help: 'h',
    main: &[flag("quiet", 'Q', "Say less")],
    groups: &[
        Group {
            name: "commands",
            title: "Commands:",
            about: "Show command help",
            options: &[
                flag("cluster-id", 'i', "Show this node's id"),
                flag("list", 'l', "Show all nodes that are or were in the cluster"),
                flag("name", 'n', "Show what this node is called in the cluster"),
                flag("partition", 'p', "Show the nodes that are together with this one"),
                flag("quorum", 'q', "Show 1 if they have quorum, 0 if not"),
                value("name-for-id", 'N', "ID", "Show what the node with this id is called"),
                value(
                    "remove",
                    'R',
                    "NAME",
                    "Forget a node that has been stopped and taken out of the ring's configuration",
                ),
            ],
        },
        Group {
            name: "additional",
            title: "Additional Options:",
            about: "Show additional options",
            options: &[flag("force", 'f', "With --remove: yes, I mean it"), flag("corosync", 'C', "")],
        },
    ],
    examples: "\
Examples:
  crm_node -n            what am I called?
  crm_node -p            who is with me?
  crm_node -q            do we have quorum?
  crm_node -f -R n3      n3 will not come back: stop it, take it out of corosync.conf, then this

Exit status: 0; 64 wrong usage; 68 no such node; 102 the cluster does not run on
this node; 106 no quorum; 113 the node takes part or may still run something",
};

/// Nodes as rgmd knows them.
pub(super) struct Nodes {
    me: u64,
    pub(super) all: Vec<Known>,
    quorate: bool,
    pub(super) dc: Option<String>,
    pub(super) state: String,
}

pub(super) struct Known {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) member: bool,
}

impl Nodes {
    /// As the node sees them; `state` is its own.
    pub(super) fn ask(session: &mut Session) -> Result<Self, Stop> {
        Self::read(session, "nodes")
    }

    /// The same; `state` is that of the designated controller after all that this node has changed before.
    pub(super) fn ask_controller(session: &mut Session) -> Result<Self, Stop> {
        Self::read(session, "controller")
    }

    fn read(session: &mut Session, command: &str) -> Result<Self, Stop> {
        let answer = session.ask(&json!({ "cmd": command })).map_err(Stop::from)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let known = |node: &Value| {
            Some(Known {
                id: node["id"].as_u64()?,
                name: text(&node["name"]).unwrap_or_default(),
                member: node["member"].as_bool().unwrap_or(false),
            })
        };
        let mut all: Vec<Known> =
            answer["nodes"].as_array().into_iter().flatten().filter_map(known).collect();
        all.sort_by(|a, b| scheduler::compare_names(&a.name, &b.name));
        Ok(Self {
            me: answer["me"].as_u64().unwrap_or(0),
            all,
            quorate: answer["quorate"].as_bool().unwrap_or(false),
            dc: text(&answer["dc"]),
            state: text(&answer["state"]).unwrap_or_default(),
        })
    }
}

/// The name of the node that it is called on.
pub(super) fn own_name(session: &mut Session) -> Result<String, Stop> {
    if let Ok(name) = std::env::var("OCF_RESKEY_CRM_meta_on_node") {
        return Ok(name);
    }
    let nodes = Nodes::ask(session)?;
    let me = nodes.all.into_iter().find(|n| n.id == nodes.me);
    me.map(|n| n.name).ok_or_else(|| Stop::new(68, "Node is not known to cluster"))
}

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, |given, out| work(grammar, given, out))
}

fn work(grammar: &Grammar, given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    let commands = ["cluster-id", "list", "name", "partition", "quorum", "name-for-id", "remove"];
    let Some(command) = given.last_of(&commands) else {
        out.io().complain(format_args!("{}", grammar.usage(&[])));
        return Ok(USAGE);
    };
    if given.has("remove") && !given.has("force") {
        out.error(format_args!(
            "The supplied command is considered dangerous.  To prevent accidental destruction of the cluster, the --force flag is \
             required in order to proceed."
        ));
        return Ok(USAGE);
    }
    if command == "name"
        && let Ok(name) = std::env::var("OCF_RESKEY_CRM_meta_on_node")
    {
        out.print(format_args!("{name}\n"));
        return Ok(0);
    }
    let mut session = match Session::open() {
        Ok(session) => session,
        Err(refusal) => return Ok(refused(&refusal.into(), out)),
    };
    if command == "remove" {
        return Ok(match remove(&mut session, given.get("remove").unwrap_or_default()) {
            Ok(()) => 0,
            Err(stop) if stop.exit == 102 => refused(&stop, out),
            Err(stop) => {
                out.error(format_args!("crm_node: {}", stop.text));
                stop.exit
            }
        });
    }
    let nodes = match Nodes::ask(&mut session) {
        Ok(nodes) => nodes,
        Err(stop) => return Ok(refused(&stop, out)),
    };
    let name_of = |id: u64, out: &mut Out<'_>| match nodes.all.iter().find(|n| n.id == id) {
        Some(node) => {
            out.print(format_args!("{}\n", node.name));
            0
        }
        None => {
            out.error(format_args!("Node is not known to cluster"));
            68
        }
    };
    Ok(match command {
        "cluster-id" => {
            out.print(format_args!("{}\n", nodes.me));
            0
        }
        "name" => name_of(nodes.me, out),
        "name-for-id" => {
            let id = given.get("name-for-id").and_then(|id| id.trim().parse().ok());
            name_of(id.unwrap_or(0), out)
        }
        "quorum" => {
            out.print(format_args!("{}\n", u8::from(nodes.quorate)));
            if nodes.quorate { 0 } else { 106 }
        }
        "list" => {
            for node in &nodes.all {
                let state = if node.member { "member" } else { "lost" };
                out.print(format_args!("{} {} {state}\n", node.id, node.name));
            }
            0
        }
        _ => {
            let names: String =
                nodes.all.iter().filter(|n| n.member).map(|n| format!("{} ", n.name)).collect();
            out.print(format_args!("{names}\n"));
            0
        }
    })
}

fn refused(stop: &Stop, out: &mut Out<'_>) -> u8 {
    out.error(format_args!("error: Could not connect to controller: {}", stop.text));
    stop.exit
}

/// Takes a node out of rgmd's memory and of the document, in one go.
fn remove(session: &mut Session, name: &str) -> Result<(), Stop> {
    session.ask(&json!({ "cmd": "remove-node", "node": name })).map(drop).map_err(Stop::from)
}
