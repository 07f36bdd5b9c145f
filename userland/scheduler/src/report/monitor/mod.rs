//! What `crm_mon` shows of a cluster: on a terminal, as a page, for programs, byte for byte as Pacemaker 2.1.5 has it.
//!
//! What that layout leaves to read between the lines: a section whose list is empty is left out, with exceptions; sections of text
//! stand apart by an empty line, except where nothing stands before them; what the peer does wrong in a corner that scripts
//! may have been written around is done here, too, and said so in a comment.

mod collective;
mod facts;
mod failures;
mod fencing;
mod history;
mod nodes;
mod old;
mod out;
mod resources;
mod summary;
mod write;

use cib::Element;

pub use facts::exit_status_text;
pub use failures::execution_text;
pub use fencing::{FenceEvent, FenceState, FencingHistory};
pub use old::old_monitor;
pub use out::Markup;
pub use write::{legacy_document, page, result_document};

use crate::model::{NodeId, ResourceId, Variant, WorkingSet};
use out::{Kind, Out};

/// Parts of what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sections(u32);

impl Sections {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The cluster stack.
    pub const STACK: Self = Self(1);
    /// The designated controller; said in any case where there is none.
    pub const DC: Self = Self(1 << 1);
    /// When the status was read, when the configuration changed.
    pub const TIMES: Self = Self(1 << 2);
    /// How many nodes and resources there are.
    pub const COUNTS: Self = Self(1 << 3);
    /// Cluster options.
    pub const OPTIONS: Self = Self(1 << 4);
    /// Nodes.
    pub const NODES: Self = Self(1 << 5);
    /// Resources.
    pub const RESOURCES: Self = Self(1 << 6);
    /// Node attributes.
    pub const ATTRIBUTES: Self = Self(1 << 7);
    /// Fail counts.
    pub const FAILCOUNTS: Self = Self(1 << 8);
    /// The history of operations.
    pub const OPERATIONS: Self = Self(1 << 9);
    /// Fencing that failed.
    pub const FENCE_FAILED: Self = Self(1 << 10);
    /// Fencing that is under way.
    pub const FENCE_PENDING: Self = Self(1 << 11);
    /// Fencing that succeeded.
    pub const FENCE_WORKED: Self = Self(1 << 12);
    /// Tickets.
    pub const TICKETS: Self = Self(1 << 13);
    /// Where resources must not run.
    pub const BANS: Self = Self(1 << 14);
    /// Operations that failed.
    pub const FAILURES: Self = Self(1 << 15);
    /// That the cluster does nothing.
    pub const MAINT_MODE: Self = Self(1 << 16);
    /// All of fencing.
    pub const FENCING: Self = Self(0b111 << 10);
    /// What stands on top.
    pub const SUMMARY: Self = Self(0b1111 | 1 << 16);
    /// Everything.
    pub const ALL: Self = Self((1 << 17) - 1);

    /// One by the name that operators give it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, section)| *section)
    }

    /// Both.
    #[must_use]
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Without these.
    #[must_use]
    pub const fn without(self, these: Self) -> Self {
        Self(self.0 & !these.0)
    }

    /// Whether all of these are in it.
    #[must_use]
    pub const fn has(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }

    /// Whether one of these is in it.
    #[must_use]
    pub const fn has_any(self, these: Self) -> bool {
        self.0 & these.0 != 0
    }
}

const NAMES: [(&str, Sections); 19] = [
    ("attributes", Sections::ATTRIBUTES),
    ("bans", Sections::BANS),
    ("counts", Sections::COUNTS),
    ("dc", Sections::DC),
    ("failcounts", Sections::FAILCOUNTS),
    ("failures", Sections::FAILURES),
    ("fencing", Sections::FENCING),
    ("fencing-failed", Sections::FENCE_FAILED),
    ("fencing-pending", Sections::FENCE_PENDING),
    ("fencing-succeeded", Sections::FENCE_WORKED),
    ("maint-mode", Sections::MAINT_MODE),
    ("nodes", Sections::NODES),
    ("operations", Sections::OPERATIONS),
    ("options", Sections::OPTIONS),
    ("resources", Sections::RESOURCES),
    ("stack", Sections::STACK),
    ("summary", Sections::SUMMARY),
    ("tickets", Sections::TICKETS),
    ("times", Sections::TIMES),
];

