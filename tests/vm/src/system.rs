//! The distribution on a disk for machines that boot as a server does: packages into a disk image, made once. With systemd a copy for each
//! machine; without, all read the same one, each by a disk of its own, and what they write is gone with their power.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cluster::Root;
use crate::kernel::output;
use crate::machine::{DIR, disk};

/// What is installed besides what the distribution cannot do without. Of the predecessor: what asks for `corosync.service`, and it itself.
const WITH_SYSTEMD: &str = "systemd,systemd-sysv,udev,dbus,kmod,iproute2,procps,corosync,dlm-controld";
/// The same where a database is what the cluster is for. Of the predecessor: its shell, and the commands that the shell depends on.
const WITH_DATABASE: &str = "postgresql-15,resource-agents,pacemaker-resource-agents,fence-agents,ipmitool,crmsh,iproute2,iputils-ping,procps,psmisc";
/// For mmdebstrap, before the packages are configured.
const NO_DATABASE: &str = "--essential-hook=mkdir -p $1/etc/postgresql-common && echo create_main_cluster=false >$1/etc/postgresql-common/createcluster.conf";
/// What costs minutes of an emulated processor and says nothing about a cluster, as links to nowhere.
const MASKED: [&str; 8] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "e2scrub_reap.service",
];
const SIZE_MIB: u32 = 1_536;
const LABEL: &str = "vm-root";

/// The image for a root on a disk, from `cache`; made into it before if need be.
///
/// # Errors
/// When packages cannot be had, or there is no room.
pub(crate) fn image(cache: &Path, root: Root) -> Result<PathBuf> {
    let packages = if root == Root::Database { WITH_DATABASE } else { WITH_SYSTEMD };
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join("system.lock"))?;
    lock.lock().context("waiting for the system's image")?;
    // Another list of packages is another image.
    let key = packages
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let image = cache.join(format!("system-{key:016x}.ext4"));
    if !image.exists() {
        let (tree, part) = (cache.join("system.tree"), cache.join("system.part"));
        let _ = fs::remove_dir_all(&tree);
        let made = make(&tree, &part, packages);
        let _ = fs::remove_dir_all(&tree);
        made.with_context(|| format!("making a system with {packages}"))?;
        fs::rename(&part, &image)?;
    }
    Ok(image)
}

fn make(tree: &Path, image: &Path, packages: &str) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let suite = release.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME="));
    let suite = suite.context("/etc/os-release names no release")?;
    let mut strap = Command::new("mmdebstrap");
    strap.args(["--quiet", "--mode=root", "--variant=minbase", &format!("--include={packages}"), suite]);
    if packages == WITH_DATABASE {
        // Nobody reads them there, and what a crash of this machine takes with it is made again.
        strap.args(["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*"]);
        strap.args(["--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=force-unsafe-io"]);
        // The package makes a database, unless it is told not to.
        strap.arg(NO_DATABASE);
    }
    output(strap.arg(tree))?;
    // Its own at the first boot, like the name.
    fs::write(tree.join("etc/machine-id"), "")?;
    // What was logged before a crash is still there after it.
    fs::create_dir_all(tree.join("var/log/journal"))?;
    for unit in MASKED {
        let link = tree.join("etc/systemd/system").join(unit);
        fs::create_dir_all(tree.join("etc/systemd/system"))?;
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink("/dev/null", link)?;
    }
    let _ = fs::remove_file(image);
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-L", LABEL, "-d"])
        .arg(tree)
        .arg(image)
        .arg(format!("{SIZE_MIB}M"));
    output(&mut mke2fs)?;
    ensure!(image.exists(), "mke2fs left no image");
    Ok(())
}

/// What QEMU calls the root disk that cannot be written to.
pub(crate) const ROOT_DISK: &str = "root";

/// The root disk that all machines read. It answers as a SCSI disk does, `/dev/sda`.
pub(crate) fn shared_arguments(image: &Path) -> Vec<String> {
    let mut arguments = disk(ROOT_DISK, &image.display().to_string(), ",read-only=on");
    arguments.extend(["-device", "virtio-scsi-pci,id=internal", "-device"].map(str::to_owned));
    arguments.push(format!("scsi-hd,drive={ROOT_DISK},bus=internal.0,serial=internal,rerror=report"));
    arguments
}

/// The root disk. The host does not lose power, hence no flushes: what a machine has written outlives its end.
pub(crate) fn arguments() -> [String; 4] {
    let drive = format!("if=none,id=root,file={DIR}/root,format=raw,cache=unsafe");
    ["-drive".into(), drive, "-device".into(), "virtio-blk-pci,drive=root".into()]
}

