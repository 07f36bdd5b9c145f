//! The ordered messages: every member of the group gets all of them in the same order. JSON, since they are few, and
//! members of different releases must understand each other: unknown fields are ignored.

use std::collections::BTreeMap;

use cib::operation::Operation;
use scheduler::transition::Action;
use serde::{Deserialize, Serialize};

use crate::attributes::{Attributes, Update};
use crate::history::History;
use crate::replica::{Absent, FenceEntry};

/// Largest message that is decoded, in bytes: a CIB at its limit, escaped, fits.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Every member's first word in a new view.
    Hello(Box<Hello>),
    /// The agreed state, by the member that all hellos point to.
    Snapshot(Box<Snapshot>),
    /// The designated controller orders an operation.
    Order(Order),
    /// A node says what one of its resources does now. Only its own node says so.
    State(Box<StateReport>),
    /// An administrator wants resources looked at anew.
    Forget(Forget),
    /// A resource is to count as failed on a node.
    Fail {
        /// Where.
        node: u32,
        /// Its id.
        resource: String,
    },
    /// An administrator wants a node fenced.
    FenceWanted {
        /// The victim.
        target: u32,
        /// `off`, `reboot`.
        action: String,
        /// Who asks.
        client: String,
    },
    /// Failures of a resource do not count any more.
    ClearFailures {
        /// Only there.
        node: Option<u32>,
        /// Whose.
        resource: String,
        /// Only of this operation: `monitor_10000`.
        operation: Option<String>,
    },
    /// A node attribute changes.
    Attribute(Update),
    /// What was held back of an attribute is in force.
    Release {
        /// Its name.
        name: String,
    },
    /// A changed configuration.
    Cib(CibChange),
    /// Something is done to the document.
    CibDo {
        /// What.
        operation: Box<Operation>,
        /// Number by which the sender knows it.
        request: u64,
    },
    /// A node that is gone is to be forgotten.
    NodeRemoved {
        /// Its name.
        name: String,
        /// Number by which the sender knows it.
        request: u64,
    },
    /// The sender wants to leave: its resources are to be stopped.
    Leaving {
        /// Since when, in seconds since 1970.
        at_s: i64,
    },
    /// The sender runs nothing any more and starts nothing any more.
    Goodbye {
        /// False: something could not be stopped.
        clean: bool,
    },
    /// The death of a node's life is confirmed.
    Confirmed {
        /// The node.
        node: u32,
        /// Its life; 0: all up to now.
        incarnation: u64,
        /// By what, in words.
        why: String,
    },
    /// A fence request begins, or goes on under a new controller.
    FenceBegun(FenceEntry),
    /// A member shall run a fence agent.
    FenceRun(FenceRun),
    /// It has run.
    FenceRan {
        /// The call.
        call: FenceCall,
        /// Why it failed.
        error: Option<String>,
    },
    /// A fence request ended.
    FenceDone(FenceEntry),
    /// A fence request is not needed any more: its victim is known to be dead, or is back.
    FenceWithdrawn {
        /// The victim.
        target: u32,
    },
    /// Somebody at the sender asks what the designated controller does.
    Ask {
        /// Number by which the sender knows it.
        request: u64,
    },
    /// It says so: after all that was delivered before the question.
    Told {
        /// Who asked.
        node: u32,
        /// Which question.
        request: u64,
        /// `S_IDLE`, `S_TRANSITION_ENGINE`.
        state: String,
    },
}

/// See [`Message::Hello`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Members of the view it belongs to: node and pid.
    pub(crate) view: Vec<(u32, u32)>,
    /// The sender's name; empty: its release does not say.
    #[serde(default)]
    pub(crate) name: String,
    /// Life of the sender's ring daemon; 0: not known.
    pub(crate) incarnation: u64,
    /// Release of the sender.
    pub(crate) release: String,
    /// The last agreement that the sender was part of; 0: none yet.
    pub(crate) epoch: u64,
    /// The last agreement in which it was quorate.
    pub(crate) quorate_epoch: u64,
    /// Highest term that it knows.
    pub(crate) term: u64,
    /// Members of its last agreement, the longest-standing one first.
    pub(crate) order: Vec<u32>,
    /// Version of its configuration: admin_epoch, epoch, num_updates.
    pub(crate) cib_version: (u32, u32, u32),
    /// Digest of its configuration.
    pub(crate) cib_digest: String,
    /// What its resources have been through.
    pub(crate) history: BTreeMap<String, History>,
    /// Its own attributes.
    pub(crate) attributes: Attributes,
    /// What it knows of nodes that are not members.
    pub(crate) absent: BTreeMap<u32, Absent>,
    /// It is about to leave, since when.
    pub(crate) leaving: Option<i64>,
}

