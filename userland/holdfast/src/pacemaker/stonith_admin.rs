//! `stonith_admin`: fence devices, fencing by hand, what was fenced.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use cib::Element;
use serde_json::{Value, json};

use super::dates::{self, Written};
use super::options::{Given, Grammar, Group, flag, value};
use super::output::{Node, Out};
use super::session::{Session, clock, ctime};
use super::{NO_SUCH, Stop, USAGE, agents, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "stonith_admin",
    about: "stonith_admin - fence devices and fencing",
    rest: "",
    output: true,
    help: '?',
    main: &[flag("quiet", 'q', "Say less")],
    groups: &[
        Group {
            name: "definition",
            title: "Device Definition Commands:",
            about: "Show device definition help",
            options: &[
                value("register", 'R', "DEVICE", "Not possible: devices are configured, with cibadmin or crm"),
                value("deregister", 'D', "DEVICE", "Not possible either"),
                value("register-level", 'r', "TARGET", "Not possible: levels are configured"),
                value("deregister-level", 'd', "TARGET", "Not possible either"),
            ],
        },
        Group {
            name: "queries",
            title: "Queries:",
            about: "Show query help",
            options: &[
                value("list", 'l', "HOST", "List devices that can fence this node"),
                flag("list-registered", 'L', "List all configured devices"),
                flag("list-installed", 'I', "List all installed agents"),
                value("list-targets", 's', "DEVICE", "List the nodes that a device can fence"),
                flag("metadata", 'M', "Show an agent's meta-data; needs -a"),
                value("query", 'Q', "DEVICE", "See whether a device answers"),
                value("history", 'H', "NODE", "Show the last fencing of a node, or of all ('*'); with -V all of it"),
                value("last", 'h', "NODE", "Show when a node was fenced last"),
                flag("validate", 'K', "Check the parameters of a device; needs -a"),
            ],
        },
        Group {
            name: "fence",
            title: "Fencing Commands:",
            about: "Show fence help",
            options: &[
                value("fence", 'F', "HOST", "Switch a node off"),
                value("unfence", 'U', "HOST", "Let a node work again, where a device has to do that"),
                value("reboot", 'B', "HOST", "Reboot a node by force"),
                value("confirm", 'C', "HOST", "Tell the cluster that a node is down; nothing is switched. A wrong word lets data be written twice"),
            ],
        },
        Group {
            name: "additional",
            title: "Additional Options:",
            about: "Show additional options",
            options: &[
                flag("cleanup", 'c', "With --history: taken and not needed"),
                flag("yes", ' ', "With --confirm: do not ask for the node's name on the terminal"),
                flag("broadcast", 'b', "Taken and not needed: all nodes know the same"),
                value("agent", 'a', "AGENT", "The agent, with -M and -K"),
                value("option", 'o', "PARAM", "A parameter NAME=VALUE, with -K; can be repeated"),
                value("env-option", 'e', "PARAM", "The same, its value from OCF_RESKEY_PARAM"),
                value("tag", 'T', "TAG", "Who asks for it, in logs and history"),
                value("device", 'v', "DEVICE", "With -K: the device's name"),
                value("index", 'i', "LEVEL", "Taken and not needed"),
                value("timeout", 't', "SECONDS", "How long it may take (default 120)"),
                value("delay", 'y', "SECONDS", "Wait so long before"),
                flag("as-node-id", 'n', "With --last: the node's number"),
                value("tolerance", ' ', "SECONDS", "Do nothing if the same succeeded less than so long ago"),
            ],
        },
    ],
    examples: "\
Examples:
  stonith_admin -L                     which devices are there?
  stonith_admin -l n1                  which of them can fence n1?
  stonith_admin --reboot n1            now
  stonith_admin --history '*' -V       what was fenced, and by whom?
  stonith_admin --confirm n1           n1 has no power: I have seen it myself
  stonith_admin -M -a fence_ipmilan

Exit status: 0; 64 wrong usage; 102 the cluster does not run on this node; 105 no such node or device; 124 it took too long",
};

/// How long fencing may take if nobody says, in seconds.
const TIMEOUT: u64 = 120;

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, |given, out| work(grammar, given, out))
}

/// What is done, in the order in which later ones win.
const ACTIONS: [&str; 17] = [
    "validate",
    "list-installed",
    "list-registered",
    "register",
    "query",
    "deregister",
    "list-targets",
    "list",
    "metadata",
    "reboot",
    "fence",
    "unfence",
    "confirm",
    "last",
    "history",
    "register-level",
    "deregister-level",
];

fn seconds(given: &Given, name: &str) -> Result<Option<u64>, Stop> {
    let parse = |text: &str| {
        let ms = cib::parse_duration_ms(text);
        ms.ok_or_else(|| Stop::new(USAGE, format!("--{name} {text}: write seconds")))
    };
    given.get(name).map(parse).transpose()
}

