//! A map of typed values under sorted keys, with what is read-only, and who is told of changes.

use std::collections::BTreeMap;
use std::ops::Bound;

use cmm_ipc::CsError;
use cmm_ipc::abi::cmap::{CLIENT_HANDLE, Event, Value, track};
use holdfast_types::{Boottime, ConnId};

use super::peers::Peers;

/// One map.
#[derive(Default)]
pub(super) struct Store {
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    trackers: BTreeMap<u64, Tracker>,
}

struct Entry {
    value: Value,
    read_only: bool,
}

/// Somebody who wants to know.
pub(super) struct Tracker {
    pub(super) conn: ConnId,
    /// A key, or with the prefix flag what keys begin with.
    pub(super) key: Vec<u8>,
    pub(super) what: i32,
    pub(super) client_handle: u64,
}

impl Store {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The first key after `after` (or the very first) that begins with `prefix`.
    pub(super) fn next(&self, prefix: &[u8], after: Option<&str>) -> Option<(&str, &Value)> {
        let start = match (after, std::str::from_utf8(prefix)) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Ok(prefix)) => Bound::Included(prefix),
            (None, Err(_)) => return None,
        };
        let (key, entry) = self.entries.range::<str, _>((start, Bound::Unbounded)).next()?;
        key.as_bytes().starts_with(prefix).then_some((key.as_str(), &entry.value))
    }

    /// Sets a key for a client: what is read-only stays, and what is full takes nothing new.
    pub(super) fn set_for_client(
        &mut self,
        key: &str,
        value: Value,
        peers: &mut Peers,
        now: Boottime,
    ) -> Result<(), CsError> {
        let old = self.entries.get(key);
        if is_read_only(key) || old.is_some_and(|entry| entry.read_only) {
            return Err(CsError::Access);
        }
        let grows = value.bytes().len().saturating_sub(old.map_or(0, |entry| entry.value.bytes().len()));
        if old.is_none() && self.entries.len() >= KEYS_MAX || self.bytes + grows > BYTES_MAX {
            return Err(CsError::NoSpace);
        }
        self.put(key, value, false, peers, now);
        Ok(())
    }

    /// Sets a key of the daemon itself, which clients may not change.
    pub(super) fn set_own(&mut self, key: &str, value: Value, peers: &mut Peers, now: Boottime) {
        self.put(key, value, true, peers, now);
    }

    /// Sets a key of the configuration, also one that clients may change.
    pub(super) fn set_of_file(
        &mut self,
        key: &str,
        value: Value,
        read_only: bool,
        peers: &mut Peers,
        now: Boottime,
    ) {
        self.put(key, value, read_only, peers, now);
    }

    /// Puts a key in that nobody is told of: of the configuration, before there are clients, or a counter.
    pub(super) fn load(&mut self, key: String, value: Value, read_only: bool) {
        self.bytes += value.bytes().len();
        if let Some(old) = self.entries.insert(key, Entry { value, read_only }) {
            self.bytes -= old.value.bytes().len();
        }
    }

    pub(super) fn delete_for_client(
        &mut self,
        key: &str,
        peers: &mut Peers,
        now: Boottime,
    ) -> Result<(), CsError> {
        match self.entries.get(key) {
            None => Err(CsError::NotExist),
            Some(entry) if entry.read_only || is_read_only(key) => Err(CsError::Access),
            Some(_) => {
                self.delete_own(key, peers, now);
                Ok(())
            }
        }
    }

    pub(super) fn delete_own(&mut self, key: &str, peers: &mut Peers, now: Boottime) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.value.bytes().len();
            self.tell(key, track::DELETE, None, Some(&entry.value), peers, now);
        }
    }

    /// Deletes what begins with `prefix` and is not in `keep`.
    pub(super) fn retain_under(
        &mut self,
        prefix: &str,
        keep: impl Fn(&str) -> bool,
        peers: &mut Peers,
        now: Boottime,
    ) {
        let range = self.entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let under = range.map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
        let gone: Vec<String> = under.filter(|key| !keep(key)).cloned().collect();
        for key in gone {
            self.delete_own(&key, peers, now);
        }
    }

    pub(super) fn track(&mut self, handle: u64, tracker: Tracker) {
        self.trackers.insert(handle, tracker);
    }

    /// Stops a tracker of this connection; gives the client's own handle back.
    pub(super) fn untrack(&mut self, conn: ConnId, handle: u64) -> Option<u64> {
        self.trackers.get(&handle).filter(|t| t.conn == conn)?;
        self.trackers.remove(&handle).map(|t| t.client_handle)
    }

    pub(super) fn untrack_all(&mut self, conn: ConnId) {
        self.trackers.retain(|_, t| t.conn != conn);
    }

    /// Trackers of this connection, and of all.
    pub(super) fn trackers(&self, conn: ConnId) -> (usize, usize) {
        (self.trackers.values().filter(|t| t.conn == conn).count(), self.trackers.len())
    }

    pub(super) fn is_tracked(&self) -> bool {
        !self.trackers.is_empty()
    }

    fn put(&mut self, key: &str, value: Value, read_only: bool, peers: &mut Peers, now: Boottime) {
        let (what, old) = match self.entries.get_mut(key) {
            Some(entry) if entry.value == value => return,
            Some(entry) => {
                self.bytes = self.bytes - entry.value.bytes().len() + value.bytes().len();
                (track::MODIFY, Some(std::mem::replace(&mut entry.value, value.clone())))
            }
            None => {
                self.load(key.to_owned(), value.clone(), read_only);
                (track::ADD, None)
            }
        };
        self.tell(key, what, Some(&value), old.as_ref(), peers, now);
    }

    /// To all trackers that asked for it, the connection that made the change included.
    fn tell(
        &self,
        key: &str,
        what: i32,
        new: Option<&Value>,
        old: Option<&Value>,
        peers: &mut Peers,
        now: Boottime,
    ) {
        let mut message = Vec::new();
        for tracker in self.trackers.values().filter(|t| t.what & what != 0 && t.covers(key)) {
            // One message for all of them: it can be large, and they can be many.
            if message.is_empty() {
                let (new, old) = (new.cloned(), old.cloned());
                let event = Event { client_handle: 0, key: key.to_owned(), what, new, old };
                // Keys in the map are at most as long as a key may be.
                let Ok(encoded) = event.encode() else { return };
                message = encoded;
            }
            let (head, tail) = message.split_at(CLIENT_HANDLE);
            let handle = tracker.client_handle.to_ne_bytes();
            peers.send_event(tracker.conn, &[head, &handle, &tail[handle.len()..]], now);
        }
    }
}

