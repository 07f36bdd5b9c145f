//! `crm_standby`, `crm_failcount`, `crm_master`: Pacemaker's scripts around `crm_attribute` and `crm_resource`.

use cib::Score;

use super::attributes::{Target, node_id};
use super::crm_attribute::named_by_caller;
use super::options::{Given, Grammar, Group, flag, value};
use super::session::Session;
use super::{Stop, USAGE, conduct, crm_attribute, crm_node, crm_resource};
use crate::exit::Exit;
use crate::io::Io;

const COMMON: Group = Group {
    name: "command",
    title: "Commands:",
    about: "Show command options",
    options: &[
        flag("query", 'G', "Show the value"),
        flag("get-value", ' ', ""),
        flag("delete", 'D', "Delete it"),
        flag("delete-attr", ' ', ""),
        value("update", 'v', "VALUE", "Set it to this value"),
        value("attr-value", ' ', "VALUE", ""),
    ],
};

const PLACE: Group = Group {
    name: "additional",
    title: "Additional options:",
    about: "Show additional options",
    options: &[
        value("node", 'N', "NODE", "Of this node instead of the one that it is called on"),
        value("uname", 'U', "NODE", ""),
        value("lifetime", 'l', "LIFETIME", "How long it lasts: reboot or forever"),
        value("id", 'i', "XML_ID", "The pair with this id"),
        value("attr-id", ' ', "ID", ""),
    ],
};

pub(super) const STANDBY: Grammar = Grammar {
    name: "crm_standby",
    about: "crm_standby - keep a node from running resources, and let it run them again",
    rest: "",
    output: false,
    help: '?',
    main: &[flag("quiet", 'q', "Print only the value"), flag("quiet", 'Q', "")],
    groups: &[COMMON, PLACE],
    examples: "\
Examples:
  crm_standby -N n1 -v on      resources leave n1
  crm_standby -N n1 -v off     they may come back
  crm_standby -N n1 -G         is it?
  crm_standby -N n1 -D         as if nothing had been said

Exit status: that of crm_attribute",
};

pub(super) const MASTER: Grammar = Grammar {
    name: "crm_master",
    about: "crm_master - show, set or delete a promotion score; crm_attribute --promotion is the new form",
    rest: "",
    output: false,
    help: '?',
    main: &[flag("quiet", 'q', "Print only the value"), flag("quiet", 'Q', "")],
    groups: &[
        COMMON,
        PLACE,
        Group {
            name: "resource",
            title: "Resource:",
            about: "Show resource options",
            options: &[value(
                "resource",
                'r',
                "ID",
                "Of this resource, and not the one in OCF_RESOURCE_INSTANCE",
            )],
        },
    ],
    examples: "\
Examples:
  crm_master -l reboot -v 10       as an agent does
  crm_master -r db -N n1 -l reboot -G

Exit status: that of crm_attribute",
};

pub(super) const FAILCOUNT: Grammar = Grammar {
    name: "crm_failcount",
    about: "crm_failcount - show or forget how often a resource has failed",
    rest: "",
    output: false,
    help: '?',
    main: &[flag("quiet", 'q', "Print only the value"), flag("quiet", 'Q', "")],
    groups: &[
        COMMON,
        PLACE,
        Group {
            name: "resource",
            title: "Resource:",
            about: "Show resource options",
            options: &[
                value("resource", 'r', "ID", "Of this resource"),
                value("resource-id", ' ', "ID", ""),
                value("operation", 'n', "NAME", "Of this operation alone"),
                value("interval", 'I', "INTERVAL", "With this interval (default 0)"),
            ],
        },
    ],
    examples: "\
Examples:
  crm_failcount -G -r db -N n1       how often did it fail there?
  crm_failcount -D -r db -N n1       that is repaired
  crm_failcount -G -r db -N n1 -n monitor -I 10s

Exit status: 0; 64 wrong usage; else that of crm_attribute and crm_resource",
};

