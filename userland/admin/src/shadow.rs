//! Where shadow copies are.

use std::fmt;
use std::path::PathBuf;

/// A name that no shadow copy can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowError(String);

impl fmt::Display for ShadowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no name for a shadow copy; use letters, digits, '-', '_' and '.'", self.0)
    }
}

impl std::error::Error for ShadowError {}

/// The folder: what `CIB_shadow_dir` names, else the one that crmsh looks into for root and the cluster's user, else `.cib` at home.
#[must_use]
pub fn shadow_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CIB_shadow_dir").filter(|dir| !dir.is_empty()) {
        return dir.into();
    }
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    match user {
        Some(user) if !uid.is_root() && user.name != "hacluster" => user.dir.join(".cib"),
        _ => PathBuf::from("/var/lib/pacemaker/cib"),
    }
}

/// The file of a shadow copy, whether or not it is there.
///
/// # Errors
/// When the name would lead out of the folder.
pub fn shadow_file(name: &str) -> Result<PathBuf, ShadowError> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(ShadowError(name.escape_debug().to_string()));
    }
    Ok(shadow_dir().join(format!("shadow.{name}")))
}
