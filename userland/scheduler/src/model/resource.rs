//! A resource: a primitive, or what primitives are put together to.

use std::ops::{BitOr, BitOrAssign, Deref};
use std::rc::Rc;

use cib::{Attributes, Element, Score};
use indexmap::IndexSet;

use super::{NodeId, ResourceId};

/// What a resource does or is to do, in the order of their strength.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing is known.
    #[default]
    Unknown,
    /// It does not run.
    Stopped,
    /// It runs.
    Started,
    /// It runs, and could be promoted.
    Unpromoted,
    /// It runs as the one that others look up to.
    Promoted,
}

impl Role {
    /// As the configuration writes it, old words included.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            ("stopped", Self::Stopped),
            ("started", Self::Started),
            ("unpromoted", Self::Unpromoted),
            ("slave", Self::Unpromoted),
            ("promoted", Self::Promoted),
            ("master", Self::Promoted),
        ]
        .into_iter()
        .find_map(|(word, role)| text.eq_ignore_ascii_case(word).then_some(role))
    }

    /// As reports write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Stopped => "Stopped",
            Self::Started => "Started",
            Self::Unpromoted => "Unpromoted",
            Self::Promoted => "Promoted",
        }
    }
}

/// What is true of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Not in the configuration any more.
    pub const ORPHAN: Self = Self(1);
    /// The cluster manages it.
    pub const MANAGED: Self = Self(1 << 1);
    /// Nothing is done with it after a failure.
    pub const BLOCKED: Self = Self(1 << 2);
    /// It is in maintenance.
    pub const MAINTENANCE: Self = Self(1 << 3);
    /// Its instances differ; true of everything outside of anonymous clones.
    pub const UNIQUE: Self = Self(1 << 4);
    /// It can be promoted.
    pub const PROMOTABLE: Self = Self(1 << 5);
    /// It has failed.
    pub const FAILED: Self = Self(1 << 6);
    /// It has to be stopped for that.
    pub const MUST_STOP: Self = Self(1 << 7);
    /// A failure does not count.
    pub const FAILURE_IGNORED: Self = Self(1 << 8);
    /// Nodes that may run it are fenced before it starts elsewhere.
    pub const NEEDS_FENCING: Self = Self(1 << 9);
    /// It needs quorum.
    pub const NEEDS_QUORUM: Self = Self(1 << 10);
    /// Its nodes are unfenced before it starts there.
    pub const NEEDS_UNFENCING: Self = Self(1 << 11);
    /// It is a fence device.
    pub const FENCE_DEVICE: Self = Self(1 << 12);
    /// Its agents are told of changes.
    pub const NOTIFY: Self = Self(1 << 13);
    /// It may be migrated.
    pub const MIGRATABLE: Self = Self(1 << 14);
    /// A start of it is under way.
    pub const START_PENDING: Self = Self(1 << 15);
    /// Others run inside of it.
    pub const CONTAINER: Self = Self(1 << 16);
    /// It ran inside of a resource that is known no more.
    pub const ORPHAN_FILLER: Self = Self(1 << 17);
    /// Others in its group stay up with it.
    pub const CRITICAL: Self = Self(1 << 18);
    /// It is one instance or replica of several.
    pub const EXCLUSIVE_DISCOVERY: Self = Self(1 << 19);
    /// It runs twice, and only the one that is not expected stops.
    pub const STOP_UNEXPECTED: Self = Self(1 << 20);
    /// The actions that are made are those of a restart.
    pub const RESTARTING: Self = Self(1 << 21);
    /// It reads its parameters anew.
    pub const RELOAD: Self = Self(1 << 22);
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A piece of configuration: as it stands in the document, or made from templates.
#[derive(Clone, Debug)]
pub(crate) enum Xml<'c> {
    Document(&'c Element),
    Made(Rc<Element>),
}

impl Deref for Xml<'_> {
    type Target = Element;
    fn deref(&self) -> &Element {
        match self {
            Self::Document(element) => element,
            Self::Made(element) => element,
        }
    }
}

/// An operation that is under way.
#[derive(Clone, Debug)]
pub struct UnderWay {
    /// Which.
    pub task: String,
    /// Where.
    pub node: NodeId,
}

/// What a resource is made of.
#[derive(Clone, Debug)]
pub enum Variant {
    /// An agent.
    Primitive,
    /// Members that start one after another in one place.
    Group,
    /// Instances.
    Clone(Instances),
    /// Replicas of a container.
    Bundle(Bundle),
}

/// Of a clone.
#[derive(Clone, Debug, Default)]
pub struct Instances {
    /// `clone-max`.
    pub max: u32,
    /// `clone-node-max`.
    pub node_max: u32,
    /// `promoted-max`.
    pub promoted_max: u32,
    /// `promoted-node-max`.
    pub promoted_node_max: u32,
    /// Instances pair with those of another clone on their node.
    pub interleave: bool,
    /// Instances start one after another.
    pub ordered: bool,
}

