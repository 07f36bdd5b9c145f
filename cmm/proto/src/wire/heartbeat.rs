//! Heartbeat: "I am here, and this is the last I heard of you". Silence suspects, echoes carry the lease.

use holdfast_types::{BootId, Boottime, NodeId, RingId, Span};

use super::{Put, Reader, WireError};
use crate::limits::NODES_MAX;

/// Body of a [`super::PacketKind::Heartbeat`] packet, behind its [`super::LinkBeat`]. Sender and incarnation are in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The ring the sender is a member of; one of another ring echoes nothing and counts for nothing but life.
    pub ring: RingId,
    /// When it was sent, on the sender's own clock: opaque to everyone else, who only send it back.
    pub send_time: Boottime,
    /// Which boot of the sender's machine this is.
    pub boot_id: BootId,
    /// Worst case until the sender's armed watchdog fires after its last feeding; zero: no watchdog that may be
    /// counted on. Milliseconds on the wire, at most 49 days.
    pub watchdog: Span,
    /// How long each of the echoes counts at most, from the send time of what it echoes. Microseconds on the wire, at most
    /// 71 minutes.
    pub lease: Span,
    /// How long each of the echoes hands on the quorum device's vote, which the sender owns; zero: it does not. Microseconds on the
    /// wire.
    pub device: Span,
    /// Newest send time received from members of `ring`, in ascending order of node: of the one it is sent to, as nobody
    /// else has any use for it.
    pub echoes: Vec<Echo>,
}

/// What was last heard of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Who is echoed.
    pub node: NodeId,
    /// The send time of its newest heartbeat, on its clock.
    pub send_time: Boottime,
}

impl Heartbeat {
    /// As bytes.
    ///
    /// # Panics
    /// With more than [`NODES_MAX`] echoes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.echoes.len() <= NODES_MAX);
        let mut out = Vec::with_capacity(FIXED_LEN + ECHO_LEN * self.echoes.len());
        out.put_ring(self.ring);
        out.put_u64(self.send_time.as_nanos());
        out.put(&self.boot_id.0);
        out.put_u32(u32::try_from(self.watchdog.as_millis()).unwrap_or(u32::MAX));
        out.put_u32(u32::try_from(self.lease.as_micros()).unwrap_or(u32::MAX));
        out.put_u32(u32::try_from(self.device.as_micros()).unwrap_or(u32::MAX));
        out.put_count(self.echoes.len());
        for echo in &self.echoes {
            out.put_u32(echo.node.get());
            out.put_u64(echo.send_time.as_nanos());
        }
        out
    }

    /// From an opened body.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let ring = r.ring()?;
        let send_time = Boottime::from_nanos(r.u64()?);
        let boot_id = BootId(r.id16()?);
        let watchdog = Span::from_millis(u64::from(r.u32()?));
        let lease = Span::from_micros(u64::from(r.u32()?));
        let device = Span::from_micros(u64::from(r.u32()?));
        let count = r.count("echoes", NODES_MAX)?;
        let mut echoes: Vec<Echo> = Vec::with_capacity(count);
        for _ in 0..count {
            let echo = Echo { node: r.node()?, send_time: Boottime::from_nanos(r.u64()?) };
            if echoes.last().is_some_and(|last| last.node >= echo.node) {
                return Err(WireError::BadValue("order of echoes"));
            }
            echoes.push(echo);
        }
        r.end()?;
        Ok(Self { ring, send_time, boot_id, watchdog, lease, device, echoes })
    }
}

const FIXED_LEN: usize = 12 + 8 + 16 + 4 + 4 + 4 + 1;
const ECHO_LEN: usize = 12;
const _: () = assert!(super::LinkBeat::LEN + FIXED_LEN + NODES_MAX * ECHO_LEN <= super::FRAME_CONTROL_MAX);

#[cfg(test)]
mod tests {
    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    fn sample(echoes: u32) -> Heartbeat {
        Heartbeat {
            ring: RingId { representative: NodeId::new(1), seq: 77 },
            send_time: Boottime::from_nanos(123_456_789),
            boot_id: BootId(*b"0123456789abcdef"),
            watchdog: Span::from_millis(66_000),
            lease: Span::from_micros(199_999),
            device: Span::from_micros(u64::from(echoes) * 1_000),
            echoes: (1..=echoes)
                .map(|n| Echo { node: NodeId::new(n), send_time: Boottime::from_nanos(u64::from(n) * 7) })
                .collect(),
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        for echoes in [0, 1, 64] {
            let beat = sample(echoes);
            assert_eq!(Heartbeat::decode(&beat.encode()), Ok(beat));
        }
    }

    #[test]
    fn refuses_other_lengths_and_order() {
        let bytes = sample(3).encode();
        all_truncations_fail(&bytes, |b| Heartbeat::decode(b).is_err());
        one_more_byte_fails(&bytes, |b| Heartbeat::decode(b).is_err());
        let mut beat = sample(3);
        beat.echoes.swap(0, 1);
        assert_eq!(Heartbeat::decode(&beat.encode()), Err(WireError::BadValue("order of echoes")));
    }

    #[test]
    fn refuses_more_echoes_than_nodes() {
        let mut bytes = sample(0).encode();
        *bytes.last_mut().unwrap() = 65;
        bytes.extend([1; 65 * ECHO_LEN]);
        assert!(matches!(Heartbeat::decode(&bytes), Err(WireError::TooMany { count: 65, .. })));
    }
}
