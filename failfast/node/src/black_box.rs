//! The black box: what a node did and learned last, and why its lives ended, in a file of fixed size.
//!
//! Every record is one checksummed block of [`BLOCK`] bytes in one of several rings, so that nothing pushes out what is
//! rarer and says more:
//!
//! | ring | what | kept |
//! |---|---|---|
//! | deaths | why this node went down, and what came of it | [`DEATHS`] |
//! | lives | beginning and orderly end of each life of this node | [`LIVES`] |
//! | peers | what it learned of its peers' ends, and they of its own | [`PEERS`] |
//! | events | what the log tells | [`EVENTS`] |
//! | signs | the last sign of life, for an end without a word | 2 |
//!
//! A write is one `pwrite` into preallocated space: it survives kill -9 of the writer by itself and power
//! loss after [`BlackBox::sync`], needs no free disk space, and allocates nothing. A block that was torn does not have
//! its checksum and is passed over. (Not memory-mapped on purpose: a file that someone truncates, or a disk that fails,
//! would then kill the guardian with SIGBUS instead of giving an error.)
//!
//! The log thread of `cmmd` alone writes lives, peers, events and signs; deaths are written by the guardian, and by `cmmd` where it
//! goes down by itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use failfast_core::Text;
use failfast_core::limits::TEXT_MAX;
use holdfast_sys::{clock, host};
use holdfast_types::{BootId, Boottime, Incarnation, NodeId, WallTime};

/// Bytes of one record: a sector, which a disk writes or does not.
pub const BLOCK: usize = 512;
/// Deaths that are kept.
pub const DEATHS: u64 = 64;
/// Beginnings and ends that are kept.
pub const LIVES: u64 = 64;
/// News of peers' ends that are kept.
pub const PEERS: u64 = 256;
/// Events that are kept.
pub const EVENTS: u64 = 1024;

const MAGIC: &[u8] = b"holdfast black box, version 2\n";
/// What stands before the number of the version, whichever it is.
const MAGIC_START: &[u8] = b"holdfast black box, version ";
const SIGNS: u64 = 2;
const HEAD: usize = 64;
const SUM_AT: usize = BLOCK - 8;
const SIZE: u64 = (1 + DEATHS + LIVES + PEERS + SIGNS + EVENTS) * BLOCK as u64;
/// Blocks that are read at once: the guardian's memory is locked.
const AT_ONCE: usize = 16;

const _: () = assert!(HEAD + TEXT_MAX <= SUM_AT, "head, text and checksum fit a block");

/// What a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An event in the ordinary course of things; the detail is its level, as syslog numbers them.
    Event,
    /// The reason why the node went down; the detail is [`failfast_core::ReasonKind::code`].
    Death,
    /// What came of it; same ring as the deaths.
    Outcome,
    /// A life of this node began.
    Start,
    /// It ended in order.
    End,
    /// What this node learned of a peer; the detail is [`PeerNews::code`].
    Peer,
    /// What a peer recorded of the end of an earlier life of this node and told it when it was back: `node` is the peer, `life` the life
    /// of this node, `wall` the peer's clock; the detail is [`PeerNews::code`]. Same ring as what is learned of peers.
    Testimony,
    /// The writer lived at this time.
    Sign,
}

/// What a node learned of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerNews {
    /// It is a member.
    Joined,
    /// It said that it leaves.
    Leave,
    /// It said why it goes down.
    Gasp,
    /// Its guardian said that nothing of it is left.
    LastWord,
    /// Nothing was heard of it for too long.
    Silence,
    /// Something else told that it is gone.
    Gone,
    /// It is no member any more.
    Lost,
    /// Its death is confirmed: by a fence device, an operator, its machine's next boot.
    Confirmed,
    /// Its tombstone on a quorum disk.
    Tombstone,
    /// Its key was removed from a disk.
    Removed,
}

impl PeerNews {
    /// All of them, in the order of their numbers, which begin with 1.
    pub const ALL: [Self; 10] = [
        Self::Joined,
        Self::Leave,
        Self::Gasp,
        Self::LastWord,
        Self::Silence,
        Self::Gone,
        Self::Lost,
        Self::Confirmed,
        Self::Tombstone,
        Self::Removed,
    ];

    /// Number in the black box.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The news behind a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number within its ring, growing; set by the box.
    pub number: u64,
    /// When, on the clock that counts suspend.
    pub boottime: Boottime,
    /// When, for people: microseconds since 1970.
    pub wall: WallTime,
    /// Who wrote it.
    pub pid: u32,
    /// Boot of the machine in which it was written; set by the box.
    pub boot: BootId,
    /// What it tells of.
    pub class: Class,
    /// See [`Class`].
    pub detail: u8,
    /// Which node it is about, a testimony: who gives it; events, beginnings, ends and signs: this one. 0: not known, as in all that the
    /// guardian writes.
    pub node: NodeId,
    /// Which life of that node, a testimony: of this one; 0: not known.
    pub life: Incarnation,
    /// In words.
    pub text: Text,
}

