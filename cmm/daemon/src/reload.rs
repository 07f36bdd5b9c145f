//! Reading the configuration again while the node runs: on a thread of its own, since files and names may be slow.
//!
//! Every member does it when one is asked to. Links, their addresses and priorities, the key file, logging and local users are taken
//! over as soon as they were read; timers, limits and the options of votequorum when all members have read theirs (`cmm_proto`,
//! `node/reread.rs`); nodes, votes and the quorum device when all members of a quorate partition have read the same (`node/table.rs` there); all else
//! waits for the next start, and is named. A file with an error is refused, on that node only.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use cmm_conf::{Config, ConfigKey, Severity};
use cmm_proto::SettingsTaken;
use cmm_proto::wire::Fingerprint;
use crossbeam_queue::ArrayQueue;
use holdfast_types::{Incarnation, LinkSet};

use crate::device::Device;
use crate::keys::KeyPlace;
use crate::log::Log;
use crate::startup;

/// What was read.
pub(crate) struct Reread {
    pub(crate) config: Config,
    /// Of the key that a start would take now.
    pub(crate) key: Fingerprint,
    /// What is to be said about local users and groups.
    pub(crate) warnings: Vec<String>,
    /// The quorum device, where this is the first configuration that has one.
    pub(crate) device: Option<Device>,
}

/// What the thread starts a quorum device with.
pub(crate) struct Starter {
    pub(crate) life: Incarnation,
    /// Wakes the loop.
    pub(crate) waker: Arc<mio::Waker>,
    pub(crate) log: Log,
    /// One was started already.
    pub(crate) started: bool,
}

