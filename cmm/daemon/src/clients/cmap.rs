//! CMAP: the maps, and the keys by which root reaches the core.
//!
//! Keys under `holdfast.` are this daemon's; a root client that sets one of a few of them asks for something: to confirm
//! a death, to take part in steps, to end a step, to change the cluster key. `quorum.cancel_wait_for_all` and `runtime.force_gather` do what they do in
//! corosync.

use std::collections::BTreeMap;

use cmm_ipc::abi::cmap::{
    Kind, Map, Request, Value, get_reply, handle_reply, is_key, iteration_item_reply, track,
};
use cmm_ipc::{CsError, Service};
use cmm_proto::{Node, Refusal, Whose};
use holdfast_types::{Boottime, ConnId, Epoch, Incarnation, NodeId, StepNumber};

use super::peers::Peers;
use super::store::{Store, Tracker};
use super::{Answer, refusal};

/// The service.
#[derive(Default)]
pub(super) struct Cmap {
    pub(super) config: Store,
    pub(super) stats: Store,
    conns: BTreeMap<ConnId, Conn>,
    handles: u64,
    /// A client wants the times forgotten at which the loop was late.
    pub(super) clear_missed: bool,
    steps: Steps,
}

#[derive(Default)]
struct Conn {
    on_stats: bool,
    iterations: BTreeMap<u64, Iteration>,
}

struct Iteration {
    prefix: Vec<u8>,
    last: Option<String>,
}

/// The local clients that take part in steps, and the last step that each has finished.
#[derive(Default)]
struct Steps(BTreeMap<ConnId, Option<(Epoch, StepNumber)>>);