impl Record {
    /// A record of now and of this process, about no particular node.
    #[must_use]
    pub fn now(class: Class, detail: u8, text: Text) -> Self {
        Self {
            number: 0,
            boottime: Boottime::from_nanos(clock::boottime_nanos()),
            wall: WallTime((clock::wall_nanos() / 1_000).cast_signed()),
            pid: std::process::id(),
            boot: BootId::default(),
            class,
            detail,
            node: NodeId::default(),
            life: Incarnation::default(),
            text,
        }
    }
}

/// An open black box.
#[derive(Debug)]
pub struct BlackBox {
    file: File,
    boot: BootId,
    buffer: Box<[u8]>,
    /// Next numbers of the rings that have one writer, once known.
    next: [Option<u64>; RINGS.len()],
}

impl BlackBox {
    /// Opens or makes one. A file that is none, or one of another version, is not touched: see [`set_aside`].
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
        // Without /proc the records say of no boot that it is theirs.
        let boot = host::boot_id().map(BootId).unwrap_or_default();
        Ok(Self { file, boot, buffer: vec![0; AT_ONCE * BLOCK].into(), next: [None; RINGS.len()] })
    }

    /// Writes a record into the ring of its class; its `number` and `boot` are set here.
    ///
    /// # Errors
    /// What `pread` and `pwrite` say.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let ring = Ring::of(record.class);
        let known = self.next[ring as usize];
        let number = match known {
            Some(number) => number,
            // Of deaths read anew each time: another process may have written one since this box was opened.
            None => self.last_number(ring)? + 1,
        };
        let block = encode(&Record { number, boot: self.boot, ..*record });
        self.file.write_all_at(&block, ring.offset(number))?;
        if ring != Ring::Deaths {
            self.next[ring as usize] = Some(number + 1);
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
        let (mut last, mut slot) = (0, 0);
        while slot < ring.len() {
            let blocks = AT_ONCE.min((ring.len() - slot) as usize); // at most AT_ONCE
            let bytes = &mut self.buffer[..blocks * BLOCK];
            self.file.read_exact_at(bytes, ring.offset(slot))?;
            last = records(bytes, ring, slot).map(|r| r.number).max().unwrap_or(0).max(last);
            slot += blocks as u64;
        }
        Ok(last)
    }
}

/// Moves the box of an earlier version out of the way, so that this one can begin its own. Before anybody has opened it.
/// Returns where it is now, if there was one.
///
/// # Errors
/// What the file system says.
pub fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut head = [0; MAGIC.len()];
    match File::open(path).and_then(|file| file.read_exact_at(&mut head, 0)) {
        Ok(()) if head != MAGIC && head.starts_with(MAGIC_START) => {
            let version = char::from(head[MAGIC_START.len()]);
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".v{version}"));
            std::fs::rename(path, &aside)?;
            Ok(Some(aside.into()))
        }
        // An empty one is about to be begun, and what is no box stays.
        _ => Ok(None),
    }
}

/// Reads a black box: deaths and outcomes, lives, peers, the last sign of life, then events, each in the order of writing.
/// Damaged records are left out.
///
/// # Errors
/// `InvalidData` where the file is none; what the file system says.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    let file = File::open(path)?;
    check_head(&file, path)?;
    let mut all = Vec::new();
    for ring in RINGS {
        let mut bytes = vec![0; ring.len() as usize * BLOCK];
        file.read_exact_at(&mut bytes, ring.offset(0))?;
        let mut found: Vec<_> = records(&bytes, ring, 0).collect();
        found.sort_by_key(|r| r.number);
        if ring == Ring::Signs {
            found.drain(..found.len().saturating_sub(1));
        }
        all.append(&mut found);
    }
    Ok(all)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    Deaths,
    Lives,
    Peers,
    Signs,
    Events,
}

/// In the order of the file.
const RINGS: [Ring; 5] = [Ring::Deaths, Ring::Lives, Ring::Peers, Ring::Signs, Ring::Events];

impl Ring {
    fn of(class: Class) -> Self {
        match class {
            Class::Event => Self::Events,
            Class::Death | Class::Outcome => Self::Deaths,
            Class::Start | Class::End => Self::Lives,
            Class::Peer | Class::Testimony => Self::Peers,
            Class::Sign => Self::Signs,
        }
    }

    const fn len(self) -> u64 {
        match self {
            Self::Deaths => DEATHS,
            Self::Lives => LIVES,
            Self::Peers => PEERS,
            Self::Signs => SIGNS,
            Self::Events => EVENTS,
        }
    }

