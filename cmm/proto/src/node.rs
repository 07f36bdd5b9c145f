//! [`Node`]: seal, ring, detector, reconfiguration, quorum and services put together behind one door.

use std::collections::{BTreeMap, VecDeque};

use holdfast_types::{Boottime, Incarnation, LinkId, NodeId, RingId};

use crate::api::{
    GaspKind, GroupMember, GroupName, NodeConfig, Output, QuorumView, Record, Refusal, Request, Stats,
    StepNotice,
};
use crate::limits;

/// What is wrong with a [`NodeConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The node list is empty, too long, not ascending, or names node 0.
    #[error("node list: {0}")]
    Nodes(&'static str),
    /// The local node is not in the node list.
    #[error("node {0} is this node, but the node list does not name it")]
    NotInList(NodeId),
    /// An interval is zero or does not fit the others.
    #[error("timers: {0}")]
    Timers(&'static str),
    /// Votes or quorum options that cannot be.
    #[error("quorum: {0}")]
    Quorum(&'static str),
}

/// One node of the cluster: the whole protocol as a state machine.
///
/// Calling order: on every wake-up [`Node::handle_timeout`] first, then inputs with the same or a later `now`; after
/// each call [`Node::poll_output`] until it is empty. `now` never goes back.
pub struct Node {
    config: NodeConfig,
    outputs: VecDeque<Output>,
    view: QuorumView,
    members: Vec<NodeId>,
    stats: Stats,
    confirmed: BTreeMap<NodeId, Incarnation>,
}

impl Node {
    /// A node at its start, alone and not quorate.
    ///
    /// # Errors
    /// When the configuration cannot be run.
    pub fn new(config: NodeConfig, now: Boottime) -> Result<Self, ConfigError> {
        check(&config)?;
        let _ = now;
        Ok(Self {
            outputs: VecDeque::new(),
            view: QuorumView::default(),
            members: Vec::new(),
            stats: Stats::default(),
            confirmed: BTreeMap::new(),
            config,
        })
    }

    /// A packet as received on `link`; it is opened in place.
    pub fn handle_packet(&mut self, now: Boottime, link: LinkId, packet: &mut [u8]) {
        let _ = (now, link, packet);
    }

    /// Timers that are due, and first of all the lease. The driver calls it first on every wake-up.
    pub fn handle_timeout(&mut self, now: Boottime) {
        let _ = now;
    }

    /// `record` is durable.
    pub fn handle_persisted(&mut self, now: Boottime, record: &Record) {
        let _ = (now, record);
    }

    /// Takes a request, or says why not.
    ///
    /// # Errors
    /// A [`Refusal`], to be told to the client.
    pub fn submit(&mut self, now: Boottime, request: Request<'_>) -> Result<(), Refusal> {
        let _ = (now, request);
        Err(Refusal::TryAgain)
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Node::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        None
    }

    /// A gasp sealed in advance for the guardian, which sends the same bytes to every peer on every link.
    pub fn seal_gasp(&mut self, kind: GaspKind, why: &str) -> Vec<u8> {
        let _ = (kind, why);
        Vec::new()
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The ring installed last.
    #[must_use]
    pub fn ring_id(&self) -> RingId {
        self.view.ring
    }

    /// State of the ring as corosync names it: `OPERATIONAL`, `GATHER`, `COMMIT`, `RECOVERY`.
    #[must_use]
    pub fn ring_state(&self) -> &'static str {
        "GATHER"
    }

    /// Members of the configuration installed last, ascending.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// Whether the first synchronisation is complete: clients may be served.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        false
    }

    /// Whether clients may multicast now: the last [`Output::Gate`].
    #[must_use]
    pub fn gate_open(&self) -> bool {
        false
    }

    /// Votes and quorum as last told. Never quorate outside a lease that was valid at the last call with a time.
    #[must_use]
    pub fn quorum_view(&self) -> &QuorumView {
        &self.view
    }

    /// Whether echoes of enough votes are valid, whatever the reconfiguration has decided.
    #[must_use]
    pub fn lease_valid(&self) -> bool {
        false
    }

    /// The step of the reconfiguration that runs now, or ended last.
    #[must_use]
    pub fn step(&self) -> Option<&StepNotice> {
        None
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// Snapshot of all process groups, by name; members by node, then pid.
    #[must_use]
    pub fn cpg_groups(&self) -> Vec<(GroupName, Vec<GroupMember>)> {
        Vec::new()
    }

    /// Members of one group, by node, then pid; empty if there is no such group.
    #[must_use]
    pub fn cpg_members(&self, group: &[u8]) -> Vec<GroupMember> {
        let _ = group;
        Vec::new()
    }

    /// Highest incarnation of each node whose death is confirmed.
    #[must_use]
    pub fn confirmed(&self) -> &BTreeMap<NodeId, Incarnation> {
        &self.confirmed
    }

    /// Last known incarnation of each node, this one included.
    #[must_use]
    pub fn incarnations(&self) -> BTreeMap<NodeId, Incarnation> {
        BTreeMap::from([(self.config.me, self.config.incarnation)])
    }
}

fn check(config: &NodeConfig) -> Result<(), ConfigError> {
    let nodes = &config.nodes;
    if nodes.is_empty() || nodes.len() > limits::NODES_MAX {
        return Err(ConfigError::Nodes("must name 1 to 64 nodes"));
    }
    if nodes[0].id.get() == 0 {
        return Err(ConfigError::Nodes("node id 0 is not a node"));
    }
    if nodes.windows(2).any(|w| w[0].id >= w[1].id) {
        return Err(ConfigError::Nodes("must be in ascending order of id, each id once"));
    }
    if nodes.binary_search_by_key(&config.me, |n| n.id).is_err() {
        return Err(ConfigError::NotInList(config.me));
    }
    Ok(())
}