impl Cmap {
    /// Whether the statistics must be fresh before this request is served.
    pub(super) fn wants_stats(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|c| c.on_stats)
    }

    pub(super) fn handle(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        peers: &mut Peers,
        node: &mut Node,
        now: Boottime,
    ) -> Answer {
        match self.serve(conn, request, peers, node, now) {
            Ok(reply) => Answer::Reply(reply),
            Err(error) => Answer::Error(error),
        }
    }

    fn serve(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        peers: &mut Peers,
        node: &mut Node,
        now: Boottime,
    ) -> Result<Vec<u8>, CsError> {
        let on_stats = self.conns.entry(conn).or_default().on_stats;
        let ok = |id| Service::Cmap.error_reply(id, CsError::Ok);
        match *request {
            Request::Set { key, kind, value } => {
                let key = checked(key)?;
                let value = Value::new(Kind::from_number(kind).ok_or(CsError::InvalidParam)?, value)?;
                if on_stats {
                    let what = key.strip_prefix("stats.clear.").ok_or(CsError::Access)?;
                    // Counters of the ring belong to this life of the node: they are not set back.
                    self.clear_missed |= matches!(what, "schedmiss" | "all");
                    return Ok(ok(0));
                }
                self.set(conn, key, value, peers, node, now)?;
                Ok(ok(0))
            }
            Request::Delete { key } => {
                let key = checked(key)?;
                if on_stats || key.starts_with(OWN) {
                    return Err(CsError::Access);
                }
                self.config.delete_for_client(key, peers, now)?;
                Ok(ok(1))
            }
            Request::Get { key, buffer } => {
                self.count_messages(key, on_stats, node);
                let value = self.map(on_stats).get(checked(key)?).ok_or(CsError::NotExist)?;
                if buffer != 0 && buffer < value.bytes().len() as u64 {
                    return Err(CsError::InvalidParam);
                }
                Ok(get_reply(value, buffer != 0))
            }
            Request::Adjust { key, step } => {
                let key = checked(key)?;
                if on_stats {
                    return Err(CsError::Access);
                }
                let old = self.config.get(key).ok_or(CsError::NotExist)?;
                let new = old.adjusted(step).ok_or(CsError::InvalidParam)?;
                self.set(conn, key, new, peers, node, now)?;
                Ok(ok(3))
            }
            Request::IterationInit { prefix } => {
                self.count_messages(prefix, on_stats, node);
                let handle = self.new_handle();
                let iterations = &mut self.conns.entry(conn).or_default().iterations;
                if iterations.len() >= ITERATIONS_MAX {
                    return Err(CsError::NoResources);
                }
                iterations.insert(handle, Iteration { prefix: prefix.to_vec(), last: None });
                Ok(handle_reply(4, handle))
            }
            Request::IterationNext { handle } => {
                let map = if on_stats { &self.stats } else { &self.config };
                let iteration = self.conns.get_mut(&conn).and_then(|c| c.iterations.get_mut(&handle));
                let iteration = iteration.ok_or(CsError::BadHandle)?;
                let (key, value) =
                    map.next(&iteration.prefix, iteration.last.as_deref()).ok_or(CsError::NoSections)?;
                iteration.last = Some(key.to_owned());
                Ok(iteration_item_reply(key.as_bytes(), value)?)
            }
            Request::IterationFinalize { handle } => {
                let removed = self.conns.get_mut(&conn).and_then(|c| c.iterations.remove(&handle));
                removed.map(|_| ok(6)).ok_or(CsError::BadHandle)
            }
            Request::TrackAdd { key, what, client_handle } => {
                if what & !(track::ADD | track::DELETE | track::MODIFY | track::PREFIX) != 0 {
                    return Err(CsError::InvalidParam);
                }
                let (own_max, all_max) = if on_stats { STATS_TRACKERS_MAX } else { TRACKERS_MAX };
                let (own, all) = self.map(on_stats).trackers(conn);
                if own >= own_max || all >= all_max {
                    return Err(CsError::NoResources);
                }
                let handle = self.new_handle();
                let map = if on_stats { &mut self.stats } else { &mut self.config };
                map.track(handle, Tracker { conn, key: key.to_vec(), what, client_handle });
                Ok(handle_reply(7, handle))
            }
            Request::TrackDelete { handle } => {
                let map = if on_stats { &mut self.stats } else { &mut self.config };
                map.untrack(conn, handle).map(|client| handle_reply(8, client)).ok_or(CsError::BadHandle)
            }
            Request::SelectMap { map } => {
                if self.map(on_stats).trackers(conn).0 > 0 {
                    return Err(CsError::Busy);
                }
                let state = self.conns.entry(conn).or_default();
                if !state.iterations.is_empty() {
                    return Err(CsError::Busy);
                }
                state.on_stats = match map {
                    n if n == Map::Config.number() => false,
                    n if n == Map::Stats.number() => true,
                    _ => return Err(CsError::NotExist),
                };
                Ok(ok(9))
            }
        }
    }

    /// The connection is gone, and with it its trackers and its part in steps.
    pub(super) fn closed(&mut self, conn: ConnId, node: &mut Node, now: Boottime) {
        self.conns.remove(&conn);
        self.config.untrack_all(conn);
        self.stats.untrack_all(conn);
        // Nobody is left to hear a refusal.
        let _ = self.steps.leave(conn, node, now);
    }

    fn set(
        &mut self,
        conn: ConnId,
        key: &str,
        value: Value,
        peers: &mut Peers,
        node: &mut Node,
        now: Boottime,
    ) -> Result<(), CsError> {
        if let Some(own) = key.strip_prefix(OWN) {
            let root = peers.get(conn).is_some_and(|p| p.connection.credentials().is_root_or_own());
            return if root { self.ask(conn, own, &value, node, now) } else { Err(CsError::Access) };
        }
        if key.starts_with("runtime.blackbox.") {
            // Nobody should look for a file that is not written.
            return Err(CsError::NotSupported);
        }
        if key == "quorum.cancel_wait_for_all" && value.as_u64() == Some(1) {
            node.submit(now, cmm_proto::Request::CancelWaitForAll).map_err(refusal)?;
        }
        if key == FORCE_GATHER && value.as_str() != Some("no") {
            node.submit(now, cmm_proto::Request::FormAnew).map_err(refusal)?;
            self.config.set_for_client(key, value, peers, now)?;
            return self.config.set_for_client(key, Value::str("no"), peers, now);
        }
        self.config.set_for_client(key, value, peers, now)
    }

    /// What setting a key under `holdfast.` asks for. Its value changes when the core says that it happened.
    fn ask(
        &mut self,
        conn: ConnId,
        key: &str,
        value: &Value,
        node: &mut Node,
        now: Boottime,
    ) -> Result<(), CsError> {
        match key {
            "step.participant" => match value.as_u64() {
                Some(1) => self.steps.join(conn, node, now),
                Some(0) => self.steps.leave(conn, node, now),
                _ => return Err(CsError::InvalidParam),
            },
            "step.done" => {
                let done = value.as_str().and_then(epoch_and_step).ok_or(CsError::InvalidParam)?;
                return self.steps.done(conn, done, node, now);
            }
            "key.change" if value.as_u64() == Some(1) => node.submit(now, cmm_proto::Request::ChangeKey),
            "key.change" => return Err(CsError::InvalidParam),
            "quorum.reset" if value.as_u64() == Some(1) => {
                node.submit(now, cmm_proto::Request::Maintain { whose: Whose::All, on: false })
            }
            "quorum.reset" => return Err(CsError::InvalidParam),
            _ if key.starts_with("quorum.maintenance.") => {
                let whose = match key.strip_prefix("quorum.maintenance.") {
                    Some("device") => Whose::Device,
                    id => {
                        let id = id.and_then(|id| id.parse().ok()).map(NodeId::new);
                        Whose::Node(id.filter(|id| id.get() > 0).ok_or(CsError::InvalidParam)?)
                    }
                };
                let on = match value.as_u64() {
                    Some(1) => true,
                    Some(0) => false,
                    _ => return Err(CsError::InvalidParam),
                };
                node.submit(now, cmm_proto::Request::Maintain { whose, on })
            }
            _ => {
                let id = key.strip_prefix("confirmed.").ok_or(CsError::Access)?;
                let id: u32 = id.parse().map_err(|_| CsError::InvalidParam)?;
                // A number, or a number and, behind a blank, who says so and why.
                let (life, why) = match value.as_str().map(|text| text.split_once(' ')) {
                    Some(Some((life, why))) => (life.parse().map_err(|_| CsError::InvalidParam)?, why),
                    Some(None) => return Err(CsError::InvalidParam),
                    None => (
                        value.as_u64().ok_or(CsError::InvalidParam)?,
                        "confirmed by a root client through holdfast.confirmed",
                    ),
                };
                let request = cmm_proto::Request::ConfirmDeath {
                    node: NodeId::new(id),
                    incarnation: (life != 0).then(|| Incarnation::new(life)),
                    why,
                };
                node.submit(now, request)
            }
        }
        .map_err(refusal)
    }

    /// Brings the counters under `runtime.services.` up to date, if `prefix` is about to show them. Trackers hear nothing of them,
    /// as in corosync: they change with each message.
    fn count_messages(&mut self, prefix: &[u8], on_stats: bool, node: &Node) {
        let shows = prefix.starts_with(MESSAGES.as_bytes()) || MESSAGES.as_bytes().starts_with(prefix);
        if on_stats || !shows {
            return;
        }
        for count in node.message_counts() {
            for (end, n) in [("rx", count.rx), ("tx", count.tx)] {
                self.config.load(format!("{MESSAGES}{}.{end}", count.name), Value::u64(n), true);
            }
        }
    }

    fn map(&self, on_stats: bool) -> &Store {
        if on_stats { &self.stats } else { &self.config }
    }

    fn new_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }
}

