//! A cluster of real daemons, each node in namespaces of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cmm_qdisk::format::Text;
use cmm_qdisk::{Area, Block, Header, Slot as DiskSlot};
use nix::sys::signal::Signal;
use status::{ClusterStatus, RingReport};

use crate::config::{Cib, DiskKind, Options, corosync_conf, disk_path, image_path, node_name};
use crate::dice::Dice;
use crate::faulty_disk::{DiskFault, DiskRequests, FaultyDisk};
use crate::fence::{FenceCall, FenceDevice, FencePolicy};
use crate::namespace::Namespace;
use crate::network::{ROUTER, Switch};
use crate::node::{Nodes, Slot};
use crate::processes::Process;
use crate::recorder::{AgentFault, Record, Recorder, overlaps};
use crate::relay::{Relay, Weather};
use crate::witness::Witness;
use crate::work::{Turn, WorkDir, patience, random_bytes};

/// Nodes, the switch between them, their fence device and the witness. Dropping it ends all of it.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use harness::{Cib, Cluster, Options};
/// let cluster = Cluster::new("story", Options::default(), &Cib::new())?;
/// cluster.boot_all()?;
/// cluster.wait_for_members(&[1, 2, 3], &[1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub struct Cluster {
    name: String,
    options: Options,
    // Fields are dropped in this order: the fence device, relay and nodes before the switch, the folder last.
    fence: FenceDevice,
    relay: Option<Relay>,
    nodes: Arc<Nodes>,
    switch: Mutex<Switch>,
    router: Mutex<Option<Namespace>>,
    witness: Witness,
    recorder: Recorder,
    bin_dir: Option<PathBuf>,
    // The kernel takes them away with the last that has them open.
    _loops: Vec<File>,
    dir: WorkDir,
    _turn: Turn,
}

impl Cluster {
    /// A cluster whose nodes run the daemons under test. Nothing runs yet: [`Self::boot_all`].
    ///
    /// # Errors
    /// When the programs are not built, or namespaces cannot be made.
    pub fn new(name: &str, options: Options, cib: &Cib) -> Result<Self> {
        let bin_dir = crate::binaries::bin_dir()?;
        Self::make(name, options, cib, Some(bin_dir))
    }

    /// A cluster of nodes without daemons, for tests of the harness itself.
    ///
    /// # Errors
    /// When namespaces cannot be made.
    pub fn bare(name: &str, options: Options) -> Result<Self> {
        Self::make(name, options, &Cib::new(), None)
    }

    fn make(name: &str, options: Options, cib: &Cib, bin_dir: Option<PathBuf>) -> Result<Self> {
        ensure!((1..=200).contains(&options.nodes) && (1..=8).contains(&options.links), "{options:?}");
        let turn = Turn::take()?;
        let dir = WorkDir::new(name)?;
        let key = random_bytes(256)?;
        let machines = options.nodes + u32::from(options.spare);
        for node in 1..=machines {
            let conf = corosync_conf(name, &options, node, dir.path());
            let dir = dir.path().join(node_name(node));
            for sub in ["etc", "state", "log"] {
                fs::create_dir_all(dir.join(sub))?;
            }
            if options.state_mib > 0 {
                file_system(&dir.join("state.image"), options.state_mib)?;
            }
            fs::write(dir.join("etc/holdfast.conf"), &conf)?;
            fs::write(dir.join("etc/authkey"), &key)?;
        }
        let mut loops = Vec::new();
        for disk in 0..options.disks {
            let (path, image) = (disk_path(dir.path(), disk), image_path(dir.path(), disk));
            let fresh = fresh_disk(name)?;
            match options.disk_kind {
                DiskKind::File => fs::write(path, fresh)?,
                DiskKind::Loop => {
                    fs::write(&image, fresh)?;
                    loops.push(loop_device(&image, &path)?);
                }
                DiskKind::Faulty => {
                    fs::write(image, fresh)?;
                    // What each node mounts over.
                    fs::write(path, "")?;
                }
            }
        }
        let slots = (1..=machines).map(|id| Slot::new(id, dir.path().join(node_name(id))));
        let nodes = Arc::new(Nodes::new(slots.collect()));
        let switch = Switch::new(options.links.saturating_add(options.networks), options.ipv6, dir.path())?;
        let relay = if options.relay { Some(switch.relay(options.nodes)?) } else { None };
        let switch = Mutex::new(switch);
        let fence = FenceDevice::new(dir.path(), Arc::clone(&nodes) as _)?;
        let witness = Witness::new(dir.path())?;
        let holdfast = bin_dir.as_deref().unwrap_or(Path::new("/usr/bin")).join("holdfast");
        let recorder = Recorder::new(dir.path(), witness.dir(), &holdfast)?;
        let service = witness.program();
        let cib = cib.xml(options.nodes).replace(crate::config::SERVICE, &service.to_string_lossy());
        fs::write(dir.path().join("cib.xml"), cib)?;
        let name = name.to_owned();
        Ok(Self {
            name,
            options,
            fence,
            relay,
            nodes,
            switch,
            router: Mutex::new(None),
            witness,
            recorder,
            bin_dir,
            _loops: loops,
            dir,
            _turn: turn,
        })
    }

