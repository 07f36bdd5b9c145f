//! `crm_resource`: resources, where they are and why, what they are given; moving them, clearing their failures, calling their agents.

mod change;
mod place;
mod query;
mod restart;
mod run;
mod text;

use cib::Element;
use scheduler::{NodeId, ResourceId, WorkingSet};
use serde_json::json;

use super::options::{Given, Grammar, Group, flag, maybe, value};
use super::output::Out;
use super::results::exit_text;
use super::session::{Session, clock};
use super::{NO_SUCH, Stop, USAGE, agents, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_resource",
    about: "crm_resource - show and change the cluster's resources",
    rest: "",
    output: true,
    help: 'h',
    main: &[flag("quiet", 'Q', "Say less"), value("resource", 'r', "ID", "The resource")],
    groups: &[
        Group {
            name: "queries",
            title: "Queries:",
            about: "Show query help",
            options: &[
                flag("list", 'L', "List all resources with their states"),
                flag("list-raw", 'l', "List the ids of all primitives and instances"),
                flag("list-cts", 'c', ""),
                flag("list-operations", 'O', "List operations since the last start, of a resource (-r) or a node (-N)"),
                flag("list-all-operations", 'o', "List all operations, of a resource (-r) or a node (-N)"),
                flag("list-standards", ' ', "List the kinds of agents"),
                flag("list-ocf-providers", ' ', "List who provides OCF agents"),
                value("list-agents", ' ', "STD:PROV", "List the agents of a kind, and of a provider"),
                value("list-ocf-alternatives", ' ', "AGENT", "List who provides this OCF agent"),
                value("show-metadata", ' ', "SPEC", "Show the meta-data of class:provider:agent"),
                flag("query-xml", 'q', "Show the resource's configuration, what it has from a template included"),
                flag("query-xml-raw", 'w', "Show the resource's configuration as it is written"),
                value("get-parameter", 'g', "PARAM", "Show a parameter; with --meta or --utilization one of those"),
                value("get-property", 'G', "PROPERTY", ""),
                flag("locate", 'W', "Show where it runs"),
                flag("constraints", 'a', "Show the constraints on its place; of a member those of the whole, without -f"),
                flag("stack", 'A', "As --constraints --recursive"),
                flag("why", 'Y', "Show why resources do not run, of a resource (-r) or a node (-N)"),
            ],
        },
        Group {
            name: "commands",
            title: "Commands:",
            about: "Show command help",
            options: &[
                maybe("validate", ' ', "LEVEL", "Let the agent check the parameters of a resource, or those of --class and so on"),
                flag("cleanup", 'C', "Forget failures, so that the resource is looked at anew; of a member those of the whole, without -f"),
                flag("refresh", 'R', "Forget all history, so that the resource is looked at anew"),
                value("set-parameter", 'p', "PARAM", "Set a parameter to the value of -v"),
                value("delete-parameter", 'd', "PARAM", "Delete a parameter"),
                value("set-property", 'S', "PROPERTY", ""),
            ],
        },
        Group {
            name: "locations",
            title: "Locations:",
            about: "Show location help",
            options: &[
                flag("move", 'M', "Prefer a node (-N), or leave the one where it runs; with -f ban the one where it ran"),
                flag("ban", 'B', "Keep it off a node (-N), or the one where it runs"),
                flag("clear", 'U', "Take back what --move and --ban have done"),
                flag("expired", 'e', "With --clear: only what has expired"),
                value("lifetime", 'u', "TIMESPEC", "With -B and -M: for so long, as P1D or PT2H; else the cluster option holdfast-ban-lifetime, else for good"),
                flag("promoted", ' ', "With -B, -M and -U: for the promoted role alone"),
                flag("master", ' ', "The old word for --promoted"),
            ],
        },
        Group {
            name: "advanced",
            title: "Advanced:",
            about: "Show advanced option help",
            options: &[
                flag("delete", 'D', "Delete the resource from the configuration; needs -t"),
                flag("fail", 'F', "Tell the cluster that the resource has failed on a node (-N)"),
                flag("restart", ' ', "Stop the resource and what depends on it, and start it again"),
                flag("wait", ' ', "Wait until there is nothing left to do"),
                flag("digests", ' ', "Show digests of the parameters on a node (-N)"),
                flag("force-demote", ' ', "Call its agent here, behind the cluster's back: demote"),
                flag("force-stop", ' ', "The same: stop"),
                flag("force-start", ' ', "The same: start"),
                flag("force-promote", ' ', "The same: promote"),
                maybe("force-check", ' ', "LEVEL", "The same: monitor"),
            ],
        },
        Group {
            name: "additional",
            title: "Additional Options:",
            about: "Show additional options",
            options: &[
                value("node", 'N', "NAME", "The node"),
                value("host-uname", 'H', "NAME", ""),
                flag("recursive", ' ', "Follow colocations, with --set-parameter and --constraints"),
                value("resource-type", 't', "ELEMENT", "With -D: primitive, group, ..."),
                value("parameter-value", 'v', "VALUE", "The value for -p"),
                flag("meta", 'm', "A meta-attribute, with -p, -g and -d"),
                flag("utilization", 'z', "Utilization, with -p, -g and -d"),
                value("operation", 'n', "OPERATION", "With -C -r: failures of this operation"),
                value("interval", 'I', "N", "With -C -r -n: with this interval (default 0)"),
                value("class", ' ', "CLASS", "With --validate: the agent's kind"),
                value("agent", ' ', "AGENT", "With --validate: the agent"),
                value("provider", ' ', "PROVIDER", "With --validate: its provider"),
                value("option", ' ', "NAME=VALUE", "With --validate: a parameter; can be repeated"),
                value("set-name", 's', "ID", "With -p and -d: in the block with this id"),
                value("nvpair", 'i', "ID", "With -p and -d: the pair with this id"),
                value("timeout", 'T', "N", "With --restart, --wait, --force-*: give up after this time"),
                flag("force", 'f', "Do it although there are reasons not to; see the commands"),
                value("xml-file", 'x', "FILE", ""),
            ],
        },
    ],
    examples: "\
Examples:
  crm_resource -L                          what runs?
  crm_resource -W -r db                    where does db run?
  crm_resource -M -r db -N n2 -f           move it to n2, whatever it would rather do
  crm_resource -U -r db                    it may go where it likes again; to be done after each move
  crm_resource -B -r db -N n1 -u PT1H      keep it off n1 for an hour
  crm_resource -C -r db -N n1              n1 is repaired
  crm_resource -r db -m -p target-role -v Stopped
  crm_resource --list-agents ocf:heartbeat

Exit status: 0; 64 wrong usage; 102 the cluster does not run on this node; 105 there is no such thing; 108 it is there already;
  109 there are several; 124 it took too long; with --validate and --force-*: the agent's",
};

