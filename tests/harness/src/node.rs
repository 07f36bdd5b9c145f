//! One node: its namespaces while it is on, its folder always.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::lock;
use crate::config::node_name;
use crate::faulty_disk::{DiskFault, DiskRequests, FaultyDisk};
use crate::fence::Power;
use crate::namespace::Namespace;
use crate::processes::Process;

/// All nodes; the fence device's view of them.
pub(crate) struct Nodes {
    slots: Vec<Slot>,
}

impl Nodes {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self { slots }
    }

    /// By id, from 1.
    pub(crate) fn get(&self, id: u32) -> &Slot {
        let index = (id as usize).checked_sub(1);
        index.and_then(|i| self.slots.get(i)).unwrap_or_else(|| panic!("this cluster has no node {id}"))
    }

    /// Switches everything off.
    pub(crate) fn end(&self) {
        for slot in &self.slots {
            if let Err(e) = slot.power_off() {
                eprintln!("harness: {e:#}");
            }
        }
    }

    fn named(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|s| s.name == name)
    }
}

impl Power for Nodes {
    fn is_on(&self, node: &str) -> Option<bool> {
        self.named(node).map(Slot::is_on)
    }

    fn off(&self, node: &str) -> Result<()> {
        self.named(node).with_context(|| format!("no such plug: {node}"))?.power_off()
    }
}

impl Life {
    /// nsenter stops itself when its child is stopped, and nobody but us tells it to go on.
    fn wake_parents(&self) {
        for (_, child) in &self.daemons {
            if let Ok(pid) = i32::try_from(child.id()) {
                // Not waited for yet, so the pid is still that of our child.
                let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
            }
        }
    }
}

/// Where a node is plugged in.
pub(crate) struct Slot {
    name: String,
    dir: PathBuf,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    // Dropped before the namespace: whoever waits for a disk that stalls does not die.
    disks: Vec<FaultyDisk>,
    space: Option<Namespace>,
    daemons: Vec<(String, Child)>,
    /// Its file system takes nothing.
    frozen: bool,
}

