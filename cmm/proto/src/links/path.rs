//! One link of one peer: is it heard there, does it hear us, how long does a packet take, how many are lost.

use holdfast_types::{Boottime, Span};

use super::mtu::Mtu;
use crate::wire::{LinkBeat, PacketKind};

/// What is known of one link to one peer, for `stats.knet.nodeN.linkL.*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathStats {
    /// Both sides hear each other.
    pub connected: bool,
    /// It is heard here, but says that it does not hear us.
    pub one_way: bool,
    /// Times it came up.
    pub up_count: u32,
    /// Times it went down.
    pub down_count: u32,
    /// Shortest round trip.
    pub latency_min: Span,
    /// Longest round trip.
    pub latency_max: Span,
    /// Smoothed round trip.
    pub latency_ave: Span,
    /// Its smoothed deviation.
    pub latency_dev: Span,
    /// Round trips measured.
    pub latency_samples: u32,
    /// Of its last [`LinkBeat::WINDOW`] beats so many were lost on the way here.
    pub lost_in: u8,
    /// Of our last [`LinkBeat::WINDOW`] beats so many were lost on the way there, as it says.
    pub lost_out: u8,
    /// Beats sent that are the first to answer one of the peer's. They are among [`Self::tx`], too.
    pub answers_tx: Count,
    /// Beats heard that are the first to answer one of ours.
    pub answers_rx: Count,
    /// What did not go out, at all or at once.
    pub unsent: Unsent,
    /// The longest packet that is known to get there whole, its frame's bytes.
    pub mtu: usize,
    /// Packets handed to the driver for this link, by [`Traffic`].
    pub tx: [Count; Traffic::KINDS],
    /// Packets that came in on this link and opened, by [`Traffic`].
    pub rx: [Count; Traffic::KINDS],
}

/// What did not go out to one peer on one link, by [`Traffic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Packets that the system did not take, and probes that are longer than the interface takes.
    pub lost: [u64; Traffic::KINDS],
    /// Times that a packet had to wait since the socket's buffer was full, and probes of the path MTU that were sent once more since
    /// no answer came.
    pub retried: [u64; Traffic::KINDS],
}

impl Unsent {
    pub(super) fn add(&mut self, more: &Self) {
        let both = self.lost.iter_mut().chain(&mut self.retried);
        both.zip(more.lost.iter().chain(&more.retried)).for_each(|(all, more)| *all += more);
    }
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub packets: u64,
    /// Of UDP payload.
    pub bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }

    /// Of all kinds.
    #[must_use]
    pub fn total(of: &[Self]) -> Self {
        let add = |a: Self, b: &Self| Self { packets: a.packets + b.packets, bytes: a.bytes + b.bytes };
        of.iter().fold(Self::default(), add)
    }
}

/// What packets are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// The ring, and gasps.
    Data = 0,
    /// Beats, with heartbeats or without.
    Beat = 1,
    /// Probes of the path MTU, and their answers.
    Probe = 2,
}

impl Traffic {
    /// How many there are.
    pub const KINDS: usize = 3;
}

impl From<PacketKind> for Traffic {
    fn from(kind: PacketKind) -> Self {
        match kind {
            PacketKind::Ring | PacketKind::Part | PacketKind::Gasp => Self::Data,
            PacketKind::Heartbeat => Self::Beat,
            PacketKind::Probe => Self::Probe,
        }
    }
}

/// One link of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// Beats sent on it in this life.
    seq: u32,
    /// The newest beat heard; 0: none of the peer's current life.
    newest: u32,
    /// Which of the last beats were heard: bit 0 is the newest.
    seen: u32,
    heard: Boottime,
    /// What the peer says about its next beat.
    interval: Span,
    pub(super) hearing: bool,
    hears_us: bool,
    /// The peer's newest beat: its send time, when it came.
    echo: Option<(Boottime, Boottime)>,
    /// Send time of the peer's beat that was echoed last.
    answered: Option<Boottime>,
    /// Send time of the own beat whose echo was measured last.
    measured: Option<Boottime>,
    /// The beat composed last answers one, and is not counted yet.
    answering: bool,
    /// Bytes of the packet that came last.
    last_len: usize,
    /// Beats in a row without a gap that say that we are heard.
    good: u8,
    /// So many bring it back up.
    need: u8,
    /// The peer's life is new: nothing is held against its link.
    fresh: bool,
    pub(super) up: bool,
    since: Boottime,
    pub(super) mtu: Mtu,
    pub(super) stats: PathStats,
}

