//! The version of a document: who wins, and what a change does to it.

use super::{FEATURE_SET, Refusal};
use crate::condition::compare_versions;
use crate::tree::Element;

/// A counter; what is missing or no number counts as 0.
pub(super) fn counter(root: &Element, name: &str) -> i64 {
    root.get(name).and_then(|v| v.trim().parse().ok()).unwrap_or(0)
}

/// `admin_epoch`, `epoch`, `num_updates`.
pub(super) fn of(root: &Element) -> [i64; 3] {
    ["admin_epoch", "epoch", "num_updates"].map(|name| counter(root, name))
}

pub(super) fn add(root: &mut Element, name: &str, by: i64) {
    let value = counter(root, name).saturating_add(by);
    root.attributes.insert(name, value.to_string());
}

pub(super) fn old_data(old: [i64; 3], new: [i64; 3]) -> Refusal {
    let [a, b, c] = old;
    let [x, y, z] = new;
    Refusal::new(
        103,
        "Update was older than existing configuration",
        format!(
            "what is there has version {a}.{b}.{c}, the new one {x}.{y}.{z}; raise its admin_epoch or epoch if it is to win"
        ),
    )
}

/// A document never goes back behind the one that is there.
pub(super) fn check(old: &Element, new: &Element) -> Result<(), Refusal> {
    if let Some(set) = new.get("crm_feature_set")
        && compare_versions(set, FEATURE_SET).is_gt()
    {
        return Err(Refusal::new(
            76,
            "Protocol not supported",
            format!("the document is of feature set {set}, later than {FEATURE_SET}; it cannot be read here"),
        ));
    }
    let (before, after) = (of(old), of(new));
    if after[..2] < before[..2] { Err(old_data(before, after)) } else { Ok(()) }
}

/// A change of the configuration counts in `epoch`, any other in `num_updates`.
pub(super) fn raise(root: &mut Element, configuration: bool) {
    if configuration {
        root.attributes.insert("num_updates", "0");
        add(root, "epoch", 1);
    } else {
        add(root, "num_updates", 1);
    }
}
