//! Quorum disks as files and devices: what is on them, what they are called, and how one is made.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use cmm_qdisk::format::Text;
use cmm_qdisk::format::legacy::{LegacyHeader, LegacyStatus};
use cmm_qdisk::{Area, Block, Header, Layout, Slot};
use holdfast_sys::block;
use holdfast_sys::uring::{self, Buffer};
use holdfast_types::{Incarnation, Span};

use super::signature;

/// What lies on a device.
pub(super) enum Content {
    /// A quorum disk of ours, and the blocks of all slots.
    Ours(Box<Header>, Box<Area>),
    /// One of qdiskd.
    Legacy(Box<LegacyHeader>, Vec<LegacyStatus>),
    /// Something else: what, if that can be told.
    Other(Option<&'static str>),
    /// Zeros only, as far as was looked.
    Empty,
}

/// Reads what is there.
///
/// # Errors
/// In words.
pub(super) fn read(path: &Path) -> Result<Content, String> {
    let failed = |e: io::Error| format!("{}: {e}", path.display());
    let file = uring::open_to_read(path).map_err(failed)?;
    let start = part(&file, START).map_err(failed)?;
    if let Ok(header) = Header::find(start.bytes()) {
        let bytes = part(&file, header.layout.area(header.layout.slots())).map_err(failed)?;
        let mut area = Area::default();
        area.read(header.layout, &header.id, bytes.bytes())
            .map_err(|e| format!("{}: {e}", path.display()))?;
        return Ok(Content::Ours(Box::new(header), Box::new(area)));
    }
    if let Ok(header) = LegacyHeader::read(start.bytes()) {
        let size = header.slot_size().min(1 << 16);
        let bytes = part(&file, 17 * size).map_err(failed)?;
        let slots = bytes.bytes().chunks(size).skip(1);
        return Ok(Content::Legacy(
            Box::new(header),
            slots.filter_map(|s| LegacyStatus::read(s).ok()).collect(),
        ));
    }
    let known = signature::of(start.bytes()).or_else(|| signature::at_end(&end(&file)));
    let empty = known.is_none() && start.bytes().iter().all(|b| *b == 0);
    Ok(if empty { Content::Empty } else { Content::Other(known) })
}

/// The first bytes, as many as there are.
fn part(file: &File, len: usize) -> io::Result<Buffer> {
    let mut buffer = Buffer::zeroed(len.next_multiple_of(4_096));
    let mut at = 0;
    while at < len {
        let bytes = buffer.bytes_mut().get_mut(at..).unwrap_or_default();
        match file.read_at(bytes, u64::try_from(at).unwrap_or(0))? {
            0 => break,
            n => at += n,
        }
    }
    Ok(buffer)
}

/// The last bytes: some formats put their mark there.
fn end(file: &File) -> Vec<u8> {
    let size = io::Seek::seek(&mut &*file, io::SeekFrom::End(0)).unwrap_or(0);
    let at = (size & !4_095).saturating_sub(END as u64);
    let mut buffer = Buffer::zeroed(END);
    let len = file.read_at(buffer.bytes_mut(), at).unwrap_or(0);
    let tail = usize::try_from(size - at).unwrap_or(0).min(len);
    buffer.bytes().get(..tail).unwrap_or_default().to_vec()
}

/// The whole of a quorum disk of ours, and its header.
///
/// # Errors
/// In words.
pub(super) fn whole(path: &Path) -> Result<(Header, Buffer), String> {
    let failed = |e: io::Error| format!("{}: {e}", path.display());
    let file = uring::open_to_read(path).map_err(failed)?;
    let start = part(&file, START).map_err(failed)?;
    let header = Header::find(start.bytes())
        .map_err(|e| format!("{} is no quorum disk of Holdfast: {e}", path.display()))?;
    let size = usize::try_from(header.layout.size()).unwrap_or(0);
    let bytes = part(&file, size).map_err(failed)?;
    Ok((header, bytes))
}

/// Both copies of a record in a whole disk.
pub(super) fn pair(bytes: &Buffer, layout: Layout, at: u64) -> &[u8] {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    bytes.bytes().get(at..at.saturating_add(layout.pair())).unwrap_or_default()
}

/// Writes both copies of a record.
///
/// # Errors
/// In words.
pub(super) fn write(
    path: &Path,
    at: u64,
    fill: impl FnOnce(&mut [u8]),
    layout: Layout,
) -> Result<(), String> {
    let failed = |e: io::Error| format!("{}: {e}", path.display());
    let mut buffer = Buffer::zeroed(layout.pair());
    fill(buffer.bytes_mut());
    let file = uring::open(path).map_err(failed)?;
    file.write_all_at(buffer.bytes(), at).and_then(|()| file.sync_all()).map_err(failed)
}

/// A node that writes to a quorum disk while one looks on.
pub(super) fn living(path: &Path) -> Result<Option<u8>, String> {
    let Content::Ours(_, before) = read(path)? else { return Ok(None) };
    let blocks = |area: &Area| -> Vec<(u8, (Incarnation, u64), Span)> {
        let of = |(slot, read): (u8, &Slot)| match read {
            Slot::Block(b) => Some((slot, b.age(), b.interval)),
            Slot::Damaged(_) => None,
        };
        area.slots().filter_map(of).collect()
    };
    let before = blocks(&before);
    let longest = before.iter().map(|(_, _, interval)| *interval).max().unwrap_or_default();
    if before.iter().all(|(_, (life, _), _)| life.get() == 0) {
        return Ok(None);
    }
    thread::sleep(longest.scale(5, 2).to_duration().min(LOOK_MAX));
    let Content::Ours(_, after) = read(path)? else { return Ok(None) };
    let moved =
        blocks(&after).into_iter().find(|(slot, age, _)| !before.iter().any(|b| (b.0, b.1) == (*slot, *age)));
    Ok(moved.map(|(slot, ..)| slot))
}

/// How a disk is to be made.
pub(super) struct Plan<'a> {
    pub(super) path: &'a Path,
    pub(super) label: &'a str,
    pub(super) cluster: &'a str,
    pub(super) slots: u8,
    /// Bytes of a sector; `None`: the device's own.
    pub(super) sector: Option<u32>,
}

