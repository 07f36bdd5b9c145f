//! The CIB of the cluster that the environment names, for commands that only read: the shadow copy of `CIB_shadow`, the file of
//! `CIB_file`, else the running cluster's.

use std::path::PathBuf;

use cib::operation::Operation;

/// Its name for messages, and its text: of a file as it stands there, so that lines can be named.
///
/// # Errors
/// Exit status of Pacemaker's commands, and what to say, when it cannot be had.
pub(crate) fn read() -> Result<(String, String), (u8, String)> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let file = match set("CIB_shadow") {
        Some(name) => {
            Some(admin::shadow_file(&name.to_string_lossy()).map_err(|e| (NO_SUCH_OBJECT, e.to_string()))?)
        }
        None => set("CIB_file").map(PathBuf::from),
    };
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|e| (NO_SUCH_OBJECT, format!("{name}: {e}")))?;
        return Ok((name, text));
    }
    let refused = |refusal: cib::operation::Refusal| {
        let details: String = refusal.details.iter().map(|d| format!(": {d}")).collect();
        let remedy = "name a document with -x FILE, or by the variable CIB_file";
        (u8::try_from(refusal.rc).unwrap_or(1), format!("{}{details}; {remedy}", refusal.text))
    };
    let found = admin::live().cib(&Operation::query(None)).map_err(refused)?;
    let root = found.ok_or_else(|| (NO_SUCH_OBJECT, "the cluster has no CIB yet".to_owned()))?;
    Ok(("the cluster's CIB".to_owned(), root.to_xml()))
}

/// Exit status of Pacemaker's commands where something is not there.
const NO_SUCH_OBJECT: u8 = 105;
