//! The model: what a node knows of its cluster at one instant.
//!
//! `rgmd` fills it, `holdfast status` adds what it reads from `cmmd` itself, the renderers print it. It is also the
//! JSON form: field names are a contract, fields are only added. Every structure has a `Default`, and a missing
//! field reads as its default, so that a command and a daemon of different releases understand each other.
//!
//! Times are milliseconds since the Unix epoch (for people only), lengths of time milliseconds.

use serde::{Deserialize, Serialize};

/// Everything one node knows of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterStatus {
    /// `totem.cluster_name`.
    pub cluster_name: String,
    /// The node that was asked.
    pub node: NodeRef,
    /// When the model was filled.
    pub updated_unix_ms: u64,
    /// Which daemons of the node answered: what the others know is missing here.
    pub answered: Answered,
    /// What is missing or wrong about this answer, and what helps.
    pub notes: Vec<Note>,
    /// The ring as this node sees it.
    pub ring: RingStatus,
    /// Votes and quorum as this node sees them.
    pub quorum: QuorumStatus,
    /// Name of the designated controller; `None` while there is none.
    pub dc: Option<String>,
    /// Version of the daemon that is the designated controller, e.g. `0.1.0`.
    pub dc_version: String,
    /// Configuration in force.
    pub cib: CibStatus,
    /// Every configured node, in configuration order.
    pub nodes: Vec<NodeStatus>,
    /// Units of this node's failfast.
    pub units: Vec<UnitStatus>,
    /// Every resource, members of a group next to each other, in configuration order.
    pub resources: Vec<ResourceStatus>,
    /// Actions of the running transition that have not ended.
    pub pending: Vec<PendingAction>,
    /// Operations whose last result was a failure, until cleaned up.
    pub failed: Vec<FailedAction>,
    /// Fence requests, newest first.
    pub fencing: Vec<FenceRecord>,
    /// The last end of each node that was not in order, as this node's black box has it: this node first.
    pub deaths: Vec<DeathStatus>,
    /// Location constraints of score −INFINITY in force.
    pub bans: Vec<Ban>,
    /// Intervals and limits in force.
    pub timings: Timings,
}

/// A node's end that was not in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeathStatus {
    /// Id of the node.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// When; 0: not known.
    pub at_unix_ms: u64,
    /// `failfast`, `guardian`, `power`, …: see `holdfast why-down --help`.
    pub cause: String,
    /// Why, in the words of whoever knew best.
    pub why: String,
}

/// A node by id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRef {
    /// `nodelist.node.N.nodeid`.
    pub id: u32,
    /// `nodelist.node.N.name`.
    pub name: String,
}

/// Which daemons answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answered {
    /// The ring daemon: ring, quorum, units.
    pub cmmd: bool,
    /// The resource-group manager: resources, actions, fencing.
    pub rgmd: bool,
}

/// Something to know about the answer as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// What, in words.
    pub what: String,
    /// The next command to type, or what else helps; may be empty.
    pub remedy: String,
}

/// The ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RingStatus {
    /// As corosync prints it: representative in decimal, sequence in hexadecimal, e.g. `1.a4`.
    pub id: String,
    /// `OPERATIONAL`, `GATHER`, `COMMIT`, `RECOVERY`; empty where the ring daemon does not say.
    pub state: String,
    /// Ids of the members, ascending.
    pub members: Vec<u32>,
    /// Running reconfiguration step, `EPOCH/STEP/NAME`; empty when none runs.
    pub step: String,
}

/// Votes and quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuorumStatus {
    /// Whether this node's partition may act.
    pub quorate: bool,
    /// Expected votes of this node.
    pub expected: u32,
    /// Highest expected votes of any member.
    pub highest_expected: u32,
    /// Votes present.
    pub total: u32,
    /// Votes needed.
    pub needed: u32,
    /// As corosync-quorumtool names them: `Quorate`, `2Node`, `WaitForAll`, …
    pub flags: Vec<String>,
    /// Why the node is not quorate, in words; empty when it is.
    pub reason: String,
    /// The votes would do, but the lease of a lost member may still run.
    pub waits_for_lease: bool,
    /// What a node that is not quorate waits for, with the names of nodes: continues "it waits for". Empty when it is quorate, or
    /// where the ring daemon does not say.
    pub waits_for: String,
    /// For how long it has waited.
    pub waiting_ms: u64,
    /// The quorum device; `None` without one.
    pub device: Option<DeviceStatus>,
    /// Ids of nodes that are neither counted nor expected until they are back.
    pub away: Vec<u32>,
    /// Ids of nodes that an operator has put in maintenance: their votes are neither counted nor expected.
    pub maintained: Vec<u32>,
}

