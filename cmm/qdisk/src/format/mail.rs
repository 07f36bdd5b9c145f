//! Mailboxes and tombstones: an order to a node that the network does not reach, and why a node went down.

use holdfast_types::Incarnation;

use super::{Damaged, DiskId, Kind, Text, newer, open, seal_pair};
use crate::SLOTS_MAX;

/// What a node is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing: the mailbox is empty.
    None,
    /// Go down and start again (poison pill).
    Reset,
    /// Go down and stay down.
    Off,
    /// Leave the cluster: evicted by an operator.
    Evicted,
    /// Say in the log that it arrived.
    Test,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail {
    /// What to do.
    pub order: Order,
    /// Who wrote it; 0: an operator.
    pub from: u8,
    /// For this life only; 0: for any.
    pub life: Incarnation,
    /// Counts the letters of this mailbox: what was read once is not obeyed again.
    pub number: u64,
    /// When: seconds since 1970, for people.
    pub written: u64,
    /// Why, in words.
    pub why: Text<160>,
}

impl Mail {
    /// No order.
    #[must_use]
    pub fn empty() -> Self {
        let life = Incarnation::new(0);
        Self { order: Order::None, from: 0, life, number: 0, written: 0, why: Text::new("") }
    }

    /// Into both copies of the mailbox of `slot`.
    pub fn write(&self, slot: u8, id: &DiskId, pair: &mut [u8]) {
        let mut body = [0; 192];
        body[0] = self.order as u8;
        body[1] = self.from;
        body[8..16].copy_from_slice(&self.life.get().to_le_bytes());
        body[16..24].copy_from_slice(&self.number.to_le_bytes());
        body[24..32].copy_from_slice(&self.written.to_le_bytes());
        body[32..].copy_from_slice(self.why.bytes());
        seal_pair(pair, Kind::Mail, slot, id, &body);
    }

    /// From both copies.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn read(slot: u8, id: &DiskId, pair: &[u8]) -> Result<Self, Damaged> {
        let read = |bytes: &[u8]| {
            let mut body = open(bytes, Kind::Mail, slot, Some(id))?;
            let (order, from) = (body.u8(), body.u8());
            let order = ORDERS.get(usize::from(order)).copied().ok_or(Damaged::Contents)?;
            body.u16();
            body.u32();
            if from > SLOTS_MAX {
                return Err(Damaged::Contents);
            }
            let life = Incarnation::new(body.u64());
            Ok(Self { order, from, life, number: body.u64(), written: body.u64(), why: body.text() })
        };
        newer(pair, read, |b, a| b.number > a.number)
    }
}

/// Why a life of a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Which life; 0: none has died here.
    pub life: Incarnation,
    /// When: seconds since 1970, for people.
    pub written: u64,
    /// Why, in words.
    pub why: Text<256>,
}

impl Tombstone {
    /// Nobody has died.
    #[must_use]
    pub fn none() -> Self {
        Self { life: Incarnation::new(0), written: 0, why: Text::new("") }
    }

    /// Into both copies of the tombstone of `slot`.
    pub fn write(&self, slot: u8, id: &DiskId, pair: &mut [u8]) {
        let mut body = [0; 272];
        body[..8].copy_from_slice(&self.life.get().to_le_bytes());
        body[8..16].copy_from_slice(&self.written.to_le_bytes());
        body[16..].copy_from_slice(self.why.bytes());
        seal_pair(pair, Kind::Tombstone, slot, id, &body);
    }

    /// From both copies.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn read(slot: u8, id: &DiskId, pair: &[u8]) -> Result<Self, Damaged> {
        let read = |bytes: &[u8]| {
            let mut body = open(bytes, Kind::Tombstone, slot, Some(id))?;
            Ok(Self { life: Incarnation::new(body.u64()), written: body.u64(), why: body.text() })
        };
        newer(pair, read, |b, a| b.life > a.life)
    }
}

const ORDERS: [Order; 5] = [Order::None, Order::Reset, Order::Off, Order::Evicted, Order::Test];
