//! Who looks on while the reference configuration is struck: a client that writes rows through the service's address and knows which of them
//! were committed, and one who sees which machine has the file system mounted. Both see it from the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vm::Cluster;

/// A thread that does something again and again until this value is dropped.
struct Repeated {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Repeated {
    fn new(pause: Duration, mut act: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                act();
                std::thread::sleep(pause);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic is not ours
        }
    }
}

/// A client of the database.
pub(crate) struct Writer {
    address: &'static str,
    committed: Arc<Mutex<BTreeSet<u32>>>,
    _thread: Repeated,
}

impl Writer {
    /// Makes the table, and begins to write to it. To be called by the thread that made the cluster: only that one's threads see its network.
    pub(crate) fn new(cluster: &Cluster, address: &'static str) -> Self {
        // An emulated server may take longer than its client waits.
        cluster.wait_for("a table is made", || {
            let made = psql(address, "create table if not exists rows (n integer primary key)");
            made.status.success().then_some(())
        });
        let committed = Arc::new(Mutex::new(BTreeSet::new()));
        let (list, mut next) = (Arc::clone(&committed), 0);
        let thread = Repeated::new(Duration::from_millis(200), move || {
            // Each number once: whether one whose answer was lost was committed nobody knows.
            next += 1;
            if psql(address, &format!("insert into rows values ({next})")).status.success() {
                list.lock().unwrap_or_else(PoisonError::into_inner).insert(next);
            }
        });
        Self { address, committed, _thread: thread }
    }

    fn committed(&self) -> BTreeSet<u32> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until rows are committed that were not begun before, and looks whether all that ever were committed are there. How many those are.
    pub(crate) fn check(&self, cluster: &Cluster) -> usize {
        let before = self.committed();
        cluster.wait_for("rows are written", || (self.committed().len() >= before.len() + 2).then_some(()));
        let committed = self.committed();
        let there = cluster.wait_for("rows are read", || {
            let out = psql(self.address, "select n from rows");
            out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
        });
        let there: BTreeSet<u32> = there.lines().filter_map(|l| l.trim().parse().ok()).collect();
        let lost: Vec<_> = committed.difference(&there).collect();
        assert!(lost.is_empty(), "rows were committed and are not there: {lost:?}");
        committed.len()
    }
}

/// The distribution's client, not its wrapper.
fn psql(address: &str, statement: &str) -> Output {
    // A server that is gone says nothing: its client must not wait for it.
    let to = format!("host={address} user=postgres dbname=postgres connect_timeout=2 tcp_user_timeout=3000");
    let mut psql = Command::new("timeout");
    psql.args(["10", "/usr/lib/postgresql/15/bin/psql", "-X", "-q", "-A", "-t", "-c", statement, &to]);
    psql.output().expect("psql")
}

/// Writes the boot and the number of the mount each tenth of a second while the file system is mounted, with nothing that is on a disk.
const SAMPLER: &str = "read -r boot </proc/sys/kernel/random/boot_id
n=0 mounted=
while :; do
    now=
    while read -r _ where _; do [ \"$where\" != @MOUNT@ ] || now=yes; done </proc/mounts
    if [ \"$now\" ]; then
        [ \"$mounted\" ] || n=$((n + 1))
        echo \"$boot $n\" >>/vm/owner.log
    fi
    mounted=$now
    usleep 100000
done";

/// A mount of the file system: by whom, when it was there first, and when last, by the host's clock.
struct Mount {
    node: u32,
    first: Instant,
    last: Instant,
}

/// Sees who has the file system mounted.
pub(crate) struct Owners {
    seen: Arc<Mutex<BTreeMap<String, Mount>>>,
    _thread: Repeated,
}

impl Owners {
    /// Looks at all machines from now on.
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut logs: Vec<(u32, PathBuf, usize)> =
            cluster.all().into_iter().map(|n| (n, cluster.share(n).join("owner.log"), 0)).collect();
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let list = Arc::clone(&seen);
        let thread = Repeated::new(Duration::from_millis(20), move || {
            for (node, path, read) in &mut logs {
                let text = fs::read_to_string(&*path).unwrap_or_default();
                let new = &text[(*read).min(text.len())..];
                let Some(end) = new.rfind('\n') else { continue };
                let now = Instant::now();
                let mut seen = list.lock().unwrap_or_else(PoisonError::into_inner);
                for mount in new[..end].lines() {
                    seen.entry(mount.to_owned())
                        .or_insert(Mount { node: *node, first: now, last: now })
                        .last = now;
                }
                *read += end + 1;
            }
        });
        Self { seen, _thread: thread }
    }

    /// Starts what tells of mounts, on a machine that has booted.
    pub(crate) fn watch(cluster: &Cluster, node: u32, mount: &str) {
        fs::write(cluster.share(node).join("sampler"), SAMPLER.replace("@MOUNT@", mount)).unwrap();
        let sampler =
            "cp /vm/sampler /run/ && setsid /usr/lib/vm/busybox sh /run/sampler >/dev/null 2>&1 </dev/null &";
        cluster.sh(node, sampler);
    }

    /// Never had two machines the file system mounted at once. How many mounts there were.
    pub(crate) fn check(&self) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = seen.values().collect();
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                let together = one.node != other.node && one.first <= other.last && other.first <= one.last;
                assert!(!together, "n{} and n{} had the file system mounted at once", one.node, other.node);
            }
        }
        all.len()
    }
}