    /// The file that is a quorum disk, or that is behind it.
    #[must_use]
    pub fn quorum_disk(&self, disk: u32) -> PathBuf {
        let path = if self.options.disk_kind == DiskKind::File { disk_path } else { image_path };
        path(self.dir.path(), disk)
    }

    /// A quorum disk as nodes see it.
    #[must_use]
    pub fn disk_path(&self, disk: u32) -> PathBuf {
        disk_path(self.dir.path(), disk)
    }

    /// What it is made of.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The id of the machine that is no node.
    #[must_use]
    pub fn spare(&self) -> u32 {
        self.options.nodes + 1
    }

    /// All node ids.
    #[must_use]
    pub fn all(&self) -> Vec<u32> {
        (1..=self.options.nodes).collect()
    }

    /// Switches a node on: namespaces, links, no daemons. Its state folder is what the last life left.
    ///
    /// # Errors
    /// When it is on, or namespaces cannot be made.
    pub fn power_on(&self, node: u32) -> Result<()> {
        let slot = self.slot(node);
        let switch = lock(&self.switch);
        switch.unplug(node);
        let connect = |space: &Namespace| {
            switch.plug(node, space)?;
            if self.options.disk_kind == DiskKind::Faulty {
                self.mount_disks(node, space)
            } else {
                Ok(Vec::new())
            }
        };
        slot.power_on(connect).with_context(|| format!("switching n{node} on"))
    }

    fn mount_disks(&self, node: u32, space: &Namespace) -> Result<Vec<FaultyDisk>> {
        let dir = self.dir.path();
        let mount = |disk| {
            let dice = Dice::new(u64::from(node) << 32 | u64::from(disk));
            FaultyDisk::mount(space, &image_path(dir, disk), &disk_path(dir, disk), dice)
        };
        (0..self.options.disks).map(mount).collect()
    }

    /// Changes what happens to a node's requests to a disk, until the node is switched off.
    ///
    /// # Panics
    /// With other disks than [`DiskKind::Faulty`].
    pub fn set_disk(&self, node: u32, disk: u32, fault: DiskFault) {
        assert!(self.options.disk_kind == DiskKind::Faulty, "this cluster's disks have no faults");
        self.slot(node).set_disk(disk, fault);
    }

    /// What a node has asked of a disk since it was switched on, with [`DiskKind::Faulty`].
    #[must_use]
    pub fn disk_requests(&self, node: u32, disk: u32) -> DiskRequests {
        self.slot(node).disk_requests(disk)
    }

    /// The blocks of a disk that can be read, by node.
    ///
    /// # Panics
    /// When the disk cannot be read.
    #[must_use]
    pub fn disk_blocks(&self, disk: u32) -> Vec<(u32, Block)> {
        let path = self.quorum_disk(disk);
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let header = Header::find(&bytes).expect("a quorum disk");
        let mut area = Area::default();
        area.read(header.layout, &header.id, &bytes).expect("a quorum disk");
        let block = |(slot, found): (u8, &DiskSlot)| match found {
            DiskSlot::Block(block) => Some((slot.into(), *block)),
            DiskSlot::Damaged(_) => None,
        };
        area.slots().filter_map(block).collect()
    }

