//! The oracle sees all nodes at once and real time. It keeps what has happened ([`History`]) and shows every
//! observation to each invariant.

use std::collections::{BTreeMap, BTreeSet};

use cmm_proto::wire::{Echo, Heartbeat};
use cmm_proto::{
    Configuration, ConfigurationKind, GroupMember, GroupReason, Guarantee, NodeListNotice, NodeTable,
    QuorumView, StepNotice,
};
use holdfast_types::{BootId, Boottime, ConnId, Incarnation, NodeId, RingId, Span};

use crate::clock::{Clock, Instant};
use crate::invariants::{self, Invariant};
use crate::options::Options;

/// Index of a life: one run of the daemon on one node, from start to death.
pub type LifeIndex = usize;

/// A message: the sender's life, the client's slot there, and the client's running number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// The life it was sent in.
    pub life: LifeIndex,
    /// The sending connection.
    pub conn: ConnId,
    /// From 1, for each connection.
    pub number: u32,
}

/// One thing in the order of the main group, the same for all its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A message.
    Message(MessageId),
    /// A message too short to say which one it is: its sender and the hash of its bytes.
    Anonymous(GroupMember, u64),
    /// A process joined by its own wish.
    Joined(GroupMember),
    /// A process left by its own wish.
    Left(GroupMember),
}

/// A message as it was handed in.
#[derive(Clone, Debug)]
pub struct MessageFacts {
    /// The sender.
    pub sender: GroupMember,
    /// Its node's index.
    pub node: usize,
    /// Sent to the main group by a joined client.
    pub main: bool,
    /// What was asked for.
    pub guarantee: Guarantee,
    /// Hash of the bytes.
    pub hash: u64,
    /// The ring the sender's node was in, and the last message of the main group it had delivered there.
    pub after: Option<(RingId, MessageId)>,
}

/// One life of a node.
#[derive(Clone, Debug)]
pub struct Life {
    /// The node's index.
    pub node: usize,
    /// The node's id.
    pub id: NodeId,
    /// The life's number on its node.
    pub incarnation: Incarnation,
    /// Its boot.
    pub boot: BootId,
    /// Its clock.
    pub clock: Clock,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Option<Instant>,
    /// The regular configuration installed last.
    pub ring: Option<RingId>,
    /// Between a transitional configuration and the next regular one: the members of the transitional one.
    pub transitional: Option<Vec<NodeId>>,
    /// The ring whose synchronisation is complete.
    pub synced: Option<RingId>,
    /// The ring whose steps have all ended.
    pub settled: Option<RingId>,
    /// What clients were told last.
    pub view: QuorumView,
    /// The node table that its own is being changed to.
    pub next: Option<NodeTable>,
    /// Standing still: it cannot act on what it believes.
    pub paused: bool,
    /// For each node, until when a packet from that node can vouch for this life, on this life's clock.
    pub echoed: Vec<Option<Boottime>>,
    /// For each node and each ring that it was in, until when the heartbeats sent by that node in that ring vouch for this
    /// life, arrived or not; and until when with the device's vote.
    pub granted: BTreeMap<(usize, RingId), (Boottime, Option<Boottime>)>,
    /// Until when it owns the quorum device's vote, on its clock.
    pub hold: Option<Boottime>,
    /// Until when a packet from an owner of the device's vote hands it on to this life.
    pub device_echoed: Option<Boottime>,
    /// It has said that it leaves, and holds no lease from then on.
    pub gave_up: bool,
    /// The observer's item that made it a member of the main group.
    pub observer_joined: Option<Item>,
    /// What it does since it was synchronised last.
    pub segment: Segment,
    /// The last message of the main group delivered here, with its ring.
    pub last_message: Option<(RingId, MessageId)>,
}

impl Life {
    /// Whether its clients believe that they may act.
    #[must_use]
    pub fn believes(&self) -> bool {
        self.ended.is_none() && !self.paused && self.view.quorate
    }
}