/// The options of `crm_attribute` that mean the same.
fn passed(given: &Given) -> Vec<String> {
    let mut words = Vec::new();
    for (option, value) in &given.options {
        let name = match *option {
            "query" | "get-value" => "--query",
            "delete" | "delete-attr" => "--delete",
            "update" | "attr-value" => "--update",
            "id" | "attr-id" => "--id",
            "lifetime" => "--lifetime",
            "quiet" => "--quiet",
            "verbose" => "--verbose",
            _ => continue,
        };
        words.push(name.to_owned());
        words.extend(value.clone());
    }
    words
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn attribute(mut all: Vec<String>, more: Vec<String>, io: &mut Io) -> Exit {
    all.extend(more);
    crm_attribute::run(&crm_attribute::GRAMMAR, &all, io)
}

/// Reads the options of one of the three. What is read decides which of the others is called, and that one finishes.
fn read(grammar: &Grammar, words: &[String], io: &mut Io) -> Result<Given, Exit> {
    let mut read = None;
    let exit = conduct(grammar, words, io, |given, out| {
        if !given.rest.is_empty() {
            // The scripts took no words either, and said nothing.
            out.error(format_args!("{}: not understood: {}", grammar.name, given.rest.join(" ")));
            return Ok(USAGE);
        }
        read = Some(given.clone());
        Ok(0)
    });
    read.ok_or(exit)
}

pub(super) fn standby(grammar: &Grammar, all: &[String], io: &mut Io) -> Exit {
    let given = match read(grammar, all, io) {
        Ok(given) => given,
        Err(exit) => return exit,
    };
    let node = match given.last_of(&["node", "uname"]).and_then(|o| given.get(o)) {
        Some(node) => node.to_owned(),
        None => {
            let name = Session::open().map_err(Stop::from).and_then(|mut s| crm_node::own_name(&mut s));
            match name {
                Ok(name) => name,
                Err(stop) => {
                    io.complain(format_args!("{}: {}\n", grammar.name, stop.text));
                    return Exit::Of(stop.exit);
                }
            }
        }
    };
    let base = words(&["-N", &node, "-n", "standby"]);
    let with = |more: &[&str]| [base.clone(), passed(&given), words(more)].concat();
    let command = given.last_of(&["query", "get-value", "delete", "delete-attr", "update", "attr-value"]);
    if given.has("lifetime") {
        let query = if command.is_none() { words(&["-G"]) } else { Vec::new() };
        return attribute(with(&[]), query, io);
    }
    match command {
        Some("update" | "attr-value") => attribute(with(&["-l", "forever"]), Vec::new(), io),
        Some("delete" | "delete-attr") => {
            // Whatever is there, of both kinds.
            attribute(with(&["-l", "forever"]), Vec::new(), io);
            attribute(with(&["-l", "reboot"]), Vec::new(), io);
            Exit::Ok
        }
        _ => {
            let stays = |session: &mut Session| {
                let document = session.document().ok()?;
                let target = Target {
                    section: "nodes".into(),
                    node: Some(node_id(&document, &node)?.0),
                    name: Some("standby".into()),
                    ..Target::default()
                };
                target.find(&document).ok().map(|_| ())
            };
            let forever = Session::open().ok().and_then(|mut s| stays(&mut s)).is_some();
            let place: &[&str] =
                if forever { &["-G", "-l", "forever"] } else { &["-G", "-l", "reboot", "-d", "off"] };
            attribute(with(place), Vec::new(), io)
        }
    }
}

pub(super) fn master(grammar: &Grammar, all: &[String], io: &mut Io) -> Exit {
    let given = match read(grammar, all, io) {
        Ok(given) => given,
        Err(exit) => return exit,
    };
    let instance =
        given.get("resource").map(str::to_owned).or_else(|| std::env::var("OCF_RESOURCE_INSTANCE").ok());
    let Some(instance) = instance.filter(|i| !i.is_empty()) else {
        io.complain(format_args!(
            "crm_master: No resource specified; name one with -r, or call it as an agent, with OCF_RESOURCE_INSTANCE set\n"
        ));
        return Exit::Of(1);
    };
    let mut base = words(&["-n", &format!("master-{instance}"), "--lifetime", "forever"]);
    if let Some(node) = given.last_of(&["node", "uname"]).and_then(|o| given.get(o)) {
        base.extend(words(&["--node", node]));
    }
    attribute(base, passed(&given), io)
}

pub(super) fn failcount(grammar: &Grammar, all: &[String], io: &mut Io) -> Exit {
    let mut clear = None;
    let exit = conduct(grammar, all, io, |given, out| {
        let mut command = None;
        for (option, value) in &given.options {
            match *option {
                "query" | "get-value" => command = Some("query"),
                "delete" | "delete-attr" => command = Some("delete"),
                "update" | "attr-value" if value.as_deref() == Some("0") => command = Some("delete"),
                "update" | "attr-value" | "id" | "attr-id" | "lifetime" => {
                    out.error(format_args!("warning: ignoring deprecated option '--{option}'"));
                }
                _ => {}
            }
        }
        let command = command.ok_or_else(|| Stop::new(USAGE, "must specify a command: -G or -D"))?;
        let resource = given.last_of(&["resource", "resource-id"]).and_then(|o| given.get(o));
        let resource = resource.ok_or_else(|| Stop::new(USAGE, "resource name required: -r ID"))?;
        let named = given.last_of(&["node", "uname"]).and_then(|o| given.get(o)).map(str::to_owned);
        let mut session = Session::open()?;
        let node = match named_by_caller(named) {
            Some(node) => node,
            None => crm_node::own_name(&mut session)?,
        };
        let operation = given.get("operation");
        let interval = given.get("interval").unwrap_or("0");
        let interval_ms = cib::parse_duration_ms(interval).unwrap_or_else(|| {
            out.error(format_args!("warning: Unrecognized interval, using 0"));
            0
        });
        if command == "delete" {
            let mut again = words(&["--cleanup", "-N", &node, "-r", resource]);
            if let Some(operation) = operation {
                again.extend(words(&["-n", operation, "-I", &format!("{interval_ms}ms")]));
            }
            if given.has("quiet") {
                again.push("--quiet".into());
            }
            clear = Some(again);
            return Ok(0);
        }
        let (name, count) = count(&mut session, &node, resource, operation.map(|o| (o, interval_ms)))?;
        if given.has("quiet") {
            out.print(format_args!("{count}\n"));
        } else {
            out.print(format_args!("scope=status  name={name} value={count}\n"));
        }
        Ok(0)
    });
    match clear {
        Some(words) => crm_resource::run(&crm_resource::GRAMMAR, &words, io),
        None => exit,
    }
}

/// The attribute that was looked at, and how often it failed.
fn count(
    session: &mut Session,
    node: &str,
    resource: &str,
    operation: Option<(&str, u64)>,
) -> Result<(String, String), Stop> {
    let document = session.document()?;
    let Some((id, _)) = node_id(&document, node) else {
        return Err(Stop::new(super::NO_SUCH, format!("Could not map name={node} to a UUID")));
    };
    let target = Target { section: "status".into(), node: Some(id), ..Target::default() };
    let pairs = target.find(&document).unwrap_or_default();
    let value_of = |name: &str| {
        let found = pairs.iter().find(|p| p.get("name") == Some(name));
        found.and_then(|p| p.get("value")).filter(|v| *v != "0").map(str::to_owned)
    };
    let plain = format!("fail-count-{resource}");
    let (name, count) = match operation {
        Some((operation, interval_ms)) => {
            let name = format!("{plain}#{operation}_{interval_ms}");
            let count = value_of(&name);
            (name, count)
        }
        None => {
            let prefix = format!("{plain}#");
            let values = pairs.iter().filter(|p| p.get("name").is_some_and(|n| n.starts_with(&prefix)));
            let sum =
                values.filter_map(|p| Score::parse(p.get("value")?)).fold(Score::ZERO, |sum, v| sum + v);
            let sum = match sum {
                Score::INFINITY => "INFINITY".to_owned(),
                sum => sum.get().to_string(),
            };
            (plain.clone(), Some(sum).filter(|s| s != "0"))
        }
    };
    // Before operations were counted by themselves there was one count for all.
    Ok(match count.or_else(|| value_of(&plain).filter(|_| name != plain)) {
        Some(count) => (name, count),
        None => match value_of(&plain) {
            Some(count) => (plain, count),
            None => (name, "0".to_owned()),
        },
    })
}
