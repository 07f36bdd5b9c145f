//! The ring daemon's client: process group, quorum, keys. Everything here is the corosync client ABI; what only `cmmd`
//! has (steps, lives, confirmed deaths) are keys under `holdfast.`, which may be missing.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use cmm_ipc::Place;
use cmm_ipc::abi::cmap::Value;
use cmm_ipc::abi::quorum::Event as QuorumEvent;
use cmm_ipc::client::{CmapClient, CpgClient, CpgEvent, Error, QuorumClient};
use rgmd::{GROUP, Input, NODE_LOST, StepAt};

/// Connections to the ring daemon.
pub(crate) struct Ring {
    cmap: CmapClient,
    cpg: CpgClient,
    quorum: QuorumClient,
    /// Messages that wait until the ring takes them, in order.
    outbox: VecDeque<Vec<u8>>,
    /// Keys that wait to be set, in order.
    keys: VecDeque<(String, Value)>,
    /// The ring daemon has steps, lives and confirmed deaths.
    pub(crate) is_cmmd: bool,
    joined: bool,
}

/// What the ring daemon says about the cluster.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) me: u32,
    pub(crate) nodes: BTreeMap<u32, String>,
    pub(crate) cluster_name: String,
    pub(crate) incarnation: u64,
}

impl Ring {
    /// Connects. Fails with something to try again while the daemon is starting.
    pub(crate) fn connect(place: &Place) -> Result<(Self, Facts), Error> {
        let mut cmap = CmapClient::connect(place, LIMIT)?;
        let mut cpg = CpgClient::connect(place, LIMIT)?;
        let mut quorum = QuorumClient::connect(place, LIMIT)?;
        for connection in [cmap.connection(), cpg.connection(), quorum.connection()] {
            connection.set_limit(LIMIT);
        }
        let me = cpg.local()?.get();
        let incarnation = cmap.get_u64("holdfast.incarnation")?;
        let facts = Facts {
            me,
            nodes: names(&mut cmap)?,
            cluster_name: cmap.get_str("totem.cluster_name")?.unwrap_or_default(),
            incarnation: incarnation.unwrap_or(0),
        };
        let (outbox, keys) = (VecDeque::new(), VecDeque::new());
        Ok((Self { cmap, cpg, quorum, outbox, keys, is_cmmd: incarnation.is_some(), joined: false }, facts))
    }

    /// Begins to track quorum and keys; tells the present state as inputs. Then takes part in steps.
    pub(crate) fn track(&mut self, inputs: &mut Vec<Input>) -> Result<(), Error> {
        self.quorum.track()?;
        if !self.is_cmmd {
            return Ok(());
        }
        self.cmap.track("holdfast.", true, 0)?;
        for (key, value) in self.cmap.entries("holdfast.")? {
            inputs.extend(key_input(&key, Some(&value)));
        }
        Ok(())
    }

    /// Joins the group; `Ok(false)`: try again.
    pub(crate) fn join(&mut self) -> Result<bool, Error> {
        match self.cpg.join(GROUP) {
            Ok(()) => self.joined = true,
            Err(e) if e.is_try_again() => return Ok(false),
            Err(e) => return Err(e),
        }
        if self.is_cmmd {
            self.set("holdfast.step.participant", Value::u8(1));
        }
        Ok(true)
    }

    /// Everything that has arrived. Keys are taken first and told first: whatever the daemon did before it set a key is
    /// then among the rest, so a step is never seen before the view that it belongs to.
    pub(crate) fn dispatch(&mut self, inputs: &mut Vec<Input>) -> Result<(), Error> {
        while let Some(event) = self.cmap.dispatch()? {
            inputs.extend(key_input(&event.key, event.new.as_ref()));
        }
        while let Some(event) = self.cpg.dispatch()? {
            inputs.extend(group_input(event));
        }
        while let Some(event) = self.quorum.dispatch()? {
            let (quorate, view) = match event {
                QuorumEvent::Quorum { quorate, view, .. }
                | QuorumEvent::Notification { quorate, view, .. } => (quorate, view),
                QuorumEvent::NodeList { .. } => continue,
            };
            inputs.push(Input::Quorum { quorate, members: view.iter().map(|n| n.get()).collect() });
        }
        Ok(())
    }

    /// Queues a message; [`Self::flush`] sends it.
    pub(crate) fn multicast(&mut self, message: Vec<u8>) {
        self.outbox.push_back(message);
    }

