//! What a fence agent says of itself, and of whom it can fence.

use std::collections::BTreeSet;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// An agent's abilities, from its meta-data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Its actions.
    actions: BTreeSet<String>,
    /// Its parameters, but those that are deprecated.
    parameters: BTreeSet<String>,
    /// Its `on` is how a node gets access: it is run when the node joins, before anything starts there.
    unfences: bool,
    /// Its `on` is run by the very node that it is for.
    on_target: bool,
}

impl Abilities {
    /// Reads meta-data. What cannot be read is passed over: agents in the field write all kinds of it.
    #[must_use]
    pub fn of_metadata(xml: &str) -> Self {
        let mut reader = Reader::from_str(xml);
        let mut found = Self::default();
        loop {
            match reader.read_event() {
                Ok(Event::Start(element) | Event::Empty(element)) => found.element(&element),
                Ok(Event::Eof) | Err(_) => return found,
                Ok(_) => {}
            }
        }
    }

    /// What a plugin of cluster-glue can: they all have the same calls.
    #[must_use]
    pub fn of_plugin() -> Self {
        let actions = ["reboot", "off", "on", "list", "status", "monitor"];
        Self { actions: actions.map(str::to_owned).into(), ..Self::default() }
    }

    fn element(&mut self, element: &BytesStart<'_>) {
        let get = |name: &str| Some(element.try_get_attribute(name).ok().flatten()?.value.into_owned());
        let is_set = |name: &str| get(name).is_some_and(|v| matches!(v.as_str(), "1" | "true" | "yes"));
        match (element.name().as_ref(), get("name")) {
            ("action", Some(name)) => {
                if name == "on" {
                    self.unfences |= is_set("automatic") || is_set("required");
                    self.on_target |= is_set("on_target");
                }
                self.actions.insert(name);
            }
            ("parameter", Some(name)) if !is_set("deprecated") => {
                self.parameters.insert(name);
            }
            _ => {}
        }
    }

    /// Whether it has an action.
    #[must_use]
    pub fn has(&self, action: &str) -> bool {
        self.actions.contains(action)
    }

    /// Whether its `on` is how a node gets access.
    #[must_use]
    pub fn unfences(&self) -> bool {
        self.unfences
    }

    pub(crate) fn on_target(&self) -> bool {
        self.on_target
    }

    /// The parameter that carries the victim.
    pub(crate) fn host_argument(&self) -> &'static str {
        if self.parameters.contains("plug") { "plug" } else { "port" }
    }
}

/// Names in an agent's answer to `list`, and what of it is no name though it looks like a line of one.
///
/// An entry ends at a blank, a comma, a semicolon, a line break or the two characters `\n`, and is cut at the first
/// character that no name has. So `port,alias` are two names.
#[must_use]
pub fn hosts_of_list(text: &str) -> (BTreeSet<String>, Vec<String>) {
    let (mut names, mut passed_over) = (BTreeSet::new(), Vec::new());
    for line in text.replace("\\n", "\n").lines() {
        if line.contains("invalid") || line.contains("variable") {
            passed_over.push(line.to_owned());
            continue;
        }
        for entry in line.split([' ', '\t', ',', ';']).filter(|e| !e.is_empty()) {
            let name: String =
                entry.chars().take_while(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).collect();
            match name.as_str() {
                "" => {}
                "on" | "off" => passed_over.push(entry.to_owned()),
                _ => {
                    names.insert(name);
                }
            }
        }
    }
    (names, passed_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_read_from_meta_data_as_agents_write_it() {
        let scsi = "<?xml version=\"1.0\" ?>\n<resource-agent name=\"fence_scsi\" ><parameters>\
            <parameter name=\"plug\" unique=\"0\" obsoletes=\"port\"><content type=\"string\"/></parameter>\
            <parameter name=\"port\" deprecated=\"1\"/></parameters><actions>\
            <action name=\"on\" on_target=\"1\" automatic=\"1\"/><action name=\"off\" /></actions></resource-agent>";
        let found = Abilities::of_metadata(scsi);
        assert!(found.unfences() && found.on_target() && found.has("off") && !found.has("reboot"));
        assert_eq!(found.host_argument(), "plug");
        let old = "<resource-agent><parameter name='port'/><parameter name='plug' deprecated='1'/><action name='on' automatic='0'/>";
        let found = Abilities::of_metadata(old);
        assert!(!found.unfences() && !found.on_target());
        assert_eq!(found.host_argument(), "port");
        assert_eq!(Abilities::of_metadata("no xml < at all"), Abilities::default());
    }

    #[test]
    fn a_list_is_read_as_pacemaker_reads_it() {
        let names = |text: &str| hosts_of_list(text).0.into_iter().collect::<Vec<_>>();
        assert_eq!(names("node1\nnode2\n"), ["node1", "node2"]);
        assert_eq!(names("1,node1\n2,node2"), ["1", "2", "node1", "node2"]);
        assert_eq!(names("node1;node2 node3\\nnode4"), ["node1", "node2", "node3", "node4"]);
        assert_eq!(names("node1(off)\non\n"), ["node1"]);
        assert_eq!(names("invalid variable\nvm-a.b_c"), ["vm-a.b_c"]);
        assert_eq!(hosts_of_list("on\ninvalid host").1, ["on", "invalid host"]);
    }
}
