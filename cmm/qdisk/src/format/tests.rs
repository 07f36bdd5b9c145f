//! Round trips, flips, torn pairs, other versions, and disks of qdiskd made from the layout table.

use holdfast_types::{Incarnation, NodeId, RingId, Span};

use super::block::{Decided, Owner};
use super::header::Header;
use super::legacy::{LegacyHeader, LegacyState, LegacyStatus};
use super::mail::{Mail, Order, Tombstone};
use super::*;

const ID: DiskId = *b"0123456789abcdef";

fn header(sector: u32) -> Header {
    let layout = Layout::new(sector, 16).unwrap();
    let (label, host, cluster) = (Text::new("web_qdisk"), Text::new("web1"), Text::new("mycluster"));
    Header { id: ID, layout, created: 1_282_614_217, generation: 3, label, host, cluster }
}

fn block() -> Block {
    Block {
        life: Incarnation::new(7),
        sequence: 1_234_567,
        decided: Decided { term: 12, owner: Owner { slot: 3, life: Incarnation::new(5) } },
        released: true,
        wanted: true,
        ballot: 194,
        accepted: 66,
        value: Owner { slot: 2, life: Incarnation::new(7) },
        lease: Span::from_secs(4),
        handed_on: Span::ZERO,
        ring: RingId { representative: NodeId::new(1), seq: 3_032 },
        members: 0b1011,
        score: (2, 3),
        interval: Span::from_secs(1),
        written: 1_282_614_218,
        took: Span::from_micros(512),
    }
}

/// A small disk with something everywhere.
fn image(sector: u32) -> Vec<u8> {
    let header = header(sector);
    let layout = header.layout;
    let mut image = header.fresh();
    let at = usize::try_from(layout.block_at(2)).unwrap();
    block().write(2, &ID, &mut image[at..at + layout.pair()]);
    image
}

#[test]
fn what_was_written_is_read() {
    for sector in [512, 4_096] {
        let mut pair = vec![0xAA; 2 * usize::try_from(sector).unwrap()];
        header(sector).write(&mut pair);
        assert_eq!(Header::read(&pair), Ok(header(sector)));
        block().write(2, &ID, &mut pair);
        assert_eq!(Block::read(2, &ID, &pair), Ok(block()));
        let mail = Mail {
            order: Order::Reset,
            from: 1,
            life: Incarnation::new(9),
            number: 4,
            written: 5,
            why: Text::new("lost contact"),
        };
        mail.write(2, &ID, &mut pair);
        assert_eq!(Mail::read(2, &ID, &pair), Ok(mail));
        let grave = Tombstone { life: Incarnation::new(9), written: 6, why: Text::new("pmfd died") };
        grave.write(2, &ID, &mut pair);
        assert_eq!(Tombstone::read(2, &ID, &pair), Ok(grave));
        assert_eq!(Mail::read(2, &ID, &pair), Err(Damaged::OtherPlace), "another kind");
    }
}

