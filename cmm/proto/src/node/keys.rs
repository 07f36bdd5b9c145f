//! Changing the cluster key while the cluster runs.
//!
//! Two steps, and no instant at which one member seals with what another cannot open:
//! 1. A node that has loaded a new key *accepts* it and says so in the header of every packet; it still seals with the
//!    old one. Whoever hears of a key that it does not have loads its own key file.
//! 2. When every member has said that it accepts the new key, the node *seals* with it. From then on the old key is good
//!    for the lives that are known, not for who starts. When every member was heard to seal with the new key, and a
//!    grace time for late packets has passed, the old one is forgotten.
//!
//! Every node decides that for itself, by what the packets of the others say: nothing has to be agreed, so nothing can
//! be half agreed when a member dies or the cluster falls apart in between. A node that was not there (cut off, or down
//! when the file was replaced) hears packets under a key that it does not have, and loads its key file: if such a packet
//! opens with the key in the file, that key is the cluster's and is taken over. A packet that nobody sealed causes no
//! more than one look at the file in a while.
//!
//! A key that was loaded because of others is taken only if it is the one that they have: what an operator has put into
//! a file becomes the cluster's key when an operator says so on one node, or a node starts with it.

use holdfast_types::{Boottime, NodeId, Span};

use super::Node;
use crate::api::{Event, KeyEvent, KeyView, Output};
use crate::wire::{ClusterKey, Header, KeyId, Keys};

/// The change under way, if there is one, and the loading of keys.
#[derive(Default)]
pub(super) struct KeyChange {
    /// Accepted and announced; this node seals with it as soon as all members accept it.
    target: Option<ClusterKey>,
    /// When the keys that nobody seals with any more are forgotten.
    forget_at: Option<Boottime>,
    loading: Option<Loading>,
    /// No load without an operator before this: one in a token time, or whoever comes back to a cluster whose key was
    /// changed twice would be kept waiting.
    load_after: Boottime,
    /// What the file holds, if it is a key that this node does not accept yet: a packet that opens with it will show
    /// that it is the cluster's.
    candidate: Option<(KeyId, ClusterKey)>,
    loads: u64,
    error: String,
    /// A key that another member seals with or wants to, and that is not this node's own goal. Looked up when members or what
    /// they say of keys change, since the next deadline depends on it.
    wanted: Option<KeyId>,
    /// A key that others want and the file does not hold: told once.
    missed: Option<KeyId>,
    told: Option<KeyView>,
}

/// A key is being loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loading {
    /// Because of others.
    Own,
    /// An operator asked.
    Asked,
    /// An operator asked while it was being loaded: once more.
    AskedAgain,
}

impl Node {
    /// The key file was read, as [`Output::LoadKey`] asked; or why it was not.
    pub fn handle_key(&mut self, now: Boottime, loaded: Result<ClusterKey, String>) {
        self.turn(now);
        let Some(loading) = self.keys.loading.take() else { return };
        if self.left {
            return;
        }
        if loading == Loading::AskedAgain {
            self.load(Loading::Asked);
            return;
        }
        let asked = loading == Loading::Asked;
        self.keys.loads += u64::from(asked);
        self.keys.load_after = now + self.config.settings.timers.token;
        let before = std::mem::take(&mut self.keys.error);
        match loaded {
            Ok(key) => {
                let id = key.id();
                if asked || id != self.goal() && self.is_wanted(id) {
                    self.adopt(now, key);
                } else {
                    if let Some(wanted) = self.keys.wanted.filter(|wanted| self.keys.missed != Some(*wanted))
                    {
                        self.keys.missed = Some(wanted);
                        self.key_event(KeyEvent::Missed { wanted, file: key.fingerprint() });
                    }
                    self.keys.candidate = (!self.opener.accepts(id)).then_some((id, key));
                }
            }
            Err(why) => {
                if asked || before != why {
                    self.key_event(KeyEvent::NotLoaded { why: why.clone() });
                }
                self.keys.error = why;
            }
        }
        self.tell_keys();
        self.settle(now);
    }

    /// The operator has put another key into the file.
    pub(super) fn ask_for_key(&mut self) {
        match self.keys.loading {
            Some(_) => self.keys.loading = Some(Loading::AskedAgain),
            None => self.load(Loading::Asked),
        }
    }

    /// A packet under a key that is not accepted here: it may be the cluster's next one.
    pub(super) fn note_unknown_key(&mut self, now: Boottime, header: &Header, packet: &[u8]) {
        let candidate = self.keys.candidate.take_if(|(id, _)| *id == header.key);
        if let Some((id, key)) = candidate {
            if self.opener.would_open(&key, packet) {
                self.adopt(now, key);
                self.settle(now);
            } else {
                self.keys.candidate = Some((id, key));
            }
        } else if now >= self.keys.load_after && self.keys.loading.is_none() {
            self.load(Loading::Own);
        }
    }

    /// The newest packet of a peer says something new of keys, or the members are others.
    pub(super) fn review_keys(&mut self, now: Boottime) {
        let accept = |key: KeyId| {
            move |(_, keys): (NodeId, Option<Keys>)| keys.is_some_and(|k| k.key == key || k.next == Some(key))
        };
        if self.keys.target.as_ref().map(ClusterKey::id).is_some_and(|key| self.peers_keys().all(accept(key)))
        {
            self.change_key();
        }
        let sealing = self.sealer.fingerprint().id();
        let over = self.keys.target.is_none()
            && self.opener.accepted() > 1
            && self.peers_keys().all(|(_, keys)| keys == Some(Keys { key: sealing, next: None }));
        let at = self.keys.forget_at.unwrap_or(now + self.key_grace());
        self.keys.forget_at = over.then_some(at);
        self.look_for_wanted();
        self.load_if_others_differ(now);
        self.tell_keys();
    }

