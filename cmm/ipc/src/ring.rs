//! One ring: two mapped files, one producer, one consumer, in libqb's layout.
//!
//! The data file is a circular array of 32-bit words. A chunk is a length, a state word and the payload, padded to a
//! word. A semaphore in the header file counts chunks that are committed and not yet taken. Our own position, the size
//! and the mappings are kept in private memory: what the other side writes into the header can mislead nobody but
//! itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_sys::shm::{Semaphore, SharedMap};

/// The other side broke the rules of the ring, or truncated its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ring is broken: {0}")]
pub struct Broken(pub &'static str);

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Ring {
    header: SharedMap,
    data: SharedMap,
    words: usize,
    /// Our position in words: where the consumer takes, or the producer puts, next.
    at: usize,
}

impl Ring {
    /// Makes both files of a ring for messages of up to `message_max` bytes. The files come back to be given to their
    /// owner.
    pub(crate) fn create(base: &Path, message_max: u32) -> io::Result<(Self, [File; 2])> {
        let (header_path, data_path) = paths(base);
        let size = data_size(message_max);
        let (header, header_file) = SharedMap::create(&header_path, HEADER_SIZE)?;
        let (data, data_file) = SharedMap::create(&data_path, size)?;
        for (offset, path) in [(HEADER_PATH, &header_path), (DATA_PATH, &data_path)] {
            let bytes = path.as_os_str().as_bytes();
            if bytes.len() >= PATH_FIELD {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            header.write(offset, bytes);
        }
        let words = size / 4;
        header.atomic_u32(WORD_SIZE).store(u32::try_from(words).expect("at most 1 MiB"), Ordering::Relaxed);
        header.semaphore(SEMAPHORE).init(0);
        header.atomic_u32(REF_COUNT).store(1, Ordering::Release);
        Ok((Self { header, data, words, at: 0 }, [header_file, data_file]))
    }

    /// Opens a ring that the server made, and says so in its header. Only the request ring has a flow-control word.
    pub(crate) fn attach(base: &Path, with_flow_control: bool) -> io::Result<Self> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let size = if with_flow_control { HEADER_SIZE } else { HEADER_SIZE_SHORT };
        let header = SharedMap::open(&paths(base).0, size)?;
        let mut path = vec![0; PATH_FIELD];
        header.read(DATA_PATH, &mut path);
        let len =
            path.iter().position(|b| *b == 0).ok_or_else(|| invalid("ring header without a data path"))?;
        path.truncate(len);
        let words = header.atomic_u32(WORD_SIZE).load(Ordering::Acquire) as usize;
        if !(RING_WORDS_MIN..=RING_WORDS_MAX).contains(&words) {
            return Err(invalid("ring header with an impossible size"));
        }
        let data = SharedMap::open(&PathBuf::from(std::ffi::OsString::from_vec(path)), words * 4)?;
        header.atomic_u32(REF_COUNT).fetch_add(1, Ordering::AcqRel);
        Ok(Self { header, data, words, at: 0 })
    }

    /// 1: made; 2: the client has attached.
    pub(crate) fn ref_count(&self) -> u32 {
        self.header.atomic_u32(REF_COUNT).load(Ordering::Acquire)
    }

    /// Tells the client to hold back: 0 go, 1 stop everything, 2 stop multicasts only. Request ring only.
    pub(crate) fn set_flow_control(&self, value: u32) {
        self.header.atomic_u32(FLOW_CONTROL).store(value, Ordering::Release);
    }

    /// What the server says there.
    pub(crate) fn flow_control(&self) -> u32 {
        self.header.atomic_u32(FLOW_CONTROL).load(Ordering::Acquire)
    }

    /// Puts a chunk made of `parts` one behind the other, and counts it. False: no room now.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> Result<bool, Broken> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.free() < len + MARGIN {
            return self.unless_faulted(false);
        }
        let (head, state) = (self.at, self.word(1));
        self.data.atomic_u32(head * 4).store(0, Ordering::Relaxed);
        self.data.atomic_u32(state * 4).store(STATE_WRITING, Ordering::Release);
        let mut byte = self.word(2) * 4;
        for part in parts {
            byte = self.copy_in(byte, part);
        }
        let len = u32::try_from(len).map_err(|_| Broken("message too long"))?;
        self.data.atomic_u32(head * 4).store(len, Ordering::Relaxed);
        self.at = self.word(2 + (len as usize).div_ceil(4));
        self.header.atomic_u32(WRITE_POSITION).store(self.position(), Ordering::Release);
        self.data.atomic_u32(state * 4).store(STATE_COMMITTED, Ordering::Release);
        self.semaphore().post();
        self.unless_faulted(true)
    }

    /// Takes the next chunk into `out`, which it replaces. False: there is none.
    pub(crate) fn pop(&mut self, out: &mut Vec<u8>, max: usize) -> Result<bool, Broken> {
        if self.semaphore().try_wait() {
            self.take(out, max).map(|()| true)
        } else {
            self.unless_faulted(false)
        }
    }

    /// As [`Ring::pop`], but waits for a chunk up to `limit`.
    pub(crate) fn pop_wait(
        &mut self,
        out: &mut Vec<u8>,
        max: usize,
        limit: Duration,
    ) -> Result<bool, Broken> {
        match self.semaphore().wait(limit) {
            Ok(true) => self.take(out, max).map(|()| true),
            Ok(false) => Ok(false),
            Err(_) => Err(Broken("semaphore cannot be waited for")),
        }
    }

    fn take(&mut self, out: &mut Vec<u8>, max: usize) -> Result<(), Broken> {
        let state = self.data.atomic_u32(self.word(1) * 4);
        if state.load(Ordering::Acquire) != STATE_COMMITTED {
            return Err(Broken("counted chunk is not committed"));
        }
        let len = self.data.atomic_u32(self.at * 4).load(Ordering::Relaxed) as usize;
        if len > max || len > self.words * 4 - MARGIN {
            return Err(Broken("chunk is longer than a message may be"));
        }
        out.resize(len, 0);
        let start = self.word(2) * 4;
        let (first, second) = out.split_at_mut(len.min(self.words * 4 - start));
        self.data.read(start, first);
        self.data.read(0, second);
        self.data.atomic_u32(self.at * 4).store(0, Ordering::Relaxed);
        state.store(STATE_CONSUMED, Ordering::Release);
        self.at = self.word(2 + len.div_ceil(4));
        self.header.atomic_u32(READ_POSITION).store(self.position(), Ordering::Release);
        self.unless_faulted(())
    }

    /// Free bytes as the producer sees them.
    fn free(&self) -> usize {
        let read = self.header.atomic_u32(READ_POSITION).load(Ordering::Acquire) as usize % self.words;
        let free = match self.at.cmp(&read) {
            std::cmp::Ordering::Greater => read + self.words - self.at - 1,
            std::cmp::Ordering::Less => read - self.at - 1,
            std::cmp::Ordering::Equal if self.semaphore().value() > 0 => 0,
            std::cmp::Ordering::Equal => self.words,
        };
        free * 4
    }

    /// Copies in two pieces where the array ends; returns the byte offset behind.
    fn copy_in(&self, at: usize, bytes: &[u8]) -> usize {
        let size = self.words * 4;
        let (first, second) = bytes.split_at(bytes.len().min(size - at));
        self.data.write(at, first);
        self.data.write(0, second);
        (at + bytes.len()) % size
    }

    fn word(&self, ahead: usize) -> usize {
        (self.at + ahead) % self.words
    }

    fn position(&self) -> u32 {
        u32::try_from(self.at).expect("rings are small")
    }

    fn semaphore(&self) -> Semaphore<'_> {
        self.header.semaphore(SEMAPHORE)
    }

    fn unless_faulted<T>(&self, value: T) -> Result<T, Broken> {
        if self.header.faulted() || self.data.faulted() {
            Err(Broken("ring file was truncated"))
        } else {
            Ok(value)
        }
    }
}