/// A regular configuration, and what each life did in it.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Its members, as the first one to install it said.
    pub members: Vec<NodeId>,
    /// By life.
    pub stays: BTreeMap<LifeIndex, Stay>,
    /// The life that each node was in it with; there is one only, unless an invariant is about to break.
    pub lives: BTreeMap<NodeId, LifeIndex>,
}

/// What one life did in one configuration.
#[derive(Clone, Debug, Default)]
pub struct Stay {
    /// The regular configuration it came from.
    pub from: Option<RingId>,
    /// The transitional set it came with.
    pub came_with: Vec<NodeId>,
    /// Order of the main group as its observer saw it.
    pub items: Vec<Item>,
    /// Where each message is in `items`.
    pub position: BTreeMap<MessageId, usize>,
    /// How many of `items` came before the transitional configuration; none while it is not there yet.
    pub regular: Option<usize>,
    /// The observer was in the group all the time; if not, `items` begin with its own join.
    pub whole: bool,
    /// It was synchronised there.
    pub synced: bool,
    /// The regular configuration it went to.
    pub to: Option<RingId>,
}

/// What one life did between two synchronised configurations.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// Rings installed on the way, the last one included: whoever has the same list went together, because it was in
    /// each transitional set (M8).
    pub path: Vec<RingId>,
    /// Order of the main group as its observer saw it.
    pub items: Vec<Item>,
    /// The observer was in the group all the time; if not, `items` begin with its own join.
    pub whole: bool,
}

/// Everything that has happened.
#[derive(Debug)]
pub struct History {
    /// Real time.
    pub now: Instant,
    /// All lives, in the order of their beginnings.
    pub lives: Vec<Life>,
    /// The running life of each node.
    pub running: Vec<Option<LifeIndex>>,
    /// All regular configurations ever installed.
    pub rings: BTreeMap<RingId, Ring>,
    /// By the synchronised configuration it began in and the rings on the way: what each life did until it was
    /// synchronised again.
    pub segments: BTreeMap<(RingId, Vec<RingId>), BTreeMap<LifeIndex, Segment>>,
    /// All identifiable messages ever accepted.
    pub messages: BTreeMap<MessageId, MessageFacts>,
    /// Messages too short to say which one they are: sender and hash.
    pub anonymous: BTreeSet<(GroupMember, u64)>,
    /// Deaths an agent or operator vouched for.
    pub fenced: BTreeSet<(NodeId, Incarnation)>,
    /// Ids and votes of the nodes.
    pub votes: Vec<(NodeId, u32)>,
    /// Votes of the quorum device.
    pub device: u32,
    /// Votes that are more than half of all configured ones, the device's included.
    majority: u32,
    /// Node tables change: a majority is what a node's clients were told of its own.
    pub tables_change: bool,
    /// The longest lease that was ever configured anywhere.
    pub lease: Span,
    /// How late a timer may fire in this run.
    pub lateness_max: u64,
    /// Nothing goes wrong in this run.
    pub calm: bool,
    /// All nodes were together once.
    pub formed: bool,
    /// The grants noted last: granter, ring, lives in that ring, and what was named.
    granted_last: ((usize, RingId, usize, Span, Span), Vec<Echo>),
}

/// What happened just now, at one life.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Where.
    pub life: LifeIndex,
    /// What.
    pub what: What<'a>,
}

