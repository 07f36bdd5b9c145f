//! The machines' network: a namespace of its own with a bridge for each link and a tap device for each interface.

use std::io::Write;
use std::marker::PhantomData;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::kernel::output;

/// Bridges and taps. They live in a network namespace that the calling thread has moved to for good, and so have all programs
/// that this thread starts from now on; hence no other thread may have it.
pub(crate) struct Network {
    links: u8,
    _this_thread: PhantomData<*const ()>,
}

impl Network {
    pub(crate) fn new(nodes: u32, links: u8) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        ip("link set lo up")?;
        for link in 0..links {
            ip(&format!("link add br{link} type bridge"))?;
            ip(&format!("link set br{link} up"))?;
            for node in 1..=nodes {
                let tap = tap(node, link);
                ip(&format!("tuntap add {tap} mode tap"))?;
                ip(&format!("link set {tap} master br{link} up"))?;
            }
        }
        nft("table bridge holdfast {
            set cut { type ifname . ifname; }
            chain forward { type filter hook forward priority 0; iifname . oifname @cut drop; }
        }")?;
        Ok(Self { links, _this_thread: PhantomData })
    }

    /// Gives the host an address on a link, for QEMU's own connections to a machine.
    pub(crate) fn join(&self, link: u8) -> Result<()> {
        ip(&format!("addr add {}/24 dev br{link}", address(HOST, link)))
    }

    /// Cuts a node off on all links, both ways; its own interfaces notice nothing.
    pub(crate) fn cut(&self, node: u32) -> Result<()> {
        (0..self.links).try_for_each(|link| self.cut_link(node, link))
    }

    /// The same on one link only.
    pub(crate) fn cut_link(&self, node: u32, link: u8) -> Result<()> {
        ip(&format!("link set {} down", tap(node, link)))
    }

    /// Drops everything that `from` sends to `to`, on all links; what comes back goes through.
    pub(crate) fn cut_way(&self, from: u32, to: u32) -> Result<()> {
        let pair = |link| format!("\"{}\" . \"{}\"", tap(from, link), tap(to, link));
        (0..self.links)
            .try_for_each(|link| nft(&format!("add element bridge holdfast cut {{ {} }}", pair(link))))
    }

    /// Undoes all that was cut of a node, and all cuts of one way.
    pub(crate) fn heal(&self, node: u32) -> Result<()> {
        nft("flush set bridge holdfast cut")?;
        (0..self.links).try_for_each(|link| ip(&format!("link set {} up", tap(node, link))))
    }
}

/// The host's end of an interface.
pub(crate) fn tap(node: u32, link: u8) -> String {
    format!("t{node}x{link}")
}

/// A node's address on a link.
pub(crate) fn address(node: u32, link: u8) -> String {
    format!("10.77.{link}.{node}")
}

/// No node has it.
pub(crate) const HOST: u32 = 254;

fn ip(args: &str) -> Result<()> {
    output(Command::new("ip").args(args.split(' '))).map(drop)
}

fn nft(script: &str) -> Result<()> {
    let mut nft = Command::new("nft");
    let nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = nft.spawn().context("running nft")?;
    child.stdin.take().context("no pipe to nft")?.write_all(script.as_bytes())?;
    let out = child.wait_with_output()?;
    ensure!(out.status.success(), "nft: {}\n{script}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(())
}