/// See [`Message::Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Members of the view it belongs to.
    pub(crate) view: Vec<(u32, u32)>,
    /// The configuration; `None`: all members have the same.
    pub(crate) cib: Option<String>,
    /// Fence requests, oldest first.
    pub(crate) fencing: Vec<FenceEntry>,
}

/// See [`Message::Order`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What the answer refers to.
    pub(crate) tag: Tag,
    /// Where.
    pub(crate) node: u32,
    /// What.
    pub(crate) action: Box<Action>,
    /// How the history names the order: `ACTION:TRANSITION:EXPECTED:CONTROLLER`.
    pub(crate) transition_key: String,
    /// Microseconds since the Unix epoch, for people.
    pub(crate) at_us: i64,
}

/// An action of a transition of a controller's term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tag {
    /// Term: changes with every view, so that orders of an older controller are void.
    pub(crate) term: u64,
    /// Transition.
    pub(crate) transition: u64,
    /// Number of the action in it.
    pub(crate) action: u32,
}

/// See [`Message::State`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateReport {
    /// The resource.
    pub(crate) resource: String,
    /// What it has been through; `None`: it is forgotten.
    pub(crate) history: Option<History>,
    /// The order that is answered.
    pub(crate) tag: Option<Tag>,
    /// How the order ended; `None`: there is none, or it goes on.
    pub(crate) verdict: Option<Verdict>,
    /// A failure that counts.
    pub(crate) failure: Option<Failure>,
}

/// A failure that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Of what: `db#monitor_10000`.
    pub(crate) key: String,
    /// `monitor`.
    pub(crate) operation: String,
    /// The configuration says that it is none.
    pub(crate) ignored: bool,
    /// When, in seconds since 1970.
    pub(crate) at_s: i64,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// As expected.
    Ok,
    /// Otherwise.
    Failed,
    /// It was not carried out, and why.
    Refused(String),
}

/// See [`Message::Forget`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forget {
    /// Only on this node.
    pub(crate) node: Option<u32>,
    /// Only of this resource.
    pub(crate) resource: Option<String>,
    /// Only where something failed.
    pub(crate) failed: bool,
    /// Only where this failed: `monitor_10000`.
    #[serde(default)]
    pub(crate) operation: Option<String>,
}

/// See [`Message::Cib`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CibChange {
    /// The version that was changed: with another one in force the change is void.
    pub(crate) base: (u32, u32, u32),
    /// The new document.
    pub(crate) xml: String,
    /// Number by which the sender knows it.
    pub(crate) request: u64,
}

/// One call of a fence agent. A result that is taken for another call's would confirm a death that did not happen, so
/// its name is unique over controllers, their terms and their lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FenceCall {
    /// The controller.
    pub(crate) origin: u32,
    /// Its term.
    pub(crate) term: u64,
    /// Number of the call.
    pub(crate) number: u64,
    /// When it was made, in microseconds since the Unix epoch.
    pub(crate) at_us: i64,
}

/// See [`Message::FenceRun`]. The executor knows the device from its own configuration, so no password travels here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FenceRun {
    /// The call.
    pub(crate) call: FenceCall,
    /// Who runs it.
    pub(crate) executor: u32,
    /// The device.
    pub(crate) device: String,
    /// `off`, `reboot`, `on`.
    pub(crate) action: String,
    /// The victim.
    pub(crate) target: u32,
    /// Its name.
    pub(crate) name: String,
}

impl Failure {
    /// Counts it. `fatal`: one failed start is one too many.
    pub(crate) fn count(&self, node: u32, fatal: bool, attributes: &mut Attributes) {
        let forever = self.operation == "stop" || (self.operation == "start" && fatal);
        attributes.count_failure(node, &self.key, forever, self.ignored, self.at_s);
    }
}

impl Tag {
    /// As the scheduler's state keeps it.
    pub(crate) fn order(self) -> [u64; 3] {
        [self.term, self.transition, u64::from(self.action)]
    }
}

impl Message {
    /// As bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Plain structures with string keys always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From bytes; `None`: no message of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}
