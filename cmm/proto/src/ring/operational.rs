//! Operational: the token's visit, frames, delivery, and the token that is held on a quiet ring.

use holdfast_types::{Boottime, MsgSeq, NodeId, Span};

use super::gather::Cause;
use super::pack::Assembler;
use super::timer::Timer;
use super::turn::{HOLD_AFTER_VISITS, Turn};
use super::window::Frame;
use super::{Ring, RingOutput, State};
use crate::bytes::Pool;
use crate::wire::{Chunks, HoldCancel, Mcast, Token};
use crate::{Bytes, Destination, Event, Guarantee};

impl Frame {
    /// `m` as it was received in `frame`.
    pub(super) fn of(m: &Mcast<'_>, frame: &[u8], pool: &mut Pool) -> Self {
        let bytes = pool.write(|out| {
            out.extend_from_slice(frame);
            Mcast::set_lingering(out, false);
        });
        Self { sender: m.sender, guarantee: m.guarantee, wrapped: m.wrapped, bytes }
    }
}

impl Ring {
    /// The ring whose token and frames count: the installed one, or in Recovery the new one.
    fn turn(&mut self) -> Option<&mut Turn> {
        match self.state {
            State::Operational => Some(&mut self.installed),
            State::Recovery => self.forming.as_mut().map(|f| &mut f.turn),
            State::Gather | State::Commit | State::Left => None,
        }
    }

    pub(super) fn handle_token(&mut self, now: Boottime, from: NodeId, token: Token) {
        let me = self.me;
        let Some(turn) = self.turn() else { return };
        let expected = token.ring == turn.id
            && turn.members.before(me) == Some(from)
            && token.token_seq > turn.token_seq
            && turn.sent_seq().is_none_or(|sent| token.seq >= sent);
        if !expected {
            return;
        }
        self.stats.token_rx += 1;
        self.note_token(now);
        self.visit(now, token, true);
    }

    /// One visit of the token. It has been all the way round if `rotated`; else it was held here.
    pub(super) fn visit(&mut self, now: Boottime, mut token: Token, rotated: bool) {
        let seq_on_arrival = token.seq;
        self.cancel_sent = false;
        let Some(turn) = self.turn() else { return };
        if rotated {
            turn.flow.token_came(now, &token);
            turn.observe(now, &token);
            if self.state == State::Operational && self.drops_laggard(now) {
                return;
            }
        }
        self.mark_lagging(&mut token);
        let mut frames = std::mem::take(&mut self.frames);
        let Some(turn) = self.turn() else { return };
        turn.serve(&mut token, &mut frames);
        let served = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        self.stats.mcast_retx += u64::from(served);
        let mut sent = served;
        let recovers = self.state == State::Recovery;
        if recovers {
            sent += self.recover(now, &mut token, &mut frames, served);
        }
        let installed = recovers && self.state == State::Operational;
        // What was asked for and what others wait for goes ahead of the token.
        let mut ahead = frames.len();
        let (mut ordered, waiting) = (0, self.queue.len());
        if self.state == State::Operational && !installed {
            ordered = self.order(&mut token, &mut frames, sent);
            self.stats.mcast_tx += u64::from(ordered);
            // A token that overtakes its only frame costs the aru a rotation; one that waits for many costs time.
            if ordered <= FEW_FRAMES {
                ahead = frames.len();
            }
        }
        let me = self.me;
        let Some(turn) = self.turn() else { return };
        let requested = turn.request(&mut token);
        turn.settle_aru(&mut token, me);
        turn.end_visit(seq_on_arrival);
        if turn.is_alone() {
            turn.safe = turn.window.aru();
            frames.clear();
        }
        let few =
            (1..=FEW_FRAMES).contains(&ordered) && waiting <= LINGER_MESSAGES && served + requested == 0;
        let lingers = few && self.may_linger(now, &token, rotated);
        if let Some(last) = frames.last_mut().filter(|_| lingers) {
            *last = self.pool.write(|out| {
                out.extend_from_slice(last);
                Mcast::set_lingering(out, true);
            });
        }
        for frame in frames.drain(..ahead.min(frames.len())) {
            self.send(Destination::AllPeers, true, frame);
        }
        if lingers {
            self.linger(now, token, self.linger_until);
        } else if installed && !self.installed.is_alone() {
            // What this node has to say in its new configuration goes with this token, not with the next one.
            self.linger(now, token, now);
        } else {
            self.pass_token(now, token, rotated);
        }
        for frame in frames.drain(..) {
            self.send(Destination::AllPeers, false, frame);
        }
        self.frames = frames;
        if requested > 0 {
            self.event(Event::Retransmit { frames: requested });
        }
        self.deliver();
        if let Some(turn) = self.turn() {
            turn.window.forget(turn.safe);
        }
    }

