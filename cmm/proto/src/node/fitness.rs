//! What a quorum device is told of what quorum wants: only if this node is fit, and was found so since it lost a member.

use holdfast_types::{Boottime, RingId, Wish};

/// What heuristics say of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// It may have the device's vote.
    pub fit: bool,
    /// The runs that show it have all begun since then. [`Fitness::ALWAYS`]: there is nothing to run.
    pub proven: Boottime,
    /// The score, and the highest one possible.
    pub score: (u16, u16),
}

impl Fitness {
    /// Of a node without heuristics.
    pub const ALWAYS: Self = Self { fit: true, proven: Boottime::from_nanos(u64::MAX), score: (1, 1) };
}

/// Between quorum and its device.
pub(super) struct Gate {
    pub(super) fitness: Fitness,
    /// What the device was told last.
    told: Wish,
    /// The configuration that quorum wants the vote for.
    ring: RingId,
    /// Since when it is without a member of the one that the device was told of.
    lost_at: Boottime,
}

impl Default for Gate {
    fn default() -> Self {
        let told = Wish::default();
        Self { fitness: Fitness::ALWAYS, told, ring: told.ring, lost_at: Boottime::ZERO }
    }
}

impl Gate {
    /// What the device is told. `owns`: this node counts the vote now.
    ///
    /// Heuristics judge a split, not the time before it: until they have been run after the loss of a member, the owner goes on counting
    /// the vote for the configuration before, which those on the other side were in, and nobody else asks for it. Otherwise a half
    /// that is found unfit a moment later would have shut the others out. The device is never told more than it could have been told:
    /// this is a delay.
    pub(super) fn pass(&mut self, now: Boottime, wish: Wish, owns: bool) -> Wish {
        if self.ring != wish.ring {
            self.ring = wish.ring;
            self.lost_at = if self.told.members & !wish.members != 0 { now } else { Boottime::ZERO };
        }
        let fit = wish.wanted && self.fitness.fit;
        self.told = if self.fitness.proven >= self.lost_at || wish.ring == self.told.ring {
            Wish { wanted: fit, ..wish }
        } else {
            Wish { wanted: fit && owns, ..self.told }
        };
        self.told
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::NodeId;

    use super::*;

    fn wish(seq: u64, members: u64) -> Wish {
        Wish { wanted: true, ring: RingId { representative: NodeId::new(1), seq }, members }
    }

    fn at(nanos: u64) -> Boottime {
        Boottime::from_nanos(nanos)
    }

    fn proven(fit: bool, nanos: u64) -> Fitness {
        Fitness { fit, proven: at(nanos), score: (1, 1) }
    }

    #[test]
    fn without_heuristics_it_is_told_at_once() {
        let mut gate = Gate::default();
        for wish in [wish(4, 0b11), wish(8, 0b01), wish(12, 0b11)] {
            assert_eq!(gate.pass(at(9), wish, false), wish);
        }
    }

    #[test]
    fn after_a_loss_the_vote_stays_with_the_configuration_before_until_heuristics_have_been_run() {
        for owns in [false, true] {
            let mut gate = Gate { fitness: proven(true, 10), ..Gate::default() };
            assert_eq!(gate.pass(at(20), wish(4, 0b1111), owns), wish(4, 0b1111), "nobody was lost");
            let kept = Wish { wanted: owns, ..wish(4, 0b1111) };
            assert_eq!(gate.pass(at(100), wish(8, 0b0011), owns), kept);
            gate.fitness = proven(true, 99);
            assert_eq!(gate.pass(at(120), wish(8, 0b0011), owns), kept, "that run began before");
            // Unfit: the vote goes back, and those on the other side were in its last configuration.
            gate.fitness = proven(false, 99);
            assert_eq!(gate.pass(at(130), wish(8, 0b0011), owns), Wish { wanted: false, ..kept });
            gate.fitness = proven(true, 100);
            assert_eq!(gate.pass(at(140), wish(8, 0b0011), owns), wish(8, 0b0011));
        }
    }

    #[test]
    fn who_comes_back_needs_no_proof() {
        let mut gate = Gate { fitness: proven(true, 10), ..Gate::default() };
        gate.pass(at(20), wish(4, 0b11), true);
        gate.pass(at(100), wish(8, 0b01), true);
        assert_eq!(gate.pass(at(110), wish(12, 0b11), true), wish(12, 0b11));
        assert_eq!(gate.pass(at(120), wish(16, 0b111), true), wish(16, 0b111), "nor who is new");
    }
}