fn work(grammar: &Grammar, given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    let Some(action) = ACTIONS.iter().rev().find(|a| given.has(a)).copied() else {
        out.error(format_args!("{}", grammar.usage(&[])));
        return Ok(USAGE);
    };
    if matches!(action, "validate" | "metadata") && !given.has("agent") {
        out.error(format_args!("Please specify an agent to query using -a,--agent [value]"));
        out.error(format_args!("{}", grammar.usage(&[])));
        return Ok(USAGE);
    }
    let timeout_ms = seconds(given, "timeout")?.unwrap_or(TIMEOUT * 1000);
    let agent = given.get("agent").unwrap_or_default();
    match action {
        "list-installed" => {
            listed("Installed fence devices", "device", &agents::fence_agents(), out);
            return Ok(0);
        }
        "metadata" => {
            let Some(text) = agents::metadata("stonith", None, agent) else {
                out.error(format_args!("Can't get fence agent meta-data: No such device"));
                return Ok(NO_SUCH);
            };
            out.document("metadata", &text);
            return Ok(0);
        }
        "validate" => return Ok(validate(given, agent, timeout_ms, out)),
        "register" | "deregister" | "register-level" | "deregister-level" => {
            return Err(Stop::new(
                3,
                "devices and levels are configured, for all nodes: crm configure primitive NAME stonith:AGENT",
            ));
        }
        _ => {}
    }
    let of = given.get(action).unwrap_or_default();
    let mut session = Session::open().map_err(|r| refused(action, of, r.into()))?;
    if !session.is_live() {
        let why = "Transport endpoint is not connected";
        let stop = Stop::new(102, why);
        if matches!(action, "reboot" | "fence" | "unfence" | "last") {
            return Err(refused(action, of, stop));
        }
        out.error(format_args!("Could not connect to fencer: {why}"));
        return Ok(102);
    }
    match action {
        "list-registered" | "list" => {
            let node = if action == "list" { Value::from(of) } else { Value::Null };
            let answer = ask(&mut session, &json!({ "cmd": "fence-devices", "node": node }), action, of)?;
            let devices = answer["devices"].as_array().into_iter().flatten();
            let names: Vec<String> = devices.filter_map(|d| d.as_str().map(str::to_owned)).collect();
            listed("Registered fence devices", "device", &names, out);
            Ok(0)
        }
        "list-targets" => {
            let mut targets = Vec::new();
            for node in super::crm_node::Nodes::ask(&mut session)?.all {
                let request = json!({ "cmd": "fence-devices", "node": node.name });
                let answer = ask(&mut session, &request, action, of)?;
                let can = answer["devices"].as_array().into_iter().flatten().any(|d| d.as_str() == Some(of));
                targets.extend(can.then_some(node.name));
            }
            listed("Fence Targets", "target", &targets, out);
            Ok(0)
        }
        "query" => {
            let configured = session.document()?;
            let resources = configured.child("configuration").and_then(|c| c.child("resources"));
            let device = resources.and_then(|r| r.find_id(of)).filter(|d| d.get("class") == Some("stonith"));
            let Some(device) = device else { return Ok(NO_SUCH) };
            let status =
                agents::fence_status(device.get("type").unwrap_or_default(), &parameters(device), timeout_ms);
            Ok(if status == 0 { 0 } else { 1 })
        }
        "confirm" => {
            if !given.has("yes") && std::io::stdin().is_terminal() && !typed(of) {
                return Err(Stop::new(1, "not confirmed: nothing was changed"));
            }
            ask(&mut session, &json!({ "cmd": "confirm", "node": of, "by": asker() }), action, of)?;
            Ok(0)
        }
        "reboot" | "fence" | "unfence" => {
            fence(given, action, of, timeout_ms, &mut session, out)?;
            Ok(0)
        }
        _ => {
            let events = events(&mut session, action, of)?;
            history(given, action, of, &events, out)
        }
    }
}

/// Has the node's name typed on the terminal. A program that calls this has asked already, or never: it is believed, as by
/// the original, and logged.
fn typed(node: &str) -> bool {
    let mut terminal = std::io::stderr();
    let _ = write!(
        terminal,
        "If {node} still runs, what it runs will run twice, and data on shared disks is lost.\n\
         Type its name if you know that it has no power (--yes leaves this question out): "
    );
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == node
}

/// Who asks, and from where, as far as the environment says: a word that is taken back is looked for in logs.
fn asker() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let user = variable("SUDO_USER").or_else(|| variable("USER")).or_else(|| variable("LOGNAME"));
    let user = user.unwrap_or_else(|| "somebody".to_owned());
    let terminal = std::fs::read_link("/proc/self/fd/0").ok().filter(|_| std::io::stdin().is_terminal());
    let terminal = terminal.map(|t| format!(" at {}", t.display()));
    let from =
        variable("SSH_CONNECTION").and_then(|c| c.split(' ').next().map(|host| format!(" from {host}")));
    format!("{user}{}{}", terminal.unwrap_or_default(), from.unwrap_or_default())
}

