//! What a simulation says, for programs (`--output-as=xml`): the elements of Pacemaker's result documents. Whatever is left out
//! of the text, they have all of it.

use scheduler::simulate::{Event, Injections};
use scheduler::{Markup, result_document};

/// A document in the making.
#[derive(Debug, Default)]
pub(super) struct Results {
    parts: Vec<Markup>,
    errors: Vec<String>,
}

impl Results {
    /// A part with these elements.
    pub(super) fn part(&mut self, name: &str, children: Vec<Markup>) {
        self.parts.push(Markup { children, ..Markup::new(name) });
    }

    /// What was changed in the input, as it was asked for, and what that led to.
    pub(super) fn modifications(&mut self, asked: &Injections, events: &[Event]) {
        let mut part = Markup::new("modifications")
            .with_all(&[("quorum", asked.quorum.as_deref()), ("watchdog", asked.watchdog.as_deref())]);
        let nodes =
            [("Online", &asked.node_up), ("Offline", &asked.node_down), ("Failing", &asked.node_fail)];
        for (action, names) in nodes {
            let one = |name: &String| Markup::new("modify_node").with("action", action).with("node", name);
            part.children.extend(names.iter().map(one));
        }
        let tickets = [
            ("Granting", &asked.ticket_grant),
            ("Revoking", &asked.ticket_revoke),
            ("Standby", &asked.ticket_standby),
            ("Activating", &asked.ticket_activate),
        ];
        for (action, names) in tickets {
            let one =
                |name: &String| Markup::new("modify_ticket").with("action", action).with("ticket", name);
            part.children.extend(names.iter().map(one));
        }
        let mut specs = asked.op_inject.iter();
        for event in events {
            match event {
                Event::Modification(text) if text.starts_with("Injecting ") => {
                    let spec = specs.next().map_or("", String::as_str);
                    part.children.push(Markup::new("inject_spec").with("spec", spec));
                }
                Event::Modification(_) => {}
                other => self.event(other, &mut part.children),
            }
        }
        self.parts.push(part);
    }

    /// What was carried out.
    pub(super) fn transition(&mut self, events: &[Event]) {
        let mut children = Vec::new();
        for event in events {
            self.event(event, &mut children);
        }
        self.part("transition", children);
    }

    fn event(&mut self, event: &Event, into: &mut Vec<Markup>) {
        into.push(match event {
            Event::Pseudo { key, node } => {
                Markup::new("pseudo_action").with("task", key).with_all(&[("node", node.as_deref())])
            }
            Event::Resource { resource, operation, interval_ms, node } => {
                let interval = (*interval_ms > 0).then(|| interval_ms.to_string());
                Markup::new("rsc_action")
                    .with("resource", resource)
                    .with("op", operation)
                    .with("node", node)
                    .with_all(&[("interval", interval.as_deref())])
            }
            Event::Cluster { task, resource, node } => Markup::new("cluster_action")
                .with("task", task)
                .with("node", node)
                .with_all(&[("id", resource.as_deref())]),
            Event::Fencing { node, action } => {
                Markup::new("fencing_action").with("target", node).with("op", action)
            }
            Event::Attribute { name, value, node_id } => Markup::new("inject_attr")
                .with("name", name)
                .with("value", value)
                .with("node_path", "/node_state")
                .with("cib_node", node_id),
            Event::Refused(text) => return self.errors.push(text.clone()),
            Event::Pretended { .. } | Event::Modification(_) => return,
        });
    }

    /// The whole of it. `request`: as it was typed.
    pub(super) fn document(self, request: &str, status: (u8, &str)) -> String {
        result_document(request, self.parts, status, &self.errors).to_xml()
    }
}

/// Scores and capacity, from the lines in which they are listed.
pub(super) fn amounts<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Markup> {
    lines.filter_map(|line| score(line).or_else(|| promotion(line)).or_else(|| amount(line))).collect()
}

/// `FUNCTION: RESOURCE allocation score on NODE: SCORE`
fn score(line: &str) -> Option<Markup> {
    let (head, score) = line.rsplit_once(": ")?;
    let (what, node) = head.split_once(" allocation score on ")?;
    let (function, id) = what.split_once(": ")?;
    let element = Markup::new("node_weight").with("function", function).with("node", node);
    Some(element.with("score", score).with("id", id))
}

/// `RESOURCE promotion score on NODE: SCORE`
fn promotion(line: &str) -> Option<Markup> {
    let (head, score) = line.rsplit_once(": ")?;
    let (id, node) = head.split_once(" promotion score on ")?;
    let node = Some(node).filter(|n| *n != "none");
    Some(Markup::new("promotion_score").with("id", id).with("score", score).with_all(&[("node", node)]))
}

/// `COMMENT: NODE capacity: NAME=AMOUNT …` or `FUNCTION: RESOURCE utilization on NODE: NAME=AMOUNT …`
fn amount(line: &str) -> Option<Markup> {
    let (comment, rest) = line.split_once(": ")?;
    // A name of an instance has a colon, too.
    let (what, amounts) = rest.rsplit_once(':')?;
    let mut element = match (what.strip_suffix(" capacity"), what.split_once(" utilization on ")) {
        (Some(node), _) => Markup::new("capacity").with("node", node).with("comment", comment),
        (None, Some((resource, node))) => {
            Markup::new("utilization").with("resource", resource).with("node", node).with("function", comment)
        }
        (None, None) => return None,
    };
    let amounts = amounts.split_whitespace().filter_map(|amount| amount.split_once('='));
    element.children = amounts.map(|(name, value)| Markup::new(name).with_text(value)).collect();
    Some(element)
}
