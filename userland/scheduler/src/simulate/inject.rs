//! Changes of a document that are asked for before anything is computed: nodes that come and go, tickets, quorum, results.

use cib::{Element, Moment};

use super::document::{Document, TOOL};
use super::{Event, Operation};
use crate::model::WorkingSet;
use crate::transition::Descriptor;

/// What is to be changed, in the order in which it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injections {
    /// `have-quorum`.
    pub quorum: Option<String>,
    /// `have-watchdog`.
    pub watchdog: Option<String>,
    /// Nodes that join.
    pub node_up: Vec<String>,
    /// Nodes that leave in good order.
    pub node_down: Vec<String>,
    /// Nodes that are lost.
    pub node_fail: Vec<String>,
    /// Tickets that are granted.
    pub ticket_grant: Vec<String>,
    /// Tickets that are taken away.
    pub ticket_revoke: Vec<String>,
    /// Tickets that are put into standby.
    pub ticket_standby: Vec<String>,
    /// Tickets that leave standby.
    pub ticket_activate: Vec<String>,
    /// Results: `RESOURCE_TASK_MILLISECONDS@NODE=STATUS`.
    pub op_inject: Vec<String>,
}

/// A document after that.
#[derive(Clone, Debug)]
pub struct Modified {
    /// As it is now.
    pub cib: Element,
    /// What was done.
    pub events: Vec<Event>,
}

impl Injections {
    /// Nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes the document that `set` was read from. `clock` is when results come in.
#[must_use]
pub fn inject(set: &WorkingSet<'_>, asked: &Injections, clock: Moment) -> Modified {
    let mut document = Document::new(set.root.clone());
    let mut events = Vec::new();
    let mut say = |text: String| events.push(Event::Modification(text));
    if let Some(quorum) = &asked.quorum {
        say(format!("Setting quorum: {quorum}"));
        document.root_mut().attributes.insert("have-quorum", quorum.clone());
        document.changed_status();
    }
    if let Some(watchdog) = &asked.watchdog {
        say(format!("Setting watchdog: {watchdog}"));
        set_option(document.root_mut(), "have-watchdog", watchdog);
        document.changed_configuration();
    }
    for node in &asked.node_up {
        say(format!("Bringing node {node} online"));
        document.set_node_state(node, true, TOOL);
    }
    for node in &asked.node_down {
        say(format!("Taking node {node} offline"));
        let state = document.set_node_state(node, false, TOOL);
        document.forget(state);
    }
    for node in &asked.node_fail {
        say(format!("Failing node {node}"));
        document.lose_node(node);
    }
    for (tickets, text, name, value) in [
        (&asked.ticket_grant, "Granting ticket {}", "granted", "true"),
        (&asked.ticket_revoke, "Revoking ticket {}", "granted", "false"),
        (&asked.ticket_standby, "Making ticket {} standby", "standby", "true"),
        (&asked.ticket_activate, "Activating ticket {}", "standby", "false"),
    ] {
        for ticket in tickets {
            say(text.replace("{}", ticket));
            set_ticket(document.status_mut(), ticket, name, value);
            document.changed_status();
        }
    }
    for spec in &asked.op_inject {
        events.push(Event::Modification(format!("Injecting {spec} into the configuration")));
        if let Err(why) = inject_result(set, &mut document, spec, clock, &mut events) {
            events.push(Event::Refused(why));
        }
    }
    Modified { cib: document.into_cib(), events }
}

/// The result of an operation that nobody asked for.
fn inject_result(
    set: &WorkingSet<'_>,
    document: &mut Document,
    spec: &str,
    clock: Moment,
    events: &mut Vec<Event>,
) -> Result<(), String> {
    let invalid =
        || format!("Invalid operation spec: {spec}; write it as RESOURCE_TASK_MILLISECONDS@NODE=STATUS");
    let (key, rest) = spec.split_once('@').ok_or_else(invalid)?;
    let (node_name, rc) = rest.split_once('=').ok_or_else(invalid)?;
    let rc: i32 = rc.trim().parse().map_err(|_| invalid())?;
    let (key, interval) = key.rsplit_once('_').ok_or_else(invalid)?;
    let interval_ms: u64 = interval.parse().map_err(|_| invalid())?;
    let (name, task) = split_task(key).ok_or_else(invalid)?;
    let resource = set
        .find_resource(name)
        .or_else(|| set.by_history_name.get(name).copied())
        .ok_or_else(|| format!("Invalid resource name: {name}"))?;
    let resource = set.resource(resource);
    let id = document.configured_node(node_name).map(str::to_owned);
    let id = id.or_else(|| {
        let known = set.nodes.iter().find(|n| n.name == node_name);
        known.map(|n| n.id.clone())
    });
    let id = id.ok_or_else(|| {
        format!("Invalid node name: {node_name}; bring it into the cluster with --node-up {node_name}")
    })?;
    let agent = |name: &str| resource.xml.get(name).unwrap_or_default().to_owned();
    let descriptor = Descriptor {
        id: name.to_owned(),
        long_id: None,
        class: agent("class"),
        provider: resource.xml.get("provider").map(str::to_owned),
        kind: agent("type"),
    };
    if descriptor.class.is_empty() {
        return Err(format!("Resource {name} has no agent; name a primitive or an instance of a clone"));
    }
    let node = document.node(node_name, &id);
    let operation = Operation {
        resource: name.to_owned(),
        task,
        interval_ms,
        rc,
        expected_rc: 0,
        exit_reason: "Simulated action result",
        parameters: None,
        clock,
    };
    document.count_failure(node, name, &operation, events);
    let history = document.history(node, name, &descriptor)?;
    operation.record(document.history_mut(node, history));
    document.changed_status();
    Ok(())
}

/// `db_migrate_to` to `db` and `migrate_to`: names of resources may hold underlines, and a few tasks do.
fn split_task(key: &str) -> Option<(&str, &str)> {
    for task in ["migrate_to", "migrate_from"] {
        if let Some(name) = key.strip_suffix(task).and_then(|name| name.strip_suffix('_')) {
            return Some((name, task));
        }
    }
    if let Some(at) = ["_pre_notify_", "_post_notify_"].into_iter().find_map(|when| key.rfind(when)) {
        return Some((&key[..at], &key[at + 1..]));
    }
    key.rsplit_once('_')
}

fn set_option(root: &mut Element, name: &str, value: &str) {
    const SET: &str = "cib-bootstrap-options";
    let options = root.child_mut("configuration").child_mut("crm_config");
    for set in &mut options.children {
        if let Some(pair) = set.children.iter_mut().find(|pair| pair.get("name") == Some(name)) {
            pair.attributes.insert("value", value);
            return;
        }
    }
    let pair =
        Element::new("nvpair").with("id", &format!("{SET}-{name}")).with("name", name).with("value", value);
    match options.children.iter_mut().find(|set| set.id() == Some(SET)) {
        Some(set) => set.children.push(pair),
        None => {
            let mut set = Element::new("cluster_property_set").with("id", SET);
            set.children.push(pair);
            options.children.push(set);
        }
    }
}

fn set_ticket(status: &mut Element, ticket: &str, name: &str, value: &str) {
    let tickets = &mut status.child_mut("tickets").children;
    let at = tickets.iter().position(|t| t.id() == Some(ticket)).unwrap_or_else(|| {
        tickets.push(Element::new("ticket_state").with("id", ticket));
        tickets.len() - 1
    });
    tickets[at].attributes.insert(name, value);
}