/// How much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Counts in place of resources.
    pub brief: bool,
    /// Ids of nodes, instances of clones, what bundles consist of, failures with all that is known.
    pub detail: bool,
    /// When operations ran, and for how long.
    pub timing: bool,
    /// What does not run, too.
    pub inactive: bool,
    /// Resources below the nodes that they run on.
    pub by_node: bool,
    /// Operations that are under way.
    pub pending: bool,
}

/// How dates and lengths of time are written.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: i64,
    /// As ctime(3), in local time.
    pub ctime: fn(i64) -> String,
    /// As ISO 8601 with a blank between date and time, in local time.
    pub iso: fn(i64) -> String,
    /// A number of milliseconds.
    pub interval: fn(u64) -> String,
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct Monitor<'a> {
    /// Which parts.
    pub sections: Sections,
    /// How much of them.
    pub details: Details,
    /// Only this node, or those of this tag.
    pub only_node: Option<&'a str>,
    /// Only this resource, or those of this tag.
    pub only_resource: Option<&'a str>,
    /// Only bans whose ids begin so.
    pub ban_prefix: Option<&'a str>,
    /// What was fenced; `None`: that is not shown.
    pub fencing: Option<&'a FencingHistory>,
    /// Dates.
    pub clock: Clock,
}

impl Monitor<'_> {
    /// As text.
    #[must_use]
    pub fn text(&self, set: &mut WorkingSet<'_>) -> String {
        self.show(set, Kind::Text).0
    }

    /// As what stands in the body of a page.
    #[must_use]
    pub fn html(&self, set: &mut WorkingSet<'_>) -> Vec<Markup> {
        self.show(set, Kind::Html).1
    }

    /// As elements for programs.
    #[must_use]
    pub fn xml(&self, set: &mut WorkingSet<'_>) -> Vec<Markup> {
        self.show(set, Kind::Xml).1
    }

    fn show(&self, set: &mut WorkingSet<'_>, kind: Kind) -> (String, Vec<Markup>) {
        // What constraints block is not counted.
        let counts = set.counts();
        if self.sections.has_any(Sections::BANS.with(Sections::TICKETS)) {
            // Constraints change what is shown of resources: that is so with the peer, too.
            set.read_constraints();
        }
        let mut show = Show::new(set, self, kind);
        show.counts = counts;
        show.all();
        show.out.finish()
    }
}

/// Nodes, then resources, what does not run included, as a simulation lists them. `pending`: with operations that are under way.
#[must_use]
pub fn status_text(set: &WorkingSet<'_>, pending: bool) -> String {
    fn nothing<T>(_: T) -> String {
        String::new()
    }
    // No date is shown.
    let clock = Clock { now: 0, ctime: nothing, iso: nothing, interval: nothing };
    status_text_with(set, pending, SimulationView { more: Sections::NONE, clock, plain: false })
}

/// How a simulation shows a status.
#[derive(Clone, Copy, Debug)]
pub struct SimulationView {
    /// What is shown besides nodes and resources: attributes, fail counts, failures.
    pub more: Sections,
    /// Dates.
    pub clock: Clock,
    /// Without headings, indentation and marks.
    pub plain: bool,
}

/// The same as it is asked for.
pub(crate) fn status_text_with(set: &WorkingSet<'_>, pending: bool, view: SimulationView) -> String {
    simulated(set, pending, view, Kind::Text).0
}

/// The same for programs: what stands in `cluster_status`.
#[must_use]
pub fn status_markup(set: &WorkingSet<'_>, pending: bool, view: SimulationView) -> Vec<Markup> {
    simulated(set, pending, view, Kind::Xml).1
}

fn simulated(set: &WorkingSet<'_>, pending: bool, view: SimulationView, kind: Kind) -> (String, Vec<Markup>) {
    let SimulationView { more, clock, plain } = view;
    let asked = Monitor {
        sections: Sections::NODES.with(Sections::RESOURCES).with(more),
        details: Details { inactive: true, pending, ..Details::default() },
        only_node: None,
        only_resource: None,
        ban_prefix: None,
        fencing: None,
        clock,
    };
    let mut show = Show::new(set, &asked, kind);
    if kind == Kind::Text {
        show.out.plain = plain;
        show.out.indent();
    }
    let mut any = show.node_list(false);
    any |= show.resource_list(any);
    if more.has(Sections::ATTRIBUTES) {
        any |= show.attributes(any);
    }
    if more.has(Sections::FAILCOUNTS) {
        any |= show.history(any);
    }
    if more.has(Sections::FAILURES) {
        // A simulation tells all that is known of them, whatever else is shown.
        show.details.detail = true;
        show.failures(any);
    }
    show.out.finish()
}