/// Kinds of observations.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// The life began.
    Began,
    /// The life ended.
    Ended,
    /// A configuration was installed; `reserved` is the highest ring sequence number that is durable here.
    Configuration(&'a Configuration, u64),
    /// A message was delivered to a client.
    Delivered(&'a Delivery),
    /// A client was told of a change of its group.
    Group(&'a GroupChange<'a>),
    /// A client of the main group had its message accepted.
    Submitted(MessageId),
    /// Votes and quorum as told to clients.
    Quorum(&'a QuorumView),
    /// A step began, ended or was aborted.
    Step(&'a StepNotice),
    /// Userland finished its part of a step here.
    StepDone(&'a StepNotice),
    /// Userland takes part in steps from now on, or no longer.
    Participant(bool),
    /// Synchronisation is complete; the group table as it is at this point.
    Synced(&'a NodeListNotice, &'a [(cmm_proto::GroupName, Vec<GroupMember>)]),
    /// A death is said to be confirmed.
    Confirmed(NodeId, Incarnation),
    /// A client has a connection.
    ClientCame(ConnId),
    /// A client was told of a ring and its members.
    Ring(ConnId, RingId, &'a [NodeId]),
    /// A client is gone.
    ClientGone(ConnId),
    /// First turn after a pause of that length, before any packet was read.
    Resumed(u64),
    /// A damaged packet was handled; what came out besides events.
    Damaged(usize),
    /// The leave is out.
    Left,
    /// An input was handled to its end.
    Turn,
}

/// A delivery to a client.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// The receiving client.
    pub conn: ConnId,
    /// It is the node's observer.
    pub observer: bool,
    /// Number of the group; 0 is the main one.
    pub group: u8,
    /// Who sent it, as told.
    pub sender: GroupMember,
    /// Which message it claims to be; none if too short to say.
    pub message: Option<MessageId>,
    /// Hash of its bytes.
    pub hash: u64,
}

/// A change of a group as told to a client.
#[derive(Clone, Copy, Debug)]
pub struct GroupChange<'a> {
    /// The client.
    pub conn: ConnId,
    /// The client itself, as a member.
    pub me: GroupMember,
    /// It is the node's observer.
    pub observer: bool,
    /// Number of the group; 0 is the main one.
    pub group: u8,
    /// All members.
    pub members: &'a [GroupMember],
    /// Who left.
    pub left: &'a [(GroupMember, GroupReason)],
    /// Who joined.
    pub joined: &'a [(GroupMember, GroupReason)],
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Safety or liveness.
    pub kind: ViolationKind,
    /// Short name, as in the list of invariants.
    pub name: &'static str,
    /// What should hold, in words.
    pub claim: &'static str,
    /// What was seen instead.
    pub seen: String,
    /// When, in real time.
    pub at: Instant,
}

/// Whether something bad happened or something good did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// Something happened that never should.
    Safety,
    /// Something did not happen in time.
    Liveness,
    /// The code under test panicked.
    Crash,
}

/// History and invariants.
pub struct Oracle {
    /// What has happened.
    pub history: History,
    invariants: Vec<Box<dyn Invariant>>,
    /// Places of those that look at the end of each turn.
    every_turn: Vec<usize>,
}

impl Oracle {
    /// An oracle that has seen nothing yet.
    #[must_use]
    pub fn new(options: &Options, lateness_max: u64) -> Self {
        let history = History {
            now: 0,
            lives: Vec::new(),
            running: vec![None; options.nodes.len()],
            rings: BTreeMap::new(),
            segments: BTreeMap::new(),
            messages: BTreeMap::new(),
            anonymous: BTreeSet::new(),
            fenced: BTreeSet::new(),
            votes: options.nodes.iter().map(|n| (n.id, n.votes.get())).collect(),
            device: options.device_votes(),
            majority: options.expected_votes() / 2 + 1,
            tables_change: options.tables_change(),
            lease: options.timers.lease,
            lateness_max,
            calm: options.calm(),
            formed: false,
            granted_last: Default::default(),
        };
        let invariants = invariants::all();
        let every_turn = (0..invariants.len()).filter(|i| invariants[*i].every_turn()).collect();
        Self { history, invariants, every_turn }
    }

    /// Takes note of what was seen and checks every invariant.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn observe(&mut self, now: Instant, life: LifeIndex, what: What<'_>) -> Result<(), Violation> {
        self.history.now = now;
        let seen = Observation { life, what };
        if matches!(what, What::Turn) {
            for at in &self.every_turn {
                let invariant = &mut self.invariants[*at];
                let result = invariant.observe(&self.history, &seen);
                result.map_err(|seen| violation(invariant.as_ref(), now, seen))?;
            }
            return Ok(());
        }
        self.history.apply(&seen);
        for invariant in &mut self.invariants {
            invariant
                .observe(&self.history, &seen)
                .map_err(|seen| violation(invariant.as_ref(), now, seen))?;
        }
        Ok(())
    }

    /// Checks what must hold when all is quiet at the end.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn finish(&mut self, now: Instant) -> Result<(), Violation> {
        self.history.now = now;
        for invariant in &mut self.invariants {
            invariant.finish(&self.history).map_err(|seen| violation(invariant.as_ref(), now, seen))?;
        }
        Ok(())
    }
}

