//! `cargo xtask deb`: the package for Debian and its like, by cargo-deb.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::root;

/// What goes into the package besides programs; in the target folder, where the manifest of `holdfast` looks for it.
const STAGE: &str = "target/package";
const PROGRAMS: [&str; 4] = ["cmmd", "rgmd", "holdfast-guardian", "holdfast"];
/// Commands that `holdfast` stands in for and that no package of the distribution has.
const OURS: [&str; 1] = ["mkqdisk"];
/// Those that another package has as well: in a folder of their own, for whoever puts it into PATH.
const THEIRS: [&str; 22] = [
    "crm_mon",
    "crm_simulate",
    "crm_verify",
    "corosync-keygen",
    "attrd_updater",
    "crm_attribute",
    "crm_error",
    "crm_failcount",
    "crm_master",
    "crm_node",
    "crm_resource",
    "crm_rule",
    "crm_standby",
    "crm_ticket",
    "crmadmin",
    "iso8601",
    "pacemakerd",
    "stonith_admin",
    "pacemaker-schedulerd",
    "pacemaker-controld",
    "pacemaker-fenced",
    "pacemaker-based",
];

/// Builds the programs, unless they are to be taken as they are, and the package, and says where it is.
pub(crate) fn run(build: bool) -> Result<()> {
    if build {
        programs()?;
    }
    stage()?;
    let tool = tool()?;
    let out = root().join("target/debian");
    // An earlier version's would be taken for this one's.
    let _ = fs::remove_dir_all(&out);
    let mut deb = Command::new(tool);
    deb.args(["deb", "--no-build", "--quiet", "--strip", "-p", "holdfast", "--output"]).arg(&out);
    // cargo-deb asks the cargo that runs us for the workspace.
    succeed(deb.env("CARGO", env!("CARGO")).current_dir(root().join("userland/holdfast")))?;
    let package = package()?;
    println!("{}", package.display());
    Ok(())
}

fn programs() -> Result<()> {
    let mut build = cargo(&["build", "--release", "--quiet", "--bins"]);
    for program in PROGRAMS {
        build.args(["-p", program]);
    }
    succeed(&mut build)
}

/// The package that was built last.
fn package() -> Result<PathBuf> {
    let out = root().join("target/debian");
    let entries = fs::read_dir(&out).with_context(|| out.display().to_string())?;
    let found = entries.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "deb"));
    found.with_context(|| format!("cargo-deb left no package in {}", out.display()))
}

/// Manual pages, completions and symlinks, as the programs themselves make them.
fn stage() -> Result<()> {
    let stage = root().join(STAGE);
    let _ = fs::remove_dir_all(&stage);
    let holdfast = root().join("target/release/holdfast");
    let dirs = ["man", "bash", "zsh", "fish", "bin", "sbin"].map(|name| stage.join(name));
    dirs.iter().try_for_each(fs::create_dir_all)?;
    let [man, bash, zsh, fish, bin, sbin] = &dirs;
    let make = |args: &[&str], dir: &Path| {
        succeed(Command::new(&holdfast).args(args).arg("--dir").arg(dir).stdout(Stdio::null()))
    };
    make(&["man"], man)?;
    for (shell, dir) in [("bash", bash), ("zsh", zsh), ("fish", fish)] {
        make(&["completion", shell], dir)?;
    }
    // Pages and completions of names that another package has are that package's; fence_demo is the demo's own.
    for dir in &dirs {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = name.trim_start_matches('_').split('.').next().unwrap_or_default();
            if THEIRS.contains(&name) || name == "fence_demo" {
                fs::remove_file(path)?;
            }
        }
    }
    for name in OURS {
        symlink("holdfast", sbin.join(name))?;
    }
    for name in OURS.iter().chain(&THEIRS) {
        symlink("/usr/sbin/holdfast", bin.join(name))?;
    }
    Ok(())
}

/// cargo-deb from PATH, else from the target folder, into which it is installed where it is missing.
fn tool() -> Result<PathBuf> {
    if let Some(found) = in_path("cargo-deb") {
        return Ok(found);
    }
    let tools = root().join("target/tools");
    let tool = tools.join("bin/cargo-deb");
    if !tool.exists() {
        println!("installing cargo-deb {VERSION} into {}", tools.display());
        let mut install =
            cargo(&["install", "--quiet", "--locked", "cargo-deb", "--version", VERSION, "--root"]);
        succeed(install.arg(&tools))?;
    }
    ensure!(tool.exists(), "cargo-deb is not in {}", tools.display());
    Ok(tool)
}

/// What the manifest was written for.
const VERSION: &str = "3.8.0";

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.exists())
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(root());
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command.status().with_context(|| format!("running {program}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
