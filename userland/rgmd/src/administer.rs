//! What administrators ask for through the admin socket.

use serde_json::{Value, json};
use tracing::Level;

use crate::attributes::Update;
use crate::door::{Admin, Output, Whose};
use crate::manager::Manager;
use crate::message::{CibChange, Forget, Message};
use crate::refusal;
use crate::replica::FenceEntry;

impl Manager {
    pub(crate) fn admin(&mut self, conn: u64, request: Admin) {
        let answer = match self.administer(conn, request) {
            Ok(None) => return,
            Ok(Some(value)) => Ok(value),
            Err(why) => Err(why),
        };
        self.outputs.push_back(Output::Reply { conn, answer });
    }

    /// `Ok(None)`: the answer comes later.
    fn administer(&mut self, conn: u64, request: Admin) -> Result<Option<Value>, String> {
        let node_id = |manager: &Self, name: &str| {
            let found = manager.replica.nodes.iter().find(|(_, n)| n.name == name).map(|(id, _)| *id);
            found.ok_or_else(|| refusal::no_node(name))
        };
        match request.clone() {
            Admin::Status => {
                return serde_json::to_value(self.report()).map(Some).map_err(|e| e.to_string());
            }
            Admin::Metrics => return Ok(Some(json!({ "text": self.metrics() }))),
            Admin::Cib => return Ok(Some(json!({ "xml": self.document().to_xml() }))),
            Admin::CibDo { operation } if operation.is_query() => {
                let answer = match cib::operation::apply(&self.document(), &operation) {
                    Ok(applied) => json!({ "xml": applied.answer.map(|a| a.to_xml()) }),
                    Err(refusal) => serde_json::to_value(refusal).map_err(|e| e.to_string())?,
                };
                return Ok(Some(answer));
            }
            Admin::Controller if !self.is_synced() => return Ok(Some(self.nodes(self.state()))),
            Admin::Nodes => return Ok(Some(self.nodes(self.state()))),
            Admin::AttributeQuery { name, node } => return self.attribute(&name, node.as_deref()).map(Some),
            // An agent that asks for this must not be kept waiting, whatever the others do.
            Admin::AttributeUpdate { name, value, node, dampen_ms, set_dampen_only, private } => {
                let node = node.map_or(Ok(self.config.me), |name| node_id(self, &name))?;
                let update = Update { node, name, value, dampen_ms, dampen_only: set_dampen_only, private };
                self.multicast(&Message::Attribute(update));
                return Ok(Some(json!({})));
            }
            Admin::FenceHistory { node } => return Ok(Some(self.fence_history(node.as_deref()))),
            Admin::FenceDevices { node } => {
                let reaches = |id: &str| {
                    node.as_deref().is_none_or(|name| self.power.devices_for(name).any(|d| d == id))
                };
                let ids: Vec<&str> = self.replica.cib.fence_devices().map(|d| d.id.as_str()).collect();
                let ids: Vec<&str> = ids.into_iter().filter(|id| reaches(id)).collect();
                return Ok(Some(json!({ "devices": ids })));
            }
            _ => {}
        }
        if !self.is_synced() {
            return Err(refusal::NOT_AGREED.to_owned());
        }
        match request {
            Admin::CibDo { mut operation } => {
                if !self.may_change() {
                    return Ok(Some(json!({ "error": refusal::NO_QUORUM, "rc": 106 })));
                }
                if let Some(stamp) = &mut operation.stamp {
                    stamp.origin = self.my_name();
                }
                self.last_change += 1;
                self.changes.insert(self.last_change, conn);
                self.multicast(&Message::CibDo { operation, request: self.last_change });
                return Ok(None);
            }
            Admin::Controller if self.is_dc() => return Ok(Some(self.nodes(self.state()))),
            Admin::Controller => {
                self.last_change += 1;
                self.asked.insert(self.last_change, conn);
                self.multicast(&Message::Ask { request: self.last_change });
                return Ok(None);
            }
            Admin::Cleanup(whose) => return self.forget_failures(whose, true).map(Some),
            Admin::Refresh(whose) => return self.forget_failures(whose, false).map(Some),
            Admin::Fail { resource, node } => {
                let id = node_id(self, &node)?;
                let known = self.replica.nodes.get(&id).is_some_and(|n| n.history.contains_key(&resource));
                if !known {
                    return Err(refusal::nothing_known(&resource, &node));
                }
                self.multicast(&Message::Fail { node: id, resource });
            }
            Admin::Fence { node, action, client } => {
                let target = node_id(self, &node)?;
                if !matches!(action.as_str(), "off" | "reboot") {
                    return Err(refusal::no_such_fencing(&action, &node));
                }
                if !self.may_fence() {
                    return Err(refusal::NO_QUORUM_TO_FENCE.to_owned());
                }
                if !self.power.can_fence(target, &node) {
                    return Err(refusal::out_of_reach(&node));
                }
                let client = client.unwrap_or_else(|| "stonith_admin".to_owned());
                self.fence_waiters.entry(target).or_default().push(conn);
                self.multicast(&Message::FenceWanted { target, action, client });
                return Ok(None);
            }
            Admin::Confirm { node, by } => {
                let id = node_id(self, &node)?;
                if self.replica.is_online(id) {
                    return Err(refusal::not_dead(&node));
                }
                // Into one line of the log, whatever somebody calls himself.
                let by: String =
                    by.unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect();
                let by = if by.is_empty() { String::new() } else { format!(": {by}") };
                let reason = format!("the operator says that it is down{by}");
                self.log(Level::WARN, format!("{node} is taken for dead: {reason}, on {}", self.my_name()));
                let incarnation = self.replica.nodes.get(&id).map_or(0, |n| n.incarnation);
                let now_us = self.now.wall.0.max(1);
                self.multicast_fence_done(FenceEntry {
                    target: id,
                    incarnation,
                    action: "off".to_owned(),
                    reason,
                    client: "operator".to_owned(),
                    origin: self.config.me,
                    device: "a human".to_owned(),
                    executor: self.config.me,
                    requested_us: now_us,
                    completed_us: now_us,
                    error: None,
                });
            }
            Admin::RemoveNode { node } => return Ok(self.want_removed(conn, node)),
            Admin::Standby { node, on } => {
                let id = node_id(self, &node)?;
                let changed = self.replica.cib.with_node_attribute(id, &node, "standby", on.then_some("on"));
                return self
                    .change(conn, changed.map(|c| c.to_xml()).map_err(|e| e.to_string())?)
                    .map(|()| None);
            }
            Admin::Meta { resource, name, value } => {
                if self.replica.cib.tree().find_id(&resource).is_none() {
                    return Err(refusal::no_resource(&resource));
                }
                let changed = self.replica.cib.with_meta(&resource, &name, value.as_deref());
                return self
                    .change(conn, changed.map(|c| c.to_xml()).map_err(|e| e.to_string())?)
                    .map(|()| None);
            }
            Admin::CibReplace { xml } => {
                let new = cib::Cib::parse(&xml, "CIB").map_err(|e| e.to_string())?;
                let raised = new.with_version_after(self.replica.cib.version).map_err(|e| e.to_string())?;
                return self.change(conn, raised.to_xml()).map(|()| None);
            }
            // Answered above, or by the socket.
            _ => {}
        }
        Ok(Some(json!({})))
    }

