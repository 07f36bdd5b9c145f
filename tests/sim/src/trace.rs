//! The trace of a run: a hash over everything that happens, always; lines for people, when asked for.

use std::collections::VecDeque;

use crate::clock::Instant;

/// Lines kept for the report of a failure.
const LINES_MAX: usize = 120;

/// What happened so far.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    mode: Mode,
    lines: VecDeque<String>,
}

/// What becomes of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// They are not even formatted; the hash is kept all the same.
    #[default]
    Off,
    /// The last ones are kept.
    Tail,
    /// All are printed on standard output as they happen.
    Print,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, mode, lines: VecDeque::new() }
    }

    /// Adds numbers to the hash.
    pub fn mix(&mut self, words: &[u64]) {
        for word in words {
            self.hash = mix(self.hash, *word);
        }
    }

    /// Adds bytes to the hash.
    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        self.hash = hash_bytes(self.hash, bytes);
    }

    /// A line for people, about `node` or about the run. Not part of the hash.
    pub fn line(&mut self, now: Instant, node: Option<u32>, text: impl FnOnce() -> String) {
        if self.mode == Mode::Off {
            return;
        }
        let who = node.map_or_else(|| "      ".to_owned(), |n| format!("n{n:<5}"));
        let line = format!("{:>14.6} ms {who} {}", now as f64 / 1e6, text());
        if self.mode == Mode::Print {
            println!("{line}");
        } else {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }

    /// The hash over everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    let x = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

/// A hash of `bytes` that starts from `hash`. For equality, not against forgers.
#[must_use]
pub fn hash_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(hash, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    for byte in rest {
        hash = mix(hash, u64::from(*byte));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        let one = hash_bytes(0, b"abcdefghij");
        for i in 0..10 {
            let mut other = *b"abcdefghij";
            other[i] ^= 1;
            assert_ne!(one, hash_bytes(0, &other));
        }
        assert_ne!(hash_bytes(0, &[0; 3]), hash_bytes(0, &[0; 4]));
    }
}
