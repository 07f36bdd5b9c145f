//! A disk with SCSI-3 persistent reservations that all machines share: a real user-space target (`tgt`) and QEMU's own initiator, so that
//! each machine has a path of its own and reservations are decided by the target.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::kernel::output;
use crate::network::address;

/// Which target decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScsiTarget {
    /// `tgt`, a user-space target on the host. It knows neither PREEMPT AND ABORT nor APTPL.
    Tgt,
    /// The kernel's own (LIO), in a virtual machine that is none of the nodes. It knows all there is.
    Kernel,
}

/// The script that makes a target of a machine, and what it needs: kernel modules.
pub(crate) const KERNEL_TARGET: &str = include_str!("kernel-target.sh");
pub(crate) const KERNEL_MODULES: &[&str] = &["target_core_mod", "target_core_file", "iscsi_target_mod"];

/// The target. It listens in the machines' network namespace only.
pub(crate) struct Target {
    daemon: Child,
    control: String,
}

impl Target {
    /// One disk of `mib` megabytes in a file in `dir`.
    pub(crate) fn start(dir: &Path, mib: u32) -> Result<Self> {
        let disk = dir.join("scsi-disk");
        fs::File::create(&disk)?.set_len(u64::from(mib) << 20)?;
        fs::create_dir_all("/run/tgtd")?;
        let control = std::process::id().to_string();
        let log = fs::File::create(dir.join("tgtd.log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "tgtd", "-f", "-C", &control]);
        command.args(["--iscsi", &format!("portal={PORTAL}")]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let this = Self { daemon: command.spawn().context("running tgtd")?, control };
        let target = ["--op", "new", "--mode", "target", "--tid", "1", "--targetname", TARGET];
        let start = Instant::now();
        while let Err(e) = this.admin(&target) {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(e);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let disk = disk.to_str().context("a path that is no text")?;
        this.admin(&[
            "--op",
            "new",
            "--mode",
            "logicalunit",
            "--tid",
            "1",
            "--lun",
            "1",
            "--backing-store",
            disk,
        ])?;
        this.admin(&["--op", "bind", "--mode", "target", "--tid", "1", "--initiator-address", "ALL"])?;
        Ok(this)
    }

    /// For QEMU: the disk as `/dev/sda`, by a path of the machine's own.
    pub(crate) fn arguments(target: ScsiTarget, nodes: u32) -> [String; 6] {
        let portal = match target {
            ScsiTarget::Tgt => PORTAL.to_owned(),
            ScsiTarget::Kernel => format!("{}:3260", address(nodes + 1, 0)),
        };
        let disk = format!(
            r#"{{"driver":"raw","node-name":"pr","file":{{"driver":"iscsi","transport":"tcp","portal":"{portal}","target":"{TARGET}","lun":1,"initiator-name":"iqn.2026-01.vm:{NODE}","cache":{{"direct":true}}}}}}"#,
            NODE = crate::machine::NODE
        );
        let device = "scsi-block,drive=pr,bus=prs.0,share-rw=on";
        ["-blockdev", &disk, "-device", "virtio-scsi-pci,id=prs", "-device", device].map(str::to_owned)
    }

    fn admin(&self, args: &[&str]) -> Result<()> {
        output(Command::new("tgtadm").args(["-C", &self.control, "--lld", "iscsi"]).args(args)).map(drop)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_file(format!("/run/tgtd/socket.{}", self.control));
        let _ = fs::remove_file(format!("/run/tgtd/socket.{}.lock", self.control));
    }
}

const PORTAL: &str = "127.0.0.1:3260";
pub(crate) const TARGET: &str = "iqn.2026-01.vm:t1";
