//! What administrators ask for through the admin socket.

use crate::door::{Admin, Output};
use crate::manager::Manager;
use crate::message::{CibChange, Forget, Message};
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
    fn administer(&mut self, conn: u64, request: Admin) -> Result<Option<serde_json::Value>, String> {
        let node_id = |manager: &Self, name: &str| {
            let found = manager.replica.nodes.iter().find(|(_, n)| n.name == name).map(|(id, _)| *id);
            found.ok_or_else(|| format!("no node \"{name}\" in this cluster"))
        };
        match request {
            Admin::Status => {
                return serde_json::to_value(self.report()).map(Some).map_err(|e| e.to_string());
            }
            Admin::Cib => return Ok(Some(serde_json::json!({ "xml": self.replica.cib.to_xml() }))),
            _ => {}
        }
        if !self.is_synced() {
            return Err("this node has not agreed with the others yet; try again in a moment".to_owned());
        }
        match request {
            Admin::Status | Admin::Cib => {}
            Admin::Cleanup { resource, node } => {
                if let Some(id) = resource.as_deref().filter(|id| self.replica.cib.primitive(id).is_none()) {
                    return Err(format!("no resource \"{id}\" in the configuration"));
                }
                let node = node.map(|name| node_id(self, &name)).transpose()?;
                self.multicast(&Message::Forget(Forget { node, resource, failed: true }));
            }
            Admin::Confirm { node } => {
                let id = node_id(self, &node)?;
                if self.replica.is_online(id) {
                    return Err(format!("{node} takes part in the cluster: it is not dead"));
                }
                let incarnation = self.replica.nodes.get(&id).map_or(0, |n| n.incarnation);
                let now_us = self.now.wall.0.max(1);
                self.multicast_fence_done(FenceEntry {
                    target: id,
                    incarnation,
                    action: "off".to_owned(),
                    reason: "the operator says that it is down".to_owned(),
                    client: "operator".to_owned(),
                    origin: self.config.me,
                    device: "a human".to_owned(),
                    executor: self.config.me,
                    requested_us: now_us,
                    completed_us: now_us,
                    error: None,
                });
            }
            Admin::Standby { node, on } => {
                let id = node_id(self, &node)?;
                let changed = self.replica.cib.with_node_attribute(id, &node, "standby", on.then_some("on"));
                return self
                    .change(conn, changed.map(|c| c.to_xml()).map_err(|e| e.to_string())?)
                    .map(|()| None);
            }
            Admin::Meta { resource, name, value } => {
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
        }
        Ok(Some(serde_json::json!({})))
    }

    /// Asks the group to take a changed configuration; the answer comes when it is delivered.
    fn change(&mut self, conn: u64, xml: String) -> Result<(), String> {
        if !self.quorate {
            return Err("no quorum: the configuration cannot be changed".to_owned());
        }
        self.last_change += 1;
        self.changes.insert(self.last_change, conn);
        let base = self.cib_version();
        self.multicast(&Message::Cib(CibChange { base, xml, request: self.last_change }));
        Ok(())
    }
}