/// Parameters of a device as they are written.
fn parameters(device: &Element) -> Vec<(String, String)> {
    let pairs = device.children_named("instance_attributes").flat_map(|b| b.children_named("nvpair"));
    pairs.filter_map(|p| Some((p.get("name")?.to_owned(), p.get("value")?.to_owned()))).collect()
}

fn listed(heading: &str, what: &str, names: &[String], out: &mut Out<'_>) {
    out.list(heading);
    for name in names {
        out.item(Some(what), name);
    }
    // What was found is counted; XML has the number in the list itself.
    let devices = if what == "device" { "fence device" } else { "fence target" };
    let plural = if names.len() == 1 { "" } else { "s" };
    out.print(format_args!("{} {devices}{plural} found\n", names.len()));
    out.end();
}

fn ask(session: &mut Session, request: &Value, action: &str, of: &str) -> Result<Value, Stop> {
    session.ask(request).map_err(|r| refused(action, of, r.into()))
}

/// What could not be done, and why.
fn refused(action: &str, of: &str, stop: Stop) -> Stop {
    let text = match action {
        "fence" | "reboot" => format!("Couldn't fence {of}: {}", stop.text),
        "unfence" => format!("Couldn't unfence {of}: {}", stop.text),
        _ => format!("Could not connect to fencer: {}", stop.text),
    };
    Stop { text, ..stop }
}

