//! A cluster of virtual machines, and what a test does to it.

use std::cell::RefCell;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Turn, WorkDir, bin_dir, lacks, node_name, patience, random_bytes, skip_where};
use nix::sys::signal::Signal;
use status::ClusterStatus;

use crate::agent::Answer;
use crate::bmc::Bmc;
use crate::initramfs::Initramfs;
use crate::kernel::{Kernel, output};
use crate::machine::{Hardware, Machine, STATE_DISK, disk};
use crate::network::{Network, address};
use crate::qmp::Event;
use crate::system;
use crate::target::{KERNEL_MODULES, KERNEL_TARGET, ScsiTarget, TARGET, Target};

/// What the build gives to the tests.
pub struct Build {
    /// The program of the agent: `env!("CARGO_BIN_EXE_vm-agent")`.
    pub agent: &'static str,
    /// A folder for what is downloaded: `env!("CARGO_TARGET_TMPDIR")`.
    pub cache: &'static str,
}

/// What a cluster is made of. `..Default::default()` for the rest.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many machines: `n1`, `n2`, … with ids 1, 2, …
    pub nodes: u32,
    /// How many links between them.
    pub links: u8,
    /// The first link is for services and management controllers, and no ring goes over it.
    pub service_link: bool,
    /// Megabytes of memory of each.
    pub memory_mib: u32,
    /// The watchdog whose driver is loaded.
    pub watchdog: Watchdog,
    /// Seconds from a kernel panic to the reset; 0: it stays as it is.
    pub panic: u32,
    /// Megabytes of a disk that all machines share as `/dev/vdb`; 0: none.
    pub shared_disk_mib: u32,
    /// What is on it to begin with: a file, copied. `None`: nothing.
    pub shared_disk_image: Option<PathBuf>,
    /// Megabytes of a disk with SCSI-3 persistent reservations that all machines share as `/dev/sda`; 0: none.
    pub scsi_disk_mib: u32,
    /// Which target it is behind. The kernel's is one machine more, with the id after that of the last node.
    pub scsi_target: ScsiTarget,
    /// Modules of the kernel to load besides the harness's own.
    pub modules: &'static [&'static str],
    /// Programs of the host that the machines have in `/usr/sbin`, with their libraries.
    pub programs: Vec<PathBuf>,
    /// The same for programs in Python, with what they import: fence agents.
    pub python: Vec<PathBuf>,
    /// A management controller for each machine, reached by IPMI, see [`Cluster::bmc`].
    pub bmc: bool,
    /// A script that each machine with the small root runs when it has booted; empty: none.
    pub at_boot: &'static str,
    /// More files, executable: path without a leading slash, content.
    pub files: Vec<(&'static str, String)>,
    /// What the machines boot into.
    pub root: Root,
    /// Lines for the `failfast` section.
    pub failfast: &'static str,
    /// Lines for the `quorum` section.
    pub quorum: &'static str,
    /// Lines for the `logging` section.
    pub logging: &'static str,
    /// Lines for the `fencing` section; empty: there is none.
    pub fencing: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 2,
            links: 1,
            service_link: false,
            memory_mib: 256,
            watchdog: Watchdog::None,
            panic: 1,
            shared_disk_mib: 0,
            shared_disk_image: None,
            scsi_disk_mib: 0,
            scsi_target: ScsiTarget::Tgt,
            modules: &[],
            programs: Vec::new(),
            python: Vec::new(),
            bmc: false,
            at_boot: "",
            files: Vec::new(),
            root: Root::Small,
            failfast: "mode: panic\nwatchdog_device: off\n",
            quorum: "",
            logging: " to_stderr: yes\n to_syslog: no\n",
            fencing: "",
        }
    }
}

/// What a machine boots into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// A few programs and no service manager, anew at each boot; the daemons' state outlives it. Three seconds.
    Small,
    /// The distribution with systemd on a disk of the machine's own, as an administrator finds it: none of our programs is installed,
    /// nothing is configured but the network. Configuration and key for all nodes lie in `/root`. Twenty seconds.
    Systemd,
    /// The distribution with PostgreSQL, agents for resources and fencing, and the cluster's shell, without a service manager, on a disk that
    /// is only read (`/dev/sda`); our commands stand in for the predecessor's. What is written is gone at the next boot, the daemons' state
    /// is not. `/var/log/holdfast` is the folder of the host. Eight seconds.
    Database,
}