/// Of a bundle.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// The image of its containers.
    pub image: String,
    /// Most on one host.
    pub per_host: u32,
    /// Most that are promoted.
    pub promoted_max: u32,
    /// The clone inside, if there is a primitive.
    pub inside: Option<ResourceId>,
    /// In the order of their numbers.
    pub replicas: Vec<Replica>,
}

/// One replica of a bundle.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Its address, if it has one.
    pub address: Option<String>,
    /// The resource of that.
    pub ip: Option<ResourceId>,
    /// The container.
    pub container: ResourceId,
    /// The connection to the guest node that it is.
    pub connection: Option<ResourceId>,
    /// That node.
    pub guest: Option<NodeId>,
    /// What runs on it.
    pub child: Option<ResourceId>,
}

/// A resource.
#[derive(Clone, Debug)]
pub struct Resource<'c> {
    /// Its id; instances have `:N` behind it.
    pub id: String,
    /// The id under which the history knows it, where that differs.
    pub history_name: Option<String>,
    pub(crate) xml: Xml<'c>,
    /// What it is made of.
    pub variant: Variant,
    /// What it is part of.
    pub parent: Option<ResourceId>,
    /// Its parts.
    pub children: Vec<ResourceId>,
    pub(crate) flags: Flags,
    /// Class, provider, type.
    pub class: String,
    /// See `class`.
    pub provider: Option<String>,
    /// See `class`.
    pub kind: String,
    /// Meta-attributes with everything inherited.
    pub meta: Attributes,
    /// `priority`.
    pub priority: Score,
    /// `resource-stickiness`.
    pub stickiness: Score,
    /// `migration-threshold`; 0: never banned.
    pub migration_threshold: Score,
    /// `failure-timeout` in seconds; 0: failures do not expire.
    pub failure_timeout: i64,
    /// What happens to a resource that runs twice.
    pub(crate) multiple_active: MultipleActive,
    /// What it does.
    pub role: Role,
    /// What it is to do.
    pub next_role: Role,
    /// Where it runs.
    pub running_on: Vec<NodeId>,
    /// Where its state is known.
    pub known_on: IndexSet<NodeId>,
    /// What is under way.
    pub pending: Option<UnderWay>,
    /// A migration that was begun: from, to.
    pub partial_migration: Option<(NodeId, NodeId)>,
    /// Nodes where only the end of a migration is missing.
    pub dangling: Vec<NodeId>,
    /// The node that a shutdown lock keeps it on.
    pub locked_to: Option<NodeId>,
    /// Seconds since 1970 of that lock.
    pub lock_time: i64,
    /// The resource that it runs inside of.
    pub container: Option<ResourceId>,
    /// Those that run inside of it.
    pub fillers: Vec<ResourceId>,
    /// It is the connection to a remote node or guest.
    pub is_connection: bool,
    /// `reconnect_interval` of a connection, in milliseconds.
    pub reconnect_ms: u64,
    /// Its score by node, by the index of the node; `None`: not allowed at all.
    pub allowed: Vec<Option<Score>>,
    pub(crate) discovery: Vec<Discovery>,
    /// How many instances of it each node has been given.
    pub(crate) instances_on: Vec<u32>,
    /// Location constraints on it.
    pub(crate) locations: Vec<usize>,
    /// Colocations in which it is the dependent, in the order in which they are applied.
    pub(crate) this_with: Vec<usize>,
    /// Colocations in which it is the primary.
    pub(crate) with_this: Vec<usize>,
    pub(crate) tickets: Vec<crate::constraints::Need>,
    /// Where it is to run.
    pub assigned: Option<NodeId>,
    /// Its score there when that was decided.
    pub(crate) assigned_score: Score,
    /// That is not decided yet.
    pub(crate) provisional: bool,
    /// It is being decided.
    pub(crate) assigning: bool,
    /// Its scores are being added somewhere.
    pub(crate) merging: std::cell::Cell<bool>,
    pub(crate) promotion_scores_added: bool,
    /// What instances are promoted by.
    pub(crate) promotion_index: Score,
}

/// Whether a resource is looked for on a node, and whether it may be anywhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Discovery {
    #[default]
    Always,
    Never,
    Exclusive,
}

/// What happens to a resource that runs twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MultipleActive {
    #[default]
    StopStart,
    StopOnly,
    Block,
    StopUnexpected,
}

impl Resource<'_> {
    /// Whether all of these are true.
    #[must_use]
    pub fn is(&self, flags: Flags) -> bool {
        self.flags.0 & flags.0 == flags.0
    }

    pub(crate) fn set(&mut self, flags: Flags, on: bool) {
        if on {
            self.flags |= flags;
        } else {
            self.flags.0 &= !flags.0;
        }
    }

    pub(crate) fn is_primitive(&self) -> bool {
        matches!(self.variant, Variant::Primitive)
    }

    /// The id in the configuration, without a number of an instance.
    pub(crate) fn configured_id(&self) -> &str {
        self.xml.id().unwrap_or(&self.id)
    }
}