impl Tracker {
    fn covers(&self, key: &str) -> bool {
        if self.what & track::PREFIX != 0 {
            key.as_bytes().starts_with(&self.key)
        } else {
            key.as_bytes() == self.key
        }
    }
}

/// corosync's rules of what clients may not set, whether it is there or not.
fn is_read_only(key: &str) -> bool {
    const PREFIXES: [&str; 7] = [
        "internal_configuration.",
        "runtime.services.",
        "runtime.config.",
        "runtime.totem.",
        "uidgid.config.",
        "system.",
        "nodelist.",
    ];
    const KEYS: [&str; 17] = [
        "totem.crypto_cipher",
        "totem.crypto_hash",
        "totem.crypto_model",
        "totem.keyfile",
        "totem.key",
        "totem.secauth",
        "totem.ip_version",
        "totem.rrp_mode",
        "totem.transport",
        "totem.cluster_name",
        "totem.netmtu",
        "totem.threads",
        "totem.version",
        "totem.nodeid",
        "totem.clear_node_high_bit",
        "config.reload_in_progress",
        "config.totemconfig_reload_in_progress",
    ];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || KEYS.contains(&key)
}

/// Keys in one map.
const KEYS_MAX: usize = 65_536;
/// Bytes of values in one map.
const BYTES_MAX: usize = 16 * 1_048_576;

#[cfg(test)]
mod tests {
    use super::*;

    fn store(keys: &[&str]) -> (Store, Peers, Boottime) {
        let mut store = Store::default();
        for key in keys {
            store.load((*key).to_owned(), Value::u8(1), false);
        }
        (store, Peers::default(), Boottime::default())
    }

    fn all(store: &Store, prefix: &[u8]) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        while let Some((key, _)) = store.next(prefix, keys.last().map(String::as_str)) {
            keys.push(key.to_owned());
        }
        keys
    }

    #[test]
    fn iteration_is_sorted_by_bytes_and_ends_with_its_prefix() {
        let (store, ..) = store(&["b.x", "a.10", "a.2", "a", "a.b", "a-b", "c"]);
        assert_eq!(all(&store, b"a."), ["a.10", "a.2", "a.b"]);
        assert_eq!(all(&store, b""), ["a", "a-b", "a.10", "a.2", "a.b", "b.x", "c"]);
        assert_eq!(all(&store, b"zzz"), [""; 0]);
        assert_eq!(all(&store, &[0xff, 0xfe]), [""; 0], "no key is like that");
    }

    #[test]
    fn iteration_goes_on_behind_a_key_that_is_gone() {
        let (mut store, mut peers, now) = store(&["a.1", "a.2", "a.3"]);
        store.delete_own("a.1", &mut peers, now);
        store.delete_own("a.2", &mut peers, now);
        assert_eq!(store.next(b"a.", Some("a.1")).map(|(key, _)| key), Some("a.3"));
    }

    #[test]
    fn clients_change_what_is_theirs_and_nothing_else() {
        let (mut store, mut peers, now) = store(&["mine.one"]);
        store.set_own("own.key", Value::u8(1), &mut peers, now);
        let mut set = |key: &str| store.set_for_client(key, Value::u8(2), &mut peers, now);
        assert_eq!(set("mine.one"), Ok(()));
        assert_eq!(set("mine.two"), Ok(()));
        for key in
            ["own.key", "nodelist.node.9.nodeid", "totem.cluster_name", "runtime.services.x", "system.x"]
        {
            assert_eq!(set(key), Err(CsError::Access), "{key}");
        }
        assert_eq!(store.delete_for_client("own.key", &mut peers, now), Err(CsError::Access));
        assert_eq!(store.delete_for_client("none", &mut peers, now), Err(CsError::NotExist));
        assert_eq!(store.delete_for_client("mine.one", &mut peers, now), Ok(()));
    }

    #[test]
    fn a_full_map_takes_nothing_new_but_changes() {
        let (mut store, mut peers, now) = store(&[]);
        let large = |fill| Value::new(cmm_ipc::abi::cmap::Kind::Binary, &[fill; 16_384]).expect("fits");
        let room = BYTES_MAX / 16_384;
        for k in 0..room {
            assert_eq!(store.set_for_client(&format!("big.{k}"), large(1), &mut peers, now), Ok(()));
        }
        assert_eq!(store.set_for_client("big.more", large(1), &mut peers, now), Err(CsError::NoSpace));
        assert_eq!(store.set_for_client("big.0", large(2), &mut peers, now), Ok(()));
        store.delete_own("big.1", &mut peers, now);
        assert_eq!(store.set_for_client("big.more", large(1), &mut peers, now), Ok(()));
    }
}