impl Steps {
    fn join(&mut self, conn: ConnId, node: &mut Node, now: Boottime) -> Result<(), Refusal> {
        if self.0.is_empty() {
            node.submit(now, cmm_proto::Request::StepParticipant(true))?;
        }
        self.0.entry(conn).or_insert(None);
        Ok(())
    }

    fn leave(&mut self, conn: ConnId, node: &mut Node, now: Boottime) -> Result<(), Refusal> {
        if self.0.remove(&conn).is_none() {
            return Ok(());
        }
        // One that vanishes inside a step has not done it: the core starts again, with those who are left.
        node.submit(now, cmm_proto::Request::StepParticipant(false))?;
        if self.0.is_empty() { Ok(()) } else { node.submit(now, cmm_proto::Request::StepParticipant(true)) }
    }

    /// The step ends here when every participant has finished it.
    fn done(
        &mut self,
        conn: ConnId,
        step: (Epoch, StepNumber),
        node: &mut Node,
        now: Boottime,
    ) -> Result<(), CsError> {
        *self.0.get_mut(&conn).ok_or(CsError::NotExist)? = Some(step);
        if self.0.values().any(|finished| *finished != Some(step)) {
            return Ok(());
        }
        let (epoch, step) = step;
        node.submit(now, cmm_proto::Request::StepDone { epoch, step }).map_err(refusal)
    }
}

fn checked(key: &[u8]) -> Result<&str, CsError> {
    if !is_key(key) {
        return Err(CsError::NameTooLong);
    }
    std::str::from_utf8(key).map_err(|_| CsError::NameTooLong)
}

/// `EPOCH/STEP`, with anything behind a further slash ignored: the value of `holdfast.step.current` is taken too.
fn epoch_and_step(text: &str) -> Option<(Epoch, StepNumber)> {
    let mut parts = text.split('/');
    let (epoch, step) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((Epoch::new(epoch), StepNumber::new(step)))
}

/// Set to anything but `no`, it has the ring formed anew.
pub(super) const FORCE_GATHER: &str = "runtime.force_gather";
/// What counters of ordered messages begin with.
const MESSAGES: &str = "runtime.services.";
/// What our own keys begin with.
const OWN: &str = "holdfast.";
/// Iterations of one connection.
const ITERATIONS_MAX: usize = 64;
/// Trackers of one connection, and of all. Each change of a key goes to as many as cover it, within one turn of the event
/// loop: their number times the largest value must be little beside a heartbeat.
const TRACKERS_MAX: (usize, usize) = (64, 1_024);
/// The same for the statistics, of which thousands can change at once.
const STATS_TRACKERS_MAX: (usize, usize) = (8, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_with_and_without_its_name() {
        let want = Some((Epoch::new(7), StepNumber::new(3)));
        assert_eq!(epoch_and_step("7/3"), want);
        assert_eq!(epoch_and_step("7/3/fence"), want);
        for bad in ["", "7", "7/", "/3", "a/3", "7/-1", "99999999999999999999999/1"] {
            assert_eq!(epoch_and_step(bad), None, "{bad:?}");
        }
    }
}
