//! A cluster with quorum disks that can fail, and a sampler on every node: whatever is done to it, at no instant may two
//! partitions believe to be quorate.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use harness::{Believers, Cib, Cluster, DiskFault, DiskKind, Options, Signal};
use holdfast_sys::clock::boottime_nanos;

/// Each node writes to each disk this often, and is given up after so many times: short, so that a test sees many leases.
const INTERVAL: Duration = Duration::from_millis(100);
const TKO: u32 = 4;
/// For how long an owner counts the vote.
pub(crate) const LEASE: Duration = Duration::from_millis(400);

/// A way that does not work.
pub(crate) const CUT: DiskFault =
    DiskFault { fails: true, stalls: false, delay: Duration::ZERO, lost: 0, torn: 0 };
/// One on which nothing is answered.
pub(crate) const STALL: DiskFault = DiskFault { fails: false, stalls: true, ..CUT };

pub(crate) struct Arena {
    pub(crate) cluster: Cluster,
    pub(crate) believers: Believers,
    disks: u32,
    /// How far each sampler's log has been read.
    read: Vec<u64>,
    /// How often each node has said that it is not quorate.
    noes: Vec<u64>,
    /// Nodes whose daemon is stopped, and since when.
    stopped: Vec<(u32, u64)>,
}

impl Arena {
    /// All nodes are up, together and quorate, and the disks' vote counts.
    pub(crate) fn new(name: &str, nodes: u32, disks: u32) -> Self {
        let options = Options {
            nodes,
            disks,
            disk_kind: DiskKind::Faulty,
            disk_interval_ms: u32::try_from(INTERVAL.as_millis()).unwrap(),
            disk_tko: TKO,
            // A daemon that is stopped is to go on: it shall find out by itself that its time is over.
            guardian_limit_ms: Some(60_000),
            ..Options::default()
        };
        Self::of(Cluster::new(name, options, &Cib::new()).unwrap())
    }

    /// The same of a cluster that nothing runs in yet.
    pub(crate) fn of(cluster: Cluster) -> Self {
        let (disks, nodes) = (cluster.options().disks, cluster.options().nodes as usize + 1);
        let (read, noes) = (vec![0; nodes], vec![0; nodes]);
        let mut arena = Self { cluster, believers: Believers::new(), disks, read, noes, stopped: Vec::new() };
        arena.wait_for_health();
        arena
    }

    /// Everything works again: paths, disks, daemons; and all of it has been waited for.
    pub(crate) fn mend(&mut self) {
        self.cluster.heal();
        for node in self.cluster.all() {
            self.disks_of(node, DiskFault::default());
            self.resume(node);
        }
        self.wait_for_health();
    }

    /// What a machine's power and its service manager do, until all nodes are together and the vote counts everywhere.
    fn wait_for_health(&mut self) {
        let all = self.cluster.all();
        let nodes = u32::try_from(all.len()).unwrap();
        let (with_disks, votes) = if self.disks > 0 { (true, 2 * nodes - 1) } else { (false, nodes) };
        self.cluster.wait_for("all are together and quorate, and the disk's vote counts", || {
            let up: Vec<bool> = all.iter().map(|n| manage(&self.cluster, *n)).collect();
            let well = |n: &u32| {
                let Ok(status) = self.cluster.status(*n) else { return false };
                status.ring.members == all && status.quorum.quorate && status.quorum.total == votes
            };
            let owned = !with_disks || self.cluster.disk_owner(0).is_some();
            (up.iter().all(|up| *up) && all.iter().all(well) && owned).then_some(())
        });
        self.look();
    }

    /// Who has the vote.
    pub(crate) fn owner(&self) -> u32 {
        self.cluster.wait_for("the vote has an owner", || self.cluster.disk_owner(0))
    }

    /// Changes a node's way to every disk.
    pub(crate) fn disks_of(&self, node: u32, fault: DiskFault) {
        (0..self.disks).for_each(|disk| self.cluster.set_disk(node, disk, fault));
    }

