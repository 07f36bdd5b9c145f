//! Name and value pairs in the document: cluster options, defaults, node attributes, tickets. Where they are, and how they are set.

use cib::Element;

use super::Stop;
use super::output::Out;
use super::results::Code;
use super::session::Session;

/// Which pairs are meant.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// `crm_config`, `nodes`, `status`, `rsc_defaults`, `op_defaults`, `tickets`.
    pub(super) section: String,
    /// The node's id, where the section has pairs by node.
    pub(super) node: Option<String>,
    /// The node is reached over a connection.
    pub(super) remote: bool,
    /// `utilization`, where it is not what the section has.
    pub(super) kind: Option<&'static str>,
    /// Id of the block.
    pub(super) set: Option<String>,
    /// Id of the pair.
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
}

impl Target {
    /// The section of the document, and whether pairs are by node there.
    fn place(&self) -> Result<(&str, bool), Code> {
        match self.section.as_str() {
            "tickets" => Ok(("status", false)),
            "crm_config" | "rsc_defaults" | "op_defaults" => Ok((&self.section, false)),
            "nodes" | "status" => Ok((&self.section, true)),
            // Sections that exist and have no pairs of nodes.
            "configuration" | "resources" | "constraints" | "fencing-topology" | "acls" | "tags"
            | "alerts" => Ok((&self.section, true)),
            _ => Err(Code(42)),
        }
    }

    fn block(&self) -> &'static str {
        match self.section.as_str() {
            "crm_config" => "cluster_property_set",
            "rsc_defaults" | "op_defaults" => "meta_attributes",
            "status" => "transient_attributes",
            _ => self.kind.unwrap_or("instance_attributes"),
        }
    }

    /// All pairs that match.
    pub(super) fn find<'d>(&self, document: &'d Element) -> Result<Vec<&'d Element>, Code> {
        let (section, by_node) = self.place()?;
        if by_node && self.node.is_none() {
            return Err(Code::INVAL);
        }
        let root = match section {
            "status" => document.child("status"),
            "configuration" => document.child(section),
            _ => document.child("configuration").and_then(|c| c.child(section)),
        };
        let mut tops: Vec<&Element> = root.into_iter().collect();
        if self.section == "tickets" {
            tops = tops.iter().flat_map(|t| t.children_named("tickets")).collect();
        } else if let Some(node) = self.node.as_deref().filter(|_| by_node) {
            let name = if section == "status" { "node_state" } else { "node" };
            tops =
                tops.iter().flat_map(|t| t.children_named(name)).filter(|n| n.id() == Some(node)).collect();
        }
        let mut found = Vec::new();
        for top in tops {
            self.blocks(top, &mut found);
        }
        match found.is_empty() {
            true => Err(Code::NXIO),
            false => Ok(found),
        }
    }

    fn blocks<'d>(&self, at: &'d Element, found: &mut Vec<&'d Element>) {
        for child in &at.children {
            // Of the status the block has its pairs one level down, under a block with an id of its own.
            if child.name == self.block() && self.set.as_deref().is_none_or(|set| child.id() == Some(set)) {
                child.walk(&mut |pair| {
                    let same = |want: &Option<String>, is: Option<&str>| {
                        want.as_deref().is_none_or(|w| is == Some(w))
                    };
                    if pair.name == "nvpair"
                        && same(&self.id, pair.id())
                        && same(&self.name, pair.get("name"))
                    {
                        found.push(pair);
                    }
                });
            } else {
                self.blocks(child, found);
            }
        }
    }

    /// The one pair that matches. Several are shown.
    fn only<'d>(&self, document: &'d Element, out: &mut Out<'_>) -> Result<&'d Element, Code> {
        let found = self.find(document)?;
        match found[..] {
            [one] => Ok(one),
            _ => {
                out.info(format_args!(
                    "Multiple attributes match name={}",
                    self.name.as_deref().unwrap_or("(null)")
                ));
                for pair in found {
                    out.info(format_args!(
                        "  Value: {} \t(id={})",
                        pair.get("value").unwrap_or_default(),
                        pair.id().unwrap_or_default()
                    ));
                }
                Err(Code::NOTUNIQ)
            }
        }
    }

    /// Sets the pair, made where it is missing.
    pub(super) fn update(&self, session: &mut Session, value: &str, out: &mut Out<'_>) -> Result<(), Stop> {
        let document = session.document()?;
        let (section, _) = self.place()?;
        let changed = match self.only(&document, out) {
            Ok(pair) => {
                let id = pair.id().unwrap_or_default();
                let mut changed = Element::new("nvpair").with("id", id);
                // As it was named: the name may be the pattern's.
                if let Some(name) = self.name.as_deref().or(pair.get("name")) {
                    changed = changed.with("name", name);
                }
                changed.with("value", value)
            }
            Err(Code::NXIO) => self.new_pair(value),
            Err(code) => return Err(code.into()),
        };
        session.modify(section, &changed)?;
        Ok(())
    }

    fn new_pair(&self, value: &str) -> Element {
        let node = self.node.as_deref().unwrap_or_default();
        let of_kind = self.kind.map(|k| format!("-{k}")).unwrap_or_default();
        let set = self.set.clone().unwrap_or_else(|| match self.section.as_str() {
            "crm_config" => "cib-bootstrap-options".to_owned(),
            "tickets" => "status-tickets".to_owned(),
            "nodes" | "status" => format!("{}-{node}{of_kind}", self.section),
            other => format!("{other}-options"),
        });
        let name = self.name.as_deref().or(self.id.as_deref()).unwrap_or_default();
        let id = self.id.clone().unwrap_or_else(|| sanitized(&format!("{set}-{name}")));
        let pair = Element::new("nvpair").with("id", &id).with("name", name).with("value", value);
        let inside = |mut outer: Element, inner: Element| {
            outer.children.push(inner);
            outer
        };
        let block = |name: &str| inside(Element::new(name).with("id", &set), pair.clone());
        let of_node = block(self.kind.unwrap_or("instance_attributes"));
        match self.section.as_str() {
            "crm_config" => inside(Element::new("crm_config"), block("cluster_property_set")),
            "tickets" => inside(Element::new("status"), inside(Element::new("tickets"), of_node)),
            "nodes" if self.remote => {
                let remote = Element::new("node").with("type", "remote").with("id", node).with("uname", node);
                inside(Element::new("nodes"), inside(remote, of_node))
            }
            "nodes" => inside(Element::new("node").with("id", node), of_node),
            "status" => {
                let transient = inside(Element::new("transient_attributes").with("id", node), of_node);
                inside(Element::new("node_state").with("id", node), transient)
            }
            other => inside(Element::new(other), block("meta_attributes")),
        }
    }

    /// Takes the pair out and says so; what is not there is gone already.
    pub(super) fn delete(&self, session: &mut Session, out: &mut Out<'_>) -> Result<(), Stop> {
        let (section, _) = self.place()?;
        let id = match &self.id {
            Some(id) => id.clone(),
            None => match self.only(&session.document()?, out) {
                Ok(pair) => pair.id().unwrap_or_default().to_owned(),
                Err(Code::NXIO | Code::NOTUNIQ) => return Ok(()),
                Err(code) => return Err(code.into()),
            },
        };
        let mut pair = Element::new("nvpair").with("id", &id);
        if let Some(name) = &self.name {
            pair = pair.with("name", name);
        }
        match session.delete(section, &pair) {
            Err(refusal) if refusal.rc == i32::from(super::NO_SUCH) => return Ok(()),
            other => other?,
        }
        let what = if self.node.is_some() { "attribute" } else { "option" };
        let set = self.set.as_ref().map(|s| format!(" set={s}")).unwrap_or_default();
        let name = self.name.as_ref().map(|n| format!(" name={n}")).unwrap_or_default();
        let shown = if self.id.is_some() { "(null)" } else { &id };
        out.info(format_args!("Deleted {} {what}: id={shown}{set}{name}", self.section));
        Ok(())
    }
}

