//! What lists have to know of resources: whether they run, how many there are, in which role.

use crate::model::{Flags, Resource, ResourceId, Role, Variant, WorkingSet};

impl<'c> WorkingSet<'c> {
    /// Whether a resource runs: all of it, or some.
    pub(crate) fn is_active(&self, id: ResourceId, all: bool) -> bool {
        let resource = self.resource(id);
        match &resource.variant {
            Variant::Primitive => resource.running_on.iter().any(|node| {
                let node = self.node(*node);
                // On a node that is lost it counts until that was fenced.
                node.unclean || node.online || !resource.is(Flags::MANAGED)
            }),
            Variant::Bundle(bundle) => {
                let mut parts = bundle
                    .replicas
                    .iter()
                    .flat_map(|r| [r.child, r.ip, Some(r.container), r.connection].into_iter().flatten());
                if all {
                    parts.all(|p| self.is_active(p, all))
                } else {
                    parts.any(|p| self.is_active(p, all))
                }
            }
            Variant::Group | Variant::Clone(_) => {
                let mut parts = resource.children.iter();
                if all {
                    parts.all(|p| self.is_active(*p, all))
                } else {
                    parts.any(|p| self.is_active(*p, all))
                }
            }
        }
    }

    /// Numbers of all resource instances, of those that are disabled, and of those that are blocked.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        let mut open = self.top.clone();
        while let Some(id) = open.pop() {
            let resource = self.resource(id);
            // What is gone from the configuration counts as long as it runs.
            if resource.is_primitive() && (!resource.is(Flags::ORPHAN) || resource.role > Role::Stopped) {
                counts.0 += 1;
                counts.1 += usize::from(self.is_disabled(id));
                counts.2 += usize::from(resource.is(Flags::BLOCKED));
            }
            match &resource.variant {
                Variant::Bundle(bundle) => open.extend(
                    bundle
                        .replicas
                        .iter()
                        .flat_map(|r| [r.child, r.ip, Some(r.container), r.connection].into_iter().flatten()),
                ),
                _ => open.extend(&resource.children),
            }
        }
        counts
    }

    /// Whether this is true of a resource or something inside of it.
    pub(crate) fn any(&self, id: ResourceId, wanted: &dyn Fn(&Resource<'c>) -> bool) -> bool {
        let resource = self.resource(id);
        wanted(resource) || resource.children.iter().any(|c| self.any(*c, wanted))
    }

    /// The strongest role of what is inside.
    pub(crate) fn role_of(&self, id: ResourceId) -> Role {
        let resource = self.resource(id);
        let inside = resource.children.iter().map(|c| self.role_of(*c)).max();
        inside.unwrap_or(resource.role)
    }

    /// The role that is shown: what could be promoted does not just run.
    pub(super) fn shown_role(&self, id: ResourceId) -> Role {
        let role = self.resource(id).role;
        let promotable = self.resource(self.top_of(id)).is(Flags::PROMOTABLE);
        if role == Role::Started && promotable { Role::Unpromoted } else { role }
    }

    /// `target-role` of a clone, or else of what is inside.
    pub(super) fn target_of_clone(&self, id: ResourceId) -> Option<&str> {
        let resource = self.resource(id);
        let first = resource.children.first().map(|c| self.resource(*c));
        let target = resource.meta.get("target-role").or(first.and_then(|c| c.meta.get("target-role")));
        target.map(String::as_str)
    }

    /// The status of a probe that says that a resource cannot even be asked after there.
    pub(super) fn masked_probe(&self, id: ResourceId, node: Option<&str>) -> Option<i32> {
        let top = self.resource(self.top_of(id));
        let inside = top.children.first().filter(|_| matches!(top.variant, Variant::Clone(_)));
        let name = inside.map_or(self.resource(id).id.as_str(), |c| self.resource(*c).configured_id());
        let of_node = |failed: &str| node.is_none_or(|n| n.eq_ignore_ascii_case(failed));
        let found = self.failed.iter().find(|f| f.probe && of_node(&f.node) && f.resource == name);
        found.map(|f| f.rc)
    }
}

/// What an agent means by its exit status.
#[must_use]
pub fn exit_status_text(code: i32) -> &'static str {
    match code {
        0 => "ok",
        1 => "error",
        2 => "invalid parameter",
        3 => "unimplemented feature",
        4 => "insufficient privileges",
        5 => "not installed",
        6 => "not configured",
        7 => "not running",
        8 => "promoted",
        9 => "promoted (failed)",
        190 => "OCF_DEGRADED",
        191 => "promoted (degraded)",
        _ => "unknown",
    }
}