/// What was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// All links.
    pub(crate) links: LinkSet,
    /// Settings that have changed and are in force.
    pub(crate) taken: Vec<String>,
    /// Settings that have changed and are not in force.
    pub(crate) waiting: Vec<String>,
    /// How it went elsewhere.
    pub(crate) settings: SettingsTaken,
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
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(path: PathBuf, mut starter: Starter) -> io::Result<Self> {
        let shared = Arc::new(Shared { asked: AtomicBool::new(false), read: ArrayQueue::new(1) });
        let theirs = Arc::clone(&shared);
        let run = move || {
            loop {
                while !theirs.asked.swap(false, Ordering::AcqRel) {
                    thread::park();
                }
                theirs.read.force_push(read(&path, &mut starter));
                // The loop lives as long as this thread; if its poll is gone, so is the process.
                let _ = starter.waker.wake();
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
fn read(path: &std::path::Path, starter: &mut Starter) -> Result<Box<Reread>, String> {
    let (config, found) = startup::read_config(path).map_err(|e| e.text)?;
    if let Some(wrong) = found.iter().find(|d| d.severity >= Severity::Error) {
        return Err(found.line(wrong));
    }
    let mut config = config.ok_or_else(|| "the file cannot be run".to_owned())?;
    let key = KeyPlace::of(&config, path).find()?.key.fingerprint();
    let mut warnings = Vec::new();
    config.keys.extend(startup::ipc_access(&config, path, &mut warnings));
    let device = match &config.quorum.device {
        Some(_) if !starter.started => {
            let device = Device::start(&config, starter.life, &starter.waker, &starter.log);
            Some(device.map_err(|e| e.to_string())?)
        }
        _ => None,
    };
    starter.started |= device.is_some();
    Ok(Box::new(Reread { config, key, warnings, device }))
}

/// What a reload changes of the keys of the configuration.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Keys that are taken over and new, or have another value.
    pub(crate) set: Vec<ConfigKey>,
    /// Keys that are taken over by being gone.
    pub(crate) gone: Vec<String>,
    /// Names of the others that differ.
    pub(crate) waiting: Vec<String>,
}

impl Changes {
    /// What was changed by an operator's hand, and is in force: not what follows from it.
    pub(crate) fn taken(&self) -> Vec<String> {
        let names = self.set.iter().map(|k| &k.name).chain(&self.gone);
        let mut names: Vec<String> = names.filter(|name| !is_under(name, &DERIVED)).cloned().collect();
        names.sort();
        names
    }
}

/// Brings those of the keys in force up to date that are taken over.
pub(crate) fn take_keys(in_force: &mut Vec<ConfigKey>, new: &[ConfigKey]) -> Changes {
    let is_in =
        |k: &ConfigKey, list: &[ConfigKey]| list.iter().any(|o| o.name == k.name && o.value == k.value);
    let added: Vec<&ConfigKey> = new.iter().filter(|k| !is_in(k, in_force)).collect();
    let missing = in_force.iter().filter(|k| !new.iter().any(|n| n.name == k.name));
    let (gone, lost): (Vec<String>, Vec<String>) =
        missing.map(|k| k.name.clone()).partition(|name| is_taken(name));
    let (set, other): (Vec<&ConfigKey>, Vec<&ConfigKey>) = added.into_iter().partition(|k| is_taken(&k.name));
    let mut waiting: Vec<String> = other.into_iter().map(|k| k.name.clone()).chain(lost).collect();
    waiting.sort();
    let changes = Changes { set: set.into_iter().cloned().collect(), gone, waiting };
    in_force.retain(|k| !is_taken(&k.name));
    in_force.extend(new.iter().filter(|k| is_taken(&k.name)).cloned());
    changes
}

fn is_under(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn is_taken(name: &str) -> bool {
    is_under(name, &TAKEN)
        || is_under(name, &DERIVED)
        || name.strip_prefix("totem.").is_some_and(|key| TIMERS.contains(&key))
        || name == "quorum.expected_votes"
}

/// What is made of other settings.
const DERIVED: [&str; 2] = ["runtime.config.", "holdfast.timing."];
/// What is in force as soon as it was read.
const TAKEN: [&str; 14] = [
    "logging.",
    "nodelist.",
    "totem.interface.",
    "totem.link_mode",
    "totem.netmtu",
    "totem.knet_mtu",
    "totem.knet_pmtud_interval",
    "uidgid.config.",
    "quorum.device.",
    "quorum.two_node",
    "quorum.wait_for_all",
    "quorum.auto_tie_breaker",
    "quorum.last_man_standing",
    "quorum.allow_downscale",
];
/// Timers and limits of `totem`, also those of corosync that mean nothing here.
const TIMERS: [&str; 26] = [
    "token",
    "token_coefficient",
    "token_warning",
    "token_retransmit",
    "token_retransmits_before_loss_const",
    "hold",
    "join",
    "send_join",
    "consensus",
    "merge",
    "downcheck",
    "fail_recv_const",
    "seqno_unchanged_const",
    "heartbeat_failures_allowed",
    "max_network_delay",
    "window_size",
    "max_messages",
    "miss_count_const",
    "cancel_token_hold_on_retransmit",
    "heartbeat_interval",
    "heartbeat_limit",
    "heartbeat_limit_max",
    "lease",
    "lease_margin",
    "step_limit",
    "config_version",
];
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
            ("totem.transport", 1),
            ("totem.netmtu", 1),
            ("totem.token", 1),
            ("nodelist.node.0.ring0_addr", 1),
            ("logging.x", 1),
            ("runtime.config.totem.token", 1),
            ("totem.consensus", 1),
        ]);
        let new = keys(&[
            ("totem.transport", 2),
            ("totem.netmtu", 2),
            ("totem.token", 1),
            ("nodelist.node.0.ring1_addr", 2),
            ("quorum.y", 1),
            ("runtime.config.totem.token", 2),
            ("totem.consensus", 2),
        ]);
        let changes = take_keys(&mut in_force, &new);
        let taken = [
            "logging.x",
            "nodelist.node.0.ring0_addr",
            "nodelist.node.0.ring1_addr",
            "totem.consensus",
            "totem.netmtu",
        ];
        assert_eq!(changes.taken(), taken);
        assert_eq!(changes.gone, ["nodelist.node.0.ring0_addr", "logging.x"]);
        assert!(changes.set.contains(&new[5]), "what follows from others is set, though it is not named");
        assert_eq!(changes.waiting, ["quorum.y", "totem.transport"]);
        let again = take_keys(&mut in_force, &new);
        assert_eq!(again, Changes { waiting: changes.waiting, ..Changes::default() });
        assert!(in_force.contains(&new[1]) && in_force.contains(&new[3]) && !in_force.contains(&new[0]));
        let old = keys(&[("totem.transport", 1), ("totem.netmtu", 5)]);
        assert_eq!(take_keys(&mut in_force, &old).waiting, [""; 0], "it was put back");
    }
}
