//! The table of how long survivors take: the tests that do faults to virtual machines, and what they have noted.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Tests that strike nodes; each adds lines to the table.
const TESTS: &[&str] = &[
    "deaths::",
    "links::",
    "bmc::",
    "exhaustion::neither",
    "noticed_by_its_guardian",
    "frozen_for",
    "random_faults",
];

pub(crate) fn run() -> Result<()> {
    let table = crate::root().join("target/times.txt");
    let _ = fs::remove_file(&table);
    build()?;
    let mut test = virtual_machines(TESTS);
    let status = test.env("HOLDFAST_TIMES", &table).status().context("cannot run cargo")?;
    let text = fs::read_to_string(&table).context("no fault was done")?;
    print!("\n{text}");
    ensure!(status.success(), "a test failed: the table lacks what came after");
    Ok(())
}

/// The programs that the machines run.
pub(crate) fn build() -> Result<()> {
    let args = [
        "build",
        "--release",
        "--bins",
        "-p",
        "cmmd",
        "-p",
        "rgmd",
        "-p",
        "holdfast-guardian",
        "-p",
        "holdfast",
    ];
    let status = Command::new(env!("CARGO")).args(args).current_dir(crate::root()).status();
    ensure!(status.context("cannot run cargo")?.success(), "the programs under test do not build");
    Ok(())
}

/// Tests of virtual machines by parts of their names, with what they print.
pub(crate) fn virtual_machines(tests: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "-p", "vm", "--test", "vm", "--"])
        .args(tests)
        .args(["--nocapture", "--test-threads=1"]);
    cargo.current_dir(crate::root()).env("HOLDFAST_BIN_DIR", crate::root().join("target/release"));
    cargo
}