    fn forget_failures(&mut self, whose: Whose, failed: bool) -> Result<Value, String> {
        let Whose { resource, node, operation, interval_ms } = whose;
        let operation = operation.map(|name| format!("{name}_{}", interval_ms.unwrap_or(0)));
        let base = |id: &str| id.rsplit_once(':').map_or(id, |(base, _)| base).to_owned();
        let element = resource.as_deref().and_then(|id| self.replica.cib.tree().find_id(id));
        // Of what consists of others, those.
        let mut parts: Vec<String> = Vec::new();
        if let Some(element) = element {
            element.walk(&mut |e| parts.extend(e.id().filter(|_| e.name == "primitive").map(str::to_owned)));
        }
        parts.extend(resource.clone().filter(|_| parts.is_empty()));
        let wanted =
            |id: &str| resource.is_none() || parts.iter().any(|part| part == id || *part == base(id));
        let node = match node {
            Some(name) => Some(
                (self.replica.nodes.iter().find(|(_, n)| n.name == name))
                    .map(|(id, _)| *id)
                    .ok_or_else(|| refusal::no_node(&name))?,
            ),
            None => None,
        };
        if let Some(id) = resource.as_deref()
            && element.is_none()
            && !self.replica.nodes.values().any(|n| n.history.keys().any(|known| wanted(known)))
        {
            return Err(refusal::no_resource(id));
        }
        let mut cleaned = Vec::new();
        for (id, entry) in self.replica.nodes.iter().filter(|(id, _)| node.is_none_or(|n| n == **id)) {
            for (known, history) in entry.history.iter().filter(|(known, _)| wanted(known)) {
                let counted = self.replica.attributes.has_failures(*id, known, operation.as_deref());
                if !failed || history.has_failed(operation.as_deref()) || counted {
                    cleaned.push(json!({ "resource": known, "node": entry.name }));
                }
            }
        }
        match resource {
            None => self.multicast(&Message::Forget(Forget { node, resource: None, failed, operation })),
            Some(_) => {
                for part in parts {
                    let (resource, operation) = (Some(part), operation.clone());
                    self.multicast(&Message::Forget(Forget { node, resource, failed, operation }));
                }
            }
        }
        Ok(json!({ "cleaned": cleaned }))
    }