#[test]
fn every_flip_of_one_bit_is_found() {
    let mail = Mail { order: Order::Evicted, life: Incarnation::new(9), number: 4, ..Mail::empty() };
    let grave = Tombstone { life: Incarnation::new(9), written: 6, why: Text::new("pmfd died") };
    for sector in [512, 4_096_usize] {
        let header = header(u32::try_from(sector).unwrap());
        type Record<'a> = (Kind, u8, &'a dyn Fn(&mut [u8]));
        let records: [Record<'_>; 4] = [
            (Kind::Header, 0, &|pair| header.write(pair)),
            (Kind::Block, 2, &|pair| block().write(2, &ID, pair)),
            (Kind::Mail, 2, &|pair| mail.write(2, &ID, pair)),
            (Kind::Tombstone, 2, &|pair| grave.write(2, &ID, pair)),
        ];
        // Of large sectors one kind is enough: the checksum is over whole sectors, whatever is in them.
        let kinds = if sector == 512 { &records[..] } else { &records[1..2] };
        for (kind, slot, write) in kinds {
            let (kind, slot) = (*kind, *slot);
            let mut pair = vec![0; 2 * sector];
            write(&mut pair);
            let mut copy = pair[..sector].to_vec();
            for bit in 0..sector * 8 {
                copy[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    open(&copy, kind, slot, Some(&ID)).is_err(),
                    "bit {bit} of {kind:?}, sector of {sector}"
                );
                copy[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(open(&copy, kind, slot, Some(&ID)).is_ok());
            let frame = Frame::of(&copy).unwrap();
            assert_eq!((frame.kind, frame.slot, frame.id), (kind as u8, slot.into(), ID));
            assert_eq!((frame.stored, frame.version), (frame.computed, VERSION));
        }
    }
    assert_eq!(Frame::of(&[0; 512]), None);
    assert_eq!(Frame::of(b"HOLDFSTQ"), None, "too short");
}

#[test]
fn one_copy_is_enough_and_the_later_one_is_taken() {
    let (mut old, mut new) = (vec![0; 1_024], vec![0; 1_024]);
    let later = Block { sequence: block().sequence + 1, ..block() };
    block().write(2, &ID, &mut old);
    later.write(2, &ID, &mut new);
    // A torn write: the first sector is new, garbage or old, and so is the second one.
    let mut torn = [&new[..512], &old[512..]].concat();
    assert_eq!(Block::read(2, &ID, &torn), Ok(later));
    torn[100] ^= 4;
    assert_eq!(Block::read(2, &ID, &torn), Ok(block()));
    let mut torn = [&old[..512], &new[512..]].concat();
    assert_eq!(Block::read(2, &ID, &torn), Ok(later));
    torn[0] = 0;
    torn[512 + 8] ^= 1;
    assert!(Block::read(2, &ID, &torn).is_err(), "neither");
}

#[test]
fn a_block_in_the_wrong_place_or_on_the_wrong_disk_is_none() {
    let mut pair = vec![0; 1_024];
    block().write(2, &ID, &mut pair);
    assert_eq!(Block::read(3, &ID, &pair), Err(Damaged::OtherPlace));
    assert_eq!(Block::read(2, &[1; 16], &pair), Err(Damaged::OtherDisk));
    assert_eq!(Block::read(2, &ID, &pair[..1_000]), Err(Damaged::Length));
    assert_eq!(Block::read(2, &ID, &[0; 1_024]), Err(Damaged::Unknown));
}

#[test]
fn impossible_blocks_are_refused() {
    let impossible = [
        Block { accepted: 500, ..block() },
        Block { value: Owner::default(), ..block() },
        Block { value: Owner { slot: 65, life: Incarnation::new(1) }, ..block() },
        Block { decided: Decided { term: 0, ..block().decided }, ..block() },
        Block { decided: Decided { owner: Owner::default(), ..block().decided }, ..block() },
        Block { ballot: u64::MAX, ..block() },
    ];
    let mut pair = vec![0; 1_024];
    for block in impossible {
        block.write(2, &ID, &mut pair);
        assert_eq!(Block::read(2, &ID, &pair), Err(Damaged::Contents), "{block:?}");
    }
}

#[test]
fn a_later_version_may_append_and_may_forbid() {
    let mut pair = vec![0; 1_024];
    block().write(2, &ID, &mut pair);
    let change = |at: usize, bytes: &[u8]| {
        let mut other = pair.clone();
        for copy in other.chunks_mut(512) {
            copy[at..at + bytes.len()].copy_from_slice(bytes);
            let crc = crc::crc32_without(copy, CRC_AT);
            copy[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        }
        other
    };
    let len = u16::from_le_bytes([pair[36], pair[37]]);
    let longer = change(36, &(len + 8).to_le_bytes());
    assert_eq!(Block::read(2, &ID, &longer), Ok(block()), "fields that this version does not know");
    assert_eq!(Block::read(2, &ID, &change(10, &9_u16.to_le_bytes())), Ok(block()), "written by version 9");
    assert_eq!(Block::read(2, &ID, &change(12, &9_u16.to_le_bytes())), Err(Damaged::TooNew(9)));
    let shorter = change(36, &(len - 8).to_le_bytes());
    assert_eq!(
        Block::read(2, &ID, &shorter),
        Ok(Block { took: Span::ZERO, ..block() }),
        "what is lacking is 0"
    );
    assert_eq!(Block::read(2, &ID, &change(36, &4_000_u16.to_le_bytes())), Err(Damaged::Contents));
}

#[test]
fn an_image_of_version_1_stays_readable() {
    // Golden: written by the first release of this format; never made anew. A sector size of 512, 16 slots.
    let golden = include_bytes!("../../tests/testdata/version1.img");
    let header = Header::find(golden).unwrap();
    assert_eq!(header, self::header(512));
    let mut area = Area::default();
    area.read(header.layout, &ID, &golden[..header.layout.area(16)]).unwrap();
    let slots: Vec<_> = area.slots().collect();
    assert_eq!(slots.len(), 16);
    assert_eq!(*slots[1].1, Slot::Block(block()));
    assert_eq!(*slots[0].1, Slot::Block(Block::default()));
    assert_eq!(golden.len(), usize::try_from(header.layout.size()).unwrap());
    assert!(golden[..] == image(512)[..], "this release writes the same bytes");
}

#[test]
fn the_area_shows_what_is_damaged_and_whose_disk_it_is() {
    let layout = header(4_096).layout;
    let mut image = image(4_096);
    let mut area = Area::default();
    let at = usize::try_from(layout.block_at(5)).unwrap();
    image[at] ^= 1;
    area.read(layout, &ID, &image).unwrap();
    assert_eq!(*area.slots().nth(4).unwrap().1, Slot::Block(Block::default()), "one copy is enough");
    image[at + 4_096 + 77] ^= 1;
    area.read(layout, &ID, &image).unwrap();
    assert_eq!(*area.slots().nth(4).unwrap().1, Slot::Damaged(Damaged::Unknown));
    assert_eq!(area.read(layout, &[3; 16], &image), Err(Damaged::OtherDisk));
    image[..8_192].fill(0);
    assert_eq!(area.read(layout, &ID, &image), Err(Damaged::Unknown), "somebody made a file system on it");
    assert_eq!(area.read(layout, &ID, &[]), Err(Damaged::Length));
}

#[test]
fn a_header_is_found_without_knowing_the_sector_size() {
    for sector in [512, 4_096] {
        assert_eq!(Header::find(&image(sector)), Ok(header(sector)));
    }
    assert_eq!(Header::find(&[0; 100]), Err(Damaged::Length));
    assert_eq!(Header::find(&[0; 8_192]), Err(Damaged::Unknown));
}

#[test]
fn text_is_cut_at_a_character_and_harmless_on_a_terminal() {
    assert_eq!(Text::<4>::new("aäöü").to_string(), "aä");
    assert_eq!(Text::<8>::new("a\x1b[2J").to_string(), "a?[2J");
    assert_eq!(Text(*b"\xff\xfeab").to_string(), "\u{fffd}\u{fffd}ab");
}

/// As the layout table of qdiskd says, made without the reader's code.
fn legacy_slot(data: &[u8]) -> Vec<u8> {
    let mut slot = vec![0; 4_096];
    slot[0..4].copy_from_slice(&0x00DE_BB1E_u32.to_le_bytes());
    slot[8..12].copy_from_slice(&crc::crc32(data).to_le_bytes());
    slot[12..16].copy_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
    let crc = crc::crc32(&slot[..32]);
    slot[4..8].copy_from_slice(&crc.to_le_bytes());
    slot[32..32 + data.len()].copy_from_slice(data);
    slot
}

#[test]
fn r23_a_disk_of_qdiskd_is_read() {
    let mut data = vec![0; 272];
    data[0..4].copy_from_slice(&0xEB7A_62C2_u32.to_be_bytes());
    data[4..8].copy_from_slice(&0x389F_ABC4_u32.to_be_bytes());
    data[8..16].copy_from_slice(&1_282_605_011_u64.to_be_bytes());
    data[16..20].copy_from_slice(b"web1");
    data[144..153].copy_from_slice(b"web_qdisk");
    data[264..268].copy_from_slice(&512_u32.to_be_bytes());
    let mut image = legacy_slot(&data);
    for node in 1..=16_u32 {
        let mut data = vec![0; 80];
        data[0..4].copy_from_slice(&0x47BA_CEF8_u32.to_be_bytes());
        data[4..8].copy_from_slice(&node.to_be_bytes());
        data[8..16].copy_from_slice(&1_282_605_999_u64.to_be_bytes());
        data[16..20].copy_from_slice(&node.to_be_bytes());
        data[24] = if node == 2 { 6 } else { 0 };
        data[36..40].copy_from_slice(&512_u32.to_be_bytes());
        data[64..72].copy_from_slice(&6_u64.to_be_bytes());
        image.extend(legacy_slot(&data));
    }
    let header = LegacyHeader::read(&image).unwrap();
    assert_eq!((header.created, header.sector, header.slot_size()), (1_282_605_011, 512, 4_096));
    assert_eq!((header.host.to_string(), header.label.to_string()), ("web1".into(), "web_qdisk".into()));
    let status: Vec<_> =
        (1..=16).map(|n| LegacyStatus::read(&image[n * 4_096..(n + 1) * 4_096]).unwrap()).collect();
    assert_eq!((status[1].node, status[1].updated_by, status[1].state), (2, 2, LegacyState::Master));
    assert_eq!((status[1].cycle, status[1].mask, status[1].timestamp), ((0, 512), 6, 1_282_605_999));
    assert!(status.iter().filter(|s| s.state == LegacyState::None).count() == 15);
    // Flips in what the checksums cover, and lengths.
    for bit in 0..(32 + 272) * 8 {
        let mut other = image[..4_096].to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(LegacyHeader::read(&other).is_err(), "bit {bit}");
    }
    assert_eq!(LegacyHeader::read(&[0; 4_096]), Err(Damaged::Unknown));
    assert_eq!(LegacyHeader::read(&image[..40]), Err(Damaged::Contents));
}
