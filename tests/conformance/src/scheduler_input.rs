//! A whole CIB, drawn: options, nodes, resources, constraints, status.

use std::fmt::Write;

use crate::draw::Draw;
use crate::history::{NOW, Status};
use crate::resources::{Resources, block};

/// The document of a seed.
#[must_use]
pub fn document(seed: u64) -> String {
    let mut draw = Draw::new(seed);
    let draw = &mut draw;
    let utilization = draw.chance(20);
    let mut options = vec![("stonith-enabled", draw.chance(55).to_string())];
    let optional: [(&str, usize, &[&str]); 13] = [
        ("no-quorum-policy", 20, &["freeze", "ignore", "demote", "suicide", "stop"]),
        ("symmetric-cluster", 12, &["false"]),
        ("maintenance-mode", 3, &["true"]),
        ("stop-all-resources", 3, &["true"]),
        ("stop-orphan-resources", 5, &["false"]),
        ("startup-fencing", 8, &["false"]),
        ("start-failure-is-fatal", 10, &["false"]),
        ("node-health-strategy", 15, &["migrate-on-red", "only-green", "progressive", "custom"]),
        ("node-health-base", 5, &["10"]),
        ("node-health-yellow", 8, &["-5", "-10"]),
        ("shutdown-lock", 8, &["true"]),
        ("have-watchdog", 5, &["true"]),
        ("cluster-name", 10, &["home"]),
    ];
    for (name, often, values) in optional {
        if draw.chance(often) {
            options.push((name, draw.pick(values).to_owned()));
        }
    }
    if utilization {
        options.push(("placement-strategy", draw.pick(&["utilization", "minimal", "balanced"]).to_owned()));
    }
    let members: Vec<String> = (1..=draw.between(1, 5)).map(|n| format!("node{n}")).collect();
    let resources = Resources::draw(draw, utilization);
    let mut nodes = String::new();
    for (at, member) in members.iter().enumerate() {
        let id = at + 1;
        let mut content = String::new();
        let mut pairs = Vec::new();
        for (name, often, values) in [
            ("site", 40, &["a", "b"][..]),
            ("rack", 20, &["1", "2"]),
            ("standby", 4, &["on"]),
            ("weight", 15, &["10", "-5"]),
        ] {
            if draw.chance(often) {
                pairs.push((name, draw.pick(values).to_owned()));
            }
        }
        content += &block(&format!("nodes-{id}"), "instance_attributes", &pairs);
        if utilization {
            let capacity =
                [("cpu", draw.between(0, 8).to_string()), ("memory", draw.between(2, 8).to_string())];
            content += &block(&format!("nodes-{id}"), "utilization", &capacity[..draw.between(1, 2)]);
        }
        let score = if draw.chance(5) { r#" score="10""# } else { "" };
        let _ = write!(nodes, r#"<node id="{id}" uname="{member}"{score}>{content}</node>"#);
    }
    let constraints = constraints(draw, &resources, &members);
    let defaults = if draw.chance(15) {
        let pairs = [("resource-stickiness", draw.pick(&["1", "100"]).to_owned())];
        format!("<rsc_defaults>{}</rsc_defaults>", block("rsc-defaults", "meta_attributes", &pairs))
    } else {
        String::new()
    };
    let tags = if draw.chance(15) && resources.named.len() > 1 {
        let (a, b) = (&resources.named[0].0, &resources.named[1].0);
        format!(r#"<tags><tag id="tag1"><obj_ref id="{a}"/><obj_ref id="{b}"/></tag></tags>"#)
    } else {
        String::new()
    };
    let options = block("options", "cluster_property_set", &options);
    let quorum = u8::from(draw.chance(90));
    let dc = draw.between(1, members.len());
    let status = Status::new(draw, &resources, &members).write();
    format!(
        r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.7" epoch="1" num_updates="0" admin_epoch="0" have-quorum="{quorum}" dc-uuid="{dc}" execution-date="{NOW}"><configuration><crm_config>{options}</crm_config><nodes>{nodes}</nodes><resources>{}</resources><constraints>{constraints}</constraints>{tags}{defaults}</configuration><status>{status}</status></cib>"#,
        resources.xml
    )
}

fn constraints(draw: &mut Draw, resources: &Resources, members: &[String]) -> String {
    let mut text = String::new();
    let mut names: Vec<(String, bool)> = resources.named.clone();
    names.extend(resources.templates.iter().map(|t| (t.clone(), false)));
    let nodes: Vec<&String> = members.iter().chain(&resources.remote_nodes).collect();
    for at in 0..draw.between(0, 7) {
        let (Some((a, a_roles)), Some((b, b_roles))) = (draw.one(&names).cloned(), draw.one(&names).cloned())
        else {
            break;
        };
        let score = draw.score();
        match draw.below(12) {
            0..=3 => {
                let role = if a_roles && draw.chance(40) { r#" role="Promoted""# } else { "" };
                let discovery = if draw.chance(12) {
                    format!(r#" resource-discovery="{}""#, draw.pick(&["never", "exclusive", "always"]))
                } else {
                    String::new()
                };
                let who = if draw.chance(6) {
                    r#"rsc-pattern="^[pg]""#.to_owned()
                } else {
                    format!(r#"rsc="{a}""#)
                };
                if draw.chance(65) {
                    let node = nodes[draw.below(nodes.len())];
                    let _ = write!(
                        text,
                        r#"<rsc_location id="l{at}" {who} node="{node}" score="{score}"{role}{discovery}/>"#
                    );
                } else {
                    let rule = rule(draw, at, score, role);
                    let _ =
                        write!(text, r#"<rsc_location id="l{at}" {who}{discovery}>{rule}</rsc_location>"#);
                }
            }
            4..=8 if a != b => {
                let role = |draw: &mut Draw, name: &str, roles: bool| {
                    if roles && draw.chance(50) {
                        format!(
                            r#" {name}="{}""#,
                            draw.pick(&["Promoted", "Promoted", "Unpromoted", "Started"])
                        )
                    } else {
                        String::new()
                    }
                };
                let a_role = role(draw, "rsc-role", a_roles);
                let b_role = role(draw, "with-rsc-role", b_roles);
                let influence = if draw.chance(15) {
                    format!(r#" influence="{}""#, draw.pick(&["true", "false"]))
                } else {
                    String::new()
                };
                let attribute = if draw.chance(12) { r#" node-attribute="site""# } else { "" };
                let _ = write!(
                    text,
                    r#"<rsc_colocation id="k{at}" rsc="{a}" with-rsc="{b}" score="{score}"{a_role}{b_role}{influence}{attribute}/>"#
                );
            }
            9 | 10 => text += &sets(draw, at, score, &names),
            11 => {
                let ticket = draw.pick(&["ta", "tb"]);
                let role = if a_roles && draw.chance(50) { r#" rsc-role="Promoted""# } else { "" };
                let loss = if draw.chance(70) {
                    format!(r#" loss-policy="{}""#, draw.pick(&["stop", "demote", "fence", "freeze"]))
                } else {
                    String::new()
                };
                let _ = write!(text, r#"<rsc_ticket id="t{at}" rsc="{a}" ticket="{ticket}"{role}{loss}/>"#);
            }
            _ => {}
        }
    }
    text
}

fn rule(draw: &mut Draw, at: usize, score: &str, role: &str) -> String {
    let operator = draw.pick(&["and", "or"]);
    let value = if draw.chance(25) {
        r#"score-attribute="weight""#.to_owned()
    } else {
        format!(r#"score="{score}""#)
    };
    let mut text = format!(r#"<rule id="l{at}r" boolean-op="{operator}" {value}{role}>"#);
    for number in 0..draw.between(1, 2) {
        let expression = match draw.below(5) {
            0 => r##"attribute="#uname" operation="eq" value="node1""##.to_owned(),
            1 => format!(r#"attribute="site" operation="{}" value="a""#, draw.pick(&["eq", "ne"])),
            2 => format!(r#"attribute="pingd" operation="{}""#, draw.pick(&["defined", "not_defined"])),
            3 => r#"attribute="pingd" operation="lt" value="50" type="number""#.to_owned(),
            _ => format!(
                r##"attribute="#kind" operation="eq" value="{}""##,
                draw.pick(&["remote", "container", "cluster"])
            ),
        };
        let _ = write!(text, r#"<expression id="l{at}e{number}" {expression}/>"#);
    }
    text + "</rule>"
}

fn sets(draw: &mut Draw, at: usize, score: &str, names: &[(String, bool)]) -> String {
    let mut left: Vec<(String, bool)> = names.to_vec();
    let mut text = format!(r#"<rsc_colocation id="k{at}" score="{score}">"#);
    let mut sets = 0;
    for set in 0..draw.between(1, 2) {
        let count = draw.between(1, 3).min(left.len());
        if count == 0 {
            break;
        }
        let members: Vec<(String, bool)> =
            (0..count).map(|_| left.swap_remove(draw.below(left.len()))).collect();
        let sequential = if draw.chance(40) {
            format!(r#" sequential="{}""#, draw.pick(&["true", "false"]))
        } else {
            String::new()
        };
        let role = if members.iter().all(|m| m.1) && draw.chance(50) { r#" role="Promoted""# } else { "" };
        let ordering = if draw.chance(15) { r#" ordering="listed""# } else { "" };
        let _ = write!(text, r#"<resource_set id="k{at}s{set}"{sequential}{role}{ordering}>"#);
        for (member, _) in members {
            let _ = write!(text, r#"<resource_ref id="{member}"/>"#);
        }
        text += "</resource_set>";
        sets += 1;
    }
    if sets == 0 { String::new() } else { text + "</rsc_colocation>" }
}