/// How a path has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Up,
    Down(&'static str),
}

impl Path {
    /// The next beat for it.
    pub(super) fn compose(&mut self, now: Boottime, interval: Span, heartbeat: bool) -> LinkBeat {
        self.seq = self.seq.wrapping_add(1).max(1);
        self.answering = self.echo.map(|(sent, _)| sent) > self.answered;
        self.answered = self.echo.map(|(sent, _)| sent).max(self.answered);
        LinkBeat {
            seq: self.seq,
            interval,
            sent: now,
            echo: self.echo.map(|(sent, arrived)| (sent, now.since(arrived))),
            hears: self.hearing,
            received: u8::try_from(self.seen.count_ones()).unwrap_or(LinkBeat::WINDOW),
            heartbeat,
            asks: false,
        }
    }

    /// Any packet of the peer came in on it: a life sign, if it is one that was heard before.
    pub(super) fn packet(&mut self, now: Boottime, traffic: Traffic, len: usize) {
        self.stats.rx[traffic as usize].add(len);
        self.last_len = len;
        if self.hearing {
            self.heard = now;
        }
    }

    /// A packet goes out on it.
    pub(super) fn sent(&mut self, traffic: Traffic, len: usize) {
        self.stats.tx[traffic as usize].add(len);
        if traffic == Traffic::Beat && std::mem::take(&mut self.answering) {
            self.stats.answers_tx.add(len);
        }
    }

    /// A beat, in the packet that came last. `true`: it is the first one of a link with no failure behind it, and wants an answer at once.
    pub(super) fn beat(&mut self, now: Boottime, beat: &LinkBeat) -> bool {
        let ahead = beat.seq.wrapping_sub(self.newest);
        if self.newest != 0 && (ahead == 0 || ahead > u32::MAX / 2) {
            // Overtaken by a later one: it was not lost, and says nothing new.
            self.seen |= 1u32.checked_shl(ahead.wrapping_neg()).unwrap_or(0);
            return false;
        }
        let first = !self.hearing && self.need <= 1;
        let in_a_row = self.newest == 0 || ahead == 1;
        self.seen = match self.newest {
            0 => u32::MAX, // nothing was lost that could have been heard
            _ => self.seen.checked_shl(ahead).unwrap_or(0) | 1,
        };
        self.newest = beat.seq;
        (self.heard, self.hearing, self.interval) = (now, true, beat.interval);
        self.echo = Some((beat.sent, now));
        self.hears_us = beat.hears;
        self.good = match (beat.hears, in_a_row) {
            (true, true) => self.good.saturating_add(1),
            (hears, _) => u8::from(hears),
        };
        self.stats.lost_in = lost(self.seen.count_ones());
        self.stats.lost_out = lost(u32::from(beat.received));
        self.measure(now, beat);
        first
    }

    fn measure(&mut self, now: Boottime, beat: &LinkBeat) {
        // Each own beat is measured once, by the first that echoes it; what cannot be is left out.
        let Some((sent, held)) = beat.echo.filter(|(sent, _)| *sent <= now && Some(*sent) > self.measured)
        else {
            return;
        };
        self.measured = Some(sent);
        self.stats.answers_rx.add(self.last_len);
        let round = now.since(sent).saturating_sub(held);
        let s = &mut self.stats;
        s.latency_samples = s.latency_samples.saturating_add(1);
        if s.latency_samples == 1 {
            (s.latency_min, s.latency_max, s.latency_ave, s.latency_dev) = (round, round, round, Span::ZERO);
            return;
        }
        let off = round.saturating_sub(s.latency_ave) + s.latency_ave.saturating_sub(round);
        s.latency_min = s.latency_min.min(round);
        s.latency_max = s.latency_max.max(round);
        s.latency_ave = s.latency_ave.scale(7, 8) + round.scale(1, 8);
        s.latency_dev = s.latency_dev.scale(3, 4) + off.scale(1, 4);
    }

    /// Silent from when on, if it is heard now: after the configured limit, else after four beats are missing.
    pub(super) fn silent_at(&self, limit: Option<Span>) -> Option<Boottime> {
        let limit = limit.map_or(self.interval.scale(4, 1), |l| l.max(self.interval.scale(2, 1)));
        self.hearing.then(|| self.heard + limit + Span::from_nanos(1))
    }

