//! Who of the ring is alive: heartbeats out and in, silence, this node's own pauses, and the echoes that carry leases.
//!
//! Every member sends a heartbeat to every other member of the ring installed last, each interval and at once when the
//! ring is new. Any authenticated packet of a member's current life counts as life. A member silent for longer than
//! its limit is suspected until the next ring; a suspected member is not echoed, so its lease runs out. The limit is
//! each member's own: what the irregularity of its heartbeats asks for (module `arrivals`), between floor and ceiling. The
//! lease is reckoned with the floor, so a higher limit only makes it safer. A node that was
//! late itself accuses nobody: it cannot tell its own deafness from others' silence, so it starts to listen anew.
//! For the same reason a node that hears one member again after a long silence gives the others that were silent with
//! it two heartbeats more: the network was deaf, and whoever speaks next may be a moment behind the first.
//!
//! Heartbeats go out together, so that one wake-up does for sending one and hearing the others': a ring's first ones do,
//! and whoever hears a member's while the own one is nearly due sends that at once. Nobody waits for anybody.
//!
//! Hints start [`probe`]s, and do nothing else.
//!
//! Heartbeats of another ring count for life only: nothing is echoed across rings. That is enough for *guests*: nodes
//! outside the ring with which one is being formed. They are watched while the ring waits for them, so that one that
//! dies on the way costs no more than a member that dies.

mod arrivals;
mod probe;

use std::collections::BTreeMap;

use holdfast_types::{Boottime, Incarnation, NodeId, RingId, Span};

use self::arrivals::Arrivals;
pub use self::probe::Hint;
use self::probe::Probes;
use crate::Timers;
use crate::wire::{Echo, NodeSet};

/// The detector of one node.
pub struct Detector {
    me: NodeId,
    limits: Limits,
    ring: RingId,
    peers: BTreeMap<NodeId, Peer>,
    /// What is known of each node's heartbeats: that does not change with the ring.
    arrivals: BTreeMap<NodeId, Arrivals>,
    last_turn: Boottime,
    /// There was a turn. What went before the first one is the start, which takes as long as it takes.
    turned: bool,
    /// From the turn before to this one: packets may be waiting that nobody has read yet.
    gap: Span,
    next_beat: Boottime,
    /// Up to then heartbeats go out at least that often, since others may still expect it.
    hurried: (Boottime, Span),
}

struct Peer {
    /// No member, but waited for.
    guest: bool,
    heard: Boottime,
    suspected: bool,
    /// Added to the limit of this silence.
    grace: Span,
    probes: Probes,
    /// The life that is the member, as its heartbeats in this ring have shown.
    life: Option<Incarnation>,
    /// Newest send time of its heartbeats in this ring.
    newest: Option<Boottime>,
    /// When that one arrived here: it was sent before, so what its echo is worth ends a lease from here at the latest.
    arrived: Boottime,
    /// What its last echo is worth.
    lease: Option<Span>,
}

/// What a heartbeat of the same ring brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The send time of the newest own heartbeat that the member echoes.
    pub echo: Option<Boottime>,
    /// It is the member's first one in this ring: answered at once, so that leases start without an interval's delay.
    pub first: bool,
}

/// What the detector knows of a node it waits for, for `stats.holdfast.detector.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Whom.
    pub node: NodeId,
    /// It is suspected.
    pub suspected: bool,
    /// Silence beyond this makes it so.
    pub limit: Span,
    /// For how long it has been silent.
    pub silent: Span,
    /// How late its heartbeats come, on average.
    pub late: Span,
    /// Deviation from that.
    pub deviation: Span,
}

impl Detector {
    /// Alone.
    #[must_use]
    pub fn new(me: NodeId, timers: &Timers, now: Boottime) -> Self {
        Self {
            me,
            limits: Limits::of_timers(timers),
            ring: RingId::default(),
            peers: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            last_turn: now,
            turned: false,
            gap: Span::ZERO,
            next_beat: now + timers.heartbeat,
            hurried: (now, timers.heartbeat),
        }
    }