    /// Queues a key; [`Self::flush`] sets it.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.keys.push_back((key.to_owned(), value));
    }

    /// Sends what waits, as far as the daemon takes it. `Ok(false)`: something still waits, try again soon.
    pub(crate) fn flush(&mut self) -> Result<bool, Error> {
        while let Some(message) = self.outbox.front() {
            match self.cpg.mcast(message) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                // Nothing of it counts for anybody: receivers drop what was cut short.
                Err(Error::Refused(cmm_ipc::CsError::Interrupt)) => break,
                Err(e) if e.is_try_again() => break,
                Err(e) => return Err(e),
            }
        }
        while let Some((key, value)) = self.keys.front() {
            match self.cmap.set(key, value) {
                Ok(()) => {}
                Err(e) if e.is_try_again() => break,
                // A step that is void by now, for one.
                Err(Error::Refused(why)) => tracing::debug!("{key} was refused: {why}"),
                Err(e) => return Err(e),
            }
            self.keys.pop_front();
        }
        Ok(self.outbox.is_empty() && self.keys.is_empty())
    }

    /// Leaves group and steps, as far as the daemon still answers.
    pub(crate) fn leave(&mut self) {
        if self.is_cmmd {
            let _ = self.cmap.set("holdfast.step.participant", &Value::u8(0));
        }
        if self.joined {
            let _ = self.cpg.leave();
        }
    }

    /// Descriptors to poll.
    pub(crate) fn descriptors(&self) -> [i32; 3] {
        [self.cmap.as_fd().as_raw_fd(), self.cpg.as_fd().as_raw_fd(), self.quorum.as_fd().as_raw_fd()]
    }
}

/// Node names by id, from the node list.
fn names(cmap: &mut CmapClient) -> Result<BTreeMap<u32, String>, Error> {
    let mut names = BTreeMap::new();
    // Positions are dense from 0.
    for position in 0.. {
        let Some(id) = cmap.get_u64(&format!("nodelist.node.{position}.nodeid"))? else { break };
        let Ok(id) = u32::try_from(id) else { continue };
        let name = cmap.get_str(&format!("nodelist.node.{position}.name"))?;
        let name = match name {
            Some(name) => Some(name),
            None => cmap.get_str(&format!("nodelist.node.{position}.ring0_addr"))?,
        };
        names.insert(id, name.unwrap_or_else(|| format!("node{id}")));
    }
    Ok(names)
}

fn key_input(key: &str, value: Option<&Value>) -> Option<Input> {
    let value = value?;
    let key = key.strip_prefix("holdfast.")?;
    if key == "step.current" {
        return step(value.as_str()?).map(Input::Step);
    }
    let (what, node) = key.split_once('.')?;
    let (node, incarnation) = (node.parse().ok()?, value.as_u64()?);
    match what {
        "confirmed" => Some(Input::Confirmed { node, incarnation }),
        "incarnation" => Some(Input::Life { node, incarnation }),
        _ => None,
    }
}

/// `EPOCH/STEP/NAME`.
fn step(text: &str) -> Option<StepAt> {
    let mut parts = text.splitn(3, '/');
    let (epoch, step) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(StepAt { epoch, step, name: parts.next()?.to_owned() })
}

fn group_input(event: CpgEvent) -> Option<Input> {
    match event {
        CpgEvent::Confchg { group, members, left, joined } if group == GROUP => Some(Input::View {
            members: members.iter().map(|a| (a.node.get(), a.pid)).collect(),
            left: left.iter().map(|a| (a.node.get(), a.pid, reason(a.reason))).collect(),
            joined: joined.iter().map(|a| (a.node.get(), a.pid)).collect(),
        }),
        CpgEvent::Deliver { group, node, payload, .. } if group == GROUP => {
            Some(Input::Message { node: node.get(), bytes: payload })
        }
        _ => None,
    }
}

/// Why a member left, as the scheduler's reasons word it.
fn reason(number: u32) -> &'static str {
    match number {
        2 => "its resource manager left without stopping its resources",
        5 => "its resource manager ended",
        _ => NODE_LOST,
    }
}

/// A daemon that does not answer within this time is as good as gone.
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_inputs() {
        let step = |text| key_input("holdfast.step.current", Some(&Value::str(text)));
        assert!(
            matches!(step("12/3/fence"), Some(Input::Step(s)) if s.epoch == 12 && s.step == 3 && s.name == "fence")
        );
        for bad in ["", "1", "1/2", "a/b/c", "1/-2/x"] {
            assert!(step(bad).is_none(), "{bad}");
        }
        let confirmed = key_input("holdfast.confirmed.7", Some(&Value::u64(42)));
        assert!(matches!(confirmed, Some(Input::Confirmed { node: 7, incarnation: 42 })));
        let life = key_input("holdfast.incarnation.7", Some(&Value::u64(42)));
        assert!(matches!(life, Some(Input::Life { node: 7, incarnation: 42 })));
        for (key, value) in [
            ("holdfast.confirmed.x", Value::u64(1)),
            ("totem.token", Value::u32(1)),
            ("holdfast.other", Value::u8(1)),
        ] {
            assert!(key_input(key, Some(&value)).is_none(), "{key}");
        }
    }
}
