//! The black box: the last events and the reasons of the last deaths, in a file of fixed size.
//!
//! Every record is one checksummed block of [`BLOCK`] bytes in one of two rings: deaths (which events cannot push out)
//! and events. A write is one `pwrite` into preallocated space: it survives kill -9 of the writer by itself and power
//! loss after [`BlackBox::sync`], needs no free disk space, and allocates nothing. A block that was torn does not have
//! its checksum and is passed over. (Not memory-mapped on purpose: a file that someone truncates, or a disk that fails,
//! would then kill the guardian with SIGBUS instead of giving an error.)
//!
//! One process at a time writes events (the log thread of `cmmd`), one writes deaths (the guardian).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use failfast_core::Text;
use failfast_core::limits::TEXT_MAX;
use holdfast_types::{Boottime, WallTime};

/// Bytes of one record.
pub const BLOCK: usize = 256;
/// Deaths that are kept.
pub const DEATHS: u64 = 64;
/// Events that are kept.
pub const EVENTS: u64 = 1024;

const MAGIC: &[u8] = b"holdfast black box, version 1\n";
const HEAD: usize = 32;
const SUM_AT: usize = HEAD + TEXT_MAX;
const SIZE: u64 = (1 + DEATHS + EVENTS) * BLOCK as u64;

const _: () = assert!(SUM_AT + 8 == BLOCK, "head, text and checksum fill a block");

/// What a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An event in the ordinary course of things; the detail is its level.
    Event,
    /// The reason why the node went down; the detail is [`failfast_core::ReasonKind::code`].
    Death,
    /// What came of it; same ring as the deaths.
    Outcome,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number within its ring, growing; set by the box.
    pub number: u64,
    /// When, on the clock that counts suspend.
    pub boottime: Boottime,
    /// When, for people.
    pub wall: WallTime,
    /// Who wrote it.
    pub pid: u32,
    /// What it tells of.
    pub class: Class,
    /// See [`Class`].
    pub detail: u8,
    /// In words.
    pub text: Text,
}

/// An open black box.
#[derive(Debug)]
pub struct BlackBox {
    file: File,
    ring: Box<[u8]>,
    next_event: u64,
}

impl BlackBox {
    /// Opens or makes one. A file that is none is not touched.
    ///
    /// # Errors
    /// `InvalidData` where the file is something else; what the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() == 0 {
            let mut head = [0; BLOCK];
            head[..MAGIC.len()].copy_from_slice(MAGIC);
            file.write_all_at(&head, 0)?;
        }
        check_head(&file, path)?;
        // Space that is there already cannot run out later.
        nix::fcntl::posix_fallocate(&file, 0, SIZE.cast_signed())?;
        let ring = vec![0; (DEATHS.max(EVENTS) as usize) * BLOCK].into();
        let mut this = Self { file, ring, next_event: 1 };
        this.next_event = this.last_number(Ring::Events)? + 1;
        Ok(this)
    }

    /// Writes a record into the ring of its class; its `number` is chosen here.
    ///
    /// # Errors
    /// What `pread` and `pwrite` say.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let ring = Ring::of(record.class);
        let number = match ring {
            Ring::Events => self.next_event,
            // Read anew: another process may have written one since this box was opened.
            Ring::Deaths => self.last_number(ring)? + 1,
        };
        let block = encode(&Record { number, ..*record });
        self.file.write_all_at(&block, ring.offset(number))?;
        if ring == Ring::Events {
            self.next_event = number + 1;
        }
        Ok(())
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// What `fdatasync` says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn last_number(&mut self, ring: Ring) -> io::Result<u64> {
        let bytes = &mut self.ring[..ring.len() as usize * BLOCK];
        self.file.read_exact_at(bytes, ring.offset(0))?;
        Ok(records(bytes, ring).map(|r| r.number).max().unwrap_or(0))
    }
}

/// Reads a black box: deaths and outcomes, then events, each in the order of writing. Damaged records are left out.
///
/// # Errors
/// `InvalidData` where the file is none; what the file system says.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    let file = File::open(path)?;
    check_head(&file, path)?;
    let mut all = Vec::new();
    for ring in [Ring::Deaths, Ring::Events] {
        let mut bytes = vec![0; ring.len() as usize * BLOCK];
        file.read_exact_at(&mut bytes, ring.offset(0))?;
        let mut found: Vec<_> = records(&bytes, ring).collect();
        found.sort_by_key(|r| r.number);
        all.append(&mut found);
    }
    Ok(all)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    Deaths,
    Events,
}

impl Ring {
    fn of(class: Class) -> Self {
        match class {
            Class::Event => Self::Events,
            Class::Death | Class::Outcome => Self::Deaths,
        }
    }

    fn len(self) -> u64 {
        match self {
            Self::Deaths => DEATHS,
            Self::Events => EVENTS,
        }
    }

    fn offset(self, number: u64) -> u64 {
        let first = match self {
            Self::Deaths => 1,
            Self::Events => 1 + DEATHS,
        };
        (first + number % self.len()) * BLOCK as u64
    }
}

fn check_head(file: &File, path: &Path) -> io::Result<()> {
    let mut head = [0; MAGIC.len()];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) if head == MAGIC => Ok(()),
        Ok(()) => {
            let text = format!("{} is no black box of this version; move it out of the way", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Err(e) => Err(e),
    }
}

fn records(bytes: &[u8], ring: Ring) -> impl Iterator<Item = Record> + '_ {
    bytes
        .chunks_exact(BLOCK)
        .zip(0..)
        .filter_map(move |(block, slot)| decode(block).filter(|r| r.number % ring.len() == slot))
        .filter(move |r| Ring::of(r.class) == ring)
}

