//! `quorum { device { model: net … } }`: the quorum server that all nodes ask, by the names of corosync-qdevice(8).

use holdfast_types::{NodeId, Span};

use crate::heuristics::{self, Heuristics};
use crate::schema::{parse_number, yes_no};
use crate::{Diagnostics, Section, Timing};

/// A `corosync-qnetd` server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumServer {
    /// `device.net.host`: a name or an address.
    pub host: String,
    /// `device.net.port`.
    pub port: u16,
    /// `device.net.tls`.
    pub tls: ServerTls,
    /// `device.net.tls_ca`: the certificate that has signed the server's, as PEM.
    pub ca: String,
    /// `device.net.tls_cert`: this cluster's certificate, as PEM.
    pub cert: String,
    /// `device.net.tls_key`: its key, as PEM.
    pub key: String,
    /// `device.net.algorithm`: `lms`, else `ffsplit`.
    pub last_man_standing: bool,
    /// `device.net.tie_breaker`.
    pub tie_breaker: ServerTieBreaker,
    /// `device.net.keep_active_partition_tie_breaker`.
    pub keep_active: bool,
    /// `device.net.force_ip_version`: 4, 6, or 0 for either.
    pub ip_version: u8,
    /// `device.timeout`.
    pub timeout: Span,
    /// `device.net.connect_timeout`.
    pub connect_timeout: Span,
    /// `device.heuristics`: what they say of this node is told to the server, which prefers those that pass.
    pub heuristics: Heuristics,
}

/// Whether TLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTls {
    /// Never.
    Off,
    /// If the server has it.
    On,
    /// Always.
    Required,
}

/// Who wins between equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTieBreaker {
    /// The half with the lowest node id.
    Lowest,
    /// The half with the highest one.
    Highest,
    /// The half with this node.
    Node(NodeId),
}

impl QuorumServer {
    /// What the server is told: it takes a client for dead after 1.5 of these. As corosync-qdevice has it.
    #[must_use]
    pub fn heartbeat(&self) -> Span {
        self.timeout.scale(8, 10).max(Span::from_secs(1)).min(Span::from_secs(120))
    }

    /// An echo is asked for this often.
    #[must_use]
    pub fn interval(&self) -> Span {
        self.timeout.scale(1, 10)
    }

    /// How long the vote counts from an echo request that was answered.
    #[must_use]
    pub fn lease(&self) -> Span {
        self.timeout.scale(1, 2)
    }

    /// What does not fit the timers.
    pub(crate) fn check_timing(&self, line: (u32, u32), timing: &Timing, found: &mut Diagnostics) {
        // The vote is handed on with heartbeats, for what is left of the lease when the next echo is due.
        let least = (self.interval() + timing.lease + timing.lease_margin.scale(2, 1)).scale(2, 1);
        if self.timeout < least {
            let text = format!(
                "quorum.device.timeout is {}, and a vote that others are to count as well needs {least}; raise timeout",
                self.timeout
            );
            found.error(line, text);
        }
    }
}

pub(crate) fn read(device: &Section, found: &mut Diagnostics) -> Option<QuorumServer> {
    let get = |key: &str| device.get(&["net"], key).map(|item| item.value.as_str());
    let number = |key: &str| get(key).and_then(parse_number);
    let Some(host) = get("host").filter(|h| !h.is_empty()) else {
        found.error(device.at(), "the quorum server has no address; write \"net { host: … }\"");
        return None;
    };
    let algorithm = get("algorithm").unwrap_or("ffsplit");
    if !matches!(algorithm, "ffsplit" | "lms") {
        let text = format!("algorithm {algorithm} is not served; write \"ffsplit\" or \"lms\"");
        found.error(device.at(), text);
        return None;
    }
    let tie_breaker = match get("tie_breaker") {
        None | Some("lowest") => ServerTieBreaker::Lowest,
        Some("highest") => ServerTieBreaker::Highest,
        Some(id) => match parse_number(id).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
            Some(id) => ServerTieBreaker::Node(NodeId::new(id)),
            None => {
                let text = format!(
                    "tie_breaker {id} is neither lowest nor highest nor a node id; write one of them"
                );
                found.error(device.at(), text);
                return None;
            }
        },
    };
    let timeout = device.get(&[], "timeout").and_then(|i| parse_number(&i.value)).unwrap_or(10_000);
    let file = |key: &str, default: &str| get(key).unwrap_or(default).to_owned();
    let server = QuorumServer {
        host: host.to_owned(),
        port: number("port").and_then(|n| u16::try_from(n).ok()).unwrap_or(5_403),
        tls: match get("tls") {
            Some("off") => ServerTls::Off,
            Some("required") => ServerTls::Required,
            _ => ServerTls::On,
        },
        ca: file("tls_ca", "/etc/holdfast/qnet/ca.pem"),
        cert: file("tls_cert", "/etc/holdfast/qnet/cert.pem"),
        key: file("tls_key", "/etc/holdfast/qnet/key.pem"),
        last_man_standing: algorithm == "lms",
        tie_breaker,
        keep_active: get("keep_active_partition_tie_breaker").and_then(yes_no).unwrap_or(true),
        ip_version: number("force_ip_version").and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
        timeout: Span::from_millis(timeout),
        connect_timeout: Span::ZERO,
        heuristics: heuristics::of_server(device, Span::from_millis(timeout), found),
    };
    let connect_timeout = number("connect_timeout").map_or(server.heartbeat(), Span::from_millis);
    Some(QuorumServer { connect_timeout, ..server })
}