impl Slot {
    pub(crate) fn new(id: u32, dir: PathBuf) -> Self {
        Self { name: node_name(id), dir, life: Mutex::default() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn is_on(&self) -> bool {
        lock(&self.life).space.as_mut().is_some_and(Namespace::is_alive)
    }

    /// Makes the namespaces of a new boot and connects them.
    pub(crate) fn power_on(&self, connect: impl FnOnce(&Namespace) -> Result<Vec<FaultyDisk>>) -> Result<()> {
        let mut life = lock(&self.life);
        ensure!(life.space.is_none(), "it is on already");
        // A machine that boots has a new boot id, and nothing may reach the kernel below: not its console, not its
        // reset trigger.
        fs::copy("/proc/sys/kernel/random/uuid", self.dir.join("boot_id"))?;
        for file in ["kmsg", "sysrq", "sysrq-trigger"] {
            File::create(self.dir.join(file))?;
        }
        let args = [self.name.as_ref(), self.dir.as_os_str()];
        let space = Namespace::new(SETUP, &args, &self.dir.join("log/init.log"))?;
        // Real sbd and Pacemaker reach for what resets a machine.
        let danger = space.command("sh").args(["-euc", DANGER]).output().context("running sh")?;
        ensure!(danger.status.success() && danger.stdout.is_empty(), "could harm this machine: {danger:?}");
        life.disks = connect(&space)?;
        life.space = Some(space);
        Ok(())
    }

    pub(crate) fn init(&self) -> Option<u32> {
        lock(&self.life).space.as_ref().map(Namespace::init)
    }

    pub(crate) fn power_off(&self) -> Result<()> {
        let mut life = lock(&self.life);
        // A namespace ends only when its dead have been waited for.
        life.wake_parents();
        // Nor while somebody in it waits for a disk.
        life.disks.iter().for_each(FaultyDisk::release);
        if std::mem::take(&mut life.frozen) {
            thaw(&life)?;
        }
        if let Some(mut space) = life.space.take() {
            space.kill().with_context(|| format!("switching {} off", self.name))?;
        }
        life.disks.clear();
        for (_, mut child) in life.daemons.drain(..) {
            let _ = child.wait();
        }
        Ok(())
    }

    /// Changes what happens on the way to a disk. Nothing while the node is off.
    pub(crate) fn set_disk(&self, disk: u32, fault: DiskFault) {
        if let Some(disk) = lock(&self.life).disks.get(disk as usize) {
            disk.set(fault);
        }
    }

    /// Stops and lets go on whoever writes to the file system of its state. Nothing while the node is off.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let mut life = lock(&self.life);
        if life.frozen == frozen || life.space.is_none() {
            return Ok(());
        }
        if frozen {
            fsfreeze(&life, "--freeze")?;
        } else {
            thaw(&life)?;
        }
        life.frozen = frozen;
        Ok(())
    }

    pub(crate) fn disk_requests(&self, disk: u32) -> DiskRequests {
        lock(&self.life).disks.get(disk as usize).map(FaultyDisk::requests).unwrap_or_default()
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        match &lock(&self.life).space {
            Some(space) => Ok(space.command(program)),
            None => bail!("{} is off", self.name),
        }
    }

    /// Starts a daemon with its output appended to its log.
    pub(crate) fn start(&self, daemon: &str, mut command: Command) -> Result<()> {
        let path = self.dir.join(format!("log/{daemon}.log"));
        let log = File::options().create(true).append(true).open(&path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {daemon} on {}", self.name))?;
        lock(&self.life).daemons.push((daemon.to_owned(), child));
        Ok(())
    }

    pub(crate) fn processes(&self) -> Vec<Process> {
        let mut life = lock(&self.life);
        life.wake_parents();
        life.daemons.retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
        life.space.as_ref().map(Namespace::processes).unwrap_or_default()
    }
}

fn thaw(life: &Life) -> Result<()> {
    fsfreeze(life, "--unfreeze")
}

/// From outside: nobody in the node might be able to.
fn fsfreeze(life: &Life, how: &str) -> Result<()> {
    let Some(space) = &life.space else { return Ok(()) };
    let dir = format!("/proc/{}/root/var/lib/holdfast", space.init());
    let out = Command::new("fsfreeze").args([how, &dir]).output().context("running fsfreeze")?;
    ensure!(out.status.success(), "fsfreeze {how}: {out:?}");
    Ok(())
}

/// The machine as a node sees it: `$1` its name, `$2` its folder. Private: `/run`, `/dev/shm`, and as overlays, so that
/// the distribution's files are there, `/etc`, `/usr/sbin` (with the fence agent), `/var/lib` and `/var/log`; what
/// Holdfast and Pacemaker keep in `/var/lib` outlives the node; a `/dev` of harmless devices, without watchdogs, disks
/// and the machine's `/dev/log`; its own boot id; no way to the kernel log, the reset trigger and its switch.
const SETUP: &str = r#"
hostname "$1"
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/resource-agents /run/holdfast
mkdir /run/.dev /run/.overlay /run/.state
if [ -e "$2/state.image" ]; then
    # The kernel takes its time with the file system of a life that has ended, and one must not be there twice.
    while [ -n "$(losetup --associated "$2/state.image")" ]; do sleep 0.05; done
    mount -o loop "$2/state.image" /run/.state
fi
mount -t tmpfs -o mode=755 dev /run/.dev
mkdir /run/.dev/shm
for device in full null random tty urandom zero; do
    : > "/run/.dev/$device"
    mount --bind "/dev/$device" "/run/.dev/$device"
done
: > /run/.dev/kmsg
mount --bind "$2/kmsg" /run/.dev/kmsg
ln -s /proc/self/fd /run/.dev/fd
mount --move /run/.dev /dev
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 overlay /run/.overlay
for dir in etc usr/sbin var/lib var/log; do
    work=/run/.overlay/$dir
    mkdir -p "$work/up" "$work/work"
    mount -t overlay -o "lowerdir=/$dir,upperdir=$work/up,workdir=$work/work" "overlay-$1" "/$dir"
done
mkdir -p /etc/holdfast /etc/corosync /var/lib/holdfast
rm -rf /etc/holdfast/* /etc/corosync/*
cp "$2/etc/holdfast.conf" "$2/etc/authkey" /etc/holdfast/
chmod 400 /etc/holdfast/authkey
echo "$1" > /etc/hostname
if [ -e "$2/state.image" ]; then
    mount --move /run/.state /var/lib/holdfast
    rm -f /var/lib/holdfast/filler
else
    mount --bind "$2/state" /var/lib/holdfast
fi
if [ -d /var/lib/pacemaker ]; then
    # Its folders: a file there is of a tool that another test runs, and may be gone before it is copied.
    [ -d "$2/pacemaker" ] || find /var/lib/pacemaker -type d | while read -r dir; do
        copy="$2/pacemaker${dir#/var/lib/pacemaker}"
        mkdir "$copy"
        chown --reference="$dir" "$copy"
        chmod --reference="$dir" "$copy"
    done
    mount --bind "$2/pacemaker" /var/lib/pacemaker
fi
cp "$2/../agents/"* /usr/sbin/
mount -t sysfs -o ro sysfs /sys
mount --bind "$2/boot_id" /proc/sys/kernel/random/boot_id
[ ! -e /proc/sysrq-trigger ] || mount --bind "$2/sysrq-trigger" /proc/sysrq-trigger
[ ! -e /proc/sys/kernel/sysrq ] || mount --bind "$2/sysrq" /proc/sys/kernel/sysrq
ip link set lo up
"#;

/// Names what leads from a node to the machine, so that no node with such a thing is ever switched on: the reset trigger and its switch, a watchdog, the capabilities (bits 16,
/// 17, 22) to load modules, to touch ports, to reboot.
const DANGER: &str = r#"
for file in /proc/sysrq-trigger /proc/sys/kernel/sysrq; do
    [ ! -e $file ] || [ "$(stat -f -c %T $file)" != proc ] || echo $file
done
find /dev -xdev ! -type d -name '*watchdog*'
find /dev -xdev -type b
bounding=0x$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)
[ $((bounding & 0x430000)) = 0 ] || echo "capabilities $bounding"
"#;