    /// The node that owns the vote as far as this disk knows, if it has not given it back.
    #[must_use]
    pub fn disk_owner(&self, disk: u32) -> Option<u32> {
        let blocks = self.disk_blocks(disk);
        let decided = blocks.iter().map(|(_, b)| b.decided).max_by_key(|d| d.term)?;
        let (owner, life) = (u32::from(decided.owner.slot), decided.owner.life);
        let released =
            |(node, b): &(u32, Block)| *node == owner && b.life == life && b.decided == decided && b.released;
        (decided.term > 0 && !blocks.iter().any(released)).then_some(owner)
    }

    /// The process, as this machine sees it, whose end is the end of a node: its mounts and addresses are below
    /// `/proc/PID`. `None` while the node is off.
    #[must_use]
    pub fn init(&self, node: u32) -> Option<u32> {
        self.slot(node).init()
    }

    /// The cluster's folder: what lies there all nodes see.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether a node has power.
    #[must_use]
    pub fn is_on(&self, node: u32) -> bool {
        self.slot(node).is_on()
    }

    /// Takes the power from a node: everything in it is dead and gone when this returns.
    ///
    /// # Errors
    /// When something survives.
    pub fn power_off(&self, node: u32) -> Result<()> {
        self.slot(node).power_off()
    }

    /// Switches a node on if it is off, and starts its daemons.
    ///
    /// # Errors
    /// When a daemon cannot be started or ends at once.
    pub fn boot(&self, node: u32) -> Result<()> {
        if !self.slot(node).is_on() {
            self.power_on(node)?;
        }
        self.start_ring(node)?;
        self.wait_for(&format!("the ring's daemon of n{node} serves clients"), || {
            self.status(node).ok().filter(|s| s.answered.cmmd)
        });
        let cib = self.dir.path().join("cib.xml");
        self.start(node, "rgmd", &["-f", "--cib", &cib.to_string_lossy()])
    }