const COMMANDS: [&str; 37] = [
    "list",
    "list-raw",
    "list-cts",
    "list-operations",
    "list-all-operations",
    "list-standards",
    "list-ocf-providers",
    "list-agents",
    "list-ocf-alternatives",
    "show-metadata",
    "query-xml",
    "query-xml-raw",
    "get-parameter",
    "get-property",
    "locate",
    "constraints",
    "stack",
    "why",
    "validate",
    "cleanup",
    "refresh",
    "set-parameter",
    "delete-parameter",
    "set-property",
    "move",
    "ban",
    "clear",
    "delete",
    "fail",
    "restart",
    "wait",
    "digests",
    "force-demote",
    "force-stop",
    "force-start",
    "force-promote",
    "force-check",
];

/// What a command works on.
struct Task<'a> {
    given: &'a Given,
    command: &'static str,
    /// The resource's name as it was given.
    name: &'a str,
    node_name: Option<&'a str>,
    force: bool,
    promoted: bool,
}

/// Resource and node, once they have been found.
#[derive(Clone, Copy)]
struct Found {
    resource: Option<ResourceId>,
    node: Option<NodeId>,
}

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, |given, out| match work(given, out) {
        // What a command ends with is said in words, unless it was wrongly called or the words are the agent's.
        Ok(Done::Status(0)) => Ok(0),
        Ok(Done::Status(status)) if status == USAGE => Ok(status),
        Ok(Done::Status(status)) => {
            Err(Stop::new(status, format!("Error performing operation: {}", exit_text(status))))
        }
        Err(stop) if stop.exit == USAGE || stop.text.is_empty() => Err(stop),
        Err(stop) if stop.text.starts_with("Error performing operation: ") => {
            let text = format!("Error performing operation: {}", exit_text(stop.exit));
            Err(Stop { text, ..stop })
        }
        Err(stop) => {
            let text = format!("{}\nError performing operation: {}", stop.text, exit_text(stop.exit));
            Err(Stop { text, ..stop })
        }
    })
}

