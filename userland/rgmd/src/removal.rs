//! A node that will not come back is forgotten: its place in the document, its state and attributes. What was fenced stays in
//! the history, as does the name of who it was.

use cib::operation::Refusal;
use cib::{Cib, Element};
use serde_json::{Value, json};
use tracing::Level;

use crate::door::Output;
use crate::manager::Manager;
use crate::message::Message;
use crate::refusal;
use crate::replica::Standing;

impl Manager {
    /// What this node alone can see is judged here; the rest where the wish is delivered, as every member does.
    /// `Some`: it is refused.
    pub(crate) fn want_removed(&mut self, conn: u64, name: String) -> Option<Value> {
        if !self.may_change() {
            return Some(refused(106, refusal::NO_QUORUM.to_owned()));
        }
        let known = self.replica.nodes.iter().find(|(_, n)| n.name == name);
        let unseen = known.filter(|(_, n)| n.standing == Standing::Never).map(|(id, _)| *id);
        if known.is_some_and(|(id, _)| self.ring.contains(id)) {
            return Some(refused(113, refusal::takes_part(&name)));
        }
        if unseen.is_some_and(|id| self.unseen(id).is_some()) {
            return Some(refused(113, refusal::may_run(&name)));
        }
        self.last_change += 1;
        self.changes.insert(self.last_change, conn);
        self.multicast(&Message::NodeRemoved { name, request: self.last_change });
        None
    }

    /// Delivered: all members do the same at this place of the order.
    pub(crate) fn node_removed(&mut self, sender: u32, name: &str, request: u64) {
        let answer = if self.sync.is_some() {
            Err(refused(75, refusal::AGREEING.to_owned()))
        } else {
            self.remove_node(sender, name)
        };
        let mine = if sender == self.config.me { self.changes.remove(&request) } else { None };
        if let Some(conn) = mine {
            let answer = Ok(answer.map_or_else(|refused| refused, |()| json!({})));
            self.answers.push(Output::Reply { conn, answer });
        }
    }

    fn remove_node(&mut self, sender: u32, name: &str) -> Result<(), Value> {
        let known = self.replica.nodes.iter().find(|(_, n)| n.name == name);
        let known = known.map(|(id, n)| (*id, n.standing.clone()));
        match &known {
            Some((id, _)) if self.replica.order.contains(id) => {
                return Err(refused(113, refusal::takes_part(name)));
            }
            Some((_, Standing::Online)) => return Err(refused(113, refusal::takes_part(name))),
            Some((_, Standing::Unclean(_))) => return Err(refused(113, refusal::may_run(name))),
            Some((id, _)) if self.replica.fencing.iter().any(|e| e.target == *id && e.completed_us == 0) => {
                return Err(refused(113, refusal::being_fenced(name)));
            }
            _ => {}
        }
        let mut tree = self.replica.cib.tree().clone();
        let before = tree.clone();
        let nodes = tree.child_mut("configuration").child_mut("nodes");
        nodes.children.retain(|n| !is_of(n, name, known.as_ref().map(|(id, _)| *id)));
        let listed = tree != before;
        if known.is_none() && !listed {
            return Err(refused(68, refusal::no_node(name)));
        }
        if listed {
            let epoch = self.replica.cib.version.epoch.saturating_add(1);
            tree.attributes.insert("epoch", epoch.to_string());
            tree.attributes.insert("num_updates", "0");
            let cib = Cib::from_tree(tree, "CIB").map_err(|e| refused(78, e.to_string()))?;
            self.adopt(cib, &format!("{name} was removed on {}", self.replica.name(sender)));
        }
        if let Some((id, _)) = known {
            self.replica.remove(id);
            self.fence_wanted.remove(&id);
            self.abort(&format!("{name} was removed"));
        }
        self.log(Level::WARN, format!("Node {name} is forgotten, as asked on {}", self.replica.name(sender)));
        Ok(())
    }
}

fn is_of(node: &Element, name: &str, id: Option<u32>) -> bool {
    let named = node.get("uname").or_else(|| node.id()) == Some(name);
    node.name == "node" && (named || id.is_some_and(|id| node.id() == Some(id.to_string().as_str())))
}

/// An answer with the exit status of Pacemaker's commands.
fn refused(rc: i32, text: String) -> Value {
    serde_json::to_value(Refusal { rc, text, ..Refusal::default() }).unwrap_or_default()
}