    fn offset(self, number: u64) -> u64 {
        let first = match self {
            Self::Deaths => 1,
            Self::Lives => 1 + DEATHS,
            Self::Peers => 1 + DEATHS + LIVES,
            Self::Signs => 1 + DEATHS + LIVES + PEERS,
            Self::Events => 1 + DEATHS + LIVES + PEERS + SIGNS,
        };
        (first + number % self.len()) * BLOCK as u64
    }
}

fn check_head(file: &File, path: &Path) -> io::Result<()> {
    let mut head = [0; MAGIC.len()];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) if head == MAGIC => Ok(()),
        Ok(()) => {
            let path = path.display();
            let text = match head.starts_with(MAGIC_START) {
                true => format!(
                    "{path} is a black box of version {}, and this is version 2; cmmd moves it to {path}.v{0} when it starts",
                    char::from(head[MAGIC_START.len()])
                ),
                false => format!("{path} is no black box; move it out of the way"),
            };
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Err(e) => Err(e),
    }
}

/// Those in the slots from `first` on.
fn records(bytes: &[u8], ring: Ring, first: u64) -> impl Iterator<Item = Record> + '_ {
    bytes
        .chunks_exact(BLOCK)
        .zip(first..)
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
        Class::Start => 4,
        Class::End => 5,
        Class::Peer => 6,
        Class::Sign => 7,
        Class::Testimony => 8,
    };
    block[29] = record.detail;
    block[30..32].copy_from_slice(&(text.len() as u16).to_le_bytes()); // at most TEXT_MAX
    block[32..48].copy_from_slice(&record.boot.0);
    block[48..56].copy_from_slice(&record.life.get().to_le_bytes());
    block[56..60].copy_from_slice(&record.node.get().to_le_bytes());
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
        boot: BootId(block[32..48].try_into().ok()?),
        class: match block[28] {
            1 => Class::Event,
            2 => Class::Death,
            3 => Class::Outcome,
            4 => Class::Start,
            5 => Class::End,
            6 => Class::Peer,
            7 => Class::Sign,
            8 => Class::Testimony,
            _ => return None,
        },
        detail: block[29],
        node: NodeId::new(u32::from_le_bytes(block[56..60].try_into().ok()?)),
        life: Incarnation::new(number_at(48)?),
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
            boot: BootId(host::boot_id().unwrap()),
            class,
            detail: 3,
            node: NodeId::new(2),
            life: Incarnation::new(1 << 60),
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
    fn rings_do_not_push_each_other_out_and_of_signs_the_last_counts() {
        let file = TempFile::new("classes");
        let mut black_box = BlackBox::open(&file.0).unwrap();
        black_box.write(&record(Class::Start, "begins")).unwrap();
        for i in 0..EVENTS {
            black_box.write(&record(Class::Event, &i.to_string())).unwrap();
            black_box.write(&record(Class::Sign, &format!("sign {i}"))).unwrap();
        }
        black_box.write(&record(Class::Peer, "n2 is gone")).unwrap();
        black_box.write(&record(Class::End, "ends")).unwrap();
        black_box.write(&record(Class::Death, "why")).unwrap();
        let texts = texts(&file.0);
        assert_eq!(texts[..5], ["why", "begins", "ends", "n2 is gone", "sign 1023"]);
        assert_eq!(texts[5..], (0..EVENTS).map(|i| i.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_box_of_an_earlier_version_is_moved_aside_and_another_begun() {
        let file = TempFile::new("version");
        let mut old = b"holdfast black box, version 1\n".to_vec();
        old.resize(4096, 7);
        std::fs::write(&file.0, &old).unwrap();
        let refused = BlackBox::open(&file.0).unwrap_err().to_string();
        assert!(refused.contains("of version 1") && refused.contains("cmmd moves it to"), "{refused}");
        assert!(read(&file.0).unwrap_err().to_string().contains("of version 1"));
        let aside = set_aside(&file.0).unwrap().unwrap();
        let kept = TempFile(aside);
        assert_eq!(std::fs::read(&kept.0).unwrap(), old);
        BlackBox::open(&file.0).unwrap().write(&record(Class::Start, "begins")).unwrap();
        assert_eq!(set_aside(&file.0).unwrap(), None, "its own version stays");
        assert_eq!(texts(&file.0), ["begins"]);
        assert_eq!(set_aside(&file.0.join("nowhere")).unwrap(), None);
    }

    #[test]
    fn every_news_has_its_number() {
        for news in PeerNews::ALL {
            assert_eq!(PeerNews::from_code(news.code()), Some(news));
        }
        assert_eq!((PeerNews::from_code(0), PeerNews::from_code(11)), (None, None));
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
