//! The header: which cluster a disk is for, what it is called, how it is laid out.

use super::block::Block;
use super::mail::{Mail, Tombstone};
use super::{Damaged, DiskId, Kind, Layout, Text, newer, open, seal_pair};

/// What a disk says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Drawn when it was made.
    pub id: DiskId,
    /// Where things are.
    pub layout: Layout,
    /// When it was made: seconds since 1970, for people.
    pub created: u64,
    /// How often this device was made a quorum disk before, as far as that could be read.
    pub generation: u64,
    /// What it is found by.
    pub label: Text<120>,
    /// Where it was made.
    pub host: Text<128>,
    /// `totem.cluster_name` of the cluster it is for; empty: whoever comes.
    pub cluster: Text<64>,
}

impl Header {
    /// Into both copies: `pair` has [`Layout::pair`] bytes.
    pub fn write(&self, pair: &mut [u8]) {
        let mut body = [0; LEN];
        body[0..4].copy_from_slice(&self.layout.sector().to_le_bytes());
        body[4] = self.layout.slots();
        body[8..16].copy_from_slice(&self.created.to_le_bytes());
        body[16..24].copy_from_slice(&self.generation.to_le_bytes());
        body[24..144].copy_from_slice(self.label.bytes());
        body[144..272].copy_from_slice(self.host.bytes());
        body[272..336].copy_from_slice(self.cluster.bytes());
        seal_pair(pair, Kind::Header, 0, &self.id, &body);
    }

    /// A whole disk with this header, on which nobody has written yet.
    #[must_use]
    pub fn fresh(&self) -> Vec<u8> {
        let pair = self.layout.pair();
        let slots = self.layout.slots();
        let mut image = vec![0; usize::try_from(self.layout.size()).unwrap_or(0)];
        let mut pairs = image.chunks_exact_mut(pair);
        let mut next = |write: &dyn Fn(&mut [u8])| pairs.next().into_iter().for_each(write);
        next(&|pair| self.write(pair));
        (1..=slots).for_each(|slot| next(&|pair| Block::default().write(slot, &self.id, pair)));
        (1..=slots).for_each(|slot| next(&|pair| Mail::empty().write(slot, &self.id, pair)));
        (1..=slots).for_each(|slot| next(&|pair| Tombstone::none().write(slot, &self.id, pair)));
        image
    }

    /// From both copies.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn read(pair: &[u8]) -> Result<Self, Damaged> {
        let sector = u32::try_from(pair.len() / 2).unwrap_or(0);
        let read = |bytes: &[u8]| {
            let mut body = open(bytes, Kind::Header, 0, None)?;
            let (size, slots) = (body.u32(), body.u8());
            let layout =
                Layout::new(size, slots).filter(|l| l.sector() == sector).ok_or(Damaged::Contents)?;
            body.u8();
            body.u16();
            Ok(Self {
                id: body.id,
                layout,
                created: body.u64(),
                generation: body.u64(),
                label: body.text(),
                host: body.text(),
                cluster: body.text(),
            })
        };
        newer(pair, read, |b, a| b.generation > a.generation)
    }

    /// From the beginning of a disk whose sector size is not known: at least 8192 bytes where there are as many.
    ///
    /// # Errors
    /// When there is no header.
    pub fn find(start: &[u8]) -> Result<Self, Damaged> {
        let small = start.get(..1_024).ok_or(Damaged::Length).and_then(Self::read);
        small.or_else(|why| start.get(..8_192).map_or(Err(why), |pair| Self::read(pair).map_err(|_| why)))
    }
}

const LEN: usize = 336;
const _: () = assert!(LEN <= super::BODY_MAX);
