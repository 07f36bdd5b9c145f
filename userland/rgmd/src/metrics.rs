//! What this manager tells monitoring, in Prometheus's text form.

use cib::Element;
use holdfast_types::Boottime;
use status::{Configured, Transitions, manager_metrics};

use crate::manager::Manager;

/// Transitions of this life of the manager.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    begun: u64,
    completed: u64,
    took_ms: u64,
    last_ms: u64,
    since: Option<Boottime>,
}

impl Tally {
    /// A transition begins. The one before, if it had not ended, was aborted.
    pub(crate) fn begun(&mut self, now: Boottime) {
        self.begun = self.begun.saturating_add(1);
        self.since = Some(now);
    }

    /// It was carried out to its end.
    pub(crate) fn completed(&mut self, now: Boottime) {
        let Some(since) = self.since.take() else { return };
        self.completed = self.completed.saturating_add(1);
        self.last_ms = now.since(since).as_millis();
        self.took_ms = self.took_ms.saturating_add(self.last_ms);
    }
}

impl Manager {
    /// All of it.
    pub(crate) fn metrics(&self) -> String {
        let running = self.engine.running.is_some();
        let Tally { begun, completed, took_ms, last_ms, .. } = self.tally;
        let transitions = Transitions { begun, completed, running, took_ms, last_ms };
        let tree = self.replica.cib.tree();
        let changed_at = advice::last_change(tree, holdfast_sys::timezone::utc_offset);
        let configured = Configured { changed_at, ..configured(tree) };
        manager_metrics(&self.report(), &configured, &transitions)
    }
}

/// What stands in the configuration only.
fn configured(tree: &Element) -> Configured {
    let mut found = Configured::default();
    tree.walk(&mut |e| {
        let text = |name: &str| e.get(name).unwrap_or_default().to_owned();
        match e.name.as_str() {
            "clone" | "master" => {
                let clone = text("id");
                e.walk(&mut |part| {
                    if part.name == "primitive" {
                        found.clones.push((part.get("id").unwrap_or_default().to_owned(), clone.clone()));
                    }
                });
            }
            "rsc_location" if e.get("score").is_some() => {
                found.locations.push([text("id"), text("rsc"), text("node"), text("role"), text("score")]);
            }
            _ => {}
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_and_constraints_are_found_in_the_configuration() {
        let text = "<cib><configuration><resources><clone id=\"c\"><group id=\"g\"><primitive id=\"a\"/><primitive id=\"b\"/></group></clone>\
                    <primitive id=\"x\"/></resources><constraints><rsc_location id=\"l\" rsc=\"x\" node=\"n1\" score=\"-INFINITY\"/>\
                    <rsc_location id=\"r\" rsc=\"x\"><rule/></rsc_location></constraints></configuration></cib>";
        let found = configured(&Element::parse(text, "test").unwrap());
        let clones: Vec<(&str, &str)> = found.clones.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(clones, [("a", "c"), ("b", "c")]);
        assert_eq!(found.locations, [["l", "x", "n1", "", "-INFINITY"].map(str::to_owned)]);
    }

    #[test]
    fn what_was_aborted_is_what_neither_ended_nor_runs() {
        let mut tally = Tally::default();
        let at = |ms: u64| Boottime::default() + holdfast_types::Span::from_millis(ms);
        tally.begun(at(0));
        tally.begun(at(10));
        tally.completed(at(35));
        tally.completed(at(99));
        assert_eq!((tally.begun, tally.completed, tally.last_ms, tally.took_ms), (2, 1, 25, 25));
    }
}
