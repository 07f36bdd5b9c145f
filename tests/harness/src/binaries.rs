//! Finding the programs under test.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The programs of a node and the folder that holds them.
pub(crate) const PROGRAMS: [&str; 4] = ["cmmd", "rgmd", "holdfast-guardian", "holdfast"];

/// The folder with all of [`PROGRAMS`]: `$HOLDFAST_BIN_DIR`, else the target folder that this executable runs from.
///
/// # Errors
/// Names what is missing and the command that builds it.
pub fn bin_dir() -> Result<PathBuf> {
    let dir = match std::env::var_os("HOLDFAST_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => target_dir(&std::env::current_exe().context("finding the running test")?)?,
    };
    let missing: Vec<_> = PROGRAMS.iter().filter(|p| !dir.join(p).is_file()).copied().collect();
    if missing.is_empty() {
        return dir.canonicalize().with_context(|| format!("resolving {}", dir.display()));
    }
    let release = if dir.ends_with("release") { " --release" } else { "" };
    bail!(
        "{} not found in {}; build with: cargo build{release} --bins -p cmmd -p rgmd -p holdfast-guardian -p holdfast \
         (or name their folder in HOLDFAST_BIN_DIR)",
        missing.join(", "),
        dir.display()
    )
}

/// `target/PROFILE` of an executable in `target/PROFILE/deps` or `target/PROFILE`.
fn target_dir(exe: &Path) -> Result<PathBuf> {
    let dir = exe.parent().context("the running test has no folder")?;
    Ok(if dir.ends_with("deps") || dir.ends_with("examples") {
        dir.parent().context("no folder above deps")?.to_owned()
    } else {
        dir.to_owned()
    })
}
