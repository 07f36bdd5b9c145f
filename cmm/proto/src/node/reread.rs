//! A reload: every member reads its own file, in its own time; what was read is taken by all of them at one place of the order.
//!
//! A member that has read its file says so, in order, also if it refuses what it read. When the word of all members was
//! delivered, each takes what it has: so intervals and limits of different lengths meet for no longer than a frame is under
//! way, and nobody is suspected because it sends heartbeats more seldom than others expect them by now. A new configuration is such a
//! place as well. A lease longer than the disk knows of is there before the word is said. Nothing here is needed for safety, since every echo says how long it counts (`quorum/lease.rs`): so a member that
//! never says its word keeps the others waiting for some seconds and no longer.

use std::collections::BTreeMap;

use holdfast_types::{Boottime, NodeId, RingId, Span};

use super::Node;
use crate::api::{Guarantee, Output, Refusal, Settings, SettingsTaken};
use crate::service::messages::Message;

/// What is known of the reload of this ring that was asked for last.
#[derive(Debug, Default)]
pub(super) struct Reread {
    /// Reloads delivered in this ring.
    number: u64,
    staged: Option<Staged>,
    /// Digests of what members have read.
    words: BTreeMap<NodeId, u64>,
}

/// What this node has read and not taken yet.
#[derive(Debug)]
struct Staged {
    settings: Option<Settings>,
    until: Boottime,
    /// The reload for which the others were told.
    said: Option<(RingId, u64)>,
}

impl Reread {
    /// When the wait for the others ends.
    pub(super) fn next_timeout(&self) -> Option<Boottime> {
        self.staged.as_ref().map(|staged| staged.until)
    }
}

impl Node {
    /// This node has read its file.
    pub(super) fn reread(&mut self, now: Boottime, settings: Option<Settings>) -> Result<(), Refusal> {
        if settings.as_ref().is_some_and(|s| s.check().is_err()) {
            return Err(Refusal::InvalidParam);
        }
        self.reread.staged = Some(Staged { settings, until: now + WORDS_MAX, said: None });
        self.is_staged();
        Ok(())
    }

    /// Tells the others that the file is read, once in each ring.
    pub(super) fn say_reread(&mut self, now: Boottime) {
        if self.reread.staged.is_none() || !self.is_staged() {
            return;
        }
        let round = (self.ring_id, self.reread.number);
        if round.1 == 0 {
            // The ring in which it was asked for is gone, and with it the place at which the others take theirs.
            return self.take_settings(now);
        }
        let Some(staged) = self.reread.staged.as_mut().filter(|s| s.said != Some(round)) else { return };
        if !self.reconfig.is_synchronised() {
            return;
        }
        staged.said = Some(round);
        let digest = staged.settings.unwrap_or(self.config.settings).digest();
        let word = Message::Reread { ring: round.0, number: round.1, digest }.encode();
        self.control.push_back((round.0, Guarantee::Agreed, word));
    }

    /// A reload, in its place of the order: words of an earlier one are void.
    pub(super) fn reload_delivered(&mut self) {
        self.reread.number += 1;
        self.reread.words.clear();
    }

    /// The word of a member, in its place of the order.
    pub(super) fn reread_delivered(&mut self, now: Boottime, sender: NodeId, number: u64, digest: u64) {
        if number != self.reread.number {
            return;
        }
        self.reread.words.insert(sender, digest);
        if self.members.iter().all(|m| self.reread.words.contains_key(m)) {
            self.take_settings(now);
        }
    }

    /// A regular configuration: all members are at this place.
    pub(super) fn reread_in_new_ring(&mut self, now: Boottime) {
        self.reread.number = 0;
        self.reread.words.clear();
        self.take_settings(now);
    }

    /// Waits no longer for members that do not say their word.
    pub(super) fn reread_timer(&mut self, now: Boottime) {
        let Some(staged) = self.reread.staged.as_mut().filter(|staged| now >= staged.until) else { return };
        staged.until = now + WORDS_MAX;
        self.take_settings(now);
    }

    /// Whether what was read can be taken: the disk holds the promises that its lease makes.
    fn is_staged(&mut self) -> bool {
        let settings = self.reread.staged.as_ref().and_then(|staged| staged.settings);
        settings.is_none_or(|s| self.quorum.promised_mut().prepare(s.timers.lease + s.timers.lease_margin))
    }

    fn take_settings(&mut self, now: Boottime) {
        if !self.is_staged() {
            return;
        }
        let Some(staged) = self.reread.staged.take() else { return };
        if let Some(settings) = staged.settings.filter(|s| *s != self.config.settings) {
            let timers = settings.timers;
            self.config.settings = settings;
            self.ring.set_settings(now, settings);
            self.detector.set_timers(now, &timers);
            self.links.set_heartbeat(now, timers.heartbeat);
            self.reconfig.set_step_limit(timers.step_limit);
            self.quorum.set_lease(timers.lease, timers.lease_margin);
            if let Some(options) = settings.quorum {
                self.quorum.set_options(options);
            }
        }
        let own = self.config.settings.digest();
        let words = &self.reread.words;
        let of = |wanted: &dyn Fn(Option<&u64>) -> bool| -> Vec<NodeId> {
            let others = self.members.iter().filter(|m| **m != self.config.me && !words.is_empty());
            others.filter(|m| wanted(words.get(m))).copied().collect()
        };
        let late = of(&|word| word.is_none());
        let others = of(&|word| word.is_some_and(|digest| *digest != own));
        self.outputs.push_back(Output::Settings(SettingsTaken { late, others }));
    }
}

/// A member that has not read its file by then is not waited for.
const WORDS_MAX: Span = Span::from_secs(5);
