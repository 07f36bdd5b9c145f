//! Resources of a cluster that is drawn: what they are made of, and under which names a history knows them.

use std::fmt::Write;

use crate::draw::Draw;

/// A primitive that runs somewhere, as the history has it.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    /// Its id; instances of anonymous clones have none of their own.
    pub(crate) id: String,
    pub(crate) class: &'static str,
    pub(crate) provider: Option<&'static str>,
    pub(crate) kind: &'static str,
    /// How many nodes it is usually found on; 0: any number.
    pub(crate) places: usize,
    pub(crate) promotable: bool,
    /// The only node that it can be on.
    pub(crate) only_on: Option<String>,
    /// The container that it is in.
    pub(crate) container: Option<String>,
}

/// All resources.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    pub(crate) xml: String,
    /// What constraints may name: id, and whether roles make sense.
    pub(crate) named: Vec<(String, bool)>,
    pub(crate) runs: Vec<Runs>,
    /// Remote nodes, guests and replicas.
    pub(crate) remote_nodes: Vec<String>,
    pub(crate) templates: Vec<String>,
    numbers: usize,
}

impl Resources {
    pub(crate) fn draw(draw: &mut Draw, utilization: bool) -> Self {
        let mut all = Self::default();
        if draw.chance(15) {
            all.templates.push("tmpl".into());
            let meta = all.meta(draw, "tmpl", &[]);
            let _ = write!(
                all.xml,
                r#"<template id="tmpl" class="ocf" provider="pacemaker" type="Dummy">{meta}</template>"#
            );
        }
        if draw.chance(50) {
            all.fence_device(draw);
        }
        for _ in 0..draw.between(1, 6) {
            match draw.below(20) {
                0..=6 => {
                    let xml = all.top_primitive(draw, utilization);
                    all.xml.push_str(&xml);
                }
                7..=10 => all.group(draw, utilization),
                11..=16 => all.clone(draw, utilization),
                17 => all.remote(draw),
                18 => all.guest(draw),
                _ => all.bundle(draw),
            }
        }
        all
    }

    fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    fn fence_device(&mut self, draw: &mut Draw) {
        let meta = self.meta(draw, "fence", &[]);
        let _ = write!(
            self.xml,
            r#"<primitive id="fence" class="stonith" type="fence_dummy">{meta}</primitive>"#
        );
        self.named.push(("fence".into(), false));
        self.runs.push(Runs {
            id: "fence".into(),
            class: "stonith",
            provider: None,
            kind: "fence_dummy",
            places: 1,
            promotable: false,
            only_on: None,
            container: None,
        });
    }

    /// Meta-attributes that any resource may have, and these.
    fn meta(&mut self, draw: &mut Draw, id: &str, more: &[(&str, String)]) -> String {
        let mut pairs: Vec<(&str, String)> = more.to_vec();
        let optional: [(&str, usize, &[&str]); 12] = [
            ("resource-stickiness", 25, &["1", "100", "INFINITY", "0", "1000"]),
            ("priority", 20, &["1", "10", "5", "-1"]),
            ("target-role", 12, &["Started", "Stopped", "Unpromoted", "Promoted"]),
            ("is-managed", 8, &["false", "true"]),
            ("migration-threshold", 25, &["1", "3", "0", "INFINITY"]),
            ("failure-timeout", 15, &["10s", "60s", "2h", "0"]),
            ("multiple-active", 10, &["stop_start", "stop_only", "block", "stop_unexpected"]),
            ("critical", 12, &["false", "true"]),
            ("maintenance", 4, &["true", "false"]),
            ("requires", 8, &["nothing", "quorum", "fencing"]),
            ("allow-migrate", 10, &["true"]),
            ("allow-unhealthy-nodes", 6, &["true"]),
        ];
        for (name, often, values) in optional {
            if draw.chance(often) {
                pairs.push((name, draw.pick(values).to_owned()));
            }
        }
        block(id, "meta_attributes", &pairs)
    }