fn violation(invariant: &dyn Invariant, at: Instant, seen: String) -> Violation {
    Violation { kind: ViolationKind::Safety, name: invariant.name(), claim: invariant.claim(), seen, at }
}

impl History {
    /// The life that runs on a node, by the node's id.
    #[must_use]
    pub fn running_on(&self, id: NodeId) -> Option<LifeIndex> {
        self.votes.iter().position(|(n, _)| *n == id).and_then(|i| self.running[i])
    }

    /// Votes of the node with this index, as `life` has to count them.
    #[must_use]
    pub fn votes_of(&self, life: &Life, node: usize) -> u32 {
        if !self.tables_change || life.view.nodes.is_empty() {
            return self.votes[node].1;
        }
        let id = self.votes[node].0;
        life.view.nodes.iter().find(|n| n.node == id).map_or(0, |n| n.votes.get())
    }

    /// Half votes that `life` needs: one more than are expected, if half of the expected votes are enough with the node that
    /// breaks ties; and else twice a majority.
    #[must_use]
    pub fn need(&self, life: &Life) -> u32 {
        let told = self.tables_change && !life.view.nodes.is_empty();
        match life.view.tie {
            Some(_) if told => life.view.highest_expected.get() + 1,
            None if told => 2 * life.view.quorum.get(),
            _ => 2 * self.majority,
        }
    }

    /// Votes of the quorum device, as `life` counts it.
    #[must_use]
    pub fn device_of(&self, life: &Life) -> u32 {
        if self.tables_change && !life.view.nodes.is_empty() {
            return life.view.device.filter(|d| !d.out).map_or(0, |d| d.votes.get());
        }
        self.device
    }

    /// Half votes of a node.
    #[must_use]
    pub fn weight_of(&self, life: &Life, node: usize) -> u32 {
        let votes = self.votes_of(life, node);
        2 * votes + u32::from(votes > 0 && life.view.tie == Some(self.votes[node].0))
    }

    /// What `life` did in the ring it is in.
    #[must_use]
    pub fn stay(&self, life: LifeIndex) -> Option<(RingId, &Stay)> {
        let ring = self.lives[life].ring?;
        Some((ring, self.rings.get(&ring)?.stays.get(&life)?))
    }

    /// A heartbeat of node `granter` names what was heard of others: each name is a grant, whether the packet arrives or not.
    pub(crate) fn note_grants(&mut self, granter: usize, heartbeat: &Heartbeat) {
        let Some(ring) = self.rings.get(&heartbeat.ring) else { return };
        // What goes to one member after another says the same to each, until another life comes into the ring.
        let seen = (granter, heartbeat.ring, ring.stays.len(), heartbeat.lease, heartbeat.device);
        if self.granted_last.0 == seen && self.granted_last.1 == heartbeat.echoes {
            return;
        }
        for echo in &heartbeat.echoes {
            // Whoever was in this ring by that name: another life of that node has nothing from it.
            let Some(life) = ring.lives.get(&echo.node) else { continue };
            let end = echo.send_time + heartbeat.lease;
            let granted = self.lives[*life].granted.entry((granter, heartbeat.ring)).or_insert((end, None));
            granted.0 = granted.0.max(end);
            granted.1 =
                granted.1.max((heartbeat.device > Span::ZERO).then_some(echo.send_time + heartbeat.device));
        }
        self.granted_last.0 = seen;
        self.granted_last.1.clone_from(&heartbeat.echoes);
    }