/// A disk of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// What it boots from and where its daemons keep their state: with [`Root::Database`] only.
    Internal,
    /// That of all machines.
    Shared,
}

/// The watchdog of a machine. It is `/dev/watchdog0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// None that a driver would find.
    None,
    /// Intel 6300ESB, a PCI card.
    I6300esb,
    /// Intel TCO, in the chip set. Fires at its second expiry.
    Tco,
    /// The kernel's own.
    Software,
}

impl Watchdog {
    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::I6300esb => &["i6300esb"],
            Self::Tco => &["lpc_ich", "i2c_i801", "iTCO_wdt"],
            Self::Software => &["softdog"],
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::None | Self::Software => &[],
            Self::I6300esb => &["-device", "i6300esb"],
            Self::Tco => &["-global", "ICH9-LPC.noreboot=false"],
        }
    }
}

/// For the first line of a test: whether virtual machines cannot run here, which is a failure as root, see
/// [`harness::skip`].
#[must_use]
pub fn skip() -> bool {
    skip_where(lacks(
        &TOOLS,
        "qemu-system-x86, kmod, xz-utils, e2fsprogs, iproute2, nftables, util-linux, binutils, mmdebstrap, tgt, qemu-block-extra, openipmi",
    ))
}

const TOOLS: [&str; 14] = [
    "qemu-system-x86_64",
    "depmod",
    "xz",
    "mke2fs",
    "ip",
    "setpriv",
    "strip",
    "dpkg-deb",
    "apt-get",
    "mmdebstrap",
    "ipmi_sim",
    "nft",
    "tgtd",
    "tgtadm",
];

/// Machines and the network between them. Dropping it ends all of it.
pub struct Cluster {
    name: String,
    options: Options,
    hardware: Hardware,
    /// Of the machine with the kernel's target.
    target_hardware: Hardware,
    cache: PathBuf,
    bmcs: Vec<Bmc>,
    // In this order: the machines end before their folders go.
    machines: Vec<RefCell<Machine>>,
    network: Network,
    _target: Option<Target>,
    dir: WorkDir,
    _turn: Turn,
}