    /// Says in the token whether this member's clients keep up.
    fn mark_lagging(&mut self, token: &mut Token) {
        let (me, lagging) = (self.me, self.lagging && self.state == State::Operational);
        let Some(turn) = self.turn() else { return };
        let bit = turn.members.position(me).map_or(0, |at| 1 << at);
        token.lagging &= turn.members.mask(|_| true) & !bit;
        if lagging {
            token.lagging |= bit;
        }
    }

    /// Whether the token rests here for the sake of lagging clients: at the first member that has some, once a rotation.
    fn rests(&self, token: &Token) -> bool {
        let at = self.installed.members.position(self.me);
        self.lagging
            && self.state == State::Operational
            && at.is_some_and(|at| token.lagging.trailing_zeros() as usize == at)
    }

    /// Puts waiting messages into frames and gives those their places. How many.
    fn order(&mut self, token: &mut Token, frames: &mut Vec<Bytes>, sent: u32) -> u32 {
        let max = self.config.frame_payload_max;
        let turn = &mut self.installed;
        let backlog = self.queue.frames_waiting(max);
        let mut allowance = turn.flow.allowance(token, backlog).saturating_sub(sent).min(turn.room(token));
        if token.lagging != 0 {
            allowance = allowance.min(LAGGING_FRAMES);
            self.stats.lagging_visits += 1;
        }
        let mut ordered = 0;
        while ordered < allowance {
            let Some(guarantee) = self.queue.next_guarantee() else { break };
            let kind = (self.me, guarantee, false);
            let queue = &mut self.queue;
            frames.push(turn.append(token, &mut self.pool, kind, |out| queue.next_payload(max, out)));
            ordered += 1;
        }
        turn.flow.account(token, sent + ordered, self.queue.frames_waiting(max));
        ordered
    }

    /// Whether the token may stay for the next message of this member, after a visit that added few. One client that waits
    /// for each of its messages to be delivered finds it here then. Not while anybody else is known to want it, or a
    /// message waits for all to have it.
    fn may_linger(&mut self, now: Boottime, token: &Token, rotated: bool) -> bool {
        let turn = &self.installed;
        let calm = self.state == State::Operational
            && !turn.is_alone()
            && !self.in_round
            && self.config.settings.timers.hold > Span::ZERO
            && self.queue.is_empty()
            && token.lagging == 0
            && token.requests.is_empty()
            && turn.flow.is_only_sender(token);
        let mut undelivered =
            (self.delivered.get() + 1..=token.seq.get()).take(LINGER_VISITS as usize).map(MsgSeq::new);
        let agreed = |seq| turn.window.get(seq).is_some_and(|f| f.guarantee == Guarantee::Agreed);
        if !calm || !undelivered.all(agreed) {
            return false;
        }
        if rotated {
            let linger = LINGER.min(self.config.settings.timers.token.scale(1, 32));
            (self.linger_until, self.linger_visits) = (now + linger, 0);
        }
        self.linger_visits += 1;
        now < self.linger_until && self.linger_visits <= LINGER_VISITS
    }

    fn linger(&mut self, now: Boottime, token: Token, until: Boottime) {
        self.held = Some(token);
        self.timers.stop(Timer::TokenRetransmit);
        self.timers.set(Timer::Hold, until);
        self.watch_token(now);
    }

    /// From now on it can be late, or lost.
    fn watch_token(&mut self, now: Boottime) {
        let token = self.config.settings.timers.token;
        self.timers.set(Timer::TokenLoss, now + token);
        self.timers.set(Timer::TokenLate, now + token.scale(3, 4));
    }

