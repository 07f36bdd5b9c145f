//! What one node of the demo sees, followed through its own daemons: ring, quorum, confirmed deaths, resources.

use std::collections::BTreeMap;
use std::time::Duration;

use cmm_ipc::abi::quorum::Event;
use cmm_ipc::client::{CmapClient, Error, QuorumClient};
use status::{ClusterStatus, FenceRecord, FenceState, Role};

use super::site::SERVICES;
use crate::gather::{Sources, ask_rgmd};

/// A node's view.
pub(crate) struct Observer {
    /// Its id.
    pub(crate) id: usize,
    sources: Sources,
    links: Option<(QuorumClient, CmapClient)>,
    /// Ring id and members, as quorum clients are told.
    pub(crate) ring: Option<(String, Vec<usize>)>,
    /// Whether it may act.
    pub(crate) quorate: bool,
    /// Confirmed deaths: node and life.
    pub(crate) confirmed: BTreeMap<usize, u64>,
    /// What its resource-group manager says.
    pub(crate) status: Option<ClusterStatus>,
}

impl Observer {
    pub(crate) fn new(id: usize, sources: Sources) -> Self {
        let sources = Sources { limit: Duration::from_secs(2), ..sources };
        Self {
            id,
            sources,
            links: None,
            ring: None,
            quorate: false,
            confirmed: BTreeMap::new(),
            status: None,
        }
    }

    /// Takes in what is new. A node that does not answer just has nothing new to say.
    pub(crate) fn look(&mut self) {
        if self.listen().is_err() {
            self.links = None;
        }
        let reply = ask_rgmd(&self.sources, r#"{"cmd":"status"}"#).ok();
        self.status = reply.and_then(|r| serde_json::from_str(&r).ok());
    }

    fn listen(&mut self) -> Result<(), Error> {
        if self.links.is_none() {
            let Sources { place, limit, .. } = &self.sources;
            let mut quorum = QuorumClient::connect(place, *limit)?;
            quorum.connection().set_limit(*limit);
            quorum.track()?;
            let mut cmap = CmapClient::connect(place, *limit)?;
            cmap.connection().set_limit(*limit);
            cmap.track(CONFIRMED, true, 0)?;
            for (key, value) in cmap.entries(CONFIRMED)? {
                self.note_death(&key, value.as_u64());
            }
            self.links = Some((quorum, cmap));
        }
        let Some((quorum, cmap)) = &mut self.links else { return Ok(()) };
        let mut deaths = Vec::new();
        while let Some(event) = quorum.dispatch()? {
            let ids = |nodes: Vec<holdfast_types::NodeId>| nodes.iter().map(|n| n.get() as usize).collect();
            match event {
                Event::Quorum { quorate, ring, view } => {
                    self.quorate = quorate;
                    self.ring = Some((ring.to_string(), ids(view)));
                }
                Event::NodeList { ring, members, .. } => self.ring = Some((ring.to_string(), ids(members))),
                Event::Notification { .. } => {}
            }
        }
        while let Some(event) = cmap.dispatch()? {
            deaths.push(event.key);
        }
        for key in deaths {
            let life = cmap.get_u64(&key)?;
            if let (Some(node), Some(life)) = (node_of(&key), life) {
                self.confirmed.insert(node, life);
            }
        }
        Ok(())
    }

    fn note_death(&mut self, key: &str, life: Option<u64>) {
        if let (Some(node), Some(life)) = (node_of(key), life) {
            self.confirmed.insert(node, life);
        }
    }

    /// Whether its ring has exactly these members.
    pub(crate) fn has_ring_of(&self, members: &[usize]) -> bool {
        self.ring.as_ref().is_some_and(|(_, m)| m == members)
    }

    /// The node that runs the whole group, if one does.
    pub(crate) fn group_runs_on(&self) -> Option<String> {
        let status = self.status.as_ref()?;
        let place = |id: &&str| {
            let r = status.resources.iter().find(|r| r.id == **id)?;
            let runs = r.role == Role::Started && !r.failed && r.nodes.len() == 1;
            runs.then(|| r.nodes[0].clone())
        };
        let places: Vec<_> = SERVICES.iter().map(place).collect::<Option<_>>()?;
        places.iter().all(|p| *p == places[0]).then(|| places[0].clone())
    }

    /// A fence of this node that has succeeded and was asked for after `since` (Unix milliseconds).
    pub(crate) fn fenced(&self, node: &str, since: u64) -> Option<FenceRecord> {
        let done = |f: &&FenceRecord| {
            f.target == node && f.state == FenceState::Succeeded && f.completed_unix_ms >= since
        };
        self.status.as_ref()?.fencing.iter().find(done).cloned()
    }

    /// Whether a fence request has not ended; also when its manager cannot be asked.
    pub(crate) fn is_fencing(&self) -> bool {
        self.status.as_ref().is_none_or(|s| s.fencing.iter().any(|f| f.state == FenceState::Pending))
    }

    /// Whether all these nodes take part, and nothing is under way.
    pub(crate) fn is_settled_with(&self, names: &[String]) -> bool {
        let online = |s: &ClusterStatus| {
            let is_online = |name: &String| s.nodes.iter().any(|n| n.name == *name && n.online && !n.unclean);
            names.iter().all(is_online) && s.pending.is_empty() && s.dc.is_some()
        };
        self.quorate && self.status.as_ref().is_some_and(online)
    }
}

fn node_of(key: &str) -> Option<usize> {
    key.strip_prefix(CONFIRMED)?.parse().ok()
}

const CONFIRMED: &str = "holdfast.confirmed.";