fn fence(
    given: &Given,
    action: &str,
    node: &str,
    timeout_ms: u64,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<(), Stop> {
    let what = match action {
        "fence" => "off",
        "unfence" => "on",
        other => other,
    };
    if let Some(tolerance_ms) = seconds(given, "tolerance")? {
        let since =
            clock().0.saturating_mul(1000).saturating_sub(i64::try_from(tolerance_ms).unwrap_or(i64::MAX));
        let same = |e: &Event| e.action == what && e.state == "done" && e.completed_us / 1000 >= since;
        if events(session, action, node)?.iter().any(same) {
            out.info(format_args!("{node} was fenced less than {} s ago", tolerance_ms / 1000));
            return Ok(());
        }
    }
    if let Some(delay_ms) = given.get("delay").filter(|d| *d != "-1").and_then(cib::parse_duration_ms) {
        let end = Instant::now() + Duration::from_millis(delay_ms);
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }
    let tag = given.get("tag").map_or("stonith_admin", |t| t);
    let client = format!("{tag}.{}", std::process::id());
    let request =
        json!({ "cmd": "fence", "node": node, "action": what, "timeout_ms": timeout_ms, "client": client });
    ask(session, &request, action, node)?;
    Ok(())
}

/// One fencing.
struct Event {
    target: String,
    action: String,
    state: String,
    origin: String,
    client: String,
    delegate: Option<String>,
    exit_reason: Option<String>,
    completed_us: i64,
}

fn events(session: &mut Session, action: &str, of: &str) -> Result<Vec<Event>, Stop> {
    let node = if of == "*" { Value::Null } else { Value::from(of) };
    let answer = ask(session, &json!({ "cmd": "fence-history", "node": node }), action, of)?;
    let event = |e: &Value| {
        let text = |name: &str| e[name].as_str().map(str::to_owned);
        Event {
            target: text("target").unwrap_or_default(),
            action: text("action").unwrap_or_default(),
            // As `rgmd` says it, and as the original's fencer does.
            state: text("state")
                .map(|s| if s == "success" { "done".to_owned() } else { s })
                .unwrap_or_default(),
            origin: text("origin").unwrap_or_default(),
            client: text("client").unwrap_or_default(),
            delegate: text("delegate"),
            exit_reason: text("exit_reason"),
            completed_us: e["completed_us"].as_i64().unwrap_or(0),
        }
    };
    let mut all: Vec<Event> = answer["events"].as_array().into_iter().flatten().map(event).collect();
    // What is under way stands first, then the newest.
    all.sort_by_key(|e| (e.state == "done" || e.state == "failed", std::cmp::Reverse(e.completed_us)));
    Ok(all)
}

fn history(given: &Given, action: &str, of: &str, events: &[Event], out: &mut Out<'_>) -> Result<u8, Stop> {
    let done = |e: &&Event| e.state == "done";
    if action == "last" {
        let last = events.iter().find(done).map(|e| e.completed_us / 1_000_000);
        match last {
            Some(when) if out.is_xml() => {
                out.add(Node::new("last-fenced").with("target", of).with("when", iso(when)));
            }
            Some(when) => out.print(format_args!("Node {of} last fenced at: {}\n", ctime(when))),
            None => out.print(format_args!("Node {of} has never been fenced\n")),
        }
        return Ok(0);
    }
    if given.has("quiet") && !out.is_xml() {
        if let Some(last) = events.iter().find(done) {
            out.print(format_args!("{}\n", last.completed_us / 1_000_000));
        }
        return Ok(0);
    }
    let all = given.has("verbose");
    let mut shown: Vec<&Event> = Vec::new();
    let mut last: BTreeMap<(&str, &str, bool), ()> = BTreeMap::new();
    for event in events {
        let over = event.state == "done" || event.state == "failed";
        // Of each node the last one of a kind; all that is under way.
        if all || !over || last.insert((&event.target, &event.action, event.state == "done"), ()).is_none() {
            shown.push(event);
        }
    }
    let heading = if of == "*" { "Fencing history of all nodes".to_owned() } else { format!("{of} history") };
    out.list(&heading);
    for event in shown {
        if out.is_xml() {
            out.add(node_of(event));
        } else {
            out.indented(format_args!("{}", line_of(event, all)));
        }
    }
    out.end();
    Ok(0)
}

/// As ISO 8601 in local time.
fn iso(seconds: i64) -> String {
    let zone = holdfast_sys::timezone::utc_offset(seconds).into();
    Written { local: true, ..Written::default() }.of(dates::at(seconds, zone))
}

fn node_of(event: &Event) -> Node {
    let over = matches!(event.state.as_str(), "done" | "failed");
    let status = match event.state.as_str() {
        "done" => "success",
        "failed" => "failed",
        _ => "pending",
    };
    Node::new("fence_event")
        .with("action", event.action.as_str())
        .with("target", event.target.as_str())
        .with("client", event.client.as_str())
        .with("origin", event.origin.as_str())
        .with("status", status)
        .maybe("exit-reason", event.exit_reason.as_deref().filter(|_| event.state == "failed"))
        .maybe("extended-status", Some(event.state.as_str()).filter(|_| !over))
        .maybe("delegate", event.delegate.as_deref())
        .maybe("completed", over.then(|| iso(event.completed_us / 1_000_000)))
}

fn line_of(event: &Event, full: bool) -> String {
    let what = match event.action.as_str() {
        "off" => "turning off",
        "on" => "turning on",
        other => other,
    };
    let (over, state) = match event.state.as_str() {
        "done" => (true, "successful"),
        "failed" => (true, "failed"),
        _ => (false, "pending"),
    };
    let reason = event.exit_reason.as_ref().filter(|_| state == "failed");
    let reason = reason.map(|r| format!(" ({r})")).unwrap_or_default();
    let delegate =
        event.delegate.as_ref().filter(|_| over).map(|d| format!("delegate={d}, ")).unwrap_or_default();
    let when = match (over, full, state) {
        (false, ..) => String::new(),
        (_, true, _) => format!(", completed='{}'", iso(event.completed_us / 1_000_000)),
        (_, false, "failed") => format!(", last-failed='{}'", iso(event.completed_us / 1_000_000)),
        (_, false, _) => format!(", last-successful='{}'", iso(event.completed_us / 1_000_000)),
    };
    format!(
        "{what} of {} {state}{reason}: {delegate}client={}, origin={}{when}",
        event.target, event.client, event.origin
    )
}

/// Asks an agent whether its parameters make sense.
fn validate(given: &Given, agent: &str, timeout_ms: u64, out: &mut Out<'_>) -> u8 {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for option in given.all("option") {
        let Some((name, value)) = option.split_once('=') else {
            out.error(format_args!("stonith_admin: --option {option}: write NAME=VALUE"));
            return USAGE;
        };
        parameters.push((name.to_owned(), value.to_owned()));
    }
    for name in given.all("env-option") {
        if let Ok(value) = std::env::var(format!("OCF_RESKEY_{name}")) {
            parameters.push((name.to_owned(), value));
        }
    }
    let (status, said, complained) = agents::fence_call(agent, "validate-all", &parameters, timeout_ms);
    let device = given.get("device").unwrap_or("<anonymous>");
    let valid = status == 0;
    if out.is_xml() {
        let mut node =
            Node::new("validate").with("agent", agent).with("valid", if valid { "true" } else { "false" });
        for (source, text) in [("stdout", &said), ("stderr", &complained)] {
            if !text.is_empty() {
                node.push(Node::new("command").with("source", source).text(text));
            }
        }
        out.add(node);
    } else if !out.quiet {
        let word = if valid { "succeeded" } else { "failed" };
        out.print(format_args!("Validation of {agent} on {device} {word}\n"));
        for text in [said, complained].iter().filter(|t| !t.is_empty()) {
            out.print(format_args!("{text}\n"));
        }
    }
    if valid { 0 } else { 1 }
}