    /// It was not listened to for a while: the silence begins now.
    pub(super) fn listen_anew(&mut self, now: Boottime) {
        self.heard = self.heard.max(now);
    }

    /// Nothing has been heard for too long.
    pub(super) fn silent(&mut self) {
        (self.hearing, self.good) = (false, 0);
    }

    /// The peer has begun another life: its beats are counted anew, and it knows nothing of ours.
    pub(super) fn restarted(&mut self) {
        (self.newest, self.hearing, self.hears_us, self.good) = (0, false, false, 0);
        (self.echo, self.answered, self.measured, self.fresh) = (None, None, None, true);
    }

    /// It is no more, or has other addresses: what was known of it is void. Its beats go on in number.
    pub(super) fn leave(&mut self, now: Boottime) {
        self.restarted();
        self.mtu.end();
        self.stats.down_count += u32::from(self.up);
        (self.stats.connected, self.stats.one_way) = (false, false);
        (self.up, self.since, self.need) = (false, now, 0);
    }

    /// What has become of it. `recover`: beats that bring it back after it was down.
    pub(super) fn judge(&mut self, now: Boottime, recover: u8) -> Option<Change> {
        let sound = self.hearing && self.hears_us;
        self.stats.one_way = self.hearing && !self.hears_us;
        if self.up && !sound {
            let flaps = now.since(self.since) < STABLE;
            self.need = match (self.fresh, flaps) {
                (true, _) => 0,
                (_, true) => self.need.saturating_mul(2).clamp(recover, RECOVER_MAX),
                _ => recover,
            };
            (self.up, self.since) = (false, now);
            self.mtu.end();
            self.stats.down_count += 1;
            self.stats.connected = false;
            let why = if self.hearing { "it does not hear us" } else { "nothing is heard on it" };
            return Some(Change::Down(why));
        }
        if !self.up && sound && self.good >= self.need {
            (self.up, self.since, self.fresh) = (true, now, false);
            self.mtu.begin(now);
            self.stats.up_count += 1;
            self.stats.connected = true;
            return Some(Change::Up);
        }
        None
    }
}

fn lost(seen: u32) -> u8 {
    LinkBeat::WINDOW.saturating_sub(u8::try_from(seen).unwrap_or(LinkBeat::WINDOW))
}

