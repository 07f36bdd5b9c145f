//! Documents to decide by: a cluster of any size with groups, clones, colocations and preferences, in one of three states.

use std::fmt::{self, Write as _};

use clap::ValueEnum;

/// What the status of a document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// All nodes are there, nothing is known of any resource: everything has to be probed.
    Fresh,
    /// Everything runs where it belongs, and was probed everywhere.
    Steady,
    /// The same, and one node is gone.
    Lost,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Steady => "steady",
            Self::Lost => "one node lost",
        })
    }
}

/// Of twenty primitives: eight alone, two groups of four, two in clones, two beside a group.
const UNIT: usize = 20;

/// A document with so many nodes and primitives.
pub(crate) fn document(nodes: usize, primitives: usize, state: State) -> String {
    let mut cluster = Cluster { nodes, ..Cluster::default() };
    for i in 0..primitives {
        cluster.add(i);
    }
    let mut text = String::new();
    let quorum = r#"have-quorum="1" dc-uuid="1""#;
    // A String takes everything.
    let _ = write!(
        text,
        r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0" {quorum}>
<configuration><crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="o1" name="stonith-enabled" value="true"/></cluster_property_set></crm_config>
<nodes>"#
    );
    for n in 1..=nodes {
        let _ = writeln!(text, r#"<node id="{n}" uname="node{n:02}"/>"#);
    }
    let _ = write!(
        text,
        r#"</nodes><resources><primitive id="fencing" class="stonith" type="fence_dummy"><operations><op id="fencing-m" name="monitor" interval="60s"/></operations></primitive>
{}</resources><constraints>{}</constraints>
<rsc_defaults><meta_attributes id="rd"><nvpair id="rd1" name="resource-stickiness" value="1000"/></meta_attributes></rsc_defaults></configuration><status>"#,
        cluster.resources, cluster.constraints
    );
    for node in 0..nodes {
        cluster.write_state(&mut text, node, state);
    }
    text.push_str("</status></cib>\n");
    text
}

/// A primitive's history: its name there and where it runs (`None`: on each node).
struct Known {
    id: String,
    on: Option<usize>,
}

#[derive(Default)]
struct Cluster {
    nodes: usize,
    resources: String,
    constraints: String,
    known: Vec<Known>,
}

impl Cluster {
    fn add(&mut self, i: usize) {
        let unit = i / UNIT;
        let on = (unit * 5 + i % UNIT / 4) % self.nodes;
        let id = format!("r{i}");
        let primitive = format!(
            r#"<primitive id="{id}" class="ocf" provider="pacemaker" type="Dummy"><instance_attributes id="{id}-i"><nvpair id="{id}-i1" name="state" value="/run/{id}"/></instance_attributes><operations><op id="{id}-m" name="monitor" interval="10s" timeout="20s"/></operations></primitive>"#
        );
        let prefers = |text: &mut String, what: &str| {
            let node = on + 1;
            let _ = writeln!(
                text,
                r#"<rsc_location id="l-{what}" rsc="{what}" node="node{node:02}" score="100"/>"#
            );
        };
        let mut runs_on = Some(on);
        match i % UNIT {
            place @ (0..8) => {
                self.resources += &primitive;
                if place % 2 == 0 {
                    prefers(&mut self.constraints, &id);
                }
            }
            place @ (8..16) => {
                let group = format!("g{}", i / 4);
                if place % 4 == 0 {
                    let _ = write!(self.resources, r#"<group id="{group}">"#);
                    prefers(&mut self.constraints, &group);
                }
                self.resources += &primitive;
                if place % 4 == 3 {
                    self.resources += "</group>\n";
                }
            }
            16 | 17 => {
                let _ = writeln!(self.resources, r#"<clone id="c{i}">{primitive}</clone>"#);
                runs_on = None;
            }
            place => {
                // With the first member of the group, so that it has a place without a preference of its own.
                self.resources += &primitive;
                let group = (unit * UNIT + if place == 18 { 8 } else { 12 }) / 4;
                let _ = writeln!(
                    self.constraints,
                    r#"<rsc_colocation id="c-{id}" rsc="{id}" with-rsc="g{group}" score="INFINITY"/><rsc_order id="o-{id}" first="g{group}" then="{id}"/>"#
                );
                runs_on = Some((unit * 5 + if place == 18 { 2 } else { 3 }) % self.nodes);
            }
        }
        self.resources.push('\n');
        self.known.push(Known { id, on: runs_on });
    }

    fn write_state(&self, text: &mut String, node: usize, state: State) {
        let id = node + 1;
        let lost = state == State::Lost && node == self.nodes / 2;
        let (member, crmd) = if lost { ("false", "offline") } else { ("true", "online") };
        let _ = write!(
            text,
            r#"<node_state id="{id}" uname="node{id:02}" in_ccm="{member}" crmd="{crmd}" join="member" expected="member"><lrm id="{id}"><lrm_resources>"#
        );
        if state != State::Fresh {
            for (at, known) in self.known.iter().enumerate() {
                let id = &known.id;
                let _ =
                    write!(text, r#"<lrm_resource id="{id}" class="ocf" provider="pacemaker" type="Dummy">"#);
                if known.on.is_none_or(|on| on == node) {
                    write_operation(text, id, "start", 0, 2 * at + 2, 0);
                    write_operation(text, id, "monitor", 10_000, 2 * at + 3, 0);
                } else {
                    write_operation(text, id, "monitor", 0, 2 * at + 2, 7);
                }
                text.push_str("</lrm_resource>\n");
            }
            let _ = write!(text, r#"<lrm_resource id="fencing" class="stonith" type="fence_dummy">"#);
            if node == 0 {
                write_operation(text, "fencing", "start", 0, 1, 0);
                write_operation(text, "fencing", "monitor", 60_000, 1, 0);
            } else {
                write_operation(text, "fencing", "monitor", 0, 1, 7);
            }
            text.push_str("</lrm_resource>\n");
        }
        text.push_str("</lrm_resources></lrm></node_state>\n");
    }
}

fn write_operation(text: &mut String, id: &str, task: &str, interval: u32, call: usize, rc: u32) {
    let digest = digest(id, interval);
    let entry = if interval == 0 { "last_0".to_owned() } else { format!("{task}_{interval}") };
    let _ = write!(
        text,
        r#"<lrm_rsc_op id="{id}_{entry}" operation_key="{id}_{task}_{interval}" operation="{task}" crm-debug-origin="bench" crm_feature_set="3.16.1" transition-key="{call}:1:{rc}:6c4d1a35-3f3f-4a3c-9f8b-0d9f0a6b8a11" transition-magic="0:{rc};{call}:1:{rc}:6c4d1a35-3f3f-4a3c-9f8b-0d9f0a6b8a11" call-id="{call}" rc-code="{rc}" op-status="0" interval="{interval}" last-rc-change="1700000000" exec-time="10" queue-time="0" op-digest="{digest}"/>"#
    );
}

/// Of the parameters that an operation ran with, as Pacemaker takes it; with another one everything would be restarted.
fn digest(id: &str, interval: u32) -> String {
    let timeout = if interval == 0 { "" } else { r#" CRM_meta_timeout="20000""# };
    let state = if id == "fencing" { String::new() } else { format!(r#" state="/run/{id}""#) };
    cib::md5_hex(format!(" <parameters{timeout}{state}/>\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_cluster_is_in_the_places_that_its_scores_give_it() {
        // What the bench measures would otherwise not be a cluster at rest.
        let text = document(8, 200, State::Steady);
        let root = cib::Element::parse(&text, "generated").unwrap();
        let mut set = scheduler::WorkingSet::new(&root, cib::Moment(1_700_000_100)).unwrap();
        let status = scheduler::current_status(&set, false);
        assert!(!status.contains("Stopped") && !status.contains("FAILED"), "{status}");
        set.place();
        assert!(!set.scores().contains("pcmk__primitive_assign: r0 allocation score on node02: INFINITY"));
    }
}
