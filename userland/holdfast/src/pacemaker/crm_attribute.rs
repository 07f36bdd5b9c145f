//! `crm_attribute`: cluster options, node attributes, promotion scores.

use regex::Regex;
use serde_json::json;

use super::attributes::{Target, node_id};
use super::options::{Given, Grammar, Group, flag, maybe, value};
use super::output::{Node, Out};
use super::results::Code;
use super::session::Session;
use super::{NO_SUCH, Stop, USAGE, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_attribute",
    about: "crm_attribute - query and change cluster options and node attributes",
    rest: "",
    output: true,
    help: 'h',
    main: &[flag("quiet", 'q', "Print only the value"), flag("quiet", 'Q', "")],
    groups: &[
        Group {
            name: "selections",
            title: "Selecting attributes:",
            about: "Show selecting options",
            options: &[
                value("id", 'i', "XML_ID", "The pair with this id"),
                value("name", 'n', "NAME", "The attribute or option with this name; without, a query shows all"),
                value("pattern", 'P', "PATTERN", "All attributes that match (with -G, or with -v and -D of -l reboot)"),
                maybe(
                    "promotion",
                    'p',
                    "RESOURCE",
                    "The promotion score of a resource, by default of the one in OCF_RESOURCE_INSTANCE",
                ),
                value("set-name", 's', "NAME", "In the block with this id"),
            ],
        },
        Group {
            name: "command",
            title: "Commands:",
            about: "Show command options",
            options: &[
                flag("delete", 'D', "Delete it"),
                flag("query", 'G', "Show its value (default)"),
                value("update", 'v', "VALUE", "Set it to this value"),
            ],
        },
        Group {
            name: "additional",
            title: "Additional options:",
            about: "Show additional options",
            options: &[
                value("default", 'd', "VALUE", "What to show where there is none"),
                value("lifetime", 'l', "LIFETIME", "How long it lasts: reboot or forever"),
                value("node", 'N', "NODE", "Of this node, and no cluster option"),
                value("type", 't', "SECTION", "In this section: crm_config, nodes, status, rsc_defaults, op_defaults, tickets"),
                flag("utilization", 'z', "A node's capacity"),
                flag("inhibit-policy-engine", '!', ""),
            ],
        },
        Group {
            name: "deprecated",
            title: "Deprecated Options:",
            about: "Show deprecated options",
            options: &[
                value("attr-id", ' ', "ID", ""),
                value("attr-name", ' ', "NAME", ""),
                value("attr-value", ' ', "VALUE", ""),
                flag("delete-attr", ' ', ""),
                flag("get-value", ' ', ""),
                value("node-uname", 'U', "NODE", ""),
            ],
        },
    ],
    examples: "\
Examples:
  crm_attribute --node n1 --name site --update east      a node attribute that stays
  crm_attribute --node n1 --name site --query --quiet    its value alone
  crm_attribute --node n1 --name site --delete
  crm_attribute -l reboot -n pingd -v 100                one of this node until it leaves the cluster
  crm_attribute --promotion db --update 10               a promotion score, as an agent sets it
  crm_attribute --type crm_config --name stonith-enabled --query

Exit status: 0; 64 wrong usage; 102 the cluster does not run on this node; 105 there is no such thing; 109 there are several",
};

enum Command {
    Query,
    Update(String),
    Delete,
}

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, work)
}

fn work(given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    // What comes last counts, also between names that mean the same.
    let mut command = Command::Query;
    let mut target = Target::default();
    let mut promotion = false;
    let (mut section, mut node) = (None, None);
    for (option, value) in &given.options {
        let value = value.clone();
        match *option {
            "delete" | "delete-attr" => command = Command::Delete,
            "query" | "get-value" => command = Command::Query,
            "update" | "attr-value" => command = Command::Update(value.unwrap_or_default()),
            "id" | "attr-id" => target.id = value,
            "name" | "attr-name" => target.name = value,
            "set-name" => target.set = value,
            "lifetime" | "type" => section = value,
            "node" | "node-uname" => node = value,
            "utilization" => (section, target.kind) = (Some("nodes".into()), Some("utilization")),
            "promotion" => {
                promotion = true;
                let resource = value.or_else(|| std::env::var("OCF_RESOURCE_INSTANCE").ok());
                target.name = resource.filter(|r| !r.is_empty()).map(|r| format!("master-{r}"));
            }
            _ => {}
        }
    }
    if promotion && target.name.is_none() {
        let text = "-p/--promotion must be called from an OCF resource agent or with a resource ID specified";
        return Err(Stop::new(USAGE, text));
    }
    let mut session = Session::open().map_err(not_connected)?;
    target.section = match section.as_deref() {
        None if promotion => "status",
        None if node.is_some() => "nodes",
        None => "crm_config",
        Some(word) if word.eq_ignore_ascii_case("reboot") => "status",
        Some(word) if word.eq_ignore_ascii_case("forever") => "nodes",
        Some(other) => other,
    }
    .to_owned();
    let mut name_of_node = None;
    if !matches!(target.section.as_str(), "crm_config" | "tickets") {
        let name = match named_by_caller(node).or_else(|| file_host(&session)) {
            Some(name) => name,
            None => super::crm_node::own_name(&mut session)?,
        };
        let found = node_id(&session.document().map_err(not_connected)?, &name);
        let Some((id, remote)) = found else {
            return Err(Stop::new(NO_SUCH, format!("Could not map name={name} to a UUID")));
        };
        (target.node, target.remote) = (Some(id), remote);
        name_of_node = Some(name);
    }
    let pattern = given.get("pattern");
    if matches!(command, Command::Delete) && target.name.is_none() && pattern.is_none() {
        return Err(Stop::new(USAGE, "Error: must specify attribute name or pattern to delete"));
    }
    let transient = target.section.eq_ignore_ascii_case("status");
    if pattern.is_some() && !matches!(command, Command::Query) && !transient {
        let text = "Error: pattern can only be used with query, or with till-reboot update or delete";
        return Err(Stop::new(USAGE, text));
    }
    let pattern =
        pattern.map(Regex::new).transpose().map_err(|e| Stop::new(USAGE, format!("--pattern: {e}")))?;
    let new = match &command {
        Command::Query => return query(&target, pattern.as_ref(), given.get("default"), &mut session, out),
        Command::Update(value) => Some(value.as_str()),
        Command::Delete => None,
    };
    if new.is_some() && target.name.is_none() && target.id.is_none() && pattern.is_none() {
        return Err(Stop::new(USAGE, "Error: must specify attribute name or pattern to update"));
    }
    let names: Vec<String> = match &pattern {
        None => vec![target.name.clone().unwrap_or_default()],
        Some(pattern) => {
            let document = session.document()?;
            let all = Target { id: None, name: None, ..target.clone() };
            let found = all.find(&document).map_err(Stop::from)?;
            let names = found.iter().filter_map(|p| p.get("name")).filter(|n| pattern.is_match(n));
            names.map(str::to_owned).collect()
        }
    };
    for name in names {
        if transient && session.is_live() {
            // Transient attributes are rgmd's: it keeps their dampening, and knows them before they are in the document.
            let name = if name.is_empty() { target.id.clone().unwrap_or_default() } else { name };
            session.ask(&json!({
                "cmd": "attribute-update", "name": name, "value": new, "node": name_of_node,
                "dampen_ms": null, "set_dampen_only": false, "private": false,
            }))?;
            continue;
        }
        let one = Target { name: Some(name).filter(|n| !n.is_empty()), ..target.clone() };
        let done = match new {
            Some(value) => one.update(&mut session, value, out),
            None => one.delete(&mut session, out),
        };
        done.map_err(choose)?;
    }
    Ok(0)
}