/// How a command ended.
pub(super) enum Done {
    /// With this exit status.
    Status(u8),
}

const DONE: Result<Done, Stop> = Ok(Done::Status(0));

fn work(given: &Given, out: &mut Out<'_>) -> Result<Done, Stop> {
    let command = given.last_of(&COMMANDS).unwrap_or("list");
    let usage = |text: &str| Err(Stop::new(USAGE, text));
    if given.has("expired") && command != "clear" {
        return usage("--expired requires --clear or -U");
    }
    let runs_agent = command == "validate" || command.starts_with("force-");
    let overrides = pairs(given, runs_agent || command == "digests")?;
    out.simple_lists = matches!(
        command,
        "list"
            | "query-xml"
            | "query-xml-raw"
            | "list-operations"
            | "list-all-operations"
            | "constraints"
            | "stack"
    ) || runs_agent;
    out.fancy |= matches!(command, "list" | "constraints" | "stack");
    if given.has("class") || given.has("agent") || given.has("provider") {
        return run::from_options(given, command, &overrides, out);
    }
    match command {
        "list-standards" => return agents::standards(out),
        "list-ocf-providers" => return agents::providers(None, out),
        "list-ocf-alternatives" => return agents::providers(given.get(command), out),
        "list-agents" => return agents::list(given.get(command).unwrap_or_default(), out),
        "show-metadata" => return agents::show(given.get(command).unwrap_or_default(), out),
        _ => {}
    }
    let without_resource = matches!(
        command,
        "list"
            | "list-raw"
            | "list-cts"
            | "list-operations"
            | "list-all-operations"
            | "cleanup"
            | "refresh"
            | "wait"
            | "why"
    ) || given.has("expired");
    let name = given.get("resource");
    if !without_resource && name.is_none() {
        return usage("Must supply a resource id with -r");
    }
    let node_name = given.last_of(&["node", "host-uname"]).and_then(|o| given.get(o));
    if matches!(command, "fail" | "digests") && node_name.is_none() {
        return usage("Must supply a node name with -N");
    }
    let mut session = Session::open().map_err(|refusal| {
        let stop = Stop::from(refusal);
        Stop { text: format!("Could not connect to the CIB: {}", stop.text), ..stop }
    })?;
    let task = Task {
        given,
        command,
        name: name.unwrap_or_default(),
        node_name,
        force: given.has("force"),
        promoted: given.has("promoted") || given.has("master"),
    };
    if command == "wait" {
        return restart::wait(given, &mut session, out);
    }
    let document = match given.get("xml-file") {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| Stop::new(66, format!("{file}: {e}")))?;
            cib::upgrade(Element::parse(&text, file).map_err(|e| Stop::new(78, e))?).root
        }
        None => session.upgraded()?,
    };
    let mut set = WorkingSet::new(&document, clock()).map_err(|e| Stop::new(78, e))?;
    // What looks for failures or lists takes no resource by name, or finds by itself what has it.
    let any = matches!(
        command,
        "query-xml"
            | "query-xml-raw"
            | "get-parameter"
            | "get-property"
            | "set-parameter"
            | "delete-parameter"
            | "set-property"
            | "delete"
    );
    let listed = matches!(
        command,
        "list" | "list-raw" | "list-cts" | "list-operations" | "list-all-operations" | "fail"
    );
    let mut found = Found { resource: None, node: None };
    if let Some(name) = name.filter(|_| !listed) {
        let Some(resource) = set.look_up(name, any) else {
            return Err(Stop::new(NO_SUCH, format!("Resource '{name}' not found")));
        };
        found.resource = Some(resource);
        if matches!(command, "ban" | "clear" | "move" | "restart") && name.contains(':') {
            let parent = set.resource_at(resource).parent;
            if parent.is_some_and(|p| matches!(set.resource_at(p).variant, scheduler::Variant::Clone(_))) {
                return Err(Stop::new(2, format!("Cannot operate on clone resource instance '{name}'")));
            }
        }
    }
    if let Some(name) = node_name {
        found.node = set.node_by_name(name);
        if found.node.is_none() {
            return Err(Stop::new(NO_SUCH, format!("Node '{name}' not found")));
        }
    }
    match command {
        "fail" => fail(&task, &mut session),
        "delete" => change::delete(&task, &mut session),
        "set-property" => change::property(&task, &mut session),
        "cleanup" | "refresh" => clean(&task, &set, found, &mut session, out),
        "move" | "ban" | "clear" => place::work(&task, &set, found, &mut session, out),
        "set-parameter" | "delete-parameter" => change::parameter(&task, &mut set, found, &mut session, out),
        "restart" => restart::restart(&task, &set, found, &mut session, out),
        _ if runs_agent => run::of_resource(&task, &set, found, &overrides, out),
        _ => query::work(&task, &mut set, found, &overrides, out),
    }
}