/// The quorum device as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceStatus {
    /// `disk`, `scsi` or `net`; of a real corosync the name that its device registered.
    pub model: String,
    /// What it is made of: disks, or a server with its port.
    pub parts: Vec<DevicePart>,
    /// How many votes it has.
    pub votes: u32,
    /// They count here now.
    pub counts: bool,
    /// Name of the node that owns them; `None`: nobody, or the device does not say.
    pub owner: Option<String>,
    /// Why they do not count, in words.
    pub why: String,
}

/// One disk, or a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DevicePart {
    /// As in the configuration: a path, a label, `HOST:PORT`.
    pub name: String,
    /// Where it was found, if that is something else.
    pub path: String,
    /// What is wrong with it; empty: nothing, or it is not known.
    pub failure: String,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CibStatus {
    /// `ADMIN_EPOCH.EPOCH.NUM_UPDATES`.
    pub version: String,
    /// Who changed it last, and when.
    pub last_change: Option<LastChange>,
    /// Cluster property `stonith-enabled`.
    pub stonith_enabled: bool,
    /// Cluster property `no-quorum-policy`.
    pub no_quorum_policy: String,
    /// Cluster property `maintenance-mode`.
    pub maintenance_mode: bool,
    /// What of the configuration is not honoured, in words.
    pub warnings: Vec<String>,
}

impl Default for CibStatus {
    fn default() -> Self {
        Self {
            version: String::new(),
            last_change: None,
            stonith_enabled: true,
            no_quorum_policy: "stop".to_owned(),
            maintenance_mode: false,
            warnings: Vec::new(),
        }
    }
}

/// Last change of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastChange {
    /// When.
    pub unix_ms: u64,
    /// Whose user.
    pub user: String,
    /// By which program.
    pub client: String,
    /// From which node.
    pub origin: String,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// A member of the ring whose resource-group manager takes part.
    pub online: bool,
    /// A member of the ring whose resource-group manager does not take part yet.
    pub pending: bool,
    /// What it may still run is not known: nothing of it is started elsewhere until its death is confirmed.
    pub unclean: bool,
    /// Runs nothing by the operator's wish.
    pub standby: bool,
    /// Keeps what runs, without being managed, by the operator's wish.
    pub maintenance: bool,
    /// It is the designated controller.
    pub dc: bool,
    /// Last known life of its ring daemon; 0: never seen.
    pub incarnation: u64,
    /// Last life whose death is confirmed; 0: none.
    pub confirmed_dead: u64,
    /// Why it is in this state and what is awaited, in words, e.g. `lost 3 s ago; fencing by fence-vm2 runs`.
    pub why: String,
    /// Node attributes, ordered by name.
    pub attributes: Vec<(String, String)>,
}

/// One failfast unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// `armed`, `triggered`, `disarmed`.
    pub state: String,
    /// How long it may be dead before the node goes down.
    pub delay_ms: u64,
    /// How long it may stay without a heartbeat; 0: only its death counts.
    pub heartbeat_ms: u64,
    /// Since when it is in this state.
    pub since_ms: u64,
    /// `died` or `late`, while something is wrong with it.
    pub trouble: String,
    /// When the node goes down unless something changes; `None` where nothing runs.
    pub deadline_ms: Option<u64>,
    /// For how long its trouble is only logged.
    pub maintenance_ms: Option<u64>,
}

/// What a resource does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs nowhere.
    #[default]
    Stopped,
    /// A start is under way.
    Starting,
    /// Runs.
    Started,
    /// A stop is under way.
    Stopping,
    /// Runs as the promoted instance.
    Promoted,
    /// Runs as an instance that is not promoted.
    Unpromoted,
    /// Not probed yet.
    Unknown,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceStatus {
    /// Its id.
    pub id: String,
    /// Its agent, e.g. `ocf:heartbeat:IPaddr2`, `stonith:fence_ipmilan`.
    pub agent: String,
    /// Id of its group.
    pub group: Option<String>,
    /// Where it is active or may be; more than one only when something is badly wrong.
    pub nodes: Vec<String>,
    /// What it does.
    pub role: Role,
    /// Its last operation failed and it is not recovered yet.
    pub failed: bool,
    /// Nothing is done with it until somebody lifts the block, e.g. after a failed stop without fencing.
    pub blocked: bool,
    /// Property `is-managed`.
    pub managed: bool,
    /// `target-role` is `Stopped`.
    pub disabled: bool,
    /// Still active, but gone from the configuration.
    pub orphaned: bool,
    /// Why it is not where it should be and what is awaited, in words.
    pub why: String,
    /// Failures, a line for each node that has some.
    pub fail_counts: Vec<FailCount>,
    /// Its last operation that was not a repeated monitor.
    pub last: Option<OperationStatus>,
}