impl Cluster {
    /// Boots all machines; no daemon runs yet.
    ///
    /// # Errors
    /// When something is missing, cannot be downloaded or does not start.
    pub fn new(build: &Build, name: &str, options: Options) -> Result<Self> {
        ensure!((1..=4).contains(&options.nodes) && (1..=4).contains(&options.links), "{options:?}");
        let turn = Turn::take()?;
        let dir = WorkDir::new(name)?;
        let kernel = Kernel::get(Path::new(build.cache))?;
        // Before this thread moves to a network that has no way to the packages.
        let system =
            (options.root != Root::Small).then(|| system::image(Path::new(build.cache), options.root));
        let system = system.transpose()?;
        let initramfs = dir.path().join("initramfs");
        let root = root(Initramfs::new(dir.path().join("scratch")), build, &kernel, name, &options)?;
        fs::write(&initramfs, root)?;
        let mut more: Vec<String> = options.watchdog.arguments().iter().map(|&a| a.to_owned()).collect();
        more.extend(["-name".to_owned(), name.to_owned()]);
        if options.shared_disk_mib > 0 {
            let file = dir.path().join(SHARED_DISK);
            if let Some(image) = &options.shared_disk_image {
                output(Command::new("cp").arg("--sparse=always").arg(image).arg(&file))?;
            }
            let length = u64::from(options.shared_disk_mib) << 20;
            fs::File::options().create(true).append(true).open(&file)?.set_len(length)?;
            // One host, one cache for the file: what a machine has written the others read.
            more.extend(disk(SHARED_DISK, &file.display().to_string(), ""));
            let device =
                format!("drive={SHARED_DISK},share-rw=on,write-cache=off,rerror=report,werror=report");
            more.extend(["-device".to_owned(), format!("virtio-blk-pci,{device}")]);
        }
        match (options.root, &system) {
            (Root::Systemd, _) => more.extend(system::arguments()),
            (Root::Database, Some(image)) => more.extend(system::shared_arguments(image)),
            _ => {}
        }
        let kernel_target = options.scsi_disk_mib > 0 && options.scsi_target == ScsiTarget::Kernel;
        let mut hardware = Hardware {
            kernel: kernel.image(),
            initramfs,
            links: options.links,
            memory_mib: options.memory_mib,
            append: format!("panic={}", options.panic),
            more,
        };
        let target_hardware = hardware.clone();
        if options.scsi_disk_mib > 0 {
            hardware.more.extend(Target::arguments(options.scsi_target, options.nodes));
        }
        let count = options.nodes + u32::from(kernel_target);
        let network = Network::new(count, options.links)?;
        let scsi = Some(options.scsi_disk_mib).filter(|mib| *mib > 0 && !kernel_target);
        let target = scsi.map(|mib| Target::start(dir.path(), mib)).transpose()?;
        let machine = |id| Machine::new(id, dir.path().join(node_name(id))).map(RefCell::new);
        let machines: Vec<RefCell<Machine>> = (1..=count).map(machine).collect::<Result<_>>()?;
        if let Some(system) = system.filter(|_| options.root == Root::Systemd) {
            machines.iter().try_for_each(|m| m.borrow().install(&system))?;
        }
        if kernel_target || options.bmc {
            network.join(0)?;
        }
        let bmc = |(id, machine): (u32, &RefCell<Machine>)| {
            Bmc::start(&dir.path().join(node_name(id)), id, machine.borrow().plug())
        };
        let with_bmc = if options.bmc { options.nodes as usize } else { 0 };
        let bmcs = (1..).zip(machines.iter().take(with_bmc)).map(bmc).collect::<Result<_>>()?;
        let name = name.to_owned();
        let this = Self {
            name,
            options,
            hardware,
            target_hardware,
            cache: build.cache.into(),
            bmcs,
            machines,
            network,
            _target: target,
            dir,
            _turn: turn,
        };
        if kernel_target {
            this.start_target()?;
        }
        for node in this.all() {
            this.power_on(node)?;
        }
        for node in this.all() {
            this.wait_for_boot(node, None);
        }
        Ok(this)
    }

    /// The machine with the kernel's target; it is none of the nodes.
    #[must_use]
    pub fn target(&self) -> u32 {
        self.options.nodes + 1
    }

    /// Switches the machine with the kernel's target on, and makes a target of it.
    ///
    /// # Errors
    /// When it is on or cannot be started.
    pub fn start_target(&self) -> Result<()> {
        let earlier = self.boot(self.target());
        self.power_on(self.target())?;
        self.wait_for_boot(self.target(), earlier.as_deref());
        let script = format!("kernel-target {TARGET} {}", self.options.scsi_disk_mib);
        let answer = self.run(self.target(), &script)?;
        ensure!(answer.status == 0, "the kernel's target does not start: {answer:?}");
        Ok(())
    }

    /// All node ids.
    #[must_use]
    pub fn all(&self) -> Vec<u32> {
        (1..=self.options.nodes).collect()
    }

    /// Switches a machine on.
    ///
    /// # Errors
    /// When it is on or cannot be started.
    pub fn power_on(&self, node: u32) -> Result<()> {
        let hardware = if node == self.target() { &self.target_hardware } else { &self.hardware };
        self.machine(node).borrow_mut().power_on(hardware)
    }

    /// Takes the power from a machine at once. What it had not written is lost, its disk and its last words are not.
    pub fn power_off(&self, node: u32) {
        self.machine(node).borrow_mut().power_off();
    }

    /// Whether QEMU runs.
    #[must_use]
    pub fn is_on(&self, node: u32) -> bool {
        self.machine(node).borrow().is_on()
    }