/// From the initramfs into the system: what a hoster prepares (modules of this kernel, name, network), the way for the test, systemd.
pub(crate) const INIT: &[u8] = br#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -a $(cat /etc/modules)
for word in $(cat /proc/cmdline); do
    case $word in vm.*=*) eval "${word#vm.}" ;; esac
done
mkdir -p /new
mount -t ext4 "$(findfs LABEL=vm-root)" /new || { echo "no root disk"; poweroff -f; }
mkdir -p /new/vm /new/lib/modules
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none share /new/vm
if [ ! -e /new/etc/systemd/system/vm-agent.service ]; then
    cp -a /lib/modules/* /new/usr/lib/modules/
    chroot /new depmod "$(uname -r)"
    echo "n$node" >/new/etc/hostname
    echo "127.0.0.1 localhost n$node" >/new/etc/hosts
    mkdir -p /new/etc/systemd/network /new/etc/systemd/system/sysinit.target.wants
    link=0
    while [ $link -lt $links ]; do
        printf '[Match]\nName=eth%s\n[Network]\nAddress=10.77.%s.%s/24\nLinkLocalAddressing=no\n' $link $link $node >/new/etc/systemd/network/eth$link.network
        link=$((link + 1))
    done
    for unit in multi-user.target.wants/systemd-networkd.service network-online.target.wants/systemd-networkd-wait-online.service; do
        mkdir -p "/new/etc/systemd/system/${unit%/*}"
        ln -s "/lib/systemd/system/${unit##*/}" "/new/etc/systemd/system/$unit"
    done
    cp /bin/vm-agent /new/usr/local/sbin/vm-agent
    cp /etc/holdfast/authkey /etc/holdfast/holdfast.conf /new/root/
    ln -s ../vm-agent.service /new/etc/systemd/system/sysinit.target.wants/vm-agent.service
    cp /etc/vm-agent.service /new/etc/systemd/system/vm-agent.service
fi
umount /proc
umount /sys
mount -o move /dev /new/dev
exec switch_root /new /lib/systemd/systemd
"#;

/// From the initramfs into the distribution without a service manager. The disk is only read: what is written goes to memory. The programs of
/// the initramfs lie beside those of the distribution, and its `init` is the first process there, too.
pub(crate) const INIT_WITHOUT_SYSTEMD: &[u8] = br#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -a $(cat /etc/modules)
# The adapter looks for its disks in its own time.
until [ -e /dev/sda ]; do usleep 20000; done
mkdir -p /disk /memory /new
mount -t ext4 -o ro /dev/sda /disk || { echo "no root disk"; poweroff -f; }
mount -t tmpfs -o size=75% memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/disk,upperdir=/memory/upper,workdir=/memory/work root /new
mkdir -p /new/vm /new/usr/lib/vm /new/etc/holdfast /new/var/lib/holdfast /new/usr/lib/holdfast
cp /bin/busybox /bin/vm-agent /new/usr/lib/vm/
for applet in init poweroff reboot usleep; do ln -sf busybox /new/usr/lib/vm/$applet; done
for applet in modprobe poweroff reboot usleep; do ln -sf ../../lib/vm/busybox /new/usr/local/sbin/$applet; done
cp -a /usr/sbin/. /new/usr/sbin/
[ ! -d /usr/lib/ocf ] || cp -a /usr/lib/ocf/. /new/usr/lib/ocf/
cp -a /etc/holdfast/. /new/etc/holdfast/
agent='/usr/lib/vm/busybox env PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/vm/vm-agent'
sed "s|/bin/vm-agent|$agent|" /etc/inittab >/new/etc/inittab
cp /etc/rc /new/etc/
[ ! -e /etc/at-boot ] || cp /etc/at-boot /new/etc/
: >/new/etc/modules
# The commands of the predecessor by the names that people and agents call them.
mount -t proc proc /new/proc
chroot /new holdfast link /usr/local/sbin >/dev/null
umount /new/proc
ln -s /usr/local/sbin /new/usr/lib/holdfast/bin
# What operators read outlives the machine, as it would at a log server.
ln -s /vm /new/var/log/holdfast
for word in $(cat /proc/cmdline); do
    case $word in vm.*=*) eval "${word#vm.}" ;; esac
done
echo "n$node" >/new/etc/hostname
echo "127.0.0.1 localhost n$node" >/new/etc/hosts
umount /proc
umount /sys
mount -o move /dev /new/dev
exec switch_root /new /usr/lib/vm/init
"#;

/// The agent, from the first moment to the last: it also tells of what happens while the machine shuts down.
pub(crate) const AGENT_UNIT: &[u8] = b"[Unit]
Description=Runs what the test asks for
DefaultDependencies=no
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh -c 'until [ -e /dev/virtio-ports/holdfast.agent ]; do sleep 0.1; done; exec /usr/local/sbin/vm-agent'
Restart=always
RestartSec=200ms
KillMode=process
";
