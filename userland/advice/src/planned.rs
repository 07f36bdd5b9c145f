//! What a placement means for each resource, as the operator's log speaks of it.

use logconv::Planned;
use scheduler::{Flags, NodeKind, Variant, WorkingSet};

/// What is going to become of everything that serves in one place, from a set that was placed. To be given to
/// [`logconv::Operator::transition`] where a transition begins.
#[must_use]
pub fn planned(set: &WorkingSet<'_>) -> Vec<(String, Planned)> {
    let name = |id| {
        let mut nodes = set.node_ids().zip(&set.nodes);
        nodes.find(|(at, _)| *at == id).map(|(_, node)| node)
    };
    let mut all = Vec::new();
    for resource in &set.resources {
        let inside = resource.parent.and_then(|p| set.ids().zip(&set.resources).find(|(id, _)| *id == p));
        let of_several = inside.is_some_and(|(_, p)| !matches!(p.variant, Variant::Group));
        let primitive = matches!(resource.variant, Variant::Primitive);
        if !primitive || of_several || resource.is(Flags::FENCE_DEVICE) || resource.is(Flags::ORPHAN) {
            continue;
        }
        let is_member = |id| name(id).is_some_and(|n: &scheduler::Node| n.kind != NodeKind::Ping);
        let from = resource.running_on.iter().copied().find(|id| is_member(*id)).and_then(name);
        let to = resource.assigned.and_then(name);
        let what = match (from, to) {
            _ if !resource.is(Flags::MANAGED) => Planned::Unmanaged,
            (None, None) => Planned::StaysDown,
            (Some(_), None) => Planned::Stop,
            // What a dead node ran is started, and was not moved.
            (None, Some(to)) => Planned::Start(to.name.clone()),
            (Some(from), Some(to)) if !from.online => Planned::Start(to.name.clone()),
            (Some(from), Some(to)) if from.name == to.name => Planned::Stays(to.name.clone()),
            (Some(from), Some(to)) => Planned::Move { from: from.name.clone(), to: to.name.clone() },
        };
        all.push((resource.id.clone(), what));
    }
    all
}
