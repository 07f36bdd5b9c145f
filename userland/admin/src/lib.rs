//! How commands reach the cluster: the running one through `rgmd`'s socket, or a document in a file or shadow copy, as the
//! variables say that Pacemaker's commands go by.
//!
//! ```no_run
//! let mut cluster = admin::open()?;
//! let resources = cluster.cib(&cib::operation::Operation::query(Some("resources")))?;
//! # Ok::<(), cib::operation::Refusal>(())
//! ```

#![forbid(unsafe_code)]

mod file;
pub mod history;
mod live;
mod shadow;

use std::path::PathBuf;

use cib::Element;
use cib::operation::{Operation, Refusal};
use serde_json::Value;

pub use file::{File, write_document};
pub use live::{Live, written_now};
pub use shadow::{ShadowError, shadow_dir, shadow_file};

/// A cluster, or what stands for one.
pub trait Cluster {
    /// Does something to the CIB, as the user that `CIB_user` names unless the operation names one. What a query found; nothing
    /// for a change.
    ///
    /// # Errors
    /// When it is refused or the cluster cannot be reached, with the exit status of Pacemaker's commands.
    fn cib(&mut self, operation: &Operation) -> Result<Option<Element>, Refusal>;

    /// Asks `rgmd` for something that is no matter of the document: one JSON object, its answer.
    ///
    /// # Errors
    /// When it is refused, or there is no `rgmd` behind this.
    fn ask(&mut self, request: &Value) -> Result<Value, Refusal>;

    /// Whether a running cluster is behind it.
    fn is_live(&self) -> bool;
}

/// The cluster that the environment names: the shadow copy of `CIB_shadow`, the file of `CIB_file`, else the running one.
///
/// # Errors
/// When the file cannot be read. A running cluster is first asked when there is something to ask.
pub fn open() -> Result<Box<dyn Cluster>, Refusal> {
    match document() {
        Some(path) => Ok(Box::new(File::open(path?)?)),
        None => Ok(Box::new(Live::from_env())),
    }
}

/// The running cluster, whatever the environment says.
#[must_use]
pub fn live() -> Box<dyn Cluster> {
    Box::new(Live::from_env())
}

/// The file that the environment names in place of a running cluster.
fn document() -> Option<Result<PathBuf, Refusal>> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(name) = set("CIB_shadow") {
        let name = name.to_string_lossy().into_owned();
        return Some(
            shadow_file(&name).map_err(|e| refusal(105, "No such device or address", e.to_string())),
        );
    }
    set("CIB_file").map(|path| Ok(path.into()))
}

/// The operation as it is really meant: with the user that the environment names.
fn for_user(operation: &Operation) -> Operation {
    let mut operation = operation.clone();
    if operation.user.is_none() {
        operation.user = std::env::var("CIB_user").ok().filter(|user| !user.is_empty());
    }
    if let Some(user) = operation.user.as_deref() {
        operation.groups = groups(user);
    }
    operation
}

/// The groups that a user of this machine is in; none for a user that is not known here.
fn groups(user: &str) -> Vec<String> {
    use nix::unistd::{Group, User, getgrouplist};
    let known = User::from_name(user).ok().flatten();
    let name = std::ffi::CString::new(user).ok();
    let ids = known.zip(name).and_then(|(known, name)| getgrouplist(&name, known.gid).ok());
    ids.into_iter().flatten().filter_map(|id| Group::from_gid(id).ok().flatten()).map(|g| g.name).collect()
}

fn refusal(rc: i32, text: &str, detail: impl Into<String>) -> Refusal {
    Refusal { rc, text: text.to_owned(), details: vec![detail.into()], failed: None }
}