    fn stay_mut(&mut self, life: LifeIndex) -> Option<&mut Stay> {
        let ring = self.lives[life].ring?;
        self.rings.get_mut(&ring)?.stays.get_mut(&life)
    }

    fn apply(&mut self, seen: &Observation<'_>) {
        let life = seen.life;
        match seen.what {
            What::Began => self.running[self.lives[life].node] = Some(life),
            What::Ended => {
                self.running[self.lives[life].node] = None;
                self.lives[life].ended = Some(self.now);
            }
            What::Configuration(configuration, _) => self.install(life, configuration),
            What::Delivered(delivery) if delivery.observer => {
                let item = match delivery.message {
                    Some(id) => Item::Message(id),
                    None => Item::Anonymous(delivery.sender, delivery.hash),
                };
                self.append(life, item);
            }
            What::Group(change) if change.observer => {
                for (member, reason) in change.left {
                    if *reason == GroupReason::Leave {
                        self.append(life, Item::Left(*member));
                    }
                }
                for (member, reason) in change.joined {
                    if *reason == GroupReason::Join {
                        if *member == change.me {
                            self.lives[life].observer_joined = Some(Item::Joined(*member));
                        }
                        self.append(life, Item::Joined(*member));
                    }
                }
            }
            What::Quorum(view) => self.lives[life].view.clone_from(view),
            What::Synced(notice, _) => self.synchronised(life, notice.ring),
            What::Step(notice) if notice.name == "end" => self.lives[life].settled = Some(notice.ring),
            _ => {}
        }
    }

    fn install(&mut self, life: LifeIndex, configuration: &Configuration) {
        match configuration.kind {
            ConfigurationKind::Transitional => {
                if let Some(stay) = self.stay_mut(life) {
                    stay.regular = Some(stay.items.len());
                }
                self.lives[life].transitional = Some(configuration.members.clone());
            }
            ConfigurationKind::Regular => {
                if let Some(stay) = self.stay_mut(life) {
                    stay.to = Some(configuration.ring);
                }
                let facts = &mut self.lives[life];
                facts.segment.path.push(configuration.ring);
                let stay = Stay {
                    from: facts.ring.replace(configuration.ring),
                    came_with: facts.transitional.take().unwrap_or_default(),
                    whole: facts.observer_joined.is_some(),
                    ..Stay::default()
                };
                let ring = self.rings.entry(configuration.ring).or_insert_with(|| Ring {
                    members: configuration.members.clone(),
                    stays: BTreeMap::new(),
                    lives: BTreeMap::new(),
                });
                ring.stays.insert(life, stay);
                ring.lives.entry(facts.id).or_insert(life);
                self.formed |= configuration.members.len() == self.votes.len();
            }
        }
    }

    fn synchronised(&mut self, life: LifeIndex, ring: RingId) {
        if let Some(stay) = self.rings.get_mut(&ring).and_then(|r| r.stays.get_mut(&life)) {
            stay.synced = true;
        }
        let facts = &mut self.lives[life];
        let next = Segment { whole: facts.observer_joined.is_some(), ..Segment::default() };
        let segment = std::mem::replace(&mut facts.segment, next);
        if let Some(from) = facts.synced.replace(ring) {
            self.segments.entry((from, segment.path.clone())).or_default().insert(life, segment);
        }
    }

    fn append(&mut self, life: LifeIndex, item: Item) {
        let Some(ring) = self.lives[life].ring else { return };
        self.lives[life].segment.items.push(item);
        if let Item::Message(id) = item {
            self.lives[life].last_message = Some((ring, id));
        }
        if let Some(stay) = self.stay_mut(life) {
            if let Item::Message(id) = item {
                stay.position.insert(id, stay.items.len());
            }
            stay.items.push(item);
        }
    }
}
