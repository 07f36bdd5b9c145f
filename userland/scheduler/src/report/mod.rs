//! What the working set says, in the words of Pacemaker's tools.

mod concerns;
mod executing;
mod explain;
mod monitor;
mod tools;
mod transition_text;

use std::fmt::Write;

pub use concerns::{Concern, concerns};
pub use explain::{Explanation, Step};
pub use monitor::{
    Clock, Details, FenceEvent, FenceState, FencingHistory, Markup, Monitor, Sections, SimulationView,
    execution_text, exit_status_text, legacy_document, old_monitor, page, result_document, simple_monitor,
    status_markup, status_text,
};
pub use tools::{ColocationView, HistoryEntry, LocationView};
pub use transition_text::{transition_markup, transition_summary};

use crate::model::WorkingSet;
use monitor::status_text_with;

/// The first part of what `crm_simulate` prints: the state of the cluster as the document has it. `recorded`: the document
/// says itself what time it is.
#[must_use]
pub fn current_status(set: &WorkingSet<'_>, recorded: bool) -> String {
    status_before(set, recorded) + "Current cluster status:\n" + &status_text(set, true)
}

/// The same as it is asked for.
#[must_use]
pub fn current_status_with(set: &WorkingSet<'_>, recorded: bool, view: SimulationView) -> String {
    let heading = if view.plain { "" } else { "Current cluster status:\n" };
    status_before(set, recorded) + heading + &status_text_with(set, true, view)
}

fn status_before(set: &WorkingSet<'_>, recorded: bool) -> String {
    let mut out = String::new();
    if recorded {
        let _ = writeln!(out, "Using the original execution date of: {}", set.now.display());
    }
    if set.options.maintenance {
        out.push_str("\n              *** Resource management is DISABLED ***\n");
        out.push_str("  The cluster will not attempt to start, stop or recover services\n\n");
    }
    let (all, disabled, blocked) = set.counts();
    if disabled > 0 || blocked > 0 {
        let _ = writeln!(
            out,
            "{disabled} of {all} resource instances DISABLED and {blocked} BLOCKED from further action due to failure\n"
        );
    }
    out
}

/// The last part of what `crm_simulate` prints: the state of the cluster after everything was done.
#[must_use]
pub fn revised_status(set: &WorkingSet<'_>, recorded: bool) -> String {
    status_after(set, recorded) + "Revised Cluster Status:\n" + &status_text(set, false)
}

/// The same as it is asked for.
#[must_use]
pub fn revised_status_with(set: &WorkingSet<'_>, recorded: bool, view: SimulationView) -> String {
    let heading = if view.plain { "" } else { "Revised Cluster Status:\n" };
    status_after(set, recorded) + heading + &status_text_with(set, false, view)
}

fn status_after(set: &WorkingSet<'_>, recorded: bool) -> String {
    let mut out = String::new();
    if recorded {
        let _ = writeln!(out, "Using the original execution date of: {}", set.now.display());
    }
    out + "\n"
}
