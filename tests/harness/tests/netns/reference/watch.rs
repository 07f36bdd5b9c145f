//! Somebody who looks from outside whether two nodes ever have the same thing.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::Cluster;

use super::rig::{MOUNT, VIP};

/// Looks at all nodes, all the time, until it is dropped.
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// The processes whose mounts and addresses are those of the nodes, in their order; 0: it is off.
    inits: Mutex<Vec<u32>>,
    twice: Mutex<Vec<String>>,
    looks: AtomicUsize,
    over: AtomicBool,
}

impl Watch {
    /// Begins to look at the nodes that are on.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let inits = cluster.all().into_iter().map(|n| cluster.init(n).unwrap_or_default());
        let shared = Arc::new(Shared {
            inits: Mutex::new(inits.collect()),
            twice: Mutex::default(),
            looks: AtomicUsize::default(),
            over: AtomicBool::new(false),
        });
        let seen = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !seen.over.load(Ordering::Relaxed) {
                seen.look();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// A node has another life.
    pub(super) fn switched_on(&self, cluster: &Cluster, node: u32) {
        let mut inits = self.shared.inits.lock().unwrap_or_else(PoisonError::into_inner);
        inits[node as usize - 1] = cluster.init(node).unwrap_or_default();
    }

    /// What two nodes had at one moment, each time that it was seen.
    pub(super) fn twice(&self) -> Vec<String> {
        self.shared.twice.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it has looked.
    pub(super) fn looks(&self) -> usize {
        self.shared.looks.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn look(&self) {
        let inits = self.inits.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before: Vec<u8> = inits.iter().map(|init| has(*init)).collect();
        // Had before and after another one was looked at: had at that moment, too.
        let after: Vec<u8> = inits.iter().map(|init| has(*init)).collect();
        self.looks.fetch_add(1, Ordering::Relaxed);
        for second in 1..inits.len() {
            for first in 0..second {
                let both = before[first] & before[second] & after[first];
                if both != 0 {
                    let what = ["", "the file system", "the address", "the file system and the address"]
                        [both as usize];
                    let moment = std::time::SystemTime::now()
                        .duration_since(std::time::UNIX_EPOCH)
                        .unwrap_or_default()
                        .as_secs_f64();
                    self.twice.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
                        "{moment}: n{} and n{} both have {what}",
                        first + 1,
                        second + 1
                    ));
                }
            }
        }
    }
}

/// What the node of an init has: 1 the file system, 2 the address.
pub(super) fn has(init: u32) -> u8 {
    let proc = PathBuf::from(format!("/proc/{init}"));
    let read = |file: &str| fs::read_to_string(proc.join(file)).unwrap_or_default();
    let mounted = read("mountinfo").contains(&format!(" {MOUNT} "));
    let addressed = read("net/fib_trie").contains(&format!("-- {VIP}\n"));
    u8::from(mounted) | u8::from(addressed) << 1
}
