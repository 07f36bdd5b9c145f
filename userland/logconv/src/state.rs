//! What a converter remembers from line to line. It can be kept in a file, so that another process goes on where one stopped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::failover::{Cause, FailOver};

/// See the module. Fields that an older release did not know have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The strongest thing that happened since nothing was to be done.
    pub(crate) trigger: Cause,
    /// The controller's plans.
    pub(crate) failover: FailOver,
    /// Attributes that changed since then, by node and name; `None`: deleted.
    pub(crate) attributes: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// Nodes that the scheduler found online (or not) since then.
    pub(crate) online: BTreeMap<String, bool>,
    /// Nodes that are members, or are lost: said once.
    pub(crate) members: BTreeMap<String, bool>,
    /// The designated controller; empty: none is known.
    pub(crate) controller: String,
    /// The victim that each fence device was called for last.
    pub(crate) victims: BTreeMap<String, String>,
}

impl State {
    /// What happened is dealt with.
    pub(crate) fn settle(&mut self) {
        self.trigger = Cause::None;
        self.attributes.clear();
        self.online.clear();
    }
}
