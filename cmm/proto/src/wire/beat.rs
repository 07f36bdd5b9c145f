//! Link beat: the front of every [`super::PacketKind::Heartbeat`] packet. One is sent on each link to each node; it
//! says how that link does in both directions, and carries a heartbeat of the ring to those who are members of it.

use holdfast_types::{Boottime, Span};

use super::{Put, Reader, WireError};

/// What one node says to another about one link. Sender and link are in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkBeat {
    /// Number of the beat on this link to this node, from 1 in each life of the sender.
    pub seq: u32,
    /// The next beat follows within this time. Microseconds on the wire, at most [`LinkBeat::INTERVAL_MAX`].
    pub interval: Span,
    /// When it was sent, on the sender's clock: only sent back.
    pub sent: Boottime,
    /// `sent` of the newest beat heard from the receiver on this link, and for how long it was held.
    pub echo: Option<(Boottime, Span)>,
    /// The sender hears the receiver on this link.
    pub hears: bool,
    /// How many of the receiver's last [`LinkBeat::WINDOW`] beats on this link were heard.
    pub received: u8,
    /// A [`super::Heartbeat`] stands behind it; else what stands there is padding.
    pub heartbeat: bool,
    /// A probe: its receiver is to answer at once. Copies of one probe on several links have one `sent`.
    pub asks: bool,
}

impl LinkBeat {
    /// Bytes of one.
    pub const LEN: usize = 4 + 4 + 8 + 8 + 4 + 1 + 1;
    /// Beats that loss is measured over.
    pub const WINDOW: u8 = 32;
    /// Longest interval.
    pub const INTERVAL_MAX: Span = Span::from_secs(60);

    /// As the front of a packet's body.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let micros = |span: Span| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        let (echo, held) = self.echo.unwrap_or_default();
        out.put_u32(self.seq);
        out.put_u32(micros(self.interval.min(Self::INTERVAL_MAX)));
        out.put_u64(self.sent.as_nanos());
        out.put_u64(echo.as_nanos());
        out.put_u32(micros(held));
        let flags = [self.hears, self.heartbeat, self.echo.is_some(), self.asks];
        out.put_u8(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
        out.put_u8(self.received.min(Self::WINDOW));
    }

    /// The body of a packet: a beat with what stands behind it.
    #[must_use]
    pub fn before(&self, rest: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN + rest.len());
        self.encode(&mut out);
        out.put(rest);
        out
    }

    /// From the front of an opened body, with what stands behind it.
    pub fn split(body: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let mut r = Reader::new(body);
        let seq = r.u32()?;
        let interval = Span::from_micros(u64::from(r.u32()?));
        if interval == Span::ZERO || interval > Self::INTERVAL_MAX {
            return Err(WireError::BadValue("interval of beats"));
        }
        let sent = Boottime::from_nanos(r.u64()?);
        let echo = (Boottime::from_nanos(r.u64()?), Span::from_micros(u64::from(r.u32()?)));
        let flags = r.u8()?;
        if flags > 0b1111 {
            return Err(WireError::BadValue("flags of a beat"));
        }
        let received = r.count("beats received", usize::from(Self::WINDOW))?;
        let beat = Self {
            seq,
            interval,
            sent,
            echo: (flags & 4 != 0).then_some(echo),
            hears: flags & 1 != 0,
            received: u8::try_from(received).unwrap_or(Self::WINDOW),
            heartbeat: flags & 2 != 0,
            asks: flags & 8 != 0,
        };
        Ok((beat, r.rest()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::all_truncations_fail;
    use super::*;

    fn sample() -> LinkBeat {
        LinkBeat {
            seq: 7,
            interval: Span::from_millis(50),
            sent: Boottime::from_nanos(123_456_789),
            echo: Some((Boottime::from_nanos(987_654_321), Span::from_micros(41_000))),
            hears: true,
            received: 31,
            heartbeat: false,
            asks: true,
        }
    }

    #[test]
    fn splits_what_it_puts_before() {
        let other =
            LinkBeat { echo: None, hears: false, received: 0, heartbeat: true, asks: false, ..sample() };
        for beat in [sample(), other] {
            let bytes = beat.before(b"rest");
            assert_eq!(LinkBeat::split(&bytes), Ok((beat, &b"rest"[..])));
            assert_eq!(bytes.len(), LinkBeat::LEN + 4);
            all_truncations_fail(&bytes[..LinkBeat::LEN], |b| LinkBeat::split(b).is_err());
        }
    }

    #[test]
    fn refuses_what_means_nothing() {
        let good = sample().before(b"");
        for (at, value) in [(28, 16), (29, 33), (7, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(LinkBeat::split(&bad).is_err(), "byte {at} = {value}");
        }
        let mut bad = good;
        bad[4..8].fill(0);
        assert!(LinkBeat::split(&bad).is_err(), "an interval of nothing");
    }
}