fn encode(record: &Record) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let text = record.text.as_bytes();
    block[..8].copy_from_slice(&record.number.to_le_bytes());
    block[8..16].copy_from_slice(&record.boottime.as_nanos().to_le_bytes());
    block[16..24].copy_from_slice(&record.wall.0.to_le_bytes());
    block[24..28].copy_from_slice(&record.pid.to_le_bytes());
    block[28] = match record.class {
        Class::Event => 1,
        Class::Death => 2,
        Class::Outcome => 3,
    };
    block[29] = record.detail;
    block[30..32].copy_from_slice(&(text.len() as u16).to_le_bytes()); // at most TEXT_MAX
    block[HEAD..HEAD + text.len()].copy_from_slice(text);
    let sum = checksum(&block[..SUM_AT]);
    block[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
    block
}

fn decode(block: &[u8]) -> Option<Record> {
    let number_at = |at: usize| Some(u64::from_le_bytes(block.get(at..at + 8)?.try_into().ok()?));
    if number_at(SUM_AT)? != checksum(&block[..SUM_AT]) {
        return None;
    }
    let len = usize::from(u16::from_le_bytes([block[30], block[31]]));
    Some(Record {
        number: number_at(0).filter(|&n| n > 0)?,
        boottime: Boottime::from_nanos(number_at(8)?),
        wall: WallTime(number_at(16)?.cast_signed()),
        pid: u32::from_le_bytes(block[24..28].try_into().ok()?),
        class: match block[28] {
            1 => Class::Event,
            2 => Class::Death,
            3 => Class::Outcome,
            _ => return None,
        },
        detail: block[29],
        text: Text::from(std::str::from_utf8(block[HEAD..SUM_AT].get(..len)?).ok()?),
    })
}

/// FNV-1a, 64 bits: against torn writes and rot, not against forgery.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &b| (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct TempFile(std::path::PathBuf);

    impl TempFile {
        fn new(name: &str) -> Self {
            let name = format!("holdfast-black-box-{}-{name}", std::process::id());
            let this = Self(std::env::temp_dir().join(name));
            let _ = std::fs::remove_file(&this.0);
            this
        }
    }
    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn record(class: Class, text: &str) -> Record {
        Record {
            number: 0,
            boottime: Boottime::from_nanos(5),
            wall: WallTime(-7),
            pid: 4711,
            class,
            detail: 3,
            text: Text::from(text),
        }
    }

    fn texts(path: &Path) -> Vec<String> {
        read(path).unwrap().iter().map(|r| r.text.to_string()).collect()
    }

    #[test]
    fn what_is_written_is_read_by_another() {
        let file = TempFile::new("plain");
        let mut a = BlackBox::open(&file.0).unwrap();
        a.write(&record(Class::Event, "one")).unwrap();
        let mut b = BlackBox::open(&file.0).unwrap();
        b.write(&record(Class::Death, "why")).unwrap();
        a.write(&record(Class::Outcome, "gone")).unwrap();
        a.write(&record(Class::Event, "two")).unwrap();
        let all = read(&file.0).unwrap();
        assert_eq!(texts(&file.0), ["why", "gone", "one", "two"]);
        assert_eq!(all[0], Record { number: 1, ..record(Class::Death, "why") });
        assert_eq!(all.iter().map(|r| r.number).collect::<Vec<_>>(), [1, 2, 1, 2]);
    }

    #[test]
    fn events_do_not_push_out_deaths_and_the_oldest_go_first() {
        let file = TempFile::new("rings");
        let mut black_box = BlackBox::open(&file.0).unwrap();
        black_box.write(&record(Class::Death, "why")).unwrap();
        for i in 0..EVENTS + 10 {
            black_box.write(&record(Class::Event, &i.to_string())).unwrap();
        }
        drop(black_box);
        let mut again = BlackBox::open(&file.0).unwrap();
        again.write(&record(Class::Event, "last")).unwrap();
        let texts = texts(&file.0);
        assert_eq!(texts.len(), 1 + EVENTS as usize);
        assert_eq!(
            (texts[0].as_str(), texts[1].as_str(), texts.last().unwrap().as_str()),
            ("why", "11", "last")
        );
        assert_eq!(std::fs::metadata(&file.0).unwrap().len(), SIZE);
    }

    #[test]
    fn a_torn_record_is_passed_over() {
        let file = TempFile::new("torn");
        let mut black_box = BlackBox::open(&file.0).unwrap();
        for text in ["one", "two", "three"] {
            black_box.write(&record(Class::Death, text)).unwrap();
        }
        let torn = Ring::Deaths.offset(2) + HEAD as u64;
        black_box.file.write_all_at(b"x", torn).unwrap();
        assert_eq!(texts(&file.0), ["one", "three"]);
        black_box.write(&record(Class::Death, "four")).unwrap();
        assert_eq!(texts(&file.0), ["one", "three", "four"]);
    }

    #[test]
    fn another_file_is_not_touched() {
        let file = TempFile::new("other");
        std::fs::write(&file.0, "somebody's diary, much longer than the magic of a black box").unwrap();
        assert_eq!(BlackBox::open(&file.0).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&file.0).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(std::fs::read_to_string(&file.0).unwrap().starts_with("somebody"));
    }

    proptest! {
        #[test]
        fn no_block_panics(bytes in proptest::collection::vec(any::<u8>(), BLOCK), good in any::<bool>()) {
            let mut bytes = bytes;
            if good {
                let sum = checksum(&bytes[..SUM_AT]);
                bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
            }
            let _ = decode(&bytes);
        }
    }
}