    fn utilization(draw: &mut Draw, id: &str) -> String {
        let pairs: Vec<(&str, String)> = ["cpu", "memory"]
            .into_iter()
            .filter(|_| draw.chance(70))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|name| (name, draw.between(0, 4).to_string()))
            .collect();
        if pairs.is_empty() { String::new() } else { block(id, "utilization", &pairs) }
    }

    fn operations(draw: &mut Draw, id: &str, promotable: bool) -> String {
        let mut ops = String::new();
        let mut op = |name: &str, interval: &str, more: &str| {
            let _ =
                write!(ops, r#"<op id="{id}-{name}-{interval}" name="{name}" interval="{interval}"{more}/>"#);
        };
        let on_fail = |draw: &mut Draw, allowed: &[&str]| {
            if draw.chance(30) { format!(r#" on-fail="{}""#, draw.pick(allowed)) } else { String::new() }
        };
        let usual = ["ignore", "block", "stop", "restart", "standby", "fence"];
        if draw.chance(80) {
            let more = on_fail(draw, &usual);
            op("monitor", "10s", &more);
        }
        if promotable && draw.chance(60) {
            let more =
                r#" role="Promoted""#.to_owned() + &on_fail(draw, &["demote", "ignore", "restart", "block"]);
            op("monitor", "11s", &more);
        }
        if draw.chance(25) {
            let more = on_fail(draw, &usual);
            op("start", "0", &more);
        }
        if draw.chance(20) {
            let more = on_fail(draw, &["ignore", "block", "fence"]);
            op("stop", "0", &more);
        }
        if ops.is_empty() { ops } else { format!("<operations>{ops}</operations>") }
    }

    /// A primitive of its own name; what it is known by is left to whoever asked.
    fn primitive(
        &mut self,
        draw: &mut Draw,
        id: &str,
        promotable: bool,
        utilization: bool,
        more: &[(&str, String)],
    ) -> (String, Runs) {
        let meta = self.meta(draw, id, more);
        let (class, provider, kind) = if promotable {
            ("ocf", Some("pacemaker"), "Stateful")
        } else if draw.chance(10) {
            ("systemd", None, "cron")
        } else {
            ("ocf", Some("pacemaker"), "Dummy")
        };
        let mut content = meta;
        if draw.chance(15) {
            content += &block(id, "instance_attributes", &[("state", format!("/run/{id}"))]);
        }
        if utilization && draw.chance(70) {
            content += &Self::utilization(draw, id);
        }
        content += &Self::operations(draw, id, promotable);
        let template = class == "ocf" && !promotable && !self.templates.is_empty() && draw.chance(40);
        let agent = if template {
            r#"template="tmpl""#.to_owned()
        } else {
            let provider = provider.map_or(String::new(), |p| format!(r#" provider="{p}""#));
            format!(r#"class="{class}"{provider} type="{kind}""#)
        };
        let xml = format!(r#"<primitive id="{id}" {agent}>{content}</primitive>"#);
        let runs = Runs {
            id: id.to_owned(),
            class,
            provider,
            kind,
            places: 1,
            promotable,
            only_on: None,
            container: None,
        };
        (xml, runs)
    }

    fn top_primitive(&mut self, draw: &mut Draw, utilization: bool) -> String {
        let id = format!("p{}", self.number());
        let (xml, runs) = self.primitive(draw, &id, false, utilization, &[]);
        self.runs.push(runs);
        self.named.push((id, false));
        xml
    }

    fn group(&mut self, draw: &mut Draw, utilization: bool) {
        let id = format!("g{}", self.number());
        let mut more = Vec::new();
        if draw.chance(8) {
            more.push(("collocated", "false".to_owned()));
        }
        if draw.chance(8) {
            more.push(("ordered", "false".to_owned()));
        }
        let meta = self.meta(draw, &id, &more);
        let mut members = String::new();
        for _ in 0..draw.between(1, 3) {
            let member = format!("m{}", self.number());
            let (xml, runs) = self.primitive(draw, &member, false, utilization, &[]);
            members += &xml;
            self.runs.push(runs);
            if draw.chance(20) {
                self.named.push((member, false));
            }
        }
        let _ = write!(self.xml, r#"<group id="{id}">{meta}{members}</group>"#);
        self.named.push((id, false));
    }

    fn clone(&mut self, draw: &mut Draw, utilization: bool) {
        let id = format!("c{}", self.number());
        let promotable = draw.chance(45);
        let unique = draw.chance(20);
        let mut more = Vec::new();
        if promotable {
            more.push(("promotable", "true".to_owned()));
            if draw.chance(30) {
                more.push(("promoted-max", draw.between(0, 3).to_string()));
            }
            if draw.chance(10) {
                more.push(("promoted-node-max", draw.between(1, 2).to_string()));
            }
        }
        if unique {
            more.push(("globally-unique", "true".to_owned()));
        }
        let max = draw.between(1, 4);
        if draw.chance(45) {
            more.push(("clone-max", max.to_string()));
        }
        if draw.chance(20) {
            more.push(("clone-node-max", draw.between(1, 3).to_string()));
        }
        for (name, often) in [("interleave", 45), ("ordered", 20), ("notify", 15)] {
            if draw.chance(often) {
                more.push((name, "true".to_owned()));
            }
        }
        let meta = self.meta(draw, &id, &more);
        let grouped = draw.chance(25);
        let mut inside = String::new();
        let count = if grouped { draw.between(1, 2) } else { 1 };
        for _ in 0..count {
            let member = format!("i{}", self.number());
            let (xml, runs) = self.primitive(draw, &member, promotable, utilization, &[]);
            inside += &xml;
            if unique && runs.class == "ocf" {
                for number in 0..max {
                    self.runs.push(Runs { id: format!("{member}:{number}"), places: 1, ..runs.clone() });
                }
            } else {
                // Old histories have numbers.
                let id = if draw.chance(85) { member } else { format!("{member}:{}", draw.below(3)) };
                self.runs.push(Runs { id, places: 0, ..runs });
            }
        }
        if grouped {
            let group = format!("ig{}", self.number());
            inside = format!(r#"<group id="{group}">{inside}</group>"#);
        }
        let _ = write!(self.xml, r#"<clone id="{id}">{meta}{inside}</clone>"#);
        self.named.push((id, promotable));
    }

    fn remote(&mut self, draw: &mut Draw) {
        let id = format!("remote{}", self.number());
        let meta = self.meta(draw, &id, &[]);
        let reconnect = if draw.chance(40) {
            block(&id, "instance_attributes", &[("reconnect_interval", "60".to_owned())])
        } else {
            String::new()
        };
        let ops = Self::operations(draw, &id, false);
        let _ = write!(
            self.xml,
            r#"<primitive id="{id}" class="ocf" provider="pacemaker" type="remote">{meta}{reconnect}{ops}</primitive>"#
        );
        self.runs.push(Runs {
            id: id.clone(),
            class: "ocf",
            provider: Some("pacemaker"),
            kind: "remote",
            places: 1,
            promotable: false,
            only_on: None,
            container: None,
        });
        self.remote_nodes.push(id.clone());
        self.named.push((id, false));
    }

    fn guest(&mut self, draw: &mut Draw) {
        let id = format!("vm{}", self.number());
        let guest = format!("guest{}", self.number());
        let (xml, runs) = self.primitive(draw, &id, false, false, &[("remote-node", guest.clone())]);
        if draw.chance(30) {
            let group = format!("g{}", self.number());
            let _ = write!(self.xml, r#"<group id="{group}">{xml}</group>"#);
            self.named.push((group, false));
        } else {
            self.xml += &xml;
            self.named.push((id.clone(), false));
        }
        self.runs.push(runs.clone());
        self.runs.push(Runs {
            id: guest.clone(),
            class: "ocf",
            provider: Some("pacemaker"),
            kind: "remote",
            container: Some(id),
            ..runs
        });
        self.remote_nodes.push(guest);
    }

    fn bundle(&mut self, draw: &mut Draw) {
        let id = format!("b{}", self.number());
        let replicas = draw.between(1, 3);
        let promoted = if draw.chance(40) { draw.between(1, replicas) } else { 0 };
        let kind = draw.pick(&["docker", "podman"]);
        let mut options = format!(r#" image="img" replicas="{replicas}""#);
        if promoted > 0 {
            let _ = write!(options, r#" promoted-max="{promoted}""#);
        }
        if draw.chance(20) {
            options += r#" replicas-per-host="2""#;
        }
        let addressed = draw.chance(70);
        let network = if addressed {
            r#"<network ip-range-start="192.168.122.131"/>"#.to_owned()
        } else if draw.chance(80) {
            r#"<network control-port="3121"/>"#.to_owned()
        } else {
            String::new()
        };
        let meta = self.meta(draw, &id, &[]);
        let mut inside = String::new();
        if !network.is_empty() && draw.chance(75) {
            let primitive = format!("i{}", self.number());
            let (xml, runs) = self.primitive(draw, &primitive, promoted > 0, false, &[]);
            inside = xml;
            for number in 0..replicas {
                let guest = format!("{id}-{number}");
                self.runs.push(Runs { id: primitive.clone(), only_on: Some(guest.clone()), ..runs.clone() });
                self.runs.push(Runs {
                    id: guest.clone(),
                    class: "ocf",
                    provider: Some("pacemaker"),
                    kind: "remote",
                    container: Some(format!("{id}-{kind}-{number}")),
                    promotable: false,
                    ..runs.clone()
                });
                self.remote_nodes.push(guest);
            }
        }
        for number in 0..replicas {
            let runs = Runs {
                id: format!("{id}-{kind}-{number}"),
                class: "ocf",
                provider: Some("heartbeat"),
                kind,
                places: 1,
                promotable: false,
                only_on: None,
                container: None,
            };
            if addressed {
                let address = format!("{id}-ip-192.168.122.{}", 131 + number);
                self.runs.push(Runs { id: address, kind: "IPaddr2", ..runs.clone() });
            }
            self.runs.push(runs);
        }
        let _ = write!(self.xml, r#"<bundle id="{id}">{meta}<{kind}{options}/>{network}{inside}</bundle>"#);
        self.named.push((id, promoted > 0));
    }
}

/// A block of pairs.
pub(crate) fn block(owner: &str, kind: &str, pairs: &[(&str, String)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let mut text = format!(r#"<{kind} id="{owner}-{kind}">"#);
    for (at, (name, value)) in pairs.iter().enumerate() {
        let _ = write!(text, r#"<nvpair id="{owner}-{kind}-{at}" name="{name}" value="{value}"/>"#);
    }
    text + &format!("</{kind}>")
}