    /// The parameters with which `fence_ipmilan` reaches the management controller of a machine.
    #[must_use]
    pub fn bmc(node: u32) -> [(&'static str, String); 7] {
        Bmc::parameters(node)
    }

    /// What a machine's management controller was told to do, and when: `power 0`, `power 1`, `reset 1`.
    #[must_use]
    pub fn bmc_orders(&self, node: u32) -> Vec<(Instant, String)> {
        self.bmcs[node as usize - 1].orders()
    }

    /// Pulls a management controller's plug: it answers nobody any more.
    pub fn unplug_bmc(&self, node: u32) {
        self.bmcs[node as usize - 1].unplug();
    }

    /// Gives it power again.
    pub fn plug_bmc(&self, node: u32) {
        self.bmcs[node as usize - 1].plug().unwrap();
    }

    /// From now on each read and write of this machine's disk fails, until its power is taken; other machines' do not.
    pub fn break_disk(&self, node: u32, disk: Disk) {
        let parts: &[(&str, bool)] = match disk {
            Disk::Internal => &[(system::ROOT_DISK, true), (STATE_DISK, false)],
            Disk::Shared => &[(SHARED_DISK, false)],
        };
        for (name, read_only) in parts {
            self.machine(node).borrow_mut().break_disk(name, *read_only).unwrap();
        }
    }

    /// Switches on whatever the controllers were told to.
    fn obey_bmcs(&self) {
        for (node, bmc) in (1..).zip(&self.bmcs) {
            if bmc.take_wanted() && !self.is_on(node) {
                self.power_on(node).unwrap();
            }
        }
    }

    /// Presses the reset button.
    pub fn reset(&self, node: u32) {
        self.machine(node).borrow_mut().reset().unwrap();
    }

    /// Stops a whole machine, while its clock goes on.
    pub fn freeze(&self, node: u32) {
        self.machine(node).borrow().signal(Signal::SIGSTOP).unwrap();
    }

    /// Lets it go on.
    pub fn thaw(&self, node: u32) {
        self.machine(node).borrow().signal(Signal::SIGCONT).unwrap();
    }

    /// Cuts a machine off from all others.
    pub fn cut(&self, node: u32) {
        self.network.cut(node).unwrap();
    }

    /// The same on one link only.
    pub fn cut_link(&self, node: u32, link: u8) {
        self.network.cut_link(node, link).unwrap();
    }

    /// Drops everything that `from` sends to `to`; what comes back goes through.
    pub fn cut_way(&self, from: u32, to: u32) {
        self.network.cut_way(from, to).unwrap();
    }

    /// Connects it again; all cuts of one way end, whosever they are.
    pub fn heal(&self, node: u32) {
        self.network.heal(node).unwrap();
    }

    /// The id of a machine's boot, as its agent said last.
    #[must_use]
    pub fn boot(&self, node: u32) -> Option<String> {
        self.machine(node).borrow_mut().boot()
    }

    /// Waits until a machine has booted, another time than `earlier`.
    pub fn wait_for_boot(&self, node: u32, earlier: Option<&str>) -> String {
        self.wait_for(&format!("n{node} boots"), || self.boot(node).filter(|b| Some(b.as_str()) != earlier))
    }

    /// Runs a shell script on a node and waits for its end.
    ///
    /// # Errors
    /// When the machine is off, is reset meanwhile, or does not answer.
    pub fn run(&self, node: u32, script: &str) -> Result<Answer> {
        self.machine(node).borrow_mut().run(script, patience())
    }

    /// Has a node run a shell script and waits for nothing: for what ends the node.
    ///
    /// # Panics
    /// When the machine is off.
    pub fn order(&self, node: u32, script: &str) {
        self.machine(node).borrow_mut().order(script).unwrap();
    }

    /// Like [`Self::run`] for a script that must succeed; gives its standard output.
    ///
    /// # Panics
    /// When it does not.
    pub fn sh(&self, node: u32, script: &str) -> String {
        let answer = self.run(node, script);
        let answer = answer.unwrap_or_else(|e| panic!("n{node}: {script}: {e:#}"));
        assert!(answer.status == 0, "n{node}: {script}: {answer:?}");
        answer.stdout
    }

    /// Starts a daemon of a node in the background; its output goes to a log of its name, which outlives the node.
    pub fn start(&self, node: u32, daemon: &str, args: &str) {
        self.sh(node, &format!("setsid {daemon} {args} >>/vm/{daemon}.log 2>&1 </dev/null &"));
    }

    /// Starts `cmmd` on a node and waits until it serves clients.
    pub fn start_ring(&self, node: u32) {
        self.start(node, "cmmd", "-f");
        self.wait_for_ring(node);
    }

    fn wait_for_ring(&self, node: u32) {
        self.wait_for(&format!("the ring's daemon of n{node} serves clients"), || {
            self.status(node).ok().filter(|s| s.answered.cmmd)
        });
    }

    /// Starts `cmmd` everywhere and waits for the ring of all.
    pub fn start_all(&self) {
        let all = self.all();
        all.iter().for_each(|node| self.start(*node, "cmmd", "-f"));
        all.iter().for_each(|node| self.wait_for_ring(*node));
        self.wait_for_members(&all, &all);
        self.wait_for_quorum(&all, true);
    }

    /// What `holdfast status --json` says on a node.
    ///
    /// # Errors
    /// When the node is off or the command fails.
    pub fn status(&self, node: u32) -> Result<ClusterStatus> {
        let answer = self.run(node, "holdfast status --json")?;
        serde_json::from_str(&answer.stdout).with_context(|| format!("n{node}: {}", answer.stderr.trim()))
    }

    /// Waits until each of `nodes` is in an operational ring of exactly `members`.
    pub fn wait_for_members(&self, nodes: &[u32], members: &[u32]) {
        self.wait_for(&format!("nodes {nodes:?} form a ring of {members:?}"), || {
            let formed = |s: ClusterStatus| s.ring.members == members && s.ring.state == "OPERATIONAL";
            nodes.iter().all(|n| self.status(*n).is_ok_and(formed)).then_some(())
        });
    }

    /// Waits until each of `nodes` is quorate, or is not.
    pub fn wait_for_quorum(&self, nodes: &[u32], quorate: bool) {
        self.wait_for(&format!("nodes {nodes:?}: quorate = {quorate}"), || {
            let seen = |s: ClusterStatus| s.answered.cmmd && s.quorum.quorate == quorate;
            nodes.iter().all(|n| self.status(*n).is_ok_and(seen)).then_some(())
        });
    }

    /// A log of a node, all its lives.
    #[must_use]
    pub fn log(&self, node: u32, daemon: &str) -> String {
        self.machine(node).borrow().log(daemon)
    }

    /// Waits for a line with this in a log of a node, and gives that line.
    pub fn wait_for_log(&self, node: u32, daemon: &str, what: &str) -> String {
        self.wait_for(&format!("n{node}'s {daemon} says \"{what}\""), || {
            self.log(node, daemon).lines().find(|l| l.contains(what)).map(str::to_owned)
        })
    }

    /// What a machine has written to its serial console in all its lives.
    #[must_use]
    pub fn console(&self, node: u32) -> String {
        self.machine(node).borrow().console()
    }

    /// A folder of the host that the machine sees as `/vm`.
    #[must_use]
    pub fn share(&self, node: u32) -> PathBuf {
        self.machine(node).borrow().share()
    }

    /// The file behind the shared disk.
    #[must_use]
    pub fn shared_disk(&self) -> PathBuf {
        self.dir.path().join(SHARED_DISK)
    }

    /// What QEMU has told of a machine since `since`.
    #[must_use]
    pub fn events(&self, node: u32, since: Instant) -> Vec<Event> {
        let mut events = self.machine(node).borrow().events();
        events.retain(|e| e.at >= since);
        events
    }

    /// Waits until QEMU tells of such an event, and gives the first one since `since`.
    pub fn wait_for_event(&self, node: u32, name: &str, since: Instant) -> Event {
        self.wait_for(&format!("{name} of n{node}"), || {
            self.events(node, since).into_iter().find(|e| e.name == name)
        })
    }

    /// Waits until `check` gives something, and fails the test with a report of all nodes when it never does.
    ///
    /// # Panics
    /// After [`patience`].
    pub fn wait_for<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            self.obey_bmcs();
            if let Some(found) = check() {
                return found;
            }
            assert!(start.elapsed() < patience(), "gave up waiting: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Everything that helps to understand a failure: events, the end of the consoles and logs.
    #[must_use]
    pub fn report(&self) -> String {
        let mut out = format!("cluster {} in {}\n", self.name, self.dir.path().display());
        let end = |text: &str| {
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        for machine in &self.machines {
            let Ok(machine) = machine.try_borrow() else { continue };
            let _ = writeln!(out, "==== {}", machine.share().display());
            for event in machine.events() {
                let _ = writeln!(
                    out,
                    "{:.1} s ago: {} {}",
                    event.at.elapsed().as_secs_f64(),
                    event.name,
                    event.data
                );
            }
            let _ = writeln!(
                out,
                "-- console{}\n{}",
                if machine.is_on() { "" } else { " (off)" },
                end(&machine.console())
            );
            for entry in fs::read_dir(machine.share()).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Some(name) = name.strip_suffix(".log") {
                    let _ = writeln!(out, "-- {name}\n{}", end(&machine.log(name)));
                }
            }
        }
        out
    }

    /// The folder of what tests leave behind.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Copies consoles and logs to where they outlive the test, and says where that is.
    fn keep_logs(&self) -> Result<PathBuf> {
        let kept = self.cache.join("failed").join(&self.name);
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir_all(&kept)?;
        fs::write(kept.join("report.txt"), self.report())?;
        for machine in &self.machines {
            let share = machine.try_borrow().context("in use")?.share();
            let dir = share.parent().context("no folder")?;
            let node = dir.file_name().unwrap_or_default().to_string_lossy();
            for entry in [dir, &share].into_iter().flat_map(fs::read_dir).flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".log") {
                    fs::copy(entry.path(), kept.join(format!("{node}-{name}")))?;
                }
            }
        }
        Ok(kept)
    }

