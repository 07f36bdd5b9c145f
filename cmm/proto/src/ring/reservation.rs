//! Ring sequence numbers: which are free, and which may be used because a crash could not make us forget them.
//!
//! A node never takes part in a ring whose sequence number is above what it has on disk as reserved, and after a
//! restart it takes everything reserved for used. So no ring id is ever made twice, and those a node installs grow
//! over all its lives.

/// Book-keeping of ring sequence numbers.
#[derive(Debug)]
pub(super) struct Reservation {
    /// All up to here are on disk as reserved.
    durable: u64,
    /// Asked for last.
    requested: u64,
    /// Highest that this node has taken part in, or may have in an earlier life.
    used: u64,
    /// Highest that anybody has told of.
    heard: u64,
}

impl Reservation {
    pub(super) fn new(reserved: u64) -> Self {
        Self { durable: reserved, requested: reserved, used: reserved, heard: reserved }
    }

    /// What to ask for next, if few of those asked for are left.
    pub(super) fn request(&mut self) -> Option<u64> {
        (self.requested < self.used + LOW).then(|| {
            self.requested = self.used + STEP;
            self.requested
        })
    }

    pub(super) fn persisted(&mut self, seq: u64) {
        // Never believe more than was asked for.
        self.durable = self.durable.max(seq.min(self.requested));
    }

    pub(super) fn is_durable(&self, seq: u64) -> bool {
        seq <= self.durable
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn hear(&mut self, seq: u64) {
        self.heard = self.heard.max(seq);
    }

    /// Takes part in a ring with this number, which is above all used before.
    pub(super) fn take(&mut self, seq: u64) {
        assert!(seq > self.used, "ring sequence numbers grow");
        self.used = seq;
        self.hear(seq);
    }

    /// A number above all that anybody has told of.
    pub(super) fn next(&self) -> u64 {
        self.heard + 1
    }
}

/// When fewer than this are left, more are asked for: ahead of need, so that nobody waits for a disk.
const LOW: u64 = 512;
/// How many are asked for at a time.
const STEP: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_durable_before_the_disk_says_so() {
        let mut r = Reservation::new(100);
        assert_eq!(r.next(), 101);
        assert!(!r.is_durable(101));
        assert_eq!(r.request(), Some(1124));
        assert_eq!(r.request(), None);
        r.persisted(1124);
        assert!(r.is_durable(1124) && !r.is_durable(1125));
    }

    #[test]
    fn asks_again_before_it_runs_out_and_when_a_peer_is_far_ahead() {
        let mut r = Reservation::new(0);
        r.request();
        r.persisted(1024);
        r.take(512);
        assert_eq!(r.request(), None);
        r.take(513);
        assert_eq!(r.request(), Some(1537));
        r.hear(1_000_000);
        assert_eq!(r.next(), 1_000_001);
        r.take(1_000_001);
        assert!(!r.is_durable(1_000_001));
        assert_eq!(r.request(), Some(1_001_025));
    }

    #[test]
    fn a_restart_uses_nothing_that_was_reserved() {
        let mut life = Reservation::new(0);
        let reserved = life.request().unwrap();
        life.persisted(reserved);
        life.take(7);
        assert_eq!(Reservation::new(reserved).next(), reserved + 1);
    }
}