    /// Sends the token on, or keeps it: because nobody else is there, or because the ring is quiet.
    fn pass_token(&mut self, now: Boottime, mut token: Token, may_hold: bool) {
        let (me, timers) = (self.me, self.config.settings.timers);
        let queue_empty = self.queue.is_empty();
        let state = self.state;
        let rests = self.rests(&token);
        let turn = match state {
            State::Operational => &mut self.installed,
            State::Recovery => match &mut self.forming {
                Some(forming) => &mut forming.turn,
                None => return,
            },
            State::Gather | State::Commit | State::Left => return,
        };
        if turn.is_alone() {
            turn.note_sent(&token, None);
            self.held = Some(token);
            for timer in [Timer::TokenLoss, Timer::TokenLate, Timer::TokenRetransmit] {
                self.timers.stop(timer);
            }
            if !queue_empty {
                self.timers.set(Timer::Hold, if rests { now + LAGGING_REST } else { now });
            }
            return;
        }
        let quiet = turn.idle_visits >= HOLD_AFTER_VISITS && queue_empty && state == State::Operational;
        let quiet = quiet && turn.members.first() == Some(me) && timers.hold > Span::ZERO;
        let hold = may_hold && (quiet || rests);
        let to = turn.members.after(me).expect("a ring has members");
        if hold {
            self.held = Some(token);
            self.timers.stop(Timer::TokenRetransmit);
            self.timers.set(Timer::Hold, now + if rests { LAGGING_REST } else { timers.hold });
        } else {
            turn.flow.token_left(now);
            if turn.is_quiet() {
                turn.flow.rest();
            }
            let frame = turn.pass(&mut token, &mut self.pool);
            let again = now + turn.resend_after(timers.token_retransmit);
            self.history.token_left(now);
            self.send(Destination::Node(to), true, frame);
            self.timers.set(Timer::TokenRetransmit, again);
        }
        self.watch_token(now);
    }

    /// Lets a held token go: it does its visit here once more, for what has come up since.
    pub(super) fn release_token(&mut self, now: Boottime) {
        self.timers.stop(Timer::Hold);
        if let Some(token) = self.held.take() {
            self.visit(now, token, false);
        }
    }

    /// Packets go out now anyway: a token that is held on a quiet ring, and would go before `by`, goes with them.
    pub fn release_quiet_token(&mut self, now: Boottime, by: Boottime) {
        let quiet = self.state == State::Operational && self.installed.idle_visits >= HOLD_AFTER_VISITS;
        if quiet && self.timers.is_due(Timer::Hold, by) {
            self.release_token(now);
        }
    }

    /// Calls for the token if something waits for it.
    pub fn want_token(&mut self, now: Boottime) {
        if self.state != State::Operational || self.queue.is_empty() {
            return;
        }
        if let Some(token) = &self.held {
            if !self.rests(token) {
                self.installed.idle_visits = 0;
                self.release_token(now);
            }
        } else if !self.cancel_sent {
            let quiet = self.installed.is_quiet().then_some(self.installed.id.representative);
            let Some(holder) = self.installed.lingers_at.or(quiet).filter(|id| *id != self.me) else {
                return;
            };
            self.cancel_sent = true;
            let cancel = HoldCancel { ring: self.installed.id };
            let frame = self.pool.write(|out| cancel.encode_into(out));
            self.send(Destination::Node(holder), true, frame);
        }
    }

    pub(super) fn handle_hold_cancel(&mut self, now: Boottime, from: NodeId, cancel: HoldCancel) {
        if self.state != State::Operational
            || cancel.ring != self.installed.id
            || !self.installed.members.contains(from)
        {
            return;
        }
        self.installed.idle_visits = 0;
        // Who keeps it for more of its own messages lets it go now.
        self.linger_until = now;
        if !self.held.as_ref().is_some_and(|token| self.rests(token)) {
            self.release_token(now);
        }
    }

    pub(super) fn token_lost(&mut self, now: Boottime) {
        let cause = match self.state {
            State::Operational => {
                self.stats.operational_token_lost += 1;
                Cause::TokenLostOperational
            }
            State::Commit => {
                self.stats.commit_token_lost += 1;
                Cause::TokenLostCommit
            }
            State::Recovery => {
                self.stats.recovery_token_lost += 1;
                Cause::TokenLostRecovery
            }
            State::Gather | State::Left => return,
        };
        self.event(Event::TokenLost { token: self.config.settings.timers.token });
        self.open_gather(now);
        self.enter_gather(now, cause);
    }

    /// Accuses nobody: whoever passed it on last may have passed it to nobody, and whoever has it is asked whether it lives.
    pub(super) fn token_late(&mut self, now: Boottime) {
        if self.state == State::Operational {
            self.event(Event::TokenLate { late: self.config.settings.timers.token.scale(3, 4) });
            if self.held.is_none() {
                self.retransmit_token(now);
            }
        }
    }

    /// Holds a member failed that has kept the aru back for too many rotations. Whether it did, and so left the ring.
    ///
    /// A fast ring turns so often in a few milliseconds: it is given the time in which a link that carries nothing is
    /// found out and another one used, too.
    fn drops_laggard(&mut self, now: Boottime) -> bool {
        let timers = &self.config.settings.timers;
        let patience = timers.heartbeat_limit_max + timers.heartbeat.scale(2, 1);
        let failed = |visits, since| visits >= timers.fail_recv_rotations && now.since(since) >= patience;
        match self.installed.laggard() {
            Some((id, visits, since)) if failed(visits, since) && id != self.me => {
                self.event(Event::FailedToReceive);
                let ring = self.installed.id;
                self.hold_failed(now, &[id], true, Cause::FailedToReceive);
                // With nobody else left the episode is over by now, and the token in hand is of a ring that was.
                self.state != State::Operational || self.installed.id != ring
            }
            _ => false,
        }
    }