    fn machine(&self, node: u32) -> &RefCell<Machine> {
        let index = (node as usize).checked_sub(1);
        index.and_then(|i| self.machines.get(i)).unwrap_or_else(|| panic!("this cluster has no node {node}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("vm: a test failed with this cluster running:\n{}", self.report());
            match self.keep_logs() {
                Ok(kept) => eprintln!("vm: consoles and logs are kept in {}", kept.display()),
                Err(e) => eprintln!("vm: consoles and logs could not be kept: {e:#}"),
            }
        }
    }
}

/// The file's name, and what QEMU calls the disk.
const SHARED_DISK: &str = "shared-disk";

/// Modules that every machine needs: its serial port, disk, network, shared folder, randomness, and how it says that it panicked.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "crc32c_generic",
    "ext4",
    "pvpanic_pci",
];

/// The root file system of all machines of a cluster.
fn root(
    mut root: Initramfs,
    build: &Build,
    kernel: &Kernel,
    name: &str,
    options: &Options,
) -> Result<Vec<u8>> {
    let busybox = kernel.busybox();
    root.program(&busybox, "bin/busybox")?;
    for applet in output(Command::new(&busybox).arg("--list"))?.lines().filter(|a| *a != "busybox") {
        root.link(&format!("bin/{applet}"), "busybox");
    }
    root.program(Path::new(build.agent), "bin/vm-agent")?;
    let ours = bin_dir()?;
    for program in ["cmmd", "holdfast-guardian", "holdfast", "rgmd"] {
        if options.root == Root::Systemd {
            break; // the package brings them
        }
        root.program(&ours.join(program), &format!("usr/sbin/{program}"))?;
    }
    for program in &options.programs {
        let name = program.file_name().context("a program without a name")?.to_string_lossy();
        let inside = format!("usr/sbin/{name}");
        root.program(program, &inside)?;
        // Others look for it where the distribution has it.
        if let Ok(usual) = program.strip_prefix("/usr/bin") {
            root.link(&format!("usr/bin/{}", usual.display()), &format!("/{inside}"));
        }
    }
    for program in &options.python {
        let name = program.file_name().context("a program without a name")?.to_string_lossy();
        root.python_program(program, &format!("usr/sbin/{name}"))?;
    }
    for (path, content) in &options.files {
        root.file(path, 0o755, content.as_bytes());
    }
    let scsi: &[&str] = if options.scsi_disk_mib > 0 { &["virtio_scsi", "sd_mod"] } else { &[] };
    let root_disk: &[&str] =
        if options.root == Root::Database { &["virtio_scsi", "sd_mod", "overlay"] } else { &[] };
    let modules = [MODULES, options.watchdog.modules(), scsi, root_disk, options.modules].concat();
    let target: &[&str] = match options.scsi_target {
        ScsiTarget::Kernel => KERNEL_MODULES,
        ScsiTarget::Tgt => &[],
    };
    // In one call: what was added last is the list that modprobe reads.
    kernel.add_modules(&mut root, &[&modules, target].concat())?;
    root.file("etc/target-modules", 0o644, target.join(" ").as_bytes());
    root.file("usr/sbin/kernel-target", 0o755, KERNEL_TARGET.as_bytes());
    root.file("etc/modules", 0o644, modules.join(" ").as_bytes());
    match options.root {
        Root::Small | Root::Database => {
            if options.root == Root::Small {
                root.link("init", "bin/init");
            } else {
                root.file("init", 0o755, system::INIT_WITHOUT_SYSTEMD);
            }
            let mut inittab = INITTAB.to_vec();
            if !options.at_boot.is_empty() {
                inittab.extend_from_slice(AT_BOOT);
                root.file("etc/at-boot", 0o755, options.at_boot.as_bytes());
            }
            root.file("etc/inittab", 0o644, &inittab);
            root.file("etc/rc", 0o755, RC);
        }
        Root::Systemd => {
            root.file("init", 0o755, system::INIT);
            root.file("etc/vm-agent.service", 0o644, system::AGENT_UNIT);
        }
    }
    root.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    root.file("etc/group", 0o644, b"root:x:0:\n");
    root.file("etc/holdfast/holdfast.conf", 0o644, configuration(name, options).as_bytes());
    root.file("etc/holdfast/authkey", 0o400, &random_bytes(256)?);
    for dir in ["proc", "sys", "dev", "run", "tmp", "vm", "var/lib/holdfast", "var/log", "root"] {
        root.dir(dir);
    }
    Ok(root.finish())
}

