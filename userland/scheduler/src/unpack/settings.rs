//! What a resource's meta-attributes mean.

use cib::{Attributes, Element, Facts, Precedence, Score, collect, parse_bool, parse_duration_ms};

use crate::model::resource::MultipleActive;
use crate::model::{Flags, NoQuorumPolicy, Resource, ResourceId, Variant, WorkingSet};

impl WorkingSet<'_> {
    /// Meta-attributes with everything inherited: those of the element, its own blocks, its ancestors', the defaults, then
    /// what the parent has come to.
    pub(super) fn meta_of(&self, xml: &Element, parent: Option<ResourceId>) -> Attributes {
        let mut meta: Attributes =
            xml.attributes.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let agent = agent_of(xml);
        let agent = agent.as_ref().map(|(class, provider, kind)| (*class, *provider, *kind));
        let facts = Facts { agent, ..self.facts() };
        let mut own = |element: &Element| {
            collect(&self.ids, element, "meta_attributes", &facts, None, Precedence::First, &mut meta);
        };
        own(xml);
        let mut at = parent;
        while let Some(ancestor) = at {
            own(&self.resource(ancestor).xml);
            at = self.resource(ancestor).parent;
        }
        if let Some(defaults) = self.root.child("configuration").and_then(|c| c.child("rsc_defaults")) {
            own(defaults);
        }
        if let Some(parent) = parent {
            for (name, value) in &self.resource(parent).meta {
                meta.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        meta
    }

    /// A resource's parameters, as rules see them on a node, if one is named.
    pub(crate) fn parameters(&self, id: ResourceId, node: Option<&Attributes>) -> Attributes {
        let mut parameters = Attributes::new();
        // Expressions about the agent are not for parameters.
        let facts = Facts { node, ..self.facts() };
        let mut own = |element: &Element| {
            let kind = "instance_attributes";
            collect(&self.ids, element, kind, &facts, None, Precedence::First, &mut parameters);
        };
        let mut at = Some(id);
        while let Some(one) = at {
            own(&self.resource(one).xml);
            at = self.resource(one).parent;
        }
        if let Some(defaults) = self.root.child("configuration").and_then(|c| c.child("rsc_defaults")) {
            own(defaults);
        }
        parameters
    }

    /// Sets flags and figures from the meta-attributes.
    pub(super) fn apply_meta(&self, resource: &mut Resource<'_>) {
        let meta = resource.meta.clone();
        let get = |name: &str| meta.get(name).map(String::as_str);
        let flag = |name: &str, default: bool| get(name).and_then(parse_bool).unwrap_or(default);
        let score = |name: &str| get(name).and_then(lenient_score);

        resource.priority = score("priority").unwrap_or_default();
        resource.set(Flags::CRITICAL, flag("critical", true));
        resource.set(Flags::NOTIFY, flag("notify", false));
        resource.is_connection = resource.class == "ocf"
            && resource.provider.as_deref() == Some("pacemaker")
            && resource.kind == "remote";
        let guest = resource.is_connection && get("container").is_some();
        let migratable = flag("allow-migrate", resource.is_connection && !guest);
        resource.set(Flags::MIGRATABLE, migratable);

        let mut managed = !self.options.maintenance;
        if let Some(is_managed) = get("is-managed").filter(|v| !v.eq_ignore_ascii_case("default")) {
            managed = parse_bool(is_managed).unwrap_or(managed);
        }
        let maintenance = self.options.maintenance || flag("maintenance", false);
        resource.set(Flags::MANAGED, managed && !maintenance);
        resource.set(Flags::MAINTENANCE, maintenance);

        let is_clone = matches!(resource.variant, Variant::Clone(_));
        let default = if is_clone { Score::new(1) } else { Score::ZERO };
        resource.stickiness = score("resource-stickiness").unwrap_or(default);
        resource.migration_threshold = match get("migration-threshold").map(lenient_score) {
            Some(Some(threshold)) if threshold >= Score::ZERO => threshold,
            _ => Score::INFINITY,
        };
        let timeout = get("failure-timeout").and_then(parse_duration_ms).unwrap_or(0);
        resource.failure_timeout = (timeout / 1_000).cast_signed();
        resource.multiple_active = match get("multiple-active") {
            Some("stop_only") => MultipleActive::StopOnly,
            Some("block") => MultipleActive::Block,
            Some("stop_unexpected") => MultipleActive::StopUnexpected,
            _ => MultipleActive::StopStart,
        };
        if resource.class == "stonith" {
            resource.set(Flags::FENCE_DEVICE, true);
        }
        self.apply_requires(resource, get("requires"));
    }

    fn apply_requires(&self, resource: &mut Resource<'_>, asked: Option<&str>) {
        let fencing = self.options.fencing;
        let device = resource.is(Flags::FENCE_DEVICE);
        let default = if device || resource.is_connection {
            "quorum"
        } else if self.unfencing {
            "unfencing"
        } else if fencing {
            "fencing"
        } else if self.options.no_quorum_policy == NoQuorumPolicy::Ignore {
            "nothing"
        } else {
            "quorum"
        };
        let value =
            asked.filter(|a| ["nothing", "quorum", "fencing", "unfencing"].contains(a)).unwrap_or(default);
        let value = match value {
            "unfencing" if device || !fencing => "quorum",
            value => value,
        };
        match value {
            "unfencing" => resource.set(Flags::NEEDS_FENCING | Flags::NEEDS_UNFENCING, true),
            "fencing" => resource.set(Flags::NEEDS_FENCING, true),
            "quorum" => resource.set(Flags::NEEDS_QUORUM, true),
            _ => {}
        }
    }
}

/// A score as it is read where nobody complains: what follows a number is left out, and no number is zero.
pub(crate) fn lenient_score(text: &str) -> Option<Score> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let end = text[sign..].bytes().position(|b| !b.is_ascii_digit()).map_or(text.len(), |at| at + sign);
    Score::parse(text).or_else(|| Score::parse(&text[..end])).or(Some(Score::ZERO))
}

/// Class, provider and type of a primitive.
pub(super) fn agent_of(xml: &Element) -> Option<(&str, Option<&str>, &str)> {
    Some((xml.get("class")?, xml.get("provider"), xml.get("type")?))
}