/// An id with nothing in it that an id cannot have.
fn sanitized(id: &str) -> String {
    id.chars().map(|c| if matches!(c, ':' | '#') { '.' } else { c }).collect()
}

/// Id and kind of the node with this name.
pub(super) fn node_id(document: &Element, name: &str) -> Option<(String, bool)> {
    let configuration = document.child("configuration");
    let nodes = configuration.and_then(|c| c.child("nodes"));
    let same = |is: Option<&str>| is.is_some_and(|is| is.eq_ignore_ascii_case(name));
    if let Some(node) = nodes.and_then(|n| n.children_named("node").find(|n| same(n.get("uname")))) {
        return Some((node.id()?.to_owned(), node.get("type") == Some("remote")));
    }
    let mut found = None;
    if let Some(resources) = configuration.and_then(|c| c.child("resources")) {
        resources.walk(&mut |e| {
            let connection = (e.get("class"), e.get("provider"), e.get("type"));
            if e.name == "primitive"
                && connection == (Some("ocf"), Some("pacemaker"), Some("remote"))
                && same(e.id())
            {
                found = found.take().or(e.id().map(str::to_owned));
            }
            if e.name == "nvpair" && e.get("name") == Some("remote-node") && same(e.get("value")) {
                found = found.take().or(e.get("value").map(str::to_owned));
            }
        });
    }
    let states = document.child("status").into_iter().flat_map(|s| s.children_named("node_state"));
    let mut remote = states.filter(|s| s.get("remote_node").and_then(cib::parse_bool) == Some(true));
    found = found.or_else(|| remote.find(|s| same(s.id())).and_then(|s| s.id().map(str::to_owned)));
    found.map(|id| (id, true))
}
