//! What this machine must have, and what happens when it has not.

use std::path::Path;

use crate::fuse::DEVICE;

/// Tools of iproute2, util-linux, coreutils and nftables that the harness calls.
const TOOLS: [&str; 10] =
    ["ip", "tc", "nft", "unshare", "nsenter", "setpriv", "mount", "env", "hostname", "flock"];

/// Why clusters cannot run here; `None` when they can.
#[must_use]
pub fn missing() -> Option<String> {
    lacks(&TOOLS, "iproute2, util-linux, nftables")
}

/// The same for clusters whose quorum disks have faults.
#[must_use]
pub fn missing_for_disks() -> Option<String> {
    let fuse = || {
        (!Path::new(DEVICE).exists())
            .then(|| format!("needs FUSE ({DEVICE}): no faults of quorum disks were tried"))
    };
    missing().or_else(fuse)
}

/// What of root and these tools this machine lacks, and the packages that have them; `None` when nothing.
#[must_use]
pub fn lacks(tools: &[&str], packages: &str) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = |tool: &&str| path.split(':').any(|dir| Path::new(dir).join(tool).is_file());
    let missing: Vec<_> = tools.iter().filter(|t| !found(t)).copied().collect();
    (!missing.is_empty()).then(|| format!("needs {} ({packages})", missing.join(", ")))
}

/// For the first line of a test: `if harness::skip() { return; }`.
///
/// Without root the test says `skipped: needs root` on standard error. As root a missing requirement is a failure,
/// so that a machine that should run these tests never skips them in silence; `HOLDFAST_ALLOW_SKIP=1` permits it.
///
/// # Panics
/// As root, when something is missing and `HOLDFAST_ALLOW_SKIP` is not set.
#[must_use]
pub fn skip() -> bool {
    skip_where(missing())
}

/// The same for a test that needs something else, see [`lacks`].
///
/// # Panics
/// As for [`skip`].
#[must_use]
pub fn skip_where(missing: Option<String>) -> bool {
    let Some(reason) = missing else { return false };
    let allowed = !nix::unistd::geteuid().is_root() || std::env::var_os("HOLDFAST_ALLOW_SKIP").is_some();
    assert!(allowed, "cannot run: {reason}; set HOLDFAST_ALLOW_SKIP=1 to skip the tests of real clusters");
    eprintln!("skipped: {reason}");
    true
}