    /// When [`Node::key_timers`] has something to do.
    pub(super) fn key_timeout(&self) -> Option<Boottime> {
        let retry =
            (self.keys.loading.is_none() && self.keys.wanted.is_some()).then_some(self.keys.load_after);
        [self.keys.forget_at, retry].into_iter().flatten().min()
    }

    pub(super) fn key_timers(&mut self, now: Boottime) {
        if self.keys.forget_at.take_if(|at| *at <= now).is_some() {
            let key = self.sealer.fingerprint();
            self.opener.forget_all_but(key.id());
            self.key_event(KeyEvent::Forgotten { key });
            self.tell_keys();
        }
        self.load_if_others_differ(now);
    }

    /// Keys as they are now.
    #[must_use]
    pub fn key_view(&self) -> KeyView {
        let target = self.keys.target.as_ref().map(ClusterKey::fingerprint);
        let goal = self.goal();
        let behind = |(node, keys): (NodeId, Option<Keys>)| {
            let there = keys.is_some_and(|k| k.key == goal || target.is_some() && k.next == Some(goal));
            (!there).then_some(node)
        };
        KeyView {
            key: self.sealer.fingerprint(),
            next: target,
            accepted: self.opener.accepted(),
            waits_for: self.peers_keys().filter_map(behind).collect(),
            loads: self.keys.loads,
            error: self.keys.error.clone(),
        }
    }

    fn adopt(&mut self, now: Boottime, key: ClusterKey) {
        let (sealing, new) = (self.sealer.fingerprint(), key.fingerprint());
        (self.keys.missed, self.keys.candidate) = (None, None);
        if new == sealing {
            // As it was; or a change is called off before this node has taken the second step.
            self.keys.target = None;
            self.sealer.announce(None);
            self.key_event(KeyEvent::Unchanged { key: new });
        } else if new.id() == self.goal() {
            return;
        } else if self.opener.accept(&key) {
            self.sealer.announce(Some(new.id()));
            self.keys.target = Some(key);
            self.keys.forget_at = None;
            self.key_event(KeyEvent::Accepted { key: new, sealing });
        } else {
            self.keys.error = format!(
                "key {new} cannot be taken in now: earlier changes are not over, or another key has the same first four digits; \
                 wait until the change is over, or generate another key"
            );
            self.key_event(KeyEvent::NotLoaded { why: self.keys.error.clone() });
        }
        self.review_keys(now);
    }

    /// The second step.
    fn change_key(&mut self) {
        let Some(key) = self.keys.target.take() else { return };
        let old = self.sealer.fingerprint();
        self.sealer.change(&key, &self.config.cluster_name);
        self.sealer.announce(None);
        self.opener.retire_all_but(key.id());
        self.key_event(KeyEvent::Changed { key: key.fingerprint(), old });
        self.config.key = key;
        self.outputs.push_back(Output::SealGasps);
        // The others learn of it before the next heartbeat is due.
        if !self.members.is_empty() {
            self.send_heartbeat_to_members(self.now);
        }
    }

    /// The key that this node seals with, or wants to.
    fn goal(&self) -> KeyId {
        self.keys.target.as_ref().map_or_else(|| self.sealer.fingerprint().id(), ClusterKey::id)
    }

    /// What the other members have said of their keys.
    fn peers_keys(&self) -> impl Iterator<Item = (NodeId, Option<Keys>)> + '_ {
        let others = self.members.iter().filter(|id| **id != self.config.me);
        others.map(|id| (*id, self.opener.keys(*id)))
    }

    /// To be called when the members, or what one of them has said, or this node's own goal is another one.
    pub(super) fn look_for_wanted(&mut self) {
        let goal = self.goal();
        let mut others = self.peers_keys().filter_map(|(_, keys)| keys.map(|k| k.next.unwrap_or(k.key)));
        let wanted = others.find(|id| *id != goal);
        drop(others);
        self.keys.wanted = wanted;
    }

    fn is_wanted(&self, key: KeyId) -> bool {
        self.peers_keys().any(|(_, keys)| keys.is_some_and(|k| k.next.unwrap_or(k.key) == key))
    }

    fn load_if_others_differ(&mut self, now: Boottime) {
        if self.keys.loading.is_none() && now >= self.keys.load_after && self.keys.wanted.is_some() {
            self.load(Loading::Own);
        }
    }

    fn load(&mut self, why: Loading) {
        self.keys.loading = Some(why);
        self.outputs.push_back(Output::LoadKey);
    }

    pub(super) fn tell_keys(&mut self) {
        let view = self.key_view();
        if self.keys.told.as_ref() != Some(&view) {
            self.keys.told = Some(view.clone());
            self.outputs.push_back(Output::Keys(view));
        }
    }

    fn key_event(&mut self, event: KeyEvent) {
        self.event(Event::Key(event));
    }

    /// How long late packets and gasps under an old key are still taken.
    fn key_grace(&self) -> Span {
        self.config.settings.timers.token.scale(10, 1)
    }
}

impl KeyView {
    /// In one word, for status.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.next, self.accepted) {
            (Some(_), _) => "accepting",
            (None, 1) => "settled",
            (None, _) => "changed",
        }
    }
}