    /// Stops a node's daemon.
    pub(crate) fn stop(&mut self, node: u32) {
        if let Some(daemon) = self.cluster.find(node, "cmmd").pop()
            && self.stopped.iter().all(|(n, _)| *n != node)
            && daemon.signal(Signal::SIGSTOP).is_ok()
        {
            self.cluster.wait_for("the daemon stands still", || {
                (daemon.is_stopped() || !daemon.is_alive()).then_some(())
            });
            self.stopped.push((node, boottime_nanos()));
        }
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self, node: u32) {
        let Some(at) = self.stopped.iter().position(|(n, _)| *n == node) else { return };
        let (_, since) = self.stopped.remove(at);
        // What was asked while it stood still is answered from here on.
        self.look();
        self.believers.stopped(node, since, boottime_nanos());
        for daemon in self.cluster.find(node, "cmmd") {
            let _ = daemon.signal(Signal::SIGCONT);
        }
    }

    /// Kills a node's daemon, if it runs.
    pub(crate) fn kill_daemon(&mut self, node: u32) {
        self.stopped.retain(|(n, _)| *n != node);
        for daemon in self.cluster.find(node, "cmmd") {
            let _ = daemon.signal(Signal::SIGKILL);
        }
    }

    /// Takes a node's power.
    pub(crate) fn kill_node(&mut self, node: u32) {
        self.stopped.retain(|(n, _)| *n != node);
        self.cluster.power_off(node).unwrap();
    }

    /// Reads what the samplers have said since.
    pub(crate) fn look(&mut self) {
        for node in self.cluster.all() {
            let path = self.cluster.node_dir(node).join("log/sampler.log");
            let Ok(mut log) = std::fs::File::open(path) else { continue };
            let (at, mut bytes) = (&mut self.read[node as usize], Vec::new());
            log.seek(SeekFrom::Start(*at)).unwrap();
            log.read_to_end(&mut bytes).unwrap();
            // The last line may not be whole yet.
            let len = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
            *at += len as u64;
            let text = String::from_utf8_lossy(&bytes[..len]);
            self.noes[node as usize] += text.lines().filter(|l| l.starts_with("no ")).count() as u64;
            self.believers.read(node, &text);
        }
    }

    /// How often these nodes have said so far that they are not quorate.
    pub(crate) fn noes(&mut self, nodes: &[u32]) -> u64 {
        self.look();
        nodes.iter().map(|n| self.noes[*n as usize]).sum()
    }

    /// Waits until exactly these nodes say that they are quorate, all of them.
    pub(crate) fn wait_for_quorate(&self, expected: &[u32]) {
        self.cluster.wait_for(&format!("exactly {expected:?} are quorate"), || {
            let quorate =
                |n: &u32| self.cluster.status(*n).is_ok_and(|s| s.answered.cmmd && s.quorum.quorate);
            let on = |n: &u32| {
                !self.stopped.iter().any(|(s, _)| s == n) && !self.cluster.find(*n, "cmmd").is_empty()
            };
            let all = self.cluster.all();
            all.into_iter().filter(|n| on(n) && quorate(n)).eq(expected.iter().copied()).then_some(())
        });
    }

    /// Fails the test if two partitions ever believed to be quorate at one instant.
    pub(crate) fn assert_one_quorum(&mut self, when: &str) {
        self.look();
        let overlaps = self.believers.overlaps();
        assert!(overlaps.is_empty(), "{when}:\n{}\n{}", overlaps.join("\n"), self.cluster.report());
        for node in self.cluster.all() {
            let log = self.cluster.log(node, "cmmd");
            assert!(!log.contains("panicked at"), "{when}: n{node}\n{}", self.cluster.report());
        }
    }
}

/// Switches a node on, and starts what does not run; whether all of it did.
fn manage(cluster: &Cluster, node: u32) -> bool {
    if !cluster.is_on(node) {
        cluster.power_on(node).unwrap();
    }
    let running = cluster.processes(node);
    let runs = |name: &str| running.iter().any(|p| p.name == name);
    let (daemon, sampler) = (runs("cmmd"), runs("sampler"));
    // The guardian of the life before may be at work: whatever it ends is started the next time.
    if !daemon {
        let _ = cluster.start_ring(node);
    }
    if !sampler {
        let _ = cluster.start_as(node, "sampler", env!("CARGO_BIN_EXE_sampler"), &[]);
    }
    daemon && sampler
}
