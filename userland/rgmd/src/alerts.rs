//! Who is told what happens: alert agents of the configuration, and the same events as JSON for whoever listens on the
//! administrator's socket.

use cib::{Element, parse_bool, parse_duration_ms};
use executor::{Alert, AlertEvent, Selection};
use holdfast_types::Span;
use serde_json::{Value, json};

use crate::door::Output;
use crate::history::Entry;
use crate::local::result_text;
use crate::manager::Manager;

/// The alert agents of a configuration, one for each recipient.
pub(crate) fn agents(root: &Element) -> Vec<Alert> {
    let alerts = root.child("configuration").and_then(|c| c.child("alerts"));
    let alerts = alerts.into_iter().flat_map(|a| a.children_named("alert"));
    alerts.flat_map(agents_of).collect()
}

fn agents_of(alert: &Element) -> Vec<Alert> {
    let (Some(id), Some(path)) = (alert.id(), alert.get("path")) else { return Vec::new() };
    let mut common = Alert::new(id, path.into(), "");
    configure(&mut common, alert);
    if let Some(select) = alert.child("select") {
        let attributes = select
            .child("select_attributes")
            .map(|a| a.children.iter().filter_map(|one| one.get("name")).map(str::to_owned).collect());
        common.selection = Selection {
            nodes: select.child("select_nodes").is_some(),
            fencing: select.child("select_fencing").is_some(),
            resources: select.child("select_resources").is_some(),
            attributes,
        };
    }
    let recipients = alert.children_named("recipient").map(|recipient| {
        let mut one = common.clone();
        one.id = format!("{id}:{}", recipient.id().unwrap_or_default());
        one.recipient = recipient.get("value").unwrap_or_default().to_owned();
        configure(&mut one, recipient);
        one
    });
    let mut all: Vec<Alert> = recipients.collect();
    if all.is_empty() {
        all.push(common);
    }
    let enabled = |element: &Element| {
        pairs(element, "meta_attributes").find(|(n, _)| *n == "enabled").and_then(|(_, v)| parse_bool(v))
    };
    all.retain(|_| enabled(alert) != Some(false));
    all
}

/// What stands at an alert or at one of its recipients.
fn configure(alert: &mut Alert, element: &Element) {
    for (name, value) in pairs(element, "meta_attributes") {
        match name {
            "timeout" => {
                alert.timeout = parse_duration_ms(value).map_or(alert.timeout, Span::from_millis);
            }
            "timestamp-format" => value.clone_into(&mut alert.timestamp_format),
            _ => {}
        }
    }
    for (name, value) in pairs(element, "instance_attributes") {
        alert.params.retain(|(known, _)| known != name);
        alert.params.push((name.to_owned(), value.to_owned()));
    }
}

fn pairs<'a>(element: &'a Element, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let sets = element.children_named(kind).flat_map(|set| &set.children);
    sets.filter_map(|pair| Some((pair.get("name")?, pair.get("value")?)))
}

/// An event as one JSON object. Times are microseconds since 1970.
#[must_use]
pub fn as_json(event: &AlertEvent, at_us: i64) -> Value {
    match event {
        AlertEvent::Node { node, id, member } => {
            json!({ "event": "node", "at_us": at_us, "node": node, "id": id, "member": member })
        }
        AlertEvent::Fencing { target, description, rc } => json!({
            "event": "fencing", "at_us": at_us, "target": target, "description": description, "rc": rc,
        }),
        AlertEvent::Resource {
            node,
            resource,
            task,
            interval_ms,
            rc,
            target_rc,
            status,
            exec_ms,
            description,
        } => json!({
            "event": "resource", "at_us": at_us, "node": node, "resource": resource, "task": task,
            "interval_ms": interval_ms, "rc": rc, "target_rc": target_rc, "status": status,
            "exec_ms": exec_ms, "description": description,
        }),
        AlertEvent::Attribute { node, id, name, value } => json!({
            "event": "attribute", "at_us": at_us, "node": node, "id": id, "name": name, "value": value,
        }),
    }
}

impl Manager {
    pub(crate) fn alert(&mut self, event: AlertEvent) {
        self.outputs.push_back(Output::Alert(Box::new(event)));
    }

    /// An operation ended here.
    pub(crate) fn alert_result(&mut self, resource: &str, entry: &Entry) {
        let event = AlertEvent::Resource {
            node: self.my_name(),
            resource: resource.to_owned(),
            task: entry.operation.clone(),
            interval_ms: entry.interval_ms,
            rc: entry.rc,
            target_rc: entry.target_rc,
            status: entry.status,
            exec_ms: entry.exec_ms,
            description: result_text(entry),
        };
        self.alert(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_is_an_agent_of_its_own() {
        let xml = r#"<cib><configuration><alerts>
            <alert id="mail" path="/bin/mail.sh">
              <meta_attributes id="m"><nvpair id="m1" name="timeout" value="5s"/></meta_attributes>
              <instance_attributes id="i"><nvpair id="i1" name="server" value="one"/></instance_attributes>
              <select><select_fencing/><select_attributes><attribute id="a" name="ping"/></select_attributes></select>
              <recipient id="r1" value="ann@example.org"/>
              <recipient id="r2" value="bob@example.org">
                <instance_attributes id="j"><nvpair id="j1" name="server" value="two"/></instance_attributes>
              </recipient>
            </alert>
            <alert id="file" path="/bin/file.sh"/>
            <alert id="off" path="/bin/off.sh">
              <meta_attributes id="n"><nvpair id="n1" name="enabled" value="false"/></meta_attributes>
            </alert></alerts></configuration></cib>"#;
        let root = Element::parse(xml, "test").unwrap();
        let agents = agents(&root);
        let ids: Vec<&str> = agents.iter().map(|a| a.id.as_str()).collect();
        assert_eq!(ids, ["mail:r1", "mail:r2", "file"]);
        assert_eq!(agents[0].recipient, "ann@example.org");
        assert_eq!(agents[0].timeout, Span::from_secs(5));
        assert_eq!(agents[1].params, [("server".to_owned(), "two".to_owned())]);
        let selection = &agents[0].selection;
        assert!(selection.fencing && !selection.nodes && !selection.resources);
        assert_eq!(selection.attributes.as_deref(), Some(&["ping".to_owned()][..]));
        assert_eq!(agents[2].selection, Selection::default());
    }
}
