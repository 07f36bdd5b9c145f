//! The model of one node's ring: links, time limits, tokens, lateness and the last changes, for `holdfast ring`.
//!
//! Also its JSON form, under the same rules as the model of the whole cluster: field names are a contract, fields are only
//! added, a missing one reads as its default. Where the daemon has no such number (a real corosync, another release) the
//! field is `None` or empty. Times are milliseconds since the Unix epoch, lengths of time microseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{NodeRef, Note, RingStatus, Timings};

/// The ring as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RingReport {
    /// `totem.cluster_name`.
    pub cluster_name: String,
    /// The node that was asked.
    pub node: NodeRef,
    /// When the model was filled.
    pub updated_unix_ms: u64,
    /// Whether the ring daemon answered.
    pub answered: bool,
    /// What is missing or wrong about this answer, and what helps.
    pub notes: Vec<Note>,
    /// Id, state, members.
    pub ring: RingStatus,
    /// Whether this node's partition may act.
    pub quorate: bool,
    /// Why not, in words.
    pub quorum_reason: String,
    /// Intervals and limits in force.
    pub timings: Timings,
    /// Every configured node, this one included, ascending by id.
    pub peers: Vec<PeerReport>,
    /// What the token takes.
    pub token: TokenReport,
    /// How late the event loop is.
    pub event_loop: LoopReport,
    /// Messages and frames since the daemon's start.
    pub traffic: Traffic,
    /// What went wrong since then.
    pub trouble: Trouble,
    /// The last changes of the ring, newest first.
    pub changes: Vec<Change>,
}

/// A configured node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerReport {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// It is a member of the ring.
    pub member: bool,
    /// It is suspected, or held out.
    pub suspected: Option<bool>,
    /// Silence after which it is suspected.
    pub limit_us: Option<u64>,
    /// For how long it has been silent.
    pub silent_us: Option<u64>,
    /// How late its heartbeats come, on average.
    pub late_us: Option<u64>,
    /// Deviation from that.
    pub deviation_us: Option<u64>,
    /// One a link.
    pub links: Vec<LinkReport>,
}

/// One link to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkReport {
    /// Its number.
    pub link: u8,
    /// The node's address on it.
    pub address: String,
    /// It is configured and switched on.
    pub enabled: bool,
    /// Both sides hear each other on it.
    pub connected: bool,
    /// It is heard here and does not hear us.
    pub one_way: Option<bool>,
    /// Round trip, smoothed.
    pub latency_us: Option<u64>,
    /// The longest one.
    pub latency_max_us: Option<u64>,
    /// Packets lost lately of a hundred, both ways together.
    pub loss_percent: Option<u8>,
    /// Bytes of a packet that get through.
    pub mtu: Option<u32>,
    /// How often it went down.
    pub down_count: Option<u64>,
}

/// How often lengths of time fell between two powers of two of a microsecond.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lengths {
    /// How many there were.
    pub count: u64,
    /// Half of them were at most this long.
    pub p50_us: u64,
    /// 99 of a hundred were.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Upper ends and counts, empty ones left out, ascending.
    pub buckets: Vec<Bucket>,
}

/// One bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bucket {
    /// At most this long, and longer than half of it; `None`: longer than all others.
    pub upto_us: Option<u64>,
    /// How often.
    pub count: u64,
}

/// What the token takes from one coming to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenReport {
    /// While there was something to do.
    pub busy: Lengths,
    /// On a quiet ring, where the representative holds it.
    pub quiet: Lengths,
    /// Since it came last; 0 while it is here.
    pub since_last_ms: u64,
}

/// How late the event loop is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoopReport {
    /// Wake-ups behind the time they were asked for.
    pub wakeup: Lengths,
    /// How long one turn takes.
    pub turn: Lengths,
    /// The last times that it ran later than 0.8 of the token, newest first.
    pub missed: Vec<Missed>,
}

/// The loop was late beyond its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// When.
    pub at_unix_ms: u64,
    /// By how much.
    pub late_us: u64,
}

/// Messages and frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Messages delivered here.
    pub delivered: u64,
    /// Frames this node sent first.
    pub frames_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Frames sent again because somebody lacked them.
    pub retransmits: u64,
    /// Percent of the send queue in use.
    pub queue_level: u8,
}

/// What went wrong since the daemon's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// Tokens lost in operation.
    pub tokens_lost: u64,
    /// Times that nobody had news of a silent node until the consensus time-out.
    pub consensus_timeouts: u64,
    /// Rings that all had agreed on and that never came, in a row: beyond 3 a firewall is likely in the way.
    pub continuous_gather: u64,
    /// Packets refused, by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// One change of the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// When it began.
    pub at_unix_ms: u64,
    /// Number of its cause, as corosync numbers them.
    pub cause: u8,
    /// The cause in words.
    pub text: String,
    /// How long no ring was in operation.
    pub took_us: u64,
    /// The ring before, and the one after.
    pub old: String,
    /// The one after.
    pub new: String,
    /// Its members.
    pub members: Vec<u32>,
    /// Who came.
    pub joined: Vec<u32>,
    /// Who went.
    pub left: Vec<u32>,
}

impl Lengths {
    /// From the text that the daemon publishes: `64:12 128:3 inf:1`. What does not parse is left out.
    #[must_use]
    pub fn parse(text: &str, p50_us: u64, p99_us: u64, max_us: u64) -> Self {
        let bucket = |word: &str| {
            let (end, count) = word.split_once(':')?;
            let upto_us = if end == "inf" { None } else { Some(end.parse().ok()?) };
            Some(Bucket { upto_us, count: count.parse().ok()? })
        };
        let buckets: Vec<Bucket> = text.split_whitespace().filter_map(bucket).collect();
        let count = buckets.iter().fold(0, |sum: u64, b| sum.saturating_add(b.count));
        Self { count, p50_us, p99_us, max_us, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_the_daemon_writes_them() {
        let l = Lengths::parse("64:12 128:3 inf:1", 64, 128, 9_000_000);
        assert_eq!((l.count, l.buckets.len(), l.buckets[2].upto_us), (16, 3, None));
        let odd = Lengths::parse("x 1 2:y 8:2 :", 0, 0, 0);
        assert_eq!(odd.buckets, [Bucket { upto_us: Some(8), count: 2 }]);
        assert_eq!(Lengths::parse("", 0, 0, 0), Lengths::default());
    }
}