/// Words behind the options: overrides of parameters where those are taken.
fn pairs(given: &Given, taken: bool) -> Result<Vec<(String, String)>, Stop> {
    if taken {
        let pair = |word: &String| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(Stop::new(USAGE, format!("Error parsing '{word}' as a name=value pair"))),
        };
        return given.rest.iter().map(pair).collect();
    }
    if given.rest.is_empty() {
        return Ok(Vec::new());
    }
    let mut text = "non-option ARGV-elements:\n".to_owned();
    for (at, word) in given.rest.iter().enumerate() {
        text += &format!("[{} of {}] {word}\n", at + 1, given.rest.len());
    }
    Err(Stop::new(USAGE, text))
}

/// Tells the cluster that a resource has failed.
fn fail(task: &Task<'_>, session: &mut Session) -> Result<Done, Stop> {
    let request = json!({ "cmd": "fail", "resource": task.name, "node": task.node_name });
    session.ask(&request).map_err(|refusal| {
        let stop = Stop::from(refusal);
        Stop { text: format!("Error connecting to the controller: {}", stop.text), ..stop }
    })?;
    DONE
}

/// Forgets failures, or all history.
fn clean(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    found: Found,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let whole = found.resource.map(|r| if task.force { r } else { set.outermost(r) });
    let where_ = task.node_name.unwrap_or("all nodes");
    if !session.is_live() {
        // There is nobody who could look at the resource anew.
        match whole {
            None => out.info(format_args!("Dry run: skipping clean-up of {where_} due to CIB_file")),
            Some(whole) => {
                for (resource, node) in query::cleaned(set, whole, found.node) {
                    let (id, node) = (&set.resource_at(resource).id, &set.node_at(node).name);
                    out.error(format_args!("Dry run: skipping clean-up of {id} on {node} due to CIB_file"));
                }
                if !out.is_quiet() {
                    query::checks(set, whole, found.node, out);
                }
            }
        }
        return DONE;
    }
    let interval = task.given.get("interval").map(|text| {
        cib::parse_duration_ms(text)
            .ok_or_else(|| Stop::new(USAGE, format!("--interval {text}: write a time such as 10s")))
    });
    let request = json!({
        "cmd": task.command,
        "resource": whole.map(|w| set.resource_at(w).id.as_str()),
        "node": task.node_name,
        "operation": task.given.get("operation"),
        "interval_ms": interval.transpose()?,
    });
    let answer = session.ask(&request)?;
    let Some(whole) = whole else {
        out.info(format_args!("Cleaned up all resources on {where_}"));
        return DONE;
    };
    for one in answer["cleaned"].as_array().into_iter().flatten() {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        out.info(format_args!("Cleaned up {} on {}", text("resource"), text("node")));
    }
    if !out.is_quiet() {
        query::checks(set, whole, found.node, out);
    }
    DONE
}