    fn attribute(&self, name: &str, node: Option<&str>) -> Result<Value, String> {
        let values = self
            .replica
            .attributes
            .latest(name)
            .ok_or_else(|| format!("Could not query value of {name}: attribute does not exist"))?;
        let named = values.into_iter().map(|(id, value)| (self.replica.name(id), value));
        let named = named.filter(|(host, _)| node.is_none_or(|node| node == host));
        let values: Vec<Value> =
            named.map(|(host, value)| json!({ "name": name, "host": host, "value": value })).collect();
        Ok(json!({ "attributes": values }))
    }

    /// What this member does, in the words of Pacemaker's controller.
    fn state(&self) -> &'static str {
        match (self.is_synced(), self.is_dc(), self.engine.is_idle()) {
            (false, ..) => "S_PENDING",
            (true, false, _) => "S_NOT_DC",
            (true, true, false) => "S_TRANSITION_ENGINE",
            (true, true, true) => "S_IDLE",
        }
    }

    /// A member asks what the controller does.
    pub(crate) fn controller_asked(&mut self, node: u32, request: u64) {
        if self.is_dc() {
            self.multicast(&Message::Told { node, request, state: self.state().to_owned() });
        }
    }

    /// The controller's answer.
    pub(crate) fn controller_told(&mut self, node: u32, request: u64, state: &str) {
        if node == self.config.me
            && let Some(conn) = self.asked.remove(&request)
        {
            self.outputs.push_back(Output::Reply { conn, answer: Ok(self.nodes(state)) });
        }
    }

    /// Whom the controller has not answered is told that there may be another one soon.
    pub(crate) fn controller_unsettled(&mut self) {
        for conn in std::mem::take(&mut self.asked).into_values() {
            self.outputs.push_back(Output::Reply { conn, answer: Ok(self.nodes("S_ELECTION")) });
        }
    }

    fn nodes(&self, state: &str) -> Value {
        let member = |id: &u32| self.ring.contains(id) || self.replica.is_online(*id);
        let nodes = self.replica.nodes.iter();
        let nodes: Vec<Value> =
            nodes.map(|(id, n)| json!({ "id": id, "name": n.name, "member": member(id) })).collect();
        let dc = self.replica.dc().filter(|_| self.is_synced()).map(|dc| self.replica.name(dc));
        json!({ "me": self.config.me, "nodes": nodes, "quorate": self.quorate, "dc": dc, "state": state })
    }

    fn fence_history(&self, node: Option<&str>) -> Value {
        let name = |id: u32| if id == 0 { String::new() } else { self.replica.name(id) };
        let events = self.replica.fencing.iter().filter(|e| node.is_none_or(|n| name(e.target) == n));
        let events: Vec<Value> = events
            .map(|e| {
                let state = match (&e.error, e.completed_us) {
                    (_, 0) => "pending",
                    (None, _) => "success",
                    (Some(_), _) => "failed",
                };
                json!({
                    "target": name(e.target), "action": e.action, "state": state, "origin": name(e.origin),
                    "delegate": name(e.executor), "client": e.client, "device": e.device,
                    "requested_us": e.requested_us, "completed_us": e.completed_us,
                    "exit_reason": e.error,
                })
            })
            .collect();
        json!({ "events": events })
    }

    /// Asks the group to take a changed configuration; the answer comes when it is delivered.
    fn change(&mut self, conn: u64, xml: String) -> Result<(), String> {
        if !self.may_change() {
            return Err(refusal::NO_QUORUM.to_owned());
        }
        self.last_change += 1;
        self.changes.insert(self.last_change, conn);
        let base = self.cib_version();
        self.multicast(&Message::Cib(CibChange { base, xml, request: self.last_change }));
        Ok(())
    }
}