    /// Other intervals and limits: everyone has a whole new limit from now on, and a heartbeat goes out at once.
    /// Some more follow as fast as before: whoever loses the first one would hear of the new lease only an interval later.
    pub fn set_timers(&mut self, now: Boottime, timers: &Timers) {
        self.hurried = (now + self.limits.floor, self.limits.interval);
        self.limits = Limits::of_timers(timers);
        self.peers.values_mut().for_each(|peer| peer.heard = now);
        self.arrivals.values_mut().for_each(Arrivals::pause);
        self.next_beat = now;
    }

    /// Forgets nodes that are none any more.
    pub fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        self.arrivals.retain(|node, _| keep(*node));
    }

    /// A turn of the event loop. Returns the gap since the last one if it was so long that this node was deaf.
    pub fn turn(&mut self, now: Boottime) -> Option<Span> {
        let gap = now.since(self.last_turn);
        self.last_turn = now;
        self.gap = gap;
        let first = !std::mem::replace(&mut self.turned, true);
        if gap <= self.limits.floor.scale(1, 2) {
            return None;
        }
        for peer in self.peers.values_mut() {
            peer.heard = now;
        }
        self.arrivals.values_mut().for_each(Arrivals::pause);
        (!first).then_some(gap)
    }

    /// Whether this turn came late: packets may be waiting that nobody has read yet.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.gap > self.limits.interval.scale(2, 1)
    }

    /// A new ring: everyone is alive until shown otherwise, and a heartbeat is due at once.
    pub fn install(&mut self, now: Boottime, ring: RingId, members: &[NodeId]) {
        self.ring = ring;
        let others = members.iter().filter(|id| **id != self.me);
        self.peers = others.map(|id| (*id, Peer::new(now, false))).collect();
        self.arrivals.values_mut().for_each(Arrivals::pause);
        self.next_beat = now;
    }

    /// The nodes outside the ring that this node waits for now.
    pub fn watch(&mut self, now: Boottime, guests: &NodeSet) {
        if guests.is_empty() && !self.peers.values().any(|peer| peer.guest) {
            return; // as nearly always
        }
        self.peers.retain(|id, peer| !peer.guest || guests.contains(*id));
        for id in guests.iter().filter(|id| *id != self.me) {
            self.peers.entry(id).or_insert_with(|| Peer::new(now, true));
        }
    }

    /// An authenticated packet of this member's current life.
    pub fn heard(&mut self, now: Boottime, from: NodeId) {
        let half = self.limits.floor.scale(1, 2);
        let long = |peer: &Peer| now.since(peer.heard) > half;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let was_long = long(peer);
        (peer.heard, peer.grace) = (now, Span::ZERO);
        peer.probes.heard(now, self.limits.interval);
        if was_long {
            for other in self.peers.values_mut().filter(|p| long(p)) {
                other.grace = self.limits.interval.scale(2, 1);
            }
        }
    }

    /// A heartbeat. `None`: not of this ring.
    pub fn heartbeat(
        &mut self,
        from: NodeId,
        life: Incarnation,
        ring: RingId,
        send_time: Boottime,
        echoes: &[Echo],
    ) -> Option<Beat> {
        let followed = self.interval(self.last_turn).scale(1, FOLLOWS_WITHIN);
        let peer = self.peers.get_mut(&from)?;
        self.arrivals.entry(from).or_default().note(peer.heard, self.limits.interval);
        if ring != self.ring || peer.guest {
            return None;
        }
        let first = peer.newest.is_none();
        peer.life = Some(life);
        let arrived = peer.heard;
        if peer.newest < Some(send_time) {
            peer.newest = Some(send_time);
            // The packet that brings it was noted as life in this same turn.
            peer.arrived = peer.heard;
        }
        if self.next_beat <= arrived + followed {
            self.next_beat = self.next_beat.min(arrived);
        }
        let echo = echoes.iter().find(|e| e.node == self.me).map(|e| e.send_time);
        Some(Beat { echo, first })
    }

    /// The echoes of a member are worth so much: heartbeats go to it often enough for that, also where this node runs with longer
    /// timers, as after a reload that has not reached all.
    pub fn leased(&mut self, now: Boottime, from: NodeId, lease: Span) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.lease.replace(lease) != Some(lease) {
            self.next_beat = self.next_beat.min(now + self.interval(now));
        }
    }

    /// How long this node has to answer to probes: a sixth of the floor, more if its heartbeats come irregularly or a
    /// packet needs `round_trip` to it and back.
    #[must_use]
    pub fn window(&self, node: NodeId, round_trip: Span) -> Span {
        let Limits { interval, floor, .. } = self.limits;
        let irregular = self.arrivals.get(&node).map_or(Span::ZERO, |a| a.limit(Span::ZERO));
        let window = floor.scale(1, 6).max(interval.scale(1, 2)).max(irregular).max(round_trip.scale(2, 1));
        window.min(floor)
    }

    /// Something suggests that this node is gone: it is asked, and has its [window](Self::window) to answer. Whether that
    /// begins now.
    pub fn hint(&mut self, now: Boottime, node: NodeId, hint: Hint, round_trip: Span) -> bool {
        let window = self.window(node, round_trip);
        let peer = self.peers.get_mut(&node).filter(|p| !p.suspected);
        peer.is_some_and(|peer| peer.probes.hint(now, hint, window))
    }

    /// Nodes to which a probe is to be sent now.
    pub fn probes_due(&mut self, now: Boottime) -> NodeSet {
        let watched = self.peers.iter_mut().filter(|(_, p)| !p.suspected);
        watched.filter_map(|(id, peer)| peer.probes.due(now).then_some(*id)).collect()
    }

    /// Nodes that answered no probe, from now on suspected: why they were asked, and for how long they were silent.
    pub fn mute(&mut self, now: Boottime) -> Vec<(NodeId, Hint, Span)> {
        let mut mute = Vec::new();
        for (id, peer) in self.peers.iter_mut().filter(|(_, p)| !p.suspected) {
            if let Some(hint) = peer.probes.judge(now, self.gap) {
                peer.suspected = true;
                mute.push((*id, hint, now.since(peer.heard)));
            }
        }
        mute
    }

    /// Firm news: this member is not waited for and not echoed any more. `true` if it was not suspected before.
    pub fn suspect(&mut self, node: NodeId) -> bool {
        self.peers.get_mut(&node).is_some_and(|peer| !std::mem::replace(&mut peer.suspected, true))
    }

    /// A packet of this life of `node` was opened. If an earlier one is the member, that one is over: it is suspected.
    /// Until its heartbeats have shown which life the member is, nothing is echoed and nothing has to end. `true` if
    /// it was not suspected before.
    pub fn replaced(&mut self, node: NodeId, life: Incarnation) -> bool {
        let earlier = self.peers.get(&node).and_then(|p| p.life).is_some_and(|known| known < life);
        earlier && self.suspect(node)
    }

    /// Members silent for longer than the limit, from now on suspected, and for how long they were silent. Nobody in a
    /// turn that came late: what they sent may be waiting to be read; the next turn is soon.
    pub fn silent(&mut self, now: Boottime) -> Vec<(NodeId, Span)> {
        let mut silent = Vec::new();
        if self.is_late() {
            return silent;
        }
        for (id, peer) in self.peers.iter_mut().filter(|(_, p)| !p.suspected) {
            let limit = self.limits.of(self.arrivals.get(id)) + peer.grace;
            let silence = now.since(peer.heard);
            if silence > limit {
                peer.suspected = true;
                silent.push((*id, silence));
            }
        }
        silent
    }

    /// Whether a heartbeat is due; [`Detector::beat_sent`] when it is out.
    #[must_use]
    pub fn beat_due(&self, now: Boottime) -> bool {
        now >= self.next_beat
    }

    /// The next heartbeat is an interval away.
    pub fn beat_sent(&mut self, now: Boottime) {
        self.next_beat = now + self.interval(now);
    }

    /// Between two heartbeats of this node, now.
    fn interval(&self, now: Boottime) -> Span {
        let (until, hurried) = self.hurried;
        let own = if now < until { self.limits.interval.min(hurried) } else { self.limits.interval };
        // Who runs with shorter timers gives leases that would end between two heartbeats.
        let given = self.peers.values().filter_map(|peer| peer.lease).min();
        given.filter(|lease| *lease < own.scale(2, 1)).map_or(own, |lease| lease.scale(1, 3))
    }

    /// All that it waits for, ascending.
    pub fn watched(&self, now: Boottime) -> impl Iterator<Item = Watched> + '_ {
        self.peers.iter().map(move |(id, peer)| {
            let arrivals = self.arrivals.get(id);
            let (late, deviation) = arrivals.map(Arrivals::lateness).unwrap_or_default();
            let limit = self.limits.of(arrivals) + peer.grace;
            let silent = now.since(peer.heard);
            Watched { node: *id, suspected: peer.suspected, limit, silent, late, deviation }
        })
    }

    /// The ring that heartbeats are for.
    #[must_use]
    pub fn ring(&self) -> RingId {
        self.ring
    }

    /// Members and guests, to whom a heartbeat goes: also suspected ones, who may be deaf only, and learn from it that nobody
    /// echoes them.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// What the next heartbeat echoes.
    #[must_use]
    pub fn echoes(&self) -> Vec<Echo> {
        let echo = |(id, peer): (&NodeId, &Peer)| {
            Some(Echo { node: *id, send_time: peer.newest.filter(|_| !peer.suspected)? })
        };
        self.peers.iter().filter_map(echo).collect()
    }

    /// When the heartbeat of this member that is echoed now arrived here.
    #[must_use]
    pub fn arrived(&self, node: NodeId) -> Option<Boottime> {
        self.peers.get(&node).map(|peer| peer.arrived)
    }

    /// When the next heartbeat is due or the next node has been silent for too long.
    #[must_use]
    pub fn next_timeout(&self) -> Boottime {
        let watched = self.peers.iter().filter(|(_, p)| !p.suspected);
        let due = |(id, p): (&NodeId, &Peer)| {
            let limit = self.limits.of(self.arrivals.get(id));
            let silence = p.heard + limit + p.grace + Span::from_nanos(1);
            p.probes.next_timeout().map_or(silence, |probe| probe.min(silence))
        };
        watched.map(due).fold(self.next_beat, Boottime::min)
    }
}

