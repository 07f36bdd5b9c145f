//! The switch between the nodes: a bridge for each link, in a namespace of its own; cuts, losses and narrow ports in it.
//!
//! A cut drops frames from one node's port to another's inside the switch, where no node can see or undo it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::namespace::Namespace;
use crate::relay::{Relay, seen_from};

/// The switch.
pub(crate) struct Switch {
    space: Namespace,
    links: u8,
    ipv6: bool,
    /// From, to, link.
    cuts: BTreeSet<(u32, u32, u8)>,
}

impl Switch {
    /// A switch with this many separate links.
    pub(crate) fn new(links: u8, ipv6: bool, dir: &Path) -> Result<Self> {
        let space = Namespace::new("", &[], &dir.join("switch.log"))?;
        let switch = Self { space, links, ipv6, cuts: BTreeSet::new() };
        for link in 0..links {
            // Multicast snooping needs a querier; without one it would drop what nobody asked for.
            // An address of its own: else it takes that of a port, another one when a port is added, and is not heard
            // by those who remember the first.
            let mac = format!("02:77:ff:{link:02x}:00:00");
            switch.ip(&format!("link add br{link} address {mac} type bridge mcast_snooping 0"))?;
            switch.ip(&format!("link set br{link} up"))?;
        }
        switch.nft(
            "table bridge holdfast {
                set cut { type ifname . ifname; }
                chain loss { }
                chain forward {
                    type filter hook forward priority 0
                    iifname . oifname @cut drop
                    ip protocol udp jump loss
                }
            }",
        )?;
        Ok(switch)
    }

    /// Connects a node: `eth0`… in its namespace, one for each link, addressed and up.
    pub(crate) fn plug(&self, node: u32, space: &Namespace) -> Result<()> {
        for link in 0..self.links {
            let (port, init) = (port(node, link), space.init());
            // The same hardware address in every life, as a real card has it: the others remember it for a while.
            let mac = format!("02:77:00:{link:02x}:00:{:02x}", address(node, link).octets()[3]);
            let peer = format!("name eth{link} address {mac} netns {init}");
            self.ip(&format!("link add {port} type veth peer {peer}"))?;
            self.ip(&format!("link set {port} master br{link} up"))?;
            let device = format!("eth{link}");
            // Nobody else has it: it needs no time to find that out.
            let address: Vec<String> = match node_address(node, link, self.ipv6) {
                IpAddr::V4(ip) => vec![format!("{ip}/24")],
                IpAddr::V6(ip) => vec![format!("{ip}/64"), "nodad".into()],
            };
            run(space.command("ip").args(["addr", "add"]).args(address).args(["dev", &device]))?;
            run(space.command("ip").args(["link", "set", &format!("eth{link}"), "up"]))?;
        }
        Ok(())
    }

    /// Removes a node's ports: the kernel takes its time with those of a namespace that has ended.
    pub(crate) fn unplug(&self, node: u32) {
        for link in 0..self.links {
            let _ = self.ip(&format!("link delete {}", port(node, link)));
        }
    }

    /// Drops everything that `from` sends to `to`, on all links.
    pub(crate) fn cut(&mut self, from: u32, to: u32) -> Result<()> {
        (0..self.links).try_for_each(|link| self.cut_link(from, to, link))
    }

    /// The same on one link only.
    pub(crate) fn cut_link(&mut self, from: u32, to: u32, link: u8) -> Result<()> {
        if self.cuts.insert((from, to, link)) { self.change("add", from, to, link) } else { Ok(()) }
    }

    /// Undoes [`Self::cut`].
    pub(crate) fn heal(&mut self, from: u32, to: u32) -> Result<()> {
        for link in 0..self.links {
            if self.cuts.remove(&(from, to, link)) {
                self.change("delete", from, to, link)?;
            }
        }
        Ok(())
    }

    /// Undoes every cut.
    pub(crate) fn heal_all(&mut self) -> Result<()> {
        self.cuts.clear();
        self.nft("flush set bridge holdfast cut")
    }

    /// Loses so many of a hundred packets between any two nodes, at random; 0 ends it.
    pub(crate) fn lose(&self, percent: u32) -> Result<()> {
        let rule = match percent {
            0 => String::new(),
            n => format!("add rule bridge holdfast loss numgen random mod 100 < {n} drop"),
        };
        self.nft(&format!("flush chain bridge holdfast loss\n{rule}"))
    }

    /// Lets no more than so many kilobits a second through to a node on each link, by a token bucket with a queue of
    /// a tenth of a second; 0 ends it.
    pub(crate) fn narrow(&self, node: u32, kbit: u32) -> Result<()> {
        for link in 0..self.links {
            let port = port(node, link);
            let args = match kbit {
                0 => format!("qdisc delete dev {port} root"),
                n => format!("qdisc replace dev {port} root tbf rate {n}kbit burst 16kb latency 100ms"),
            };
            run(self.space.network_command("tc").args(args.split_whitespace()))?;
        }
        Ok(())
    }

    /// Drops longer packets than so many bytes on their way to a node, on each link.
    pub(crate) fn set_mtu(&self, node: u32, mtu: u32) -> Result<()> {
        (0..self.links).try_for_each(|link| self.ip(&format!("link set {} mtu {mtu}", port(node, link))))
    }

    /// How often the first link to a node had to wait for a token of its bucket.
    pub(crate) fn held_back(&self, node: u32) -> Result<u64> {
        let mut tc = self.space.network_command("tc");
        let out = tc.args(["-s", "qdisc", "show", "dev", &port(node, 0)]).output().context("running tc")?;
        let text = String::from_utf8_lossy(&out.stdout);
        let words: Vec<&str> = text.split_whitespace().collect();
        let count = words.windows(2).find(|w| w[0] == "overlimits").and_then(|w| w[1].parse().ok());
        count.with_context(|| format!("no such count: {text}"))
    }

    /// Gives the switch the addresses at which nodes see each other through a relay, and starts that.
    pub(crate) fn relay(&self, nodes: u32) -> Result<Relay> {
        for viewer in 1..=nodes {
            for node in (1..=nodes).filter(|n| *n != viewer) {
                self.ip(&format!("addr add {}/24 dev br0", seen_from(viewer, node)))?;
            }
        }
        Relay::new(self.space.init(), nodes)
    }

    fn change(&self, verb: &str, from: u32, to: u32, link: u8) -> Result<()> {
        let pair = format!("\"{}\" . \"{}\"", port(from, link), port(to, link));
        self.nft(&format!("{verb} element bridge holdfast cut {{ {pair} }}"))
    }

    fn ip(&self, args: &str) -> Result<()> {
        run(self.space.network_command("ip").args(args.split_whitespace()))
    }

    fn nft(&self, script: &str) -> Result<()> {
        let mut nft = self.space.network_command("nft");
        let nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = nft.spawn().context("running nft")?;
        child.stdin.take().context("no pipe to nft")?.write_all(script.as_bytes())?;
        let out = child.wait_with_output()?;
        ensure!(out.status.success(), "nft: {}\n{script}", String::from_utf8_lossy(&out.stderr).trim());
        Ok(())
    }
}

/// The router, where a test has one: a machine on the switch that is no node.
pub(crate) const ROUTER: u32 = 254;
/// Its address on the first link.
pub const ROUTER_ADDRESS: &str = "10.77.0.254";

/// The address of a node on a link.
#[must_use]
pub fn address(node: u32, link: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, link, u8::try_from(node).unwrap_or(u8::MAX))
}

/// The address of a node on a link, of either kind.
#[must_use]
pub(crate) fn node_address(node: u32, link: u8, ipv6: bool) -> IpAddr {
    match ipv6 {
        false => address(node, link).into(),
        true => Ipv6Addr::new(0xfd77, 0, 0, link.into(), 0, 0, 0, node as u16).into(),
    }
}

fn port(node: u32, link: u8) -> String {
    format!("n{node}l{link}")
}

/// Runs a command and makes its standard error the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("running {command:?}"))?;
    let text = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{command:?}: {} ({})", text.trim(), out.status);
    Ok(())
}
