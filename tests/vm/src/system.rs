//! A distribution with systemd for machines that boot as a server does: packages into a disk image, made once, a copy for each machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::kernel::output;
use crate::machine::DIR;

/// What is installed besides what the distribution cannot do without. Of the predecessor: what asks for `corosync.service`, and it itself.
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,kmod,iproute2,procps,corosync,dlm-controld";
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
const SIZE_MIB: u32 = 1_024;
const LABEL: &str = "vm-root";

/// The image, from `cache`; made into it before if need be.
///
/// # Errors
/// When packages cannot be had, or there is no room.
pub(crate) fn image(cache: &Path) -> Result<PathBuf> {
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join("system.lock"))?;
    lock.lock().context("waiting for the system's image")?;
    // Another list of packages is another image.
    let key = PACKAGES
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let image = cache.join(format!("system-{key:016x}.ext4"));
    if !image.exists() {
        let (tree, part) = (cache.join("system.tree"), cache.join("system.part"));
        let _ = fs::remove_dir_all(&tree);
        let made = make(&tree, &part);
        let _ = fs::remove_dir_all(&tree);
        made.context("making a system with systemd")?;
        fs::rename(&part, &image)?;
    }
    Ok(image)
}

fn make(tree: &Path, image: &Path) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let suite = release.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME="));
    let suite = suite.context("/etc/os-release names no release")?;
    let mut strap = Command::new("mmdebstrap");
    strap.args(["--quiet", "--mode=root", "--variant=minbase", &format!("--include={PACKAGES}"), suite]);
    output(strap.arg(tree))?;
    // Its own at the first boot, like the name.
    fs::write(tree.join("etc/machine-id"), "")?;
    // What was logged before a crash is still there after it.
    fs::create_dir_all(tree.join("var/log/journal"))?;
    for unit in MASKED {
        let link = tree.join("etc/systemd/system").join(unit);
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
