//! What lies on a quorum disk may be anything: of another program, of a hostile node, or rotten.

use cmm_qdisk::format::Text;
use cmm_qdisk::format::block::Block;
use cmm_qdisk::format::crc::crc32;
use cmm_qdisk::format::header::Header;
use cmm_qdisk::format::legacy::{LegacyHeader, LegacyStatus};
use cmm_qdisk::format::mail::{Mail, Tombstone};
use cmm_qdisk::{Area, Claim, Config, Failure, Layout, Output};
use holdfast_types::{Boottime, Ended, Incarnation, Span, Wish};

/// The first byte says which: a disk as it is; records with a checksum that fits; or blocks that a node's automaton reads round after
/// round.
pub fn qdisk(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => image(data),
        1 => records(data),
        _ => automaton(data),
    }
}

fn image(data: &[u8]) {
    if let Ok(header) = Header::find(data) {
        let mut area = Area::default();
        let _ = area.read(header.layout, &header.id, data);
    }
    if let Ok(header) = LegacyHeader::read(data) {
        let slots = data.chunks(header.slot_size().min(1 << 20)).skip(1).take(16);
        for slot in slots {
            let _ = LegacyStatus::read(slot);
        }
    }
}

/// What is read, written again, must read the same.
fn records(data: &[u8]) {
    let id = [0; 16];
    let mut pair = sealed(data);
    if let Ok(block) = Block::read(1, &id, &pair) {
        block.write(1, &id, &mut pair);
        assert_eq!(Block::read(1, &id, &pair), Ok(block));
    }
    if let Ok(mail) = Mail::read(1, &id, &pair) {
        mail.write(1, &id, &mut pair);
        assert_eq!(Mail::read(1, &id, &pair), Ok(mail));
    }
    if let Ok(grave) = Tombstone::read(1, &id, &pair) {
        grave.write(1, &id, &mut pair);
        assert_eq!(Tombstone::read(1, &id, &pair), Ok(grave));
    }
    if let Ok(header) = Header::read(&pair) {
        header.write(&mut pair);
        assert_eq!(Header::read(&pair), Ok(header));
    }
}

/// Both copies of a record with these bytes behind the magic, and the checksum that belongs to them.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[..8].copy_from_slice(b"HOLDFSTQ");
    let len = data.len().min(504);
    sector[8..8 + len].copy_from_slice(&data[..len]);
    sector[16..36].fill(0);
    let crc = crc32(&sector);
    sector[32..36].copy_from_slice(&crc.to_le_bytes());
    [sector.clone(), sector].concat()
}

/// Node 2 of three. Each round takes two blocks of others from the input; what it writes itself comes back.
fn automaton(data: &[u8]) {
    let layout = Layout::new(512, 3).expect("a layout");
    let (id, second) = ([0; 16], Span::from_secs(1));
    let config = Config {
        slot: 2,
        life: Incarnation::new(9),
        disks: 1,
        interval: second,
        lease: Span::from_secs(4),
        margin: Span::from_millis(10),
        handed_on: Span::from_millis(200),
    };
    let mut now = Boottime::from_nanos(1_000_000_000);
    let mut claim = Claim::new(config, now);
    let wish = Wish { wanted: true, members: 7, ..Wish::default() };
    claim.set_wish(now, wish);
    let mut image = vec![0; layout.area(3)];
    let (label, host, cluster) = (Text::new(""), Text::new(""), Text::new(""));
    let header = Header { id, layout, created: 0, generation: 0, label, host, cluster };
    header.write(&mut image[..1_024]);
    (1..=3)
        .for_each(|slot| Block::default().write(slot, &id, &mut image[1_024 * usize::from(slot)..][..1_024]));
    let mut area = Area::default();
    let mut rest = data;
    for _ in 0..64 {
        for slot in [1_usize, 3] {
            let (now, later) = rest.split_at(rest.len().min(160));
            if !now.is_empty() {
                image[1_024 * slot..][..1_024].copy_from_slice(&sealed(now));
            }
            rest = later;
        }
        now = claim.next_timeout().map_or(now + second, |at| at.max(now));
        claim.handle_timeout(now);
        while let Some(output) = claim.poll_output() {
            if let Output::Exchange { block, .. } = output {
                block.write(2, &id, &mut image[2_048..3_072]);
            }
            if !matches!(output, Output::Event(_)) {
                let read = area.read(layout, &id, &image).map_err(Failure::Header);
                claim.handle_done(now + Span::from_millis(1), 0, read.map(|()| &area));
            }
        }
        let _ = (claim.hold(now), claim.alive(), claim.decided());
        if rest.is_empty() {
            break;
        }
    }
    claim.handle_ended(now, Ended { slot: 1, life: Incarnation::new(u64::MAX), alone: true });
}