/// The same file for every node. The times are generous: an emulated machine among others may stand still for a while.
fn configuration(name: &str, options: &Options) -> String {
    // A database and the agents of many resources keep an emulated processor busy for longer.
    let (token, limit) = if options.root == Root::Database { (10_000, 3_000) } else { (4_000, 1_000) };
    let mut text = format!(
        "totem {{\n version: 2\n cluster_name: {name}\n transport: knet\n token: {token}\n heartbeat_limit: {limit}\n}}\nnodelist {{\n"
    );
    let first = u8::from(options.service_link);
    for node in 1..=options.nodes {
        let _ = writeln!(text, " node {{\n nodeid: {node}\n name: {}", node_name(node));
        for link in first..options.links {
            let _ = writeln!(text, " ring{}_addr: {}", link - first, address(node, link));
        }
        text.push_str(" }\n");
    }
    let (quorum, failfast, logging) = (options.quorum, options.failfast, options.logging);
    let _ = writeln!(text, "}}\nquorum {{\n provider: corosync_votequorum\n{quorum}}}");
    let _ = writeln!(text, "logging {{\n{logging}}}\nfailfast {{\n{failfast}}}");
    if !options.fencing.is_empty() {
        let _ = writeln!(text, "fencing {{\n{}}}", options.fencing);
    }
    text
}

const INITTAB: &[u8] = b"::sysinit:/etc/rc\n::respawn:/bin/vm-agent\n::ctrlaltdel:/bin/reboot\n";
const AT_BOOT: &[u8] = b"::once:/etc/at-boot\n";

/// Makes a node of a machine that has just booted.
const RC: &[u8] = br#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
grep -q ' /dev ' /proc/mounts || mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
# Where udev would put the devices of dlm.
ln -s . /dev/misc
modprobe -a $(cat /etc/modules)
# As udev names them.
mkdir /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    ln -s "/dev/${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done
for word in $(cat /proc/cmdline); do
    case $word in vm.*=*) eval "${word#vm.}" ;; esac
done
hostname "n$node"
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none share /vm
mount -t ext4 /dev/vda /var/lib/holdfast
mount -t pstore pstore /sys/fs/pstore
mount -t configfs configfs /sys/kernel/config 2>/dev/null
ip link set lo up
link=0
while [ $link -lt $links ]; do
    ip addr add 10.77.$link.$node/24 dev eth$link
    ip link set eth$link up
    link=$((link + 1))
done
"#;