/// Header and data file of a ring.
pub(crate) fn paths(base: &Path) -> (PathBuf, PathBuf) {
    let with = |suffix: &str| {
        let mut path = base.as_os_str().to_owned();
        path.push(OsStr::new(suffix));
        PathBuf::from(path)
    };
    (with("-header"), with("-data"))
}

/// Bytes of the data file. The client resizes a file of any other size under our mapping.
fn data_size(message_max: u32) -> usize {
    (message_max as usize + 13).next_multiple_of(4_096)
}

const HEADER_SIZE: usize = 8_252;
/// Without the flow-control word: what libqb's client cuts the response and event headers to.
const HEADER_SIZE_SHORT: usize = 8_248;
const WRITE_POSITION: usize = 0;
const READ_POSITION: usize = 4;
const WORD_SIZE: usize = 8;
const HEADER_PATH: usize = 12;
const DATA_PATH: usize = 4_108;
const PATH_FIELD: usize = 4_096;
const REF_COUNT: usize = 8_204;
const SEMAPHORE: usize = 8_208;
const FLOW_CONTROL: usize = 8_240;
/// Length, state, and the word that tells full from empty.
const MARGIN: usize = 12;
const STATE_COMMITTED: u32 = 0xA1A1_A1A1;
const STATE_WRITING: u32 = 0xA110_CED0;
const STATE_CONSUMED: u32 = 0xD0D0_D0D0;
/// One page.
const RING_WORDS_MIN: usize = 1_024;
/// 64 MiB: far above what any server grants.
const RING_WORDS_MAX: usize = 16 * 1_048_576;
const _: () = assert!(DATA_PATH + PATH_FIELD == REF_COUNT && SEMAPHORE + 32 == FLOW_CONTROL);

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("holdfast-ring-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir(&dir).expect("scratch dir");
            Self(dir)
        }
        fn pair(&self, max: u32) -> (Ring, Ring) {
            let base = self.0.join("ring");
            let (producer, _) = Ring::create(&base, max).expect("create");
            let consumer = Ring::attach(&base, true).expect("attach");
            assert_eq!(producer.ref_count(), 2);
            (producer, consumer)
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn sizes_are_those_of_libqb() {
        assert_eq!(data_size(1_048_576), 1_052_672);
        assert_eq!(data_size(1_048_576) / 4, 263_168);
        assert_eq!(data_size(65_536), 69_632);
    }

    #[test]
    fn chunks_of_all_sizes_pass_in_order_around_the_end() {
        let scratch = Scratch::new("wrap");
        let (mut producer, mut consumer) = scratch.pair(4_096);
        let mut out = Vec::new();
        let message = |n: usize| (0..n).map(|k| (k * 7 + n) as u8).collect::<Vec<_>>();
        for round in 0..3_000_usize {
            let (a, b) = (round * 37 % 4_000, round * 11 % 1_500);
            for n in [a, b] {
                let bytes = message(n);
                let (head, tail) = bytes.split_at(n / 3);
                assert!(producer.push(&[head, tail]).expect("push"), "room in round {round}");
            }
            for n in [a, b] {
                assert!(consumer.pop(&mut out, 4_096).expect("pop"));
                assert_eq!(out, message(n), "round {round}");
            }
            assert!(!consumer.pop(&mut out, 4_096).expect("pop"));
        }
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_after_a_pop() {
        let scratch = Scratch::new("full");
        let (mut producer, mut consumer) = scratch.pair(4_096);
        let mut out = Vec::new();
        let mut put = 0_u32;
        while producer.push(&[&[9; 1_000]]).expect("push") {
            put += 1;
        }
        assert_eq!(put, 8, "8192 bytes hold eight chunks of 1008");
        assert!(consumer.pop(&mut out, 4_096).expect("pop"));
        assert!(producer.push(&[&[9; 1_000]]).expect("push"));
        for _ in 0..put {
            assert!(consumer.pop(&mut out, 4_096).expect("pop"));
        }
        assert!(!consumer.pop(&mut out, 4_096).expect("pop"));
    }

    #[test]
    fn scribbled_positions_and_lengths_are_caught() {
        let scratch = Scratch::new("hostile");
        let (mut producer, mut consumer) = scratch.pair(4_096);
        let mut out = Vec::new();
        // A count without a chunk.
        producer.semaphore().post();
        assert!(consumer.pop(&mut out, 4_096).is_err());
        // A chunk that claims to be larger than the ring.
        assert!(producer.push(&[b"hello"]).expect("push"));
        producer.data.atomic_u32(0).store(u32::MAX, Ordering::Release);
        assert!(consumer.pop(&mut out, usize::MAX).is_err());
        // Positions beyond the end are reduced; no access leaves the mapping.
        for position in [u32::MAX, 2_048, 2_047, 1 << 31] {
            producer.header.atomic_u32(READ_POSITION).store(position, Ordering::Release);
            producer.header.atomic_u32(WRITE_POSITION).store(position, Ordering::Release);
            producer.header.atomic_u32(WORD_SIZE).store(position, Ordering::Release);
            let _ = producer.push(&[&[1; 3_000]]);
            let _ = consumer.pop(&mut out, 4_096);
        }
    }
}
