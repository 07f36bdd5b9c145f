//! The typed view: what the scheduler and the resource manager work on. Made from the tree by `read`.

use std::fmt;

use indexmap::IndexMap;

use crate::error::Warning;
use crate::options::Options;
use crate::rules::Rule;
use crate::tree::Element;
use crate::values::Score;

/// A configuration.
#[derive(Clone, Debug)]
pub struct Cib {
    pub(crate) tree: Element,
    /// Its version.
    pub version: Version,
    /// Cluster options.
    pub options: Options,
    /// `nodes`, in document order.
    pub nodes: Vec<Node>,
    /// Primitives and groups, in document order.
    pub resources: Vec<Resource>,
    /// `rsc_location`, in document order.
    pub locations: Vec<Location>,
    /// `fencing-topology`, in document order.
    pub fencing_levels: Vec<FencingLevel>,
    /// What is not honoured, by line.
    pub warnings: Vec<Warning>,
}

/// `admin_epoch.epoch.num_updates`; a higher one replaces a lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Raised by administrators only.
    pub admin_epoch: u32,
    /// Raised with each change of the configuration.
    pub epoch: u32,
    /// Raised with each change of the status.
    pub num_updates: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.admin_epoch, self.epoch, self.num_updates)
    }
}

/// A configured node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `id`: the ring daemon's node id in decimal.
    pub id: String,
    /// `uname`.
    pub uname: String,
    /// Permanent attributes.
    pub attributes: IndexMap<String, String>,
}

/// A group, or a primitive by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Id of the group, or of the only primitive.
    pub id: String,
    /// A group: its members run on one node, started in order and stopped in reverse.
    pub group: bool,
    /// The primitives in it, in order of start.
    pub members: Vec<Primitive>,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primitive {
    /// Its id.
    pub id: String,
    /// `ocf` or `stonith`.
    pub class: String,
    /// Provider of an `ocf` agent; empty for `stonith`.
    pub provider: String,
    /// Agent.
    pub kind: String,
    /// Instance attributes, in order.
    pub params: Vec<(String, String)>,
    /// Meta attributes in force: own, the group's, the defaults.
    pub meta: Meta,
    /// Operations, in order.
    pub operations: Vec<Operation>,
    /// `op_defaults timeout`, else 20 s: of operations that name none.
    pub default_timeout_ms: u64,
    /// Line in the document.
    pub line: u32,
}

impl Primitive {
    /// `ocf:PROVIDER:TYPE` or `stonith:TYPE`.
    #[must_use]
    pub fn agent(&self) -> String {
        if self.provider.is_empty() {
            format!("{}:{}", self.class, self.kind)
        } else {
            format!("{}:{}:{}", self.class, self.provider, self.kind)
        }
    }

    /// Whether it is a fence device.
    #[must_use]
    pub fn is_fence_device(&self) -> bool {
        self.class == "stonith"
    }

    /// An instance attribute.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The configured operation of this name and interval.
    #[must_use]
    pub fn operation(&self, name: &str, interval_ms: u64) -> Option<&Operation> {
        self.operations.iter().find(|op| op.name == name && op.interval_ms == interval_ms)
    }

    /// Recurring operations to be run while the resource is started.
    pub fn recurring(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|op| {
            op.name == "monitor"
                && op.interval_ms > 0
                && op.enabled
                && op.role.as_deref().is_none_or(|r| r == "Started")
        })
    }

    /// Time limit of an operation that runs once. A probe takes that of the monitor with the shortest interval.
    #[must_use]
    pub fn timeout_ms(&self, action: &str) -> u64 {
        let configured = if action == "monitor" {
            self.operations.iter().filter(|op| op.name == "monitor").min_by_key(|op| op.interval_ms)
        } else {
            self.operation(action, 0)
        };
        configured.and_then(|op| op.timeout_ms).unwrap_or(self.default_timeout_ms)
    }

    /// What a failure of this operation leads to.
    #[must_use]
    pub fn on_fail(&self, action: &str, interval_ms: u64, stonith_enabled: bool) -> OnFail {
        let configured = self.operation(action, interval_ms).and_then(|op| op.on_fail);
        match (configured, action) {
            (Some(OnFail::Fence), _) if !stonith_enabled => OnFail::Stop,
            (Some(OnFail::Standby | OnFail::Stop | OnFail::Restart), "stop") | (None, "stop") => {
                if stonith_enabled {
                    OnFail::Fence
                } else {
                    OnFail::Block
                }
            }
            (Some(on_fail), _) => on_fail,
            (None, _) => OnFail::Restart,
        }
    }
}