    /// Boots every node, all at the same time.
    ///
    /// # Errors
    /// As for [`Self::boot`].
    pub fn boot_all(&self) -> Result<()> {
        for node in self.all() {
            self.power_on(node)?;
            self.start_ring(node)?;
        }
        self.wait_for("every ring's daemon serves clients", || {
            let serves = |n: &u32| self.status(*n).is_ok_and(|s| s.answered.cmmd);
            self.all().iter().all(serves).then_some(())
        });
        let cib = self.dir.path().join("cib.xml");
        for node in self.all() {
            self.start(node, "rgmd", &["-f", "--cib", &cib.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Starts the ring's daemon of a node that is on.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_ring(&self, node: u32) -> Result<()> {
        // Whatever ran here is over: with the power, or ended by the guardian of the ring's daemon.
        self.recorder.life(&node_name(node))?;
        match self.options.daemon {
            "corosync" => {
                // Where it looks for it.
                let script = "cp /etc/holdfast/authkey /etc/corosync/";
                let out = self.exec(node, "sh", &["-c", script])?;
                ensure!(out.status.success(), "{out:?}");
                self.start(node, "corosync", &["-f", "-c", "/etc/holdfast/holdfast.conf"])
            }
            daemon => self.start(node, daemon, &["-f"]),
        }
    }

    /// Starts one daemon of a node that is on. Its output goes to `log/NAME.log` of the node.
    ///
    /// # Errors
    /// When the node is off or the program cannot be run.
    pub fn start(&self, node: u32, daemon: &str, args: &[&str]) -> Result<()> {
        self.start_as(node, daemon, &self.program(daemon), args)
    }

    /// Starts any program in the background of a node that is on; its output goes to `log/LOG.log`.
    ///
    /// # Errors
    /// When the node is off or the program cannot be run.
    pub fn start_as(&self, node: u32, log: &str, program: &str, args: &[&str]) -> Result<()> {
        let mut command = self.command(node, program)?;
        command.args(args);
        self.slot(node).start(log, command)
    }

    /// Stops a node's daemons in order, as a service manager would: `rgmd`, then the ring's daemon. The node stays on.
    pub fn stop(&self, node: u32) {
        for daemon in ["rgmd", self.options.daemon] {
            if self.find(node, daemon).is_empty() {
                continue;
            }
            self.signal(node, daemon, Signal::SIGTERM);
            self.wait_for(&format!("{daemon} of n{node} ends on SIGTERM"), || {
                self.find(node, daemon).is_empty().then_some(())
            });
        }
    }

    /// Sends a signal to every process of this name on a node.
    ///
    /// # Panics
    /// When there is none.
    pub fn signal(&self, node: u32, name: &str, signal: Signal) {
        let found = self.find(node, name);
        assert!(!found.is_empty(), "no {name} runs on n{node}:\n{}", self.report());
        for process in found {
            let _ = process.signal(signal);
        }
    }

    /// Every process of a node (its init left out).
    #[must_use]
    pub fn processes(&self, node: u32) -> Vec<Process> {
        self.slot(node).processes()
    }

    /// The processes of a node with this name.
    #[must_use]
    pub fn find(&self, node: u32, name: &str) -> Vec<Process> {
        // The kernel keeps 15 bytes of a name.
        let name = &name[..name.len().min(15)];
        let mut all = self.processes(node);
        all.retain(|p| p.name == name);
        all
    }

    /// Drops everything that `from` sends to `to`.
    pub fn cut_one_way(&self, from: u32, to: u32) {
        lock(&self.switch).cut(from, to).unwrap();
    }

    /// Cuts one link from one node to another, one way.
    pub fn cut_link_one_way(&self, link: u8, from: u32, to: u32) {
        lock(&self.switch).cut_link(from, to, link).unwrap();
    }

    /// Cuts one link between all nodes.
    pub fn cut_link(&self, link: u8) {
        for a in self.all() {
            for b in self.all().into_iter().filter(|b| *b != a) {
                self.cut_link_one_way(link, a, b);
            }
        }
    }

    /// Separates two groups of nodes in both directions.
    pub fn cut(&self, some: &[u32], others: &[u32]) {
        for a in some {
            for b in others.iter().filter(|b| *b != a) {
                self.cut_one_way(*a, *b);
                self.cut_one_way(*b, *a);
            }
        }
    }

    /// Puts a router on the switch: a machine that answers pings at [`ROUTER_ADDRESS`](crate::ROUTER_ADDRESS), and does nothing else.
    pub fn add_router(&self) {
        let space = Namespace::new("", &[], &self.dir.path().join("router.log")).unwrap();
        lock(&self.switch).plug(ROUTER, &space).unwrap();
        *lock(&self.router) = Some(space);
    }

    /// Cuts a node off from the router, both ways, until [`Self::heal`].
    pub fn cut_router(&self, node: u32) {
        self.cut(&[node], &[ROUTER]);
    }

    /// Separates a node from all others.
    pub fn isolate(&self, node: u32) {
        self.cut(&[node], &self.all());
    }

    /// Repairs what [`Self::cut_one_way`] broke.
    pub fn heal_one_way(&self, from: u32, to: u32) {
        lock(&self.switch).heal(from, to).unwrap();
    }

    /// Repairs every link.
    pub fn heal(&self) {
        lock(&self.switch).heal_all().unwrap();
    }

    /// Loses so many of a hundred packets of the cluster between any two nodes, at random; 0 ends it.
    pub fn lose(&self, percent: u32) {
        lock(&self.switch).lose(percent).unwrap();
    }

    /// Lets no more than so many kilobits a second through to each of `nodes`; 0 ends it.
    pub fn narrow(&self, nodes: &[u32], kbit: u32) {
        let switch = lock(&self.switch);
        nodes.iter().for_each(|node| switch.narrow(*node, kbit).unwrap());
    }

    /// Changes the MTU of a node's interfaces: longer packets are not sent by it, and dropped by the switch on their way to it.
    pub fn set_mtu(&self, node: u32, mtu: u32) {
        lock(&self.switch).set_mtu(node, mtu).unwrap();
        let mtu = mtu.to_string();
        for link in 0..self.options.links {
            let out = self.exec(node, "ip", &["link", "set", &format!("eth{link}"), "mtu", &mtu]).unwrap();
            assert!(out.status.success(), "{out:?}");
        }
    }

    /// How often packets to a node have waited because of [`Self::narrow`].
    #[must_use]
    pub fn held_back(&self, node: u32) -> u64 {
        lock(&self.switch).held_back(node).unwrap()
    }

    /// Changes how packets fare between the nodes.
    ///
    /// # Panics
    /// Without [`Options::relay`].
    pub fn set_weather(&self, weather: Weather) {
        self.relay.as_ref().expect("this cluster has no relay").set(weather);
    }

    /// What `holdfast ring --json` says on a node.
    ///
    /// # Errors
    /// When the node is off or the command fails.
    pub fn ring(&self, node: u32) -> Result<RingReport> {
        let out = self.exec(node, &self.program("holdfast"), &["ring", "--json"])?;
        serde_json::from_slice(&out.stdout).with_context(|| {
            format!("reading the ring of n{node}: {}", String::from_utf8_lossy(&out.stderr).trim())
        })
    }

    /// Changes how the fence device behaves.
    pub fn set_fence_policy(&self, policy: FencePolicy) {
        self.fence.set_policy(policy);
    }

    /// What the fence device was asked for, oldest first.
    #[must_use]
    pub fn fence_calls(&self) -> Vec<FenceCall> {
        self.fence.calls()
    }

    /// The program of a service that must not run twice; its argument is the name of the service.
    #[must_use]
    pub fn service(&self) -> String {
        self.witness.program().to_string_lossy().into_owned()
    }

    /// The nodes on which a service of [`Self::service`] runs now.
    #[must_use]
    pub fn service_runs_on(&self, service: &str) -> Vec<u32> {
        let runs = |n: &u32| self.processes(*n).iter().any(|p| self.witness.is_instance(p, service));
        self.all().into_iter().filter(runs).collect()
    }

    /// From now on an operation of a resource of [`crate::RECORD_AGENT`] on a node fails or hangs; `None`: does what it should.
    pub fn set_agent(&self, resource: &str, node: u32, operation: &str, fault: Option<AgentFault>) {
        self.recorder.set(resource, &node_name(node), operation, fault);
    }

    /// What those resources have stamped, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.recorder.records()
    }

    /// The services of those resources that run on a node now.
    #[must_use]
    pub fn recorded_services(&self, node: u32) -> Vec<String> {
        let mut all: Vec<_> = self.processes(node).iter().filter_map(|p| self.recorder.instance(p)).collect();
        all.sort();
        all
    }

    /// Fills the disk of a node's state to the last byte, or gives the room back.
    ///
    /// # Errors
    /// When the node is off, or has no disk of its own ([`Options::state_mib`]).
    pub fn fill_disk(&self, node: u32, full: bool) -> Result<()> {
        ensure!(self.options.state_mib > 0, "the nodes of this cluster have no disks of their own");
        let script = match full {
            true => "cat /dev/zero > /var/lib/holdfast/filler 2>/dev/null; test -s /var/lib/holdfast/filler",
            false => "rm -f /var/lib/holdfast/filler",
        };
        let out = self.exec(node, "sh", &["-c", script])?;
        ensure!(out.status.success(), "the disk of n{node}: {out:?}");
        Ok(())
    }

    /// Lets the disk of a node's state take nothing: whoever writes waits, until it is let go on.
    ///
    /// # Errors
    /// As for [`Self::fill_disk`].
    pub fn freeze_disk(&self, node: u32, frozen: bool) -> Result<()> {
        ensure!(self.options.state_mib > 0, "the nodes of this cluster have no disks of their own");
        self.slot(node).freeze(frozen)
    }

    /// Every start of a service so far, as `SECONDS SERVICE NODE`.
    #[must_use]
    pub fn service_starts(&self) -> Vec<String> {
        self.witness.starts()
    }

    /// Fails the test if any service ever ran twice.
    ///
    /// # Panics
    /// When one did.
    pub fn assert_nothing_ran_twice(&self) {
        let mut violations = self.witness.violations();
        violations.extend(overlaps(&self.recorder.records()));
        assert!(violations.is_empty(), "{violations:#?}\n{}", self.report());
    }

    /// Runs a command on a node and waits for it, a minute at most.
    ///
    /// # Errors
    /// When the node is off.
    pub fn exec(&self, node: u32, program: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.command(node, "timeout")?;
        command.args(["-k", "5", "60", program]).args(args).stdin(Stdio::null());
        command.output().with_context(|| format!("running {program} on n{node}"))
    }

    /// What `holdfast status --json` says on a node.
    ///
    /// # Errors
    /// When the node is off or the command fails.
    pub fn status(&self, node: u32) -> Result<ClusterStatus> {
        let out = self.exec(node, &self.program("holdfast"), &["status", "--json"])?;
        if out.stdout.is_empty() {
            bail!(
                "holdfast status on n{node}: {}: {}",
                out.status,
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        serde_json::from_slice(&out.stdout).with_context(|| format!("reading the status of n{node}"))
    }

    /// The log of one daemon of a node, all its lives.
    #[must_use]
    pub fn log(&self, node: u32, daemon: &str) -> String {
        let bytes = fs::read(self.slot(node).dir().join(format!("log/{daemon}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The names of a node's logs, sorted.
    fn log_names(&self, node: u32) -> Vec<String> {
        let entries = fs::read_dir(self.slot(node).dir().join("log")).into_iter().flatten().flatten();
        let name = |e: fs::DirEntry| e.file_name().to_str()?.strip_suffix(".log").map(str::to_owned);
        let mut names: Vec<_> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// The folder of a node: `etc`, `state`, `log`, `kmsg`.
    #[must_use]
    pub fn node_dir(&self, node: u32) -> PathBuf {
        self.slot(node).dir().to_owned()
    }

    /// Waits until `check` gives something, and fails the test with a report of all nodes when it never does.
    ///
    /// # Panics
    /// After [`patience`].
    pub fn wait_for<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(start.elapsed() < patience(), "gave up waiting: {what}\n{}", self.report());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until each of `nodes` is in an operational ring of exactly `members`.
    pub fn wait_for_members(&self, nodes: &[u32], members: &[u32]) {
        self.wait_for(&format!("nodes {nodes:?} form a ring of {members:?}"), || {
            // corosync does not name the state of its ring.
            let operational = if self.options.daemon == "cmmd" { "OPERATIONAL" } else { "" };
            let formed = |n: &u32| {
                self.status(*n).is_ok_and(|s| s.ring.members == members && s.ring.state == operational)
            };
            nodes.iter().all(formed).then_some(())
        });
    }

    /// Waits until each of `nodes` is quorate, or is not.
    pub fn wait_for_quorum(&self, nodes: &[u32], quorate: bool) {
        self.wait_for(&format!("nodes {nodes:?}: quorate = {quorate}"), || {
            let seen =
                |n: &u32| self.status(*n).is_ok_and(|s| s.answered.cmmd && s.quorum.quorate == quorate);
            nodes.iter().all(seen).then_some(())
        });
    }

    /// Waits until every one of `resources` is started on one and the same node, as `asked` sees it; gives that node.
    pub fn wait_for_started(&self, asked: u32, resources: &[&str]) -> u32 {
        self.wait_for(&format!("n{asked} sees {resources:?} started"), || {
            let status = self.status(asked).ok()?;
            let place = |id: &&str| {
                let r = status.resources.iter().find(|r| r.id == *id)?;
                let started = r.role == status::Role::Started && !r.failed && r.nodes.len() == 1;
                started.then(|| r.nodes[0].clone())
            };
            let places: Option<Vec<_>> = resources.iter().map(place).collect();
            let places = places?;
            let first = places.first()?;
            let id = status.nodes.iter().find(|n| n.name == *first)?.id;
            places.iter().all(|p| p == first).then_some(id)
        })
    }

    /// Everything that helps to understand a failure: status, processes and the end of the logs of each node.
    #[must_use]
    pub fn report(&self) -> String {
        let mut out = format!("cluster {} in {}\n", self.name, self.dir.path().display());
        for node in self.all() {
            out.push_str(&format!("==== n{node}\n"));
            if !self.slot(node).is_on() {
                out.push_str("is off\n");
            } else if self.bin_dir.is_some() {
                let text = self.exec(node, &self.program("holdfast"), &["status"]);
                let text = text.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
                out.push_str(&String::from_utf8_lossy(&text));
                let names = self.processes(node).into_iter().map(|p| format!("{}={}", p.name, p.inner_pid));
                out.push_str(&format!("processes: {}\n", names.collect::<Vec<_>>().join(" ")));
            }
            // What samplers say is for those that read all of it.
            for name in self.log_names(node).into_iter().filter(|n| n != "sampler") {
                let log = self.log(node, &name);
                let lines: Vec<_> = log.lines().collect();
                let end = &lines[lines.len().saturating_sub(60)..];
                out.push_str(&format!("-- {name}.log\n{}\n", end.join("\n")));
            }
        }
        for call in self.fence_calls() {
            out.push_str(&format!("fence: {} {} -> {}\n", call.action, call.target, call.answer));
        }
        out.push_str(&self.service_starts().join("\n"));
        out
    }

    fn command(&self, node: u32, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = self.slot(node).command(program)?;
        let bin = self.bin_dir.as_deref().unwrap_or(Path::new("/usr/bin")).to_string_lossy().into_owned();
        command.env_clear();
        command.env("PATH", format!("{bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        command.env("HOLDFAST_FENCE_PATH", self.dir.path().join("agents")).env("RUST_BACKTRACE", "1");
        command.env("HOLDFAST_OCF_ROOT", self.recorder.root());
        if self.options.exit_scope == "run-dir" {
            command.env("HOLDFAST_RUN_DIR", "/run/holdfast").env("HOLDFAST_STATE_DIR", "/var/lib/holdfast");
        }
        Ok(command)
    }

    fn program(&self, name: &str) -> String {
        match &self.bin_dir {
            Some(dir) if crate::binaries::PROGRAMS.contains(&name) => {
                dir.join(name).to_string_lossy().into_owned()
            }
            _ => name.to_owned(),
        }
    }

    fn slot(&self, node: u32) -> &Slot {
        self.nodes.get(node)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("harness: a test failed with this cluster running:\n{}", self.report());
        }
        self.nodes.end();
    }
}

/// A test that failed with the lock held has been reported already; its cluster must still be cleaned up.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes `path` a loop device over `image`, with direct I/O. It lasts as long as somebody has it open.
fn loop_device(image: &Path, path: &Path) -> Result<File> {
    let run = |program: &str, args: &[&std::ffi::OsStr]| {
        let out = Command::new(program).args(args).output().with_context(|| format!("running {program}"))?;
        ensure!(out.status.success(), "{program}: {out:?}");
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let options = ["--find", "--show", "--direct-io=on"].map(std::ffi::OsStr::new);
    let device = run("losetup", &[&options[..], &[image.as_os_str()]].concat())?;
    let opened = File::options().read(true).write(true).open(&device);
    // It goes when it is closed.
    run("losetup", &["--detach".as_ref(), device.as_ref()])?;
    run("cp", &["-a".as_ref(), device.as_ref(), path.as_os_str()])?;
    opened.with_context(|| format!("opening {device}"))
}

/// Makes an ext4 file system in a file.
fn file_system(image: &Path, mib: u32) -> Result<()> {
    File::create(image)?.set_len(u64::from(mib) << 20)?;
    let out =
        Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output().context("running mkfs.ext4")?;
    ensure!(out.status.success(), "mkfs.ext4: {out:?}");
    Ok(())
}

/// What a quorum disk holds before anybody has written to it.
fn fresh_disk(cluster: &str) -> Result<Vec<u8>> {
    let mut id = [0; 16];
    id.copy_from_slice(&random_bytes(16)?);
    let layout = cmm_qdisk::Layout::new(512, 16).context("a layout")?;
    let (label, host, cluster) = (Text::new("test"), Text::new("harness"), Text::new(cluster));
    Ok(Header { id, layout, created: 0, generation: 1, label, host, cluster }.fresh())
}