impl Peer {
    fn new(now: Boottime, guest: bool) -> Self {
        Self {
            guest,
            heard: now,
            suspected: false,
            grace: Span::ZERO,
            probes: Probes::default(),
            life: None,
            newest: None,
            arrived: now,
            lease: None,
        }
    }
}

/// Whoever hears a heartbeat sends at once what would be due within this part of the interval.
const FOLLOWS_WITHIN: u64 = 8;

/// What bounds every peer's limit.
#[derive(Clone, Copy, Debug)]
struct Limits {
    interval: Span,
    floor: Span,
    ceiling: Span,
}

impl Limits {
    fn of_timers(timers: &Timers) -> Self {
        Self {
            interval: timers.heartbeat,
            floor: timers.heartbeat_limit,
            ceiling: timers.heartbeat_limit_max.max(timers.heartbeat_limit),
        }
    }

    fn of(&self, arrivals: Option<&Arrivals>) -> Span {
        arrivals.map_or(self.floor, |a| a.limit(self.interval).clamp(self.floor, self.ceiling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Span = Span::from_millis(50);
    const LIMIT: Span = Span::from_millis(500);

    fn node(id: u32) -> NodeId {
        NodeId::new(id)
    }
    fn ring(seq: u64) -> RingId {
        RingId { representative: node(1), seq }
    }
    fn life(n: u64) -> Incarnation {
        Incarnation::new(n)
    }
    fn at(ms: u64) -> Boottime {
        Boottime::from_nanos(1_000_000 * (10_000 + ms))
    }
    fn timers() -> Timers {
        let timers = Timers::from_token(Span::from_secs(1));
        Timers { heartbeat: BEAT, heartbeat_limit: LIMIT, heartbeat_limit_max: LIMIT.scale(2, 1), ..timers }
    }
    fn detector() -> Detector {
        let mut d = Detector::new(node(1), &timers(), at(0));
        d.install(at(0), ring(4), &[node(1), node(2), node(3)]);
        d
    }
    fn echo(id: u32, ms: u64) -> Echo {
        Echo { node: node(id), send_time: at(ms) }
    }

    #[test]
    fn who_gives_short_leases_hears_often() {
        let mut d = detector();
        let own = d.limits.interval;
        d.beat_sent(at(0));
        d.leased(at(1), node(2), own.scale(5, 1));
        assert_eq!(d.next_beat, at(0) + own, "as long as they last for two of them");
        d.leased(at(1), node(3), own.scale(3, 2));
        assert_eq!(d.next_beat, at(1) + own.scale(1, 2), "sooner, and so from then on");
        d.beat_sent(at(100));
        assert_eq!(d.next_beat, at(100) + own.scale(1, 2));
    }

    #[test]
    fn silence_beyond_the_limit_suspects_once() {
        let mut d = detector();
        d.heard(at(200), node(2));
        assert_eq!(d.silent(at(500)), []);
        d.turn(at(101));
        assert_eq!(d.silent(at(501)), [], "a late turn first reads what is waiting");
        d.turn(at(102));
        assert_eq!(d.silent(at(501)), [(node(3), Span::from_millis(501))]);
        assert_eq!(d.silent(at(600)), [], "once");
        d.heard(at(650), node(3));
        assert!(d.echoes().is_empty());
        d.heartbeat(node(3), life(1), ring(4), at(7), &[]);
        assert!(d.echoes().is_empty(), "a suspected member is not echoed, even if it speaks again");
        d.install(at(700), ring(8), &[node(1), node(3)]);
        d.heartbeat(node(3), life(1), ring(8), at(9), &[]);
        assert_eq!(d.echoes(), [echo(3, 9)], "in the next ring it is");
    }

    #[test]
    fn a_node_that_was_late_accuses_nobody() {
        let mut d = detector();
        assert_eq!(d.turn(at(250)), None);
        assert_eq!(d.turn(at(900)), Some(Span::from_millis(650)));
        assert_eq!(d.silent(at(900)), []);
        d.turn(at(901));
        assert_eq!(d.silent(at(1_401)).len(), 2, "it listened for a whole limit since");
    }

    #[test]
    fn a_start_that_takes_long_is_no_pause() {
        let mut d = detector();
        assert_eq!(d.turn(at(900)), None);
        assert!(d.is_late(), "packets may be waiting");
        assert_eq!(d.turn(at(1_800)), Some(Span::from_millis(900)));
    }

    /// A heartbeat from 2 at each of these times.
    fn beats(d: &mut Detector, times: impl IntoIterator<Item = u64>) {
        for ms in times {
            d.heard(at(ms), node(2));
            d.heartbeat(node(2), life(1), ring(4), at(ms), &[]);
        }
    }

    /// When 2 is suspected, heard last at `ms`; 3 speaks all the time.
    fn suspected_after(d: &mut Detector, ms: u64) -> u64 {
        (ms..ms + 10_000)
            .find(|now| {
                d.turn(at(*now));
                d.heard(at(*now), node(3));
                !d.silent(at(*now)).is_empty()
            })
            .expect("some time")
            - ms
    }

    #[test]
    fn the_limit_follows_the_regularity_of_the_peer_between_floor_and_ceiling() {
        let mut d = detector();
        beats(&mut d, (50..2_000).step_by(50));
        assert_eq!(suspected_after(&mut d, 1_950), 501, "regular: the floor");
        let mut d = detector();
        beats(&mut d, (50..2_000).step_by(50).chain([2_240]));
        let after = suspected_after(&mut d, 2_240);
        assert!((502..1_000).contains(&after), "190 ms late once: {after}");
        let mut d = detector();
        beats(&mut d, (50..20_000).step_by(400));
        assert_eq!(suspected_after(&mut d, 19_650), 1_001, "always late: the ceiling");
        d.install(at(20_000), ring(8), &[node(1), node(2), node(3)]);
        assert_eq!(suspected_after(&mut d, 20_000), 1_001, "a new ring knows it too");
    }

    #[test]
    fn a_guest_is_watched_and_never_echoed() {
        let mut d = detector();
        d.watch(at(100), &NodeSet::of(node(9)));
        assert_eq!(d.peers().count(), 3);
        d.heard(at(300), node(9));
        assert_eq!(d.heartbeat(node(9), life(1), ring(4), at(1), &[]), None);
        assert!(d.echoes().is_empty());
        for (ms, member) in [200, 400, 600, 800].into_iter().flat_map(|ms| [(ms, 2), (ms, 3)]) {
            d.turn(at(ms));
            d.heard(at(ms), node(member));
        }
        d.watch(at(800), &NodeSet::of(node(9)));
        d.turn(at(801));
        d.turn(at(802));
        assert_eq!(d.silent(at(802)), [(node(9), Span::from_millis(502))]);
        d.watch(at(810), &NodeSet::new());
        assert_eq!(d.peers().count(), 2, "members stay");
    }

    #[test]
    fn silence_that_ends_together_began_together() {
        let mut d = detector();
        d.heard(at(460), node(2));
        assert_eq!(d.silent(at(501)), [], "3 may be a moment behind");
        d.beat_sent(at(590));
        assert_eq!(d.next_timeout(), at(600) + Span::from_nanos(1));
        assert_eq!(d.silent(at(601)), [(node(3), Span::from_millis(601))], "but not for long");
        let mut d = detector();
        d.heard(at(200), node(2));
        d.heard(at(400), node(2));
        assert_eq!(d.silent(at(501)).len(), 1, "an ordinary death costs nothing more");
    }

    #[test]
    fn echoes_are_the_newest_send_times_of_this_ring_only() {
        let mut d = detector();
        assert_eq!(d.heartbeat(node(2), life(1), ring(3), at(90), &[echo(1, 1)]), None, "another ring");
        assert_eq!(d.heartbeat(node(9), life(1), ring(4), at(90), &[echo(1, 1)]), None, "no member");
        assert!(d.echoes().is_empty());
        let first = d.heartbeat(node(2), life(1), ring(4), at(20), &[echo(1, 5), echo(3, 6)]);
        assert_eq!(first, Some(Beat { echo: Some(at(5)), first: true }));
        let late = d.heartbeat(node(2), life(1), ring(4), at(10), &[echo(3, 6)]);
        assert_eq!(late, Some(Beat { echo: None, first: false }));
        assert_eq!(d.echoes(), [echo(2, 20)], "a late heartbeat takes nothing back");
        d.install(at(100), ring(8), &[node(1), node(2)]);
        assert!(d.echoes().is_empty(), "nothing is echoed across rings");
    }

    #[test]
    fn a_new_life_ends_the_member_that_was_an_earlier_one_and_no_other() {
        let mut d = detector();
        assert!(!d.replaced(node(2), life(2)), "which life is the member is not known yet");
        d.heartbeat(node(2), life(2), ring(4), at(5), &[]);
        assert!(!d.replaced(node(2), life(2)), "the same");
        assert_eq!(d.echoes().len(), 1);
        assert!(d.replaced(node(2), life(3)));
        assert!(!d.replaced(node(2), life(3)), "once");
        assert!(d.echoes().is_empty());
        assert!(!d.replaced(node(9), life(3)), "no member");
    }

    #[test]
    fn heartbeats_are_due_at_once_in_a_new_ring_and_then_each_interval() {
        let mut d = detector();
        assert_eq!(d.next_timeout(), at(0));
        assert!(d.beat_due(at(0)));
        d.beat_sent(at(0));
        assert!(!d.beat_due(at(49)) && d.beat_due(at(50)));
        d.beat_sent(at(50));
        assert_eq!(d.next_timeout(), at(100));
        assert!(d.suspect(node(2)) && !d.suspect(node(2)) && !d.suspect(node(7)));
        assert_eq!(d.peers().count(), 2);
    }

    #[test]
    fn what_is_nearly_due_goes_with_the_heartbeat_of_another_member() {
        let mut d = detector();
        d.beat_sent(at(0));
        let mut hear = |ms: u64, from: u64| {
            d.heard(at(ms), node(2));
            d.heartbeat(node(2), life(1), ring(from), at(ms - 1), &[]);
            d.next_timeout()
        };
        assert_eq!(hear(40, 4), at(50), "it has time");
        assert_eq!(hear(44, 3), at(50), "not of this ring");
        assert_eq!(hear(45, 4), at(45));
        assert!(d.beat_due(at(45)));
        d.beat_sent(at(45));
        assert_eq!(d.next_timeout(), at(95), "and the next one is an interval away");
    }
}