impl Default for ResourceStatus {
    fn default() -> Self {
        Self {
            id: String::new(),
            agent: String::new(),
            group: None,
            nodes: Vec::new(),
            role: Role::Stopped,
            failed: false,
            blocked: false,
            managed: true,
            disabled: false,
            orphaned: false,
            why: String::new(),
            fail_counts: Vec::new(),
            last: None,
        }
    }
}

/// Score and count that mean "infinite", as Pacemaker counts.
pub const INFINITY: u32 = 1_000_000;

/// Failures of one resource on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailCount {
    /// Where.
    pub node: String,
    /// How many; [`INFINITY`] and more is infinite.
    pub count: u32,
    /// `migration-threshold` of the resource; 0 or [`INFINITY`]: none.
    pub migration_threshold: u32,
    /// When it failed last; 0: not known.
    pub last_failure_unix_ms: u64,
}

/// An operation that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationStatus {
    /// `start`, `stop`, `monitor`, …
    pub operation: String,
    /// 0 for an operation that is done once.
    pub interval_ms: u64,
    /// Where.
    pub node: String,
    /// Number of the call on that node.
    pub call: u64,
    /// Result as the agent gave it (OCF numbers).
    pub rc: i32,
    /// As Pacemaker names them: `complete`, `Timed Out`, `Error`, `Not installed`, …
    pub status: String,
    /// The agent's own words (`ocf-exit-reason:`).
    pub exit_reason: String,
    /// When the result last changed.
    pub last_rc_change_unix_ms: u64,
    /// How long it waited before it ran.
    pub queued_ms: u64,
    /// How long it ran.
    pub exec_ms: u64,
}

/// An action of the running transition that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingAction {
    /// The resource, or the node to be fenced.
    pub target: String,
    /// `start`, `stop`, `monitor`, `fence`, …
    pub operation: String,
    /// Where it runs.
    pub node: String,
    /// For how long it has been running; 0: not sent yet.
    pub since_ms: u64,
    /// What it waits for, in words; empty: it runs.
    pub waits_for: String,
}

/// A failed operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedAction {
    /// The resource.
    pub resource: String,
    /// What failed.
    pub operation: OperationStatus,
    /// What helps, as a command or in words.
    pub remedy: String,
}

/// How far a fence request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceState {
    /// Runs, or waits for another try.
    #[default]
    Pending,
    /// The agent said so and it was verified where possible: the death is confirmed.
    Succeeded,
    /// Every device failed.
    Failed,
}

/// One fence request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FenceRecord {
    /// Who.
    pub target: String,
    /// `off`, `reboot`, `on`, `confirm`.
    pub action: String,
    /// By which device; empty: none yet.
    pub device: String,
    /// The node that ran the agent.
    pub executor: String,
    /// Who asked, e.g. `rgmd.1` or `operator`.
    pub client: String,
    /// The node where it was asked.
    pub origin: String,
    /// How far it came.
    pub state: FenceState,
    /// Why the node had to be fenced, in words.
    pub reason: String,
    /// Why it failed, in words.
    pub error: String,
    /// When it was asked.
    pub requested_unix_ms: u64,
    /// When it ended; 0: not yet.
    pub completed_unix_ms: u64,
}

/// A location constraint that keeps a resource from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ban {
    /// Id of the constraint.
    pub id: String,
    /// The resource.
    pub resource: String,
    /// The node.
    pub node: String,
}

/// Intervals and limits in force. 0: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// A token not seen for this long is lost.
    pub token_ms: u64,
    /// Gather waits this long for a silent node.
    pub consensus_ms: u64,
    /// Interval of heartbeats.
    pub heartbeat_ms: u64,
    /// A member silent for this long is suspected.
    pub heartbeat_limit_ms: u64,
    /// How long one echo of a heartbeat counts for quorum.
    pub lease_ms: u64,
    /// Allowance on a foreign lease.
    pub lease_margin_ms: u64,
}
