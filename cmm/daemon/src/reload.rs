//! Reading the configuration again while the node runs: on a thread of its own, since files and names may be slow.
//!
//! Every member does it when one is asked to. Links, their addresses and priorities, and the key file are taken over; all else
//! waits for the next start, and is named. A file with an error is refused, on that node only.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use cmm_conf::{Config, ConfigKey, Severity};
use cmm_proto::wire::Fingerprint;
use crossbeam_queue::ArrayQueue;
use holdfast_types::LinkSet;

use crate::keys::KeyPlace;
use crate::startup;

/// What was read.
pub(crate) struct Reread {
    pub(crate) config: Config,
    /// Of the key that a start would take now.
    pub(crate) key: Fingerprint,
}

/// What was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// All links.
    pub(crate) links: LinkSet,
    /// Settings that have changed and are not in force.
    pub(crate) waiting: Vec<String>,
}

/// The loop's end of the thread that reads the configuration.
pub(crate) struct Reloader {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    asked: AtomicBool,
    read: ArrayQueue<Result<Box<Reread>, String>>,
}

impl Reloader {
    /// Starts the thread; `waker` wakes the loop when the file was read.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(path: PathBuf, waker: Arc<mio::Waker>) -> io::Result<Self> {
        let shared = Arc::new(Shared { asked: AtomicBool::new(false), read: ArrayQueue::new(1) });
        let theirs = Arc::clone(&shared);
        let run = move || {
            loop {
                while !theirs.asked.swap(false, Ordering::AcqRel) {
                    thread::park();
                }
                theirs.read.force_push(read(&path));
                // The loop lives as long as this thread; if its poll is gone, so is the process.
                let _ = waker.wake();
            }
        };
        let handle = thread::Builder::new().name("reload".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Has the configuration read.
    pub(crate) fn ask(&self) {
        self.shared.asked.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// What was read, if anything was.
    pub(crate) fn done(&self) -> Option<Result<Box<Reread>, String>> {
        self.shared.read.pop()
    }
}

/// Stricter than a start: an error refuses it, for there is something that works.
fn read(path: &std::path::Path) -> Result<Box<Reread>, String> {
    let (config, found) = startup::read_config(path).map_err(|e| e.text)?;
    if let Some(wrong) = found.iter().find(|d| d.severity >= Severity::Error) {
        return Err(found.line(wrong));
    }
    let config = config.ok_or_else(|| "the file cannot be run".to_owned())?;
    let key = KeyPlace::of(&config, path).find()?.key.fingerprint();
    Ok(Box::new(Reread { config, key }))
}

/// Brings those of the keys in force up to date that are taken over; gives the names of the others that differ.
pub(crate) fn take_keys(in_force: &mut Vec<ConfigKey>, new: &[ConfigKey]) -> Vec<String> {
    let taken = |name: &str| {
        TAKEN.iter().any(|prefix| name.starts_with(prefix))
            || name.starts_with("nodelist.") && name.ends_with("_addr")
    };
    let differs =
        |k: &&ConfigKey, from: &[ConfigKey]| !from.iter().any(|o| o.name == k.name && o.value == k.value);
    let changed =
        new.iter().filter(|k| differs(k, in_force)).chain(in_force.iter().filter(|k| differs(k, new)));
    // What is derived says nothing that the settings do not.
    let derived = |name: &str| DERIVED.iter().any(|prefix| name.starts_with(prefix));
    let names = changed.map(|k| &k.name).filter(|name| !taken(name) && !derived(name));
    let mut waiting: Vec<String> = names.cloned().collect();
    waiting.sort();
    waiting.dedup();
    in_force.retain(|k| !taken(&k.name));
    in_force.extend(new.iter().filter(|k| taken(&k.name)).cloned());
    waiting
}

/// What is made of other settings.
const DERIVED: [&str; 2] = ["runtime.", "holdfast.timing."];
/// What is in force as soon as it was read.
const TAKEN: [&str; 5] =
    ["totem.interface.", "totem.link_mode", "totem.netmtu", "totem.knet_mtu", "totem.knet_pmtud_interval"];
const STACK_BYTES: usize = 512 * 1_024;

#[cfg(test)]
mod tests {
    use cmm_conf::KeyValue;

    use super::*;

    fn keys(of: &[(&str, u32)]) -> Vec<ConfigKey> {
        let key = |(name, n): &(&str, u32)| ConfigKey {
            name: (*name).into(),
            value: KeyValue::U32(*n),
            read_only: true,
        };
        of.iter().map(key).collect()
    }

    #[test]
    fn what_is_not_taken_over_is_named_each_time_until_it_is() {
        let mut in_force = keys(&[
            ("totem.token", 1),
            ("totem.netmtu", 1),
            ("nodelist.node.0.ring0_addr", 1),
            ("logging.x", 1),
        ]);
        let new = keys(&[
            ("totem.token", 2),
            ("totem.netmtu", 2),
            ("nodelist.node.0.ring1_addr", 2),
            ("quorum.y", 1),
            ("runtime.config.z", 1),
        ]);
        for _ in 0..2 {
            assert_eq!(take_keys(&mut in_force, &new), ["logging.x", "quorum.y", "totem.token"]);
        }
        assert!(in_force.contains(&new[1]) && in_force.contains(&new[2]) && !in_force.contains(&new[0]));
        let old = keys(&[("totem.token", 1), ("logging.x", 1), ("totem.netmtu", 5)]);
        assert_eq!(take_keys(&mut in_force, &old), [""; 0], "it was put back");
    }
}