/// Meta attributes that decide something, and all of them as text for the agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `resource-stickiness`.
    pub stickiness: Score,
    /// `migration-threshold`; `None` (written 0): failures never ban a node. [`Self::NO_THRESHOLD`]: only fatal ones do.
    pub migration_threshold: Option<u32>,
    /// `failure-timeout`; `None`: failures do not expire.
    pub failure_timeout_ms: Option<u64>,
    /// `target-role`.
    pub target_role: TargetRole,
    /// `is-managed`, and not in `maintenance`.
    pub managed: bool,
    /// `maintenance`: monitors rest as well.
    pub maintenance: bool,
    /// `priority`.
    pub priority: i32,
    /// All in force, by name.
    pub all: IndexMap<String, String>,
}

impl Meta {
    /// `migration-threshold` where none is configured: infinite, so that only a fatal failure reaches it.
    pub const NO_THRESHOLD: u32 = 1_000_000;
}

/// What a resource shall do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetRole {
    /// Run.
    #[default]
    Started,
    /// Not run.
    Stopped,
}

/// A configured operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// `start`, `stop`, `monitor`, …
    pub name: String,
    /// 0: runs once.
    pub interval_ms: u64,
    /// Time limit, if one is named.
    pub timeout_ms: Option<u64>,
    /// `on-fail`, if named.
    pub on_fail: Option<OnFail>,
    /// `enabled`.
    pub enabled: bool,
    /// `role`, if named.
    pub role: Option<String>,
    /// Instance attributes of the operation, `OCF_CHECK_LEVEL` for one.
    pub params: Vec<(String, String)>,
    /// Its other XML attributes, for the agents.
    pub meta: Vec<(String, String)>,
}

/// What a failed operation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// As if it had not failed.
    Ignore,
    /// Stop and start, here or elsewhere.
    Restart,
    /// Stop, and do not start anywhere.
    Stop,
    /// Do nothing with the resource any more.
    Block,
    /// Put the node in standby.
    Standby,
    /// Fence the node.
    Fence,
}

/// `rsc_location`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its id.
    pub id: String,
    /// The resource or group.
    pub resource: String,
    /// What it gives to which nodes.
    pub score: LocationScore,
}

/// A score for nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocationScore {
    /// For the node of this name.
    Node(String, Score),
    /// For the nodes that the rule accepts.
    Rule(Rule),
}

/// `fencing-level`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencingLevel {
    /// The nodes that it is for.
    pub target: FencingTarget,
    /// 1 is tried first.
    pub index: u32,
    /// Ids of its devices, all of which must succeed.
    pub devices: Vec<String>,
}

/// Nodes that a fencing level is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FencingTarget {
    /// `target`: this one.
    Name(String),
    /// `target-pattern`: those whose name matches this regular expression.
    Pattern(String),
    /// `target-attribute` and `target-value`: those with a permanent attribute of this name and value.
    Attribute(String, String),
}

impl Cib {
    /// The document.
    #[must_use]
    pub fn tree(&self) -> &Element {
        &self.tree
    }

    /// The document as text.
    #[must_use]
    pub fn to_xml(&self) -> String {
        self.tree.to_xml()
    }

    /// Digest of the document.
    #[must_use]
    pub fn digest(&self) -> String {
        self.tree.digest()
    }

    /// All primitives, in document order.
    pub fn primitives(&self) -> impl Iterator<Item = &Primitive> {
        self.resources.iter().flat_map(|r| r.members.iter())
    }

    /// The primitive of this id.
    #[must_use]
    pub fn primitive(&self, id: &str) -> Option<&Primitive> {
        self.primitives().find(|p| p.id == id)
    }

    /// The group that a primitive is in.
    #[must_use]
    pub fn group_of(&self, id: &str) -> Option<&Resource> {
        self.resources.iter().find(|r| r.group && r.members.iter().any(|m| m.id == id))
    }

    /// Fence devices.
    pub fn fence_devices(&self) -> impl Iterator<Item = &Primitive> {
        self.primitives().filter(|p| p.is_fence_device())
    }

    /// The configured node of this name.
    #[must_use]
    pub fn node(&self, uname: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.uname == uname)
    }
}
