//! The status of a cluster that is drawn: states of nodes, and what was done on them.

use std::fmt::Write;

use crate::draw::Draw;
use crate::resources::{Resources, Runs};

/// When it all happens, seconds since 1970.
pub(crate) const NOW: u64 = 1_700_000_000;

pub(crate) struct Status<'a> {
    pub(crate) draw: &'a mut Draw,
    pub(crate) resources: &'a Resources,
    pub(crate) members: &'a [String],
    calls: usize,
}

impl<'a> Status<'a> {
    pub(crate) fn new(draw: &'a mut Draw, resources: &'a Resources, members: &'a [String]) -> Self {
        Self { draw, resources, members, calls: 0 }
    }

    pub(crate) fn write(&mut self) -> String {
        let mut text = String::new();
        // Where each is found.
        let mut places: Vec<(String, Runs)> = Vec::new();
        let all: Vec<String> = self.members.iter().chain(&self.resources.remote_nodes).cloned().collect();
        let fresh = self.draw.chance(10);
        for runs in &self.resources.runs {
            let candidates: Vec<String> = match &runs.only_on {
                Some(node) => vec![node.clone()],
                None if runs.kind == "remote" || self.draw.chance(75) => self.members.to_vec(),
                None => all.clone(),
            };
            let count = match runs.places {
                0 => self.draw.between(0, candidates.len()),
                _ if self.draw.chance(5) => 2,
                _ => usize::from(self.draw.chance(75)),
            };
            for _ in 0..count {
                let Some(node) = self.draw.one(&candidates).cloned() else { continue };
                if !places.iter().any(|(n, r)| *n == node && r.id == runs.id) {
                    places.push((node, runs.clone()));
                }
            }
        }
        for (at, member) in self.members.iter().enumerate() {
            let state = *self.draw.one(&STATES).unwrap_or(&STATES[0]);
            let absent = self.draw.chance(4);
            if absent {
                continue;
            }
            let _ = write!(text, r#"<node_state id="{}" uname="{member}" {state}>"#, at + 1);
            text += &self.attributes(member, &(at + 1).to_string());
            if !fresh {
                text += &self.histories(member, &(at + 1).to_string(), &places);
            }
            text += "</node_state>";
        }
        for remote in &self.resources.remote_nodes {
            if fresh || self.draw.chance(20) {
                continue;
            }
            let fenced = if self.draw.chance(10) { r#" node_fenced="1""# } else { "" };
            let _ = write!(text, r#"<node_state remote_node="true" id="{remote}" uname="{remote}"{fenced}>"#);
            text += &self.attributes(remote, remote);
            text += &self.histories(remote, remote, &places);
            text += "</node_state>";
        }
        if self.draw.chance(50) {
            text += "<tickets>";
            for ticket in ["ta", "tb"] {
                let granted = self.draw.chance(50);
                let standby = self.draw.chance(25);
                let _ =
                    write!(text, r#"<ticket_state id="{ticket}" granted="{granted}" standby="{standby}"/>"#);
            }
            text += "</tickets>";
        }
        text
    }

    fn attributes(&mut self, node: &str, id: &str) -> String {
        let mut pairs = Vec::new();
        for runs in &self.resources.runs {
            if runs.promotable && self.draw.chance(60) {
                let value = self.draw.pick(&["10", "5", "100", "-1", "-INFINITY", "INFINITY", "1"]);
                pairs.push((format!("master-{}", runs.id), value.to_owned()));
            }
            if self.draw.chance(10) {
                let count = self.draw.pick(&["1", "2", "3", "INFINITY"]);
                let operation = self.draw.pick(&["monitor_10000", "start_0"]);
                pairs.push((format!("fail-count-{}#{operation}", runs.id), count.to_owned()));
                let last = NOW - self.draw.between(0, 200) as u64;
                pairs.push((format!("last-failure-{}#{operation}", runs.id), last.to_string()));
            }
        }
        for (name, often, value) in [
            ("standby", 5, "on"),
            ("maintenance", 3, "true"),
            ("shutdown", 4, "1699999990"),
            ("#health-disk", 8, "red"),
            ("#health-load", 8, "yellow"),
            ("pingd", 30, "100"),
        ] {
            if self.draw.chance(often) {
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
        pairs.dedup_by(|a, b| a.0 == b.0);
        let mut text = format!(r#"<transient_attributes id="{id}"><instance_attributes id="status-{node}">"#);
        for (at, (name, value)) in pairs.iter().enumerate() {
            let _ = write!(text, r#"<nvpair id="status-{node}-{at}" name="{name}" value="{value}"/>"#);
        }
        text + "</instance_attributes></transient_attributes>"
    }

    fn histories(&mut self, node: &str, id: &str, places: &[(String, Runs)]) -> String {
        let mut text = format!(r#"<lrm id="{id}"><lrm_resources>"#);
        let mut known: Vec<String> = Vec::new();
        for runs in &self.resources.runs {
            let here = places.iter().any(|(n, r)| n == node && r.id == runs.id);
            let may = runs.only_on.as_ref().is_none_or(|only| only == node);
            if known.contains(&runs.id) || !may || !(here || self.draw.chance(40)) {
                continue;
            }
            known.push(runs.id.clone());
            text += &self.history(runs, node, here);
        }
        if self.draw.chance(5) {
            let orphan = Runs {
                id: "orphan".into(),
                class: "ocf",
                provider: Some("pacemaker"),
                kind: "Dummy",
                places: 1,
                promotable: false,
                only_on: None,
                container: None,
            };
            let here = self.draw.chance(60);
            text += &self.history(&orphan, node, here);
        }
        text + "</lrm_resources></lrm>"
    }

    fn history(&mut self, runs: &Runs, node: &str, here: bool) -> String {
        let provider = runs.provider.map_or(String::new(), |p| format!(r#" provider="{p}""#));
        let container = runs.container.as_ref().map_or(String::new(), |c| format!(r#" container="{c}""#));
        let mut text = format!(
            r#"<lrm_resource id="{}" class="{}"{provider} type="{}"{container}>"#,
            runs.id, runs.class, runs.kind
        );
        if !here {
            let (task, rc) = if self.draw.chance(70) { ("monitor", 7) } else { ("stop", 0) };
            let expected = if task == "stop" { 0 } else { 7 };
            // Some probes find that nothing can be there.
            let rc = if task == "monitor" && self.draw.chance(6) { 5 } else { rc };
            text += &self.entry(runs, node, task, 0, rc, expected, "last_0");
            return text + "</lrm_resource>";
        }
        let (task, expected) = if self.draw.chance(85) { ("start", 0) } else { ("monitor", 7) };
        text += &self.entry(runs, node, task, 0, 0, expected, "last_0");
        if runs.promotable && self.draw.chance(40) {
            text = text.replace("_last_0", "_start_0");
            text += &self.entry(runs, node, "promote", 0, 0, 0, "last_0");
        }
        if self.draw.chance(60) {
            text += &self.entry(runs, node, "monitor", 10_000, 0, 0, "monitor_10000");
        }
        if self.draw.chance(14) {
            let task = self.draw.pick(&["monitor", "start", "stop", "promote", "demote", "monitor"]);
            let interval = if task == "monitor" { 10_000 } else { 0 };
            let rc = [1, 7, 5, 6, 2, 8, 9, 1, 1][self.draw.below(9)];
            text += &self.entry(runs, node, task, interval, rc, 0, "last_failure_0");
        }
        if self.draw.chance(4) {
            let task = self.draw.pick(&["start", "stop", "monitor"]);
            text += &self.pending(runs, task);
        }
        text + "</lrm_resource>"
    }

    #[expect(clippy::too_many_arguments, reason = "an entry has that many fields, each said once")]
    fn entry(
        &mut self,
        runs: &Runs,
        node: &str,
        task: &str,
        interval: u32,
        rc: i32,
        expected: i32,
        name: &str,
    ) -> String {
        self.calls += 1;
        let status =
            if rc == expected || rc == 0 && expected == 7 || rc == 5 && expected == 7 { 0 } else { 4 };
        let call = self.calls;
        let changed = NOW - self.draw.between(0, 300) as u64;
        let digest = match self.draw.below(3) {
            0 => r#" op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8""#,
            1 => r#" op-digest="00000000000000000000000000000000""#,
            _ => "",
        };
        let id = &runs.id;
        format!(
            r#"<lrm_rsc_op id="{id}_{name}" operation_key="{id}_{task}_{interval}" operation="{task}" crm_feature_set="3.16.1" transition-key="{call}:1:{expected}:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee" transition-magic="{status}:{rc};{call}:1:{expected}:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee" on_node="{node}" call-id="{call}" rc-code="{rc}" op-status="{status}" interval="{interval}" last-rc-change="{changed}" exec-time="0" queue-time="0"{digest}/>"#
        )
    }

    fn pending(&mut self, runs: &Runs, task: &str) -> String {
        let id = &runs.id;
        format!(
            r#"<lrm_rsc_op id="{id}_{task}_pending" operation_key="{id}_{task}_0" operation="{task}" crm_feature_set="3.16.1" transition-key="9:2:0:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee" transition-magic="-1:193;9:2:0:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee" call-id="-1" rc-code="193" op-status="-1" interval="0" exec-time="0" queue-time="0"/>"#
        )
    }
}

/// Of a node's state, the usual ones more often.
const STATES: [&str; 12] = [
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="member" expected="member""#,
    r#"in_ccm="false" crmd="offline" join="down" expected="down""#,
    r#"in_ccm="false" crmd="offline" join="down" expected="member""#,
    r#"in_ccm="true" crmd="offline" join="member" expected="member""#,
    r#"in_ccm="true" crmd="online" join="pending" expected="member""#,
];