/// A link that goes down after less than this needs twice as many beats the next time.
const STABLE: Span = Span::from_secs(10);
/// At most so many.
const RECOVER_MAX: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Span = Span::from_millis(50);

    fn at(ms: u64) -> Boottime {
        Boottime::from_nanos(1_000_000 * (10_000 + ms))
    }

    fn beat(seq: u32, hears: bool) -> LinkBeat {
        LinkBeat {
            seq,
            interval: INTERVAL,
            sent: at(0),
            echo: None,
            hears,
            received: 32,
            heartbeat: false,
            asks: false,
        }
    }

    #[test]
    fn the_first_beat_that_says_so_brings_it_up_and_silence_down() {
        let mut p = Path::default();
        assert!(p.beat(at(0), &beat(1, false)), "wants an answer");
        assert_eq!(p.judge(at(0), 2), None, "it does not hear us yet");
        assert!(!p.beat(at(1), &beat(2, true)));
        assert_eq!(p.judge(at(1), 2), Some(Change::Up));
        assert_eq!(p.judge(at(1), 2), None, "once");
        assert_eq!(p.silent_at(None), Some(at(201) + Span::from_nanos(1)));
        assert_eq!(p.silent_at(Some(Span::from_secs(1))), Some(at(1_001) + Span::from_nanos(1)));
        p.packet(at(100), Traffic::Data, 9);
        assert_eq!(p.silent_at(None), Some(at(300) + Span::from_nanos(1)), "any packet is a life sign");
        p.silent();
        assert_eq!(p.judge(at(301), 2), Some(Change::Down("nothing is heard on it")));
        p.packet(at(302), Traffic::Data, 9);
        assert_eq!(p.judge(at(302), 2), None, "only beats bring it back");
    }

    #[test]
    fn a_peer_that_does_not_hear_us_is_down_though_it_is_heard() {
        let mut p = Path::default();
        p.beat(at(0), &beat(1, true));
        assert_eq!(p.judge(at(0), 2), Some(Change::Up));
        p.beat(at(50), &beat(2, false));
        assert_eq!(p.judge(at(50), 2), Some(Change::Down("it does not hear us")));
        assert!(p.stats.one_way && !p.stats.connected);
    }

    #[test]
    fn a_link_that_flaps_takes_longer_to_come_back_each_time() {
        let mut p = Path::default();
        let (mut now, mut seq, mut beats) = (0, 0, Vec::new());
        for _ in 0..8 {
            let mut count = 0;
            loop {
                (now, seq, count) = (now + 50, seq + 1, count + 1);
                p.beat(at(now), &beat(seq, true));
                if p.judge(at(now), 2) == Some(Change::Up) {
                    break;
                }
            }
            beats.push(count);
            (now, seq) = (now + 500, seq + 10);
            p.silent();
            assert!(p.judge(at(now), 2).is_some());
        }
        assert_eq!(beats, [1, 2, 4, 8, 16, 32, 64, 64]);
        now += 3_200;
        for n in 1..=64 {
            p.beat(at(now), &beat(seq + n, true));
        }
        assert_eq!(p.judge(at(now), 2), Some(Change::Up));
        p.silent();
        assert!(p.judge(at(now + 20_000), 2).is_some());
        p.beat(at(now + 20_001), &beat(seq + 65, true));
        assert_eq!(p.judge(at(now), 2), None);
        p.beat(at(now + 20_002), &beat(seq + 66, true));
        assert_eq!(p.judge(at(now), 2), Some(Change::Up), "what held for long is forgiven");
    }

    #[test]
    fn a_lossy_link_does_not_come_back() {
        let mut p = Path::default();
        p.beat(at(0), &beat(1, true));
        p.judge(at(0), 3);
        p.silent();
        p.judge(at(500), 3);
        for n in 1..100 {
            p.beat(at(500 + 100 * u64::from(n)), &beat(10 + 2 * n, true));
            assert_eq!(p.judge(at(500), 3), None, "every second one is lost");
        }
    }

    #[test]
    fn loss_is_counted_over_the_window_and_late_beats_are_not_lost() {
        let mut p = Path::default();
        p.beat(at(0), &beat(100, true));
        assert_eq!(p.stats.lost_in, 0, "what was before us is no loss");
        p.beat(at(1), &beat(104, true));
        assert_eq!(p.stats.lost_in, 3);
        p.beat(at(2), &beat(102, true));
        p.beat(at(3), &beat(105, true));
        assert_eq!(p.stats.lost_in, 2);
        p.beat(at(4), &beat(205, true));
        assert_eq!(p.stats.lost_in, 31);
        p.beat(at(5), &beat(1, true));
        assert_eq!(p.stats.lost_in, 31, "far too late");
        let beat = LinkBeat { received: 30, ..beat(206, true) };
        p.beat(at(6), &beat);
        assert_eq!(p.stats.lost_out, 2);
    }

    #[test]
    fn a_round_trip_is_measured_without_the_time_the_peer_held_it() {
        let mut p = Path::default();
        let sent = p.compose(at(0), INTERVAL, true).sent;
        let answer = LinkBeat { echo: Some((sent, Span::from_millis(40))), ..beat(1, true) };
        p.beat(at(42), &answer);
        let again = LinkBeat { seq: 2, ..answer };
        p.beat(at(92), &again);
        let s = p.stats;
        assert_eq!((s.latency_samples, s.latency_ave), (1, Span::from_millis(2)), "once each");
        let sent = p.compose(at(100), INTERVAL, true).sent;
        p.beat(at(110), &LinkBeat { seq: 3, echo: Some((sent, Span::ZERO)), ..answer });
        let s = p.stats;
        assert_eq!((s.latency_min, s.latency_max), (Span::from_millis(2), Span::from_millis(10)));
        assert_eq!((s.latency_ave, s.latency_dev), (Span::from_millis(3), Span::from_millis(2)));
        let future = LinkBeat { seq: 4, echo: Some((at(9_000), Span::ZERO)), ..answer };
        p.beat(at(120), &future);
        assert_eq!(p.stats.latency_samples, 2, "nobody echoes the future");
    }

    #[test]
    fn another_life_of_the_peer_counts_from_one() {
        let mut p = Path::default();
        p.beat(at(0), &beat(500, true));
        p.judge(at(0), 2);
        p.restarted();
        assert_eq!(p.judge(at(1), 2), Some(Change::Down("nothing is heard on it")));
        assert!(p.beat(at(2), &beat(1, false)));
    }
}
