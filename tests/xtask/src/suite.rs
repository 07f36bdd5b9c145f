//! The test command: what it installs, what it runs, and what it says about the rest.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// How much of the suite is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Everything,
    /// Without namespaces, demo and kit.
    Quick,
}

/// The distribution's packages that tests use: the predecessors' clients, real agents, network tools, virtual machines. (The
/// machines' kernel is downloaded by their harness, and not installed.)
const PACKAGES: &[&str] = &[
    "binutils",
    "cluster-glue",
    "corosync",
    "corosync-notifyd",
    "corosync-qdevice",
    "corosync-qnetd",
    "crmsh",
    "dbus-daemon",
    "dlm-controld",
    "dpkg-dev",
    "e2fsprogs",
    "fdisk",
    "fence-agents",
    "fish",
    "gcc",
    "gfs2-utils",
    "iproute2",
    "iptables",
    "ipmitool",
    "iputils-ping",
    "kmod",
    "libcfg-dev",
    "libcmap-dev",
    "libcpg-dev",
    "libdlm-dev",
    "libnss3-tools",
    "libquorum-dev",
    "libvotequorum-dev",
    "man-db",
    "mandoc",
    "mmdebstrap",
    "monitoring-plugins-basic",
    "nftables",
    "openipmi",
    "openssl",
    "pacemaker",
    "pacemaker-cli-utils",
    "pacemaker-resource-agents",
    "postgresql-15",
    "procps",
    "python3",
    "python3-dbus",
    "python3-gi",
    "qemu-block-extra",
    "qemu-system-x86",
    "resource-agents",
    "sbd",
    "sg3-utils",
    "tgt",
    "util-linux",
    "xfsprogs",
    "xz-utils",
    "zsh",
];

pub(crate) fn run(extent: Extent) -> Result<()> {
    let mut suite = Suite { skipped: Vec::new(), started: Instant::now() };
    let packages = suite.packages(extent)?;
    suite.step("build", cargo(&["build", "--release", "--workspace"]))?;
    if packages {
        // Before the tests: virtual machines install it. Of these programs: a build of fewer crates would be another one.
        suite.step("package", cargo(&["xtask", "deb", "--no-build"]))?;
    }
    let nextest = cargo(&["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let mut tests = if nextest.is_ok_and(|s| s.success()) {
        // Clusters take their priority back.
        program("nice", ["-n", "10", env!("CARGO"), "nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        suite.skipped.push("cargo-nextest is not installed: running plain cargo test".into());
        cargo(&["test", "--workspace", "--no-fail-fast"])
    };
    tests.env("HOLDFAST_BIN_DIR", crate::root().join("target/release"));
    if !packages || extent == Extent::Quick {
        tests.env("HOLDFAST_ALLOW_SKIP", "1");
        suite
            .skipped
            .push("namespaces and virtual machines: need root and the distribution's packages".into());
    }
    suite.step("tests", tests)?;
    if extent == Extent::Everything {
        // Ignored above, where they are built for debugging.
        let soak =
            ["test", "--release", "-p", "cmm-qdisk", "-p", "cmm-scsi", "--lib", "q4_soak", "--", "--ignored"];
        suite.step("20,000 worlds of each quorum device", cargo(&soak))?;
        suite.step("demo", program(crate::root().join("target/release/holdfast"), ["demo"]))?;
        suite.kit(packages)?;
    }
    suite.summary();
    Ok(())
}

struct Suite {
    skipped: Vec<String>,
    started: Instant,
}

impl Suite {
    /// Installs what is missing where that is possible; `false` where it is not.
    fn packages(&mut self, extent: Extent) -> Result<bool> {
        if extent == Extent::Quick {
            return Ok(false);
        }
        if !have("dpkg-query") || !have("apt-get") {
            self.skipped.push("packages of the distribution: no apt here".into());
            return Ok(false);
        }
        let missing: Vec<&str> = PACKAGES.iter().copied().filter(|p| !installed(p)).collect();
        if missing.is_empty() {
            return Ok(is_root());
        }
        if !is_root() {
            self.skipped.push(format!("packages {}: installing them needs root", missing.join(" ")));
            return Ok(false);
        }
        println!("installing {}", missing.join(" "));
        let apt = |args: &[&str]| {
            let mut command = program("apt-get", ["-qq", "-o", "Dpkg::Use-Pty=0"]);
            command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
            // Their services are for the nodes of the tests: systemctl starts nothing on this machine.
            command.env("SYSTEMD_OFFLINE", "1");
            command
        };
        self.step("apt-get update", apt(&["update"]))?;
        let mut install = apt(&["install", "-y", "--no-install-recommends"]);
        install.args(&missing);
        self.step("apt-get install", install)?;
        Ok(true)
    }

    /// The predecessor's own client libraries against `cmmd`, where the kit lies beside the checkout.
    fn kit(&mut self, packages: bool) -> Result<()> {
        let kit = crate::root().join("../shared/conformance/client-abi/run.sh");
        if !kit.exists() || !packages {
            self.skipped.push("client-ABI kit: needs the kit beside the checkout, root and packages".into());
            return Ok(());
        }
        let cmmd = crate::root().join("target/release/cmmd").canonicalize().context("target/release/cmmd")?;
        let mut run = program("bash", [kit.as_os_str(), cmmd.as_os_str()]);
        run.env("ABI_NODES", "1").env("ABI_STRICT", "1").env("ABI_TIMESCALE", "2");
        self.step("client-ABI kit, one node", run)?;
        Ok(())
    }

    fn step(&mut self, name: &str, mut command: Command) -> Result<()> {
        println!("== {name}");
        let began = Instant::now();
        let status = command.current_dir(crate::root()).stdin(Stdio::null()).status();
        let status = status.with_context(|| format!("cannot run {name}"))?;
        println!("== {name}: {status} after {:.1} s", began.elapsed().as_secs_f64());
        if !status.success() {
            bail!("{name} failed ({status})");
        }
        Ok(())
    }

    fn summary(&self) {
        for line in &self.skipped {
            println!("skipped: {line}");
        }
        println!("everything passed in {:.0} s", self.started.elapsed().as_secs_f64());
    }
}

fn cargo(args: &[&str]) -> Command {
    program(env!("CARGO"), args)
}

fn program<S: AsRef<OsStr>>(name: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(name);
    command.args(args);
    command
}

fn have(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|p| std::env::split_paths(&p).any(|d| d.join(name).exists()))
}

fn installed(package: &str) -> bool {
    let out = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
    out.is_ok_and(|o| o.stdout.starts_with(b"install ok installed"))
}

fn is_root() -> bool {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    status.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
}
