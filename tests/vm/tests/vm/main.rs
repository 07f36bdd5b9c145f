//! Stories of clusters of virtual machines: real kernels, real panics, real watchdogs. Each needs root and QEMU.

mod bmc;
mod data_disks;
mod deaths;
mod dlm;
mod exhaustion;
mod failfast;
mod gfs2;
mod kernel_target;
mod links;
mod random;
mod reference;
mod reference_witness;
mod reservations;
mod resources;
mod service;
mod units;
mod watchdog;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use vm::{Build, Cluster, Options};

const BUILD: Build = Build { agent: env!("CARGO_BIN_EXE_vm-agent"), cache: env!("CARGO_TARGET_TMPDIR") };

/// A cluster of booted machines with no daemon running.
fn boot(name: &str, options: Options) -> Cluster {
    Cluster::new(&BUILD, name, options).unwrap_or_else(|e| panic!("{e:#}"))
}

/// Compiles a program of these tests, `NAME.c`, against the distribution's libraries.
fn compile(name: &str, libraries: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vm/{name}.c"));
    let program = Path::new(BUILD.cache).join(name);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-o"]).arg(&program).arg(source).args(libraries);
    let out = cc.output().expect("a C compiler");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    program
}

/// A shell script for the machines.
fn script(name: &str, text: &str) -> PathBuf {
    let program = Path::new(BUILD.cache).join(name);
    std::fs::write(&program, text).unwrap();
    program
}

/// Looks at something for a while and fails when it stops being true: for what must *not* happen.
fn stays(what: &str, look: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < look {
        assert!(holds(), "no longer true: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
