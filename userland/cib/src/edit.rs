//! Changes of a configuration, each of which raises its version.

use crate::error::CibError;
use crate::model::{Cib, Version};
use crate::tree::Element;

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no such resource.
    #[error("no resource \"{0}\" in the configuration")]
    NoSuchResource(String),
    /// The result would not be valid.
    #[error(transparent)]
    Invalid(#[from] CibError),
}

impl Cib {
    /// With a permanent node attribute set (`None`: removed). The node is added to `nodes` where it is missing.
    ///
    /// # Errors
    /// When the result would not be valid.
    pub fn with_node_attribute(
        &self,
        node_id: u32,
        uname: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<Self, EditError> {
        let mut tree = self.tree.clone();
        let nodes = tree.child_mut("configuration").child_mut("nodes");
        let at = nodes.children.iter().position(|n| n.get("uname") == Some(uname)).unwrap_or_else(|| {
            nodes.children.push(Element::new("node").with("id", &node_id.to_string()).with("uname", uname));
            nodes.children.len() - 1
        });
        let node = &mut nodes.children[at];
        set_pair(node.child_mut("instance_attributes"), &format!("nodes-{node_id}"), name, value);
        self.edited(tree)
    }

    /// With a meta attribute of a resource or group set (`None`: removed).
    ///
    /// # Errors
    /// When there is no such resource, or the result would not be valid.
    pub fn with_meta(&self, resource: &str, name: &str, value: Option<&str>) -> Result<Self, EditError> {
        let mut tree = self.tree.clone();
        let resources = tree.child_mut("configuration").child_mut("resources");
        let found =
            resources.find_id_mut(resource).filter(|e| matches!(e.name.as_str(), "primitive" | "group"));
        let Some(element) = found else { return Err(EditError::NoSuchResource(resource.to_owned())) };
        set_pair(element.child_mut("meta_attributes"), &format!("{resource}-meta_attributes"), name, value);
        self.edited(tree)
    }

    /// This configuration with a version that replaces `current`: its own if that is higher, else raised by one change.
    ///
    /// # Errors
    /// When the result would not be valid.
    pub fn with_version_after(&self, current: Version) -> Result<Self, EditError> {
        if self.version > current {
            return Ok(self.clone());
        }
        let mut tree = self.tree.clone();
        tree.attributes.insert("admin_epoch", current.admin_epoch.to_string());
        Self { version: current, ..self.clone() }.edited(tree)
    }

    /// This configuration with the version raised by one change.
    fn edited(&self, mut tree: Element) -> Result<Self, EditError> {
        let version = Version { epoch: self.version.epoch.saturating_add(1), num_updates: 0, ..self.version };
        tree.attributes.insert("epoch", version.epoch.to_string());
        tree.attributes.insert("num_updates", "0");
        Ok(Self::from_tree(tree, "changed CIB")?)
    }
}

fn set_pair(set: &mut Element, set_id: &str, name: &str, value: Option<&str>) {
    if set.id().is_none() {
        set.attributes.insert("id", set_id);
    }
    let set_id = set.id().unwrap_or(set_id).to_owned();
    let at = set.children.iter().position(|pair| pair.get("name") == Some(name));
    match (at, value) {
        (Some(at), None) => {
            set.children.remove(at);
        }
        (Some(at), Some(value)) => {
            set.children[at].attributes.insert("value", value);
        }
        (None, Some(value)) => set.children.push(
            Element::new("nvpair")
                .with("id", &format!("{set_id}-{name}"))
                .with("name", name)
                .with("value", value),
        ),
        (None, None) => {}
    }
}