/// Who finds several has to say which one.
fn choose(stop: Stop) -> Stop {
    if stop.exit == Code::NOTUNIQ.exit() {
        let text = "Please choose from one of the matches below and supply the 'id' with --attr-id";
        return Stop::new(stop.exit, text);
    }
    stop
}

fn query(
    target: &Target,
    pattern: Option<&Regex>,
    default: Option<&str>,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<u8, Stop> {
    let document = session.document().map_err(not_connected)?;
    let all;
    let target = match pattern {
        None => target,
        Some(_) => {
            all = Target { id: None, name: None, ..target.clone() };
            &all
        }
    };
    let (scope, id) = (Some(target.section.as_str()), target.id.as_deref());
    let found = match target.find(&document) {
        Err(Code::NXIO) if default.is_some() => {
            show(out, scope, id, target.name.as_deref(), default, None);
            return Ok(0);
        }
        other => other.map_err(Stop::from)?,
    };
    let mut any = false;
    for pair in found {
        let name = pair.get("name");
        if pattern.is_some_and(|p| !name.is_some_and(|n| p.is_match(n))) {
            continue;
        }
        show(out, scope, id, name, pair.get("value"), None);
        any = true;
    }
    if any { Ok(0) } else { Err(Code::NXIO.into()) }
}

/// One attribute, as this command and `attrd_updater` have it.
pub(super) fn show(
    out: &mut Out<'_>,
    scope: Option<&str>,
    id: Option<&str>,
    name: Option<&str>,
    value: Option<&str>,
    host: Option<&str>,
) {
    if out.is_xml() {
        let node = Node::new("attribute").maybe("name", name).with("value", value.unwrap_or_default());
        out.add(node.maybe("scope", scope).maybe("id", id).maybe("host", host));
        return;
    }
    if out.quiet {
        if let Some(value) = value {
            out.print(format_args!("{value}\n"));
        }
        return;
    }
    let part = |key: &str, value: Option<&str>| value.map(|v| format!("{key}={v}")).unwrap_or_default();
    out.info(format_args!(
        "{} {} {} value={}",
        part("scope", scope),
        part("id", id),
        part("name", name),
        value.unwrap_or("(null)")
    ));
}

/// The node that an agent is to talk about, else the one of the option.
pub(super) fn named_by_caller(option: Option<String>) -> Option<String> {
    match option.as_deref() {
        None | Some("auto" | "localhost") => {
            let from = |name: &str| {
                std::env::var(format!("OCF_RESKEY_CRM_meta_{name}")).ok().filter(|v| !v.is_empty())
            };
            // On a host's behalf, where an agent inside of a container asks for that.
            let on_host = from("container_attribute_target").is_some_and(|t| t.eq_ignore_ascii_case("host"));
            let host = on_host.then(|| from("physical_host")).flatten();
            host.or_else(|| from("on_node"))
        }
        Some(_) => option,
    }
}

/// Nobody says which node a file is for: its host.
fn file_host(session: &Session) -> Option<String> {
    if session.is_live() || std::env::var_os("CIB_file").is_none() {
        return None;
    }
    holdfast_sys::host::hostname().ok()
}

/// The document could not be reached.
fn not_connected(refusal: cib::operation::Refusal) -> Stop {
    let stop = Stop::from(refusal);
    Stop { text: format!("Could not connect to the CIB: {}", stop.text), ..stop }
}