    /// `m` is what `frame` says.
    pub(super) fn handle_mcast(&mut self, now: Boottime, from: NodeId, m: Mcast<'_>, frame: &[u8]) {
        let in_order = match self.state {
            State::Operational | State::Gather => m.ring == self.installed.id,
            State::Recovery => self.forming.as_ref().is_some_and(|f| f.turn.id == m.ring),
            State::Commit | State::Left => false,
        };
        if !in_order {
            self.foreign_frame(now, from, &m);
            return;
        }
        let turn = match &mut self.forming {
            Some(forming) => &mut forming.turn,
            None => &mut self.installed,
        };
        if !turn.members.contains(from) || !turn.members.contains(m.sender) {
            return;
        }
        if m.sender == self.me {
            self.stats.mcast_again += 1;
            return;
        }
        self.stats.mcast_rx += 1;
        let pool = &mut self.pool;
        let new = turn.window.insert(m.seq, || Frame::of(&m, frame, pool));
        // Somebody had the token after us.
        if turn.sent_seq().is_some_and(|sent| m.seq > sent) {
            self.timers.stop(Timer::TokenRetransmit);
        }
        if m.lingers && from == m.sender && self.state == State::Operational {
            // What was asked of somebody else does not count.
            self.cancel_sent &= self.installed.lingers_at.replace(from) == Some(from);
            self.want_token(now);
        }
        if !new {
            return;
        }
        if self.state == State::Recovery {
            if m.wrapped {
                self.unwrap_frame(m.payload);
            }
        } else {
            self.deliver();
        }
    }

    /// A frame of a ring that is not ours. A later one than ours means that there is one to merge with, or that ours
    /// went on without us. An earlier one is late, or its members will see ours and come.
    fn foreign_frame(&mut self, now: Boottime, from: NodeId, m: &Mcast<'_>) {
        self.reservation.hear(m.ring.seq);
        self.hear(now, from);
        if m.ring > self.installed.id && matches!(self.state, State::Operational | State::Gather) {
            self.approach(now, from, Cause::Foreign, Cause::ForeignInGather);
        }
    }

    /// Delivers what may be delivered in the installed configuration.
    pub(super) fn deliver(&mut self) {
        loop {
            let next = self.delivered.next();
            let Some(frame) = self.installed.window.get(next) else { return };
            if frame.guarantee == Guarantee::Safe && next > self.installed.safe {
                return;
            }
            self.deliver_frame(next);
            self.delivered = next;
        }
    }

    /// The messages that end in one frame of the installed ring.
    pub(super) fn deliver_frame(&mut self, seq: holdfast_types::MsgSeq) {
        let Self { installed, assembler, outputs, stats, .. } = self;
        let Some(frame) = installed.window.get(seq).filter(|f| !f.wrapped) else { return };
        deliver_chunks(frame, assembler, |payload| {
            stats.delivered += 1;
            outputs.push_back(match payload {
                Some(payload) => RingOutput::Deliver { ring: installed.id, sender: frame.sender, payload },
                None => RingOutput::Event(Event::MessageSkipped { sender: frame.sender }),
            });
        });
    }
}

/// Hands each message that ends in `frame` to `out`, and `None` for each chunk that does not parse or fit.
fn deliver_chunks(frame: &Frame, assembler: &mut Assembler, mut out: impl FnMut(Option<Bytes>)) {
    for chunk in Chunks::new(frame.payload()) {
        match chunk.map(|chunk| assembler.push(frame.sender, chunk, &frame.bytes)) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(message))) => out(Some(message)),
            Ok(Err(_)) | Err(_) => out(None),
        }
    }
}

/// So many new frames of a visit leave ahead of the token.
const FEW_FRAMES: u32 = 2;

/// New frames a visit while some member's clients lag: what members tell each other must get through.
const LAGGING_FRAMES: u32 = 1;

/// How long the token rests at a member whose clients lag.
const LAGGING_REST: Span = Span::from_millis(1);

/// For so long the token may stay with the only sender, who waits for one message to be delivered before the next.
const LINGER: Span = Span::from_millis(12);

/// For so many visits; all their frames count as one rotation's.
const LINGER_VISITS: u32 = 256;

/// More messages than this at once are no dialogue but a stream: that is better off with a token that turns.
const LINGER_MESSAGES: usize = 2;