impl Plan<'_> {
    /// Makes it.
    ///
    /// # Errors
    /// In words.
    pub(super) fn carry_out(&self) -> Result<Header, String> {
        let name = self.path.display();
        let generation = match read(self.path) {
            Ok(Content::Ours(header, _)) => header.generation.saturating_add(1),
            Ok(_) => 1,
            Err(why) => return Err(why),
        };
        let sector = self.sector.or_else(|| block::sector_of(self.path)).unwrap_or(512);
        let layout = Layout::new(sector, self.slots)
            .ok_or(format!("{name}: sectors have 512 or 4096 bytes, not {sector}; slots are 1 to 64"))?;
        let mut id = [0; 16];
        File::open("/dev/urandom")
            .and_then(|mut r| r.read_exact(&mut id))
            .map_err(|e| format!("/dev/urandom: {e}"))?;
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let header = Header {
            id,
            layout,
            created: holdfast_sys::clock::wall_nanos() / 1_000_000_000,
            generation,
            label: Text::new(self.label),
            host: Text::new(host.trim()),
            cluster: Text::new(self.cluster),
        };
        let image = header.fresh();
        let mut buffer = Buffer::zeroed(image.len());
        buffer.bytes_mut().copy_from_slice(&image);
        let file = uring::open(self.path).map_err(|e| format!("{name}: {e}"))?;
        file.write_all_at(buffer.bytes(), 0).map_err(|e| {
            format!("{name}: {e}; a quorum disk of {} slots needs {} bytes", self.slots, image.len())
        })?;
        file.sync_all().map_err(|e| format!("{name}: {e}"))?;
        match read(self.path)? {
            Content::Ours(read, _) if *read == header => Ok(header),
            _ => Err(format!("{name}: what was written is not there")),
        }
    }
}

/// What a node's state is called.
pub(super) fn state(slot: u8, block: &Block, area: &Area) -> &'static str {
    let newest = area.slots().filter_map(|(_, read)| match read {
        Slot::Block(b) => Some(b.decided),
        Slot::Damaged(_) => None,
    });
    let decided = newest.max_by_key(|d| d.term).unwrap_or_default();
    let owner = decided.owner.slot == slot && decided.owner.life == block.life;
    match (block.life.get(), owner && !block.released) {
        (0, _) => "None",
        (_, true) => "Master",
        (_, false) => "Running",
    }
}

/// Enough for a header of either kind, and for the marks of file systems.
const START: usize = 132 << 10;
const END: usize = 128 << 10;
/// A disk whose nodes write more seldom is looked at for this long.
const LOOK_MAX: Duration = Duration::from_secs(10);
