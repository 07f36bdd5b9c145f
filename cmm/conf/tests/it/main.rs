//! The configuration reader from outside: what works unchanged, what is refused and in which words.

mod accepted;
mod refused;

use std::net::IpAddr;

use cmm_conf::{Config, Diagnostics, Host};

/// Reads `text` on a machine named `node1` with the addresses 10.0.0.1 and ::1, that resolves `alpha` and `beta`.
fn read(text: &str) -> (Option<Config>, Diagnostics) {
    let resolve = |name: &str| -> Vec<IpAddr> {
        let text: &[&str] = match name {
            "alpha" => &["10.0.0.1", "fd00::1"],
            "beta" => &["10.0.0.2", "fd00::2"],
            _ => &[],
        };
        text.iter().map(|a| a.parse().expect("an address")).collect()
    };
    let here: [IpAddr; 2] = ["10.0.0.1".parse().expect("v4"), "::1".parse().expect("v6")];
    let host = Host { hostname: "node1", resolve: &resolve, is_local: &|a| here.contains(&a) };
    cmm_conf::parse("c.conf", text.as_bytes(), &host)
}

/// A configuration of three nodes with these lines in `totem`.
fn three(totem: &str, more: &str) -> String {
    let node =
        |n: u32| format!("  node {{\n    nodeid: {n}\n    name: node{n}\n    ring0_addr: 10.0.0.{n}\n  }}\n");
    let nodes: String = (1..=3).map(node).collect();
    format!(
        "totem {{\n  version: 2\n  cluster_name: c\n{totem}}}\nnodelist {{\n{nodes}}}\n{more}quorum {{\n  provider: corosync_votequorum\n}}\n"
    )
}
