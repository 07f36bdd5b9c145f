//! What lies between two documents, in Pacemaker's form: `<diff format="2">` is made and applied, format 1 only applied.
//!
//! Elements are told apart by name and id. Where that is not enough (siblings that share both), all of a kind are taken out and put
//! in anew. What was made is tried before it is given away: applied to the one document it gives the other.

mod apply;
mod first;
mod make;

pub(crate) use make::pairing;

use crate::operation::Refusal;
use crate::tree::Element;

/// Why a patch cannot be made or applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The document is later than what the patch begins with.
    #[error(
        "the document has version {have}, the patch begins with {want}: it was applied already, or something else was changed"
    )]
    Old {
        /// Of the document.
        have: String,
        /// Of the patch.
        want: String,
    },
    /// The document is earlier than what the patch begins with.
    #[error("the document has version {have}, the patch begins with {want}: one in between is missing")]
    Gap {
        /// Of the document.
        have: String,
        /// Of the patch.
        want: String,
    },
    /// It does not fit.
    #[error("{0}")]
    Failed(String),
}

impl From<PatchError> for Refusal {
    fn from(error: PatchError) -> Self {
        let text = error.to_string();
        match error {
            PatchError::Old { .. } => Self::new(103, "Update was older than existing configuration", text),
            PatchError::Gap { .. } => {
                Self::new(65, "Application of update diff failed, requesting full refresh", text)
            }
            PatchError::Failed(_) => Self::new(65, "Application of update diff failed", text),
        }
    }
}

/// The patch from one document to another; `None`: they are the same.
///
/// # Errors
/// When their top elements have different names, or ids that no path can hold.
pub fn diff(from: &Element, to: &Element) -> Result<Option<Element>, PatchError> {
    make::diff(from, to)
}

/// A document after a patch. With `check_version` only where the patch begins with the document's version.
///
/// # Errors
/// When it does not fit, or its digest is not that of the result.
pub fn apply(document: &Element, patch: &Element, check_version: bool) -> Result<Element, PatchError> {
    apply::apply(document, patch, check_version)
}

/// Takes what is said of versions out of a patch, so that it fits any.
pub fn strip_version(patch: &mut Element) {
    patch.children.retain(|c| c.name != "version");
    patch.attributes.remove("digest");
    patch.children.retain_mut(|change| {
        if change.get("operation") != Some("modify") || change.get("path").is_none_or(|p| p != "/cib") {
            return true;
        }
        for list in change.children.iter_mut().filter(|c| c.name == "change-list") {
            list.children.retain(|c| c.get("name").is_none_or(|name| !VERSION.contains(&name)));
        }
        for result in change.children.iter_mut().filter(|c| c.name == "change-result") {
            for cib in &mut result.children {
                for name in VERSION {
                    cib.attributes.remove(name);
                }
            }
        }
        change.child("change-list").is_some_and(|list| !list.children.is_empty())
    });
}

/// The counters of a version, in the order in which they count.
pub const VERSION: [&str; 3] = ["admin_epoch", "epoch", "num_updates"];

/// A step of a path: name, and id if it says one. `None`: no path of ours.
fn steps(path: &str) -> Option<Vec<(&str, Option<&str>)>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.strip_prefix('/')?;
        let end = rest.find(['/', '[']).unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        let mut id = None;
        if let Some(tail) = rest.strip_prefix("[@id=") {
            let quote = tail.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
            let tail = &tail[1..];
            let mark: String = [quote, ']'].iter().collect();
            let end = tail.find(&mark)?;
            id = Some(&tail[..end]);
            rest = &tail[end + 2..];
        }
        if name.is_empty() {
            return None;
        }
        steps.push((name, id));
    }
    (!steps.is_empty()).then_some(steps)
}