/// One line for a monitoring system.
#[must_use]
pub fn simple_monitor(set: &WorkingSet<'_>) -> String {
    let (mut online, mut standby, mut maintenance) = (0, 0, 0);
    let mut warnings = String::new();
    for id in &set.by_name {
        let node = set.node(*id);
        match (node.online, node.standby, node.maintenance) {
            (true, true, _) => standby += 1,
            (true, false, true) => maintenance += 1,
            (true, false, false) => online += 1,
            (false, ..) => {
                let blank = if warnings.is_empty() { "" } else { " " };
                warnings += &format!("{blank}offline node: {}", node.name);
            }
        }
    }
    if set.dc.is_none() {
        warnings = if warnings.is_empty() { "No DC".to_owned() } else { format!("No DC, {warnings}") };
    }
    if !warnings.is_empty() {
        return format!("CLUSTER WARN: {warnings}\n");
    }
    let more = |count: usize, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what} node{}", plural(count)),
    };
    let instances = set.counts().0;
    format!(
        "CLUSTER OK: {online} node{} online{}{}, {instances} resource instance{} configured\n",
        plural(online),
        more(standby, "standby"),
        more(maintenance, "maintenance"),
        plural(instances)
    )
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What may be shown of nodes or resources.
#[derive(Clone, Debug)]
enum Only {
    All,
    These(Vec<String>),
}

impl Only {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|n| n == name),
        }
    }

    /// The same for names of nodes, in which case does not count.
    fn has_node(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|n| n.eq_ignore_ascii_case(name)),
        }
    }
}

/// One showing.
struct Show<'a, 'c> {
    set: &'a WorkingSet<'c>,
    sections: Sections,
    details: Details,
    /// Only what runs matters, not where: it stands below its node.
    resource_only: bool,
    /// Parts of bundles are shown by themselves.
    implicit: bool,
    nodes: Only,
    resources: Only,
    /// All resource instances, those that are disabled, those that are blocked.
    counts: (usize, usize, usize),
    ban_prefix: Option<&'a str>,
    fencing: Option<&'a FencingHistory>,
    clock: Clock,
    out: Out,
}

impl<'a, 'c> Show<'a, 'c> {
    fn new(set: &'a WorkingSet<'c>, asked: &Monitor<'a>, kind: Kind) -> Self {
        let mut details = asked.details;
        // Programs get everything.
        details.brief &= kind != Kind::Xml;
        let sections = if set.dc.is_none() { asked.sections.with(Sections::DC) } else { asked.sections };
        Self {
            set,
            sections,
            details,
            resource_only: false,
            implicit: details.detail,
            nodes: nodes_named(set, asked.only_node),
            resources: resources_named(set, asked.only_resource),
            counts: set.counts(),
            ban_prefix: asked.ban_prefix,
            fencing: asked.fencing,
            clock: asked.clock,
            out: Out::new(kind),
        }
    }

    fn kind(&self) -> Kind {
        self.out.kind
    }

    /// Everything that is asked for, in its order.
    fn all(&mut self) {
        let wanted = self.sections;
        let kind = self.kind();
        let mut any = self.summary();
        let some_nodes = !matches!(&self.nodes, Only::These(names) if names.is_empty());
        if wanted.has(Sections::NODES) && (some_nodes || kind == Kind::Xml) {
            any |= self.node_list(any);
        }
        if wanted.has(Sections::RESOURCES) {
            any |= self.resource_list(any);
        }
        if wanted.has(Sections::ATTRIBUTES) {
            any |= self.attributes(any);
        }
        if wanted.has_any(Sections::OPERATIONS.with(Sections::FAILCOUNTS)) {
            any |= self.history(any);
        }
        if wanted.has(Sections::FAILURES) {
            any |= self.failures(any);
        }
        match kind {
            Kind::Text => {
                any |= self.fencing_failed(any);
                any |= self.tickets(any);
                any |= self.bans(any);
                self.fencing_history(any);
            }
            Kind::Html => {
                self.fencing_failed(false);
                self.fencing_history(false);
                self.tickets(false);
                self.bans(false);
            }
            Kind::Xml => {
                self.fencing_all();
                self.tickets(false);
                self.bans(false);
            }
        }
    }
}

/// The nodes behind a name or a tag.
fn nodes_named(set: &WorkingSet<'_>, name: Option<&str>) -> Only {
    let Some(name) = name.filter(|n| *n != "*") else { return Only::All };
    if set.node_named(name).is_some() {
        return Only::These(vec![name.to_owned()]);
    }
    let of_id = |id: &str| set.nodes.iter().find(|n| n.id.eq_ignore_ascii_case(id)).map(|n| n.name.clone());
    Only::These(tagged(set, name).iter().filter_map(|id| of_id(id)).collect())
}

/// The resources behind a name or a tag.
fn resources_named(set: &WorkingSet<'_>, name: Option<&str>) -> Only {
    let Some(name) = name.filter(|n| *n != "*") else { return Only::All };
    let names = match set.find_any(name) {
        // A number means this very instance.
        Some(id) if name.contains(':') => vec![set.resource(id).id.clone()],
        Some(id) => vec![set.shown_id(id).to_owned()],
        None => {
            let found = tagged(set, name);
            found.iter().filter_map(|id| Some(set.shown_id(set.find_any(id)?).to_owned())).collect()
        }
    };
    Only::These(names)
}

fn tagged<'c>(set: &WorkingSet<'c>, tag: &str) -> Vec<&'c str> {
    let tags = set.document().child("configuration").and_then(|c| c.child("tags"));
    let of = tags.into_iter().flat_map(|t| &t.children).filter(|t| t.name == "tag" && t.id() == Some(tag));
    of.flat_map(|t| &t.children).filter(|r| r.name == "obj_ref").filter_map(Element::id).collect()
}

impl WorkingSet<'_> {
    /// The name that a resource is shown by: only where instances differ they have a number.
    pub(crate) fn shown_id(&self, id: ResourceId) -> &str {
        let resource = self.resource(id);
        if resource.is(crate::model::Flags::UNIQUE) { &resource.id } else { resource.configured_id() }
    }

    /// The first resource, from the top down, of which this is true.
    fn first(&self, wanted: &dyn Fn(ResourceId) -> bool) -> Option<ResourceId> {
        fn below(
            set: &WorkingSet<'_>,
            id: ResourceId,
            wanted: &dyn Fn(ResourceId) -> bool,
        ) -> Option<ResourceId> {
            if wanted(id) {
                return Some(id);
            }
            let resource = set.resource(id);
            let inside = resource.children.iter().find_map(|c| below(set, *c, wanted));
            let Variant::Bundle(bundle) = &resource.variant else { return inside };
            let parts = bundle.replicas.iter().flat_map(|r| [r.ip, Some(r.container), r.connection]);
            inside.or_else(|| parts.flatten().find_map(|p| below(set, p, wanted)))
        }
        self.top.iter().find_map(|id| below(self, *id, wanted))
    }

    /// A resource by its id or the one that the history knows it by.
    fn find_renamed(&self, name: &str) -> Option<ResourceId> {
        self.first(&|id| {
            let resource = self.resource(id);
            resource.id == name || resource.history_name.as_deref() == Some(name)
        })
    }

    /// The same, with or without the number of an instance.
    fn find_any(&self, name: &str) -> Option<ResourceId> {
        self.first(&|id| {
            let resource = self.resource(id);
            resource.id == name
                || resource.history_name.as_deref() == Some(name)
                || crate::unpack::base_name(&resource.id) == name
        })
    }

    fn runs_on_any(&self, id: ResourceId, nodes: &Only) -> bool {
        self.resource(id).running_on.iter().any(|n| nodes.has_node(&self.node(*n).name))
    }

    /// A node's name, with what `detail` adds to it.
    fn label(&self, id: NodeId, detail: bool) -> String {
        let node = self.node(id);
        let mut label = node.name.clone();
        if detail && self.is_guest(id) {
            let container = node.connection.and_then(|c| self.resource(c).container);
            let host = container.and_then(|c| self.current_node(c)).map(|n| self.node(n).name.as_str());
            label += &format!("@{}", host.unwrap_or_default());
        }
        if detail && !node.name.eq_ignore_ascii_case(&node.id) {
            label += &format!(" ({})", node.id);
        }
        label
    }
}
