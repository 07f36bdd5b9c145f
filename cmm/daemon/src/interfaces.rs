//! Which links have lost their interface or their address: what the kernel says, put in the ring's terms.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use cmm_proto::LinkLoss;
use holdfast_sys::interfaces::{Heard, Interfaces, News};
use holdfast_types::LinkId;

/// The interfaces under the links.
pub(crate) struct Watch {
    /// `None`: not available here; then links fall silent instead.
    interfaces: Option<Interfaces>,
    links: Vec<Link>,
    /// Whether the socket may hold news that were not taken yet.
    readable: bool,
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    address: IpAddr,
    /// The interface that has the address, once the kernel has said so.
    index: Option<u32>,
    carries: bool,
}

/// Messages taken in one turn: more wait for the next.
const BUDGET: usize = 16;

impl Watch {
    /// Watches the interfaces of these addresses.
    ///
    /// # Errors
    /// Why it cannot; then nothing is ever lost.
    pub(crate) fn start(links: &[(LinkId, IpAddr)]) -> (Self, io::Result<()>) {
        let (interfaces, why) = match Interfaces::watch() {
            Ok(interfaces) => (Some(interfaces), Ok(())),
            Err(e) => (None, Err(e)),
        };
        let mut watch = Self { interfaces, links: Vec::new(), readable: false };
        watch.set_links(links);
        (watch, why)
    }

    /// Other links from now on.
    pub(crate) fn set_links(&mut self, links: &[(LinkId, IpAddr)]) {
        let link = |(id, address): &(LinkId, IpAddr)| Link {
            id: *id,
            address: *address,
            index: None,
            carries: true,
        };
        self.links = links.iter().map(link).collect();
        self.ask();
    }

    /// The socket, for the poll set.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.interfaces.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The poller says that there is something to take.
    pub(crate) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Whether the next turn must not sleep.
    pub(crate) fn has_work(&self) -> bool {
        self.readable
    }

    /// Takes news, and tells of links that were lost. Never waits.
    pub(crate) fn take(&mut self, mut lost: impl FnMut(LinkId, LinkLoss)) {
        for _ in 0..BUDGET {
            let Some(interfaces) = self.interfaces.as_mut().filter(|_| self.readable) else { return };
            let links = &mut self.links;
            match interfaces.hear(|news| note(links, news, &mut lost)) {
                Ok(Heard::Some) => {}
                Ok(Heard::Nothing) => self.readable = false,
                Ok(Heard::Overrun) => self.ask(),
                Err(_) => (self.interfaces, self.readable) = (None, false),
            }
        }
    }

    /// Has the kernel say again which interface has which address. If it does not, links fall silent instead.
    fn ask(&self) {
        let _ = self.interfaces.as_ref().map(Interfaces::ask);
    }
}

fn note(links: &mut [Link], news: News, lost: &mut impl FnMut(LinkId, LinkLoss)) {
    for link in links {
        match news {
            News::Interface { index, carries } if link.index == Some(index) => {
                if link.carries && !carries {
                    lost(link.id, LinkLoss::Carrier);
                }
                link.carries = carries;
            }
            News::Address { index, address, there: true } if link.address == address => {
                link.index = Some(index);
                link.carries = true;
            }
            News::Address { index, address, there: false }
                if (link.address, link.index) == (address, Some(index)) =>
            {
                link.index = None;
                lost(link.id, LinkLoss::Address);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_told_once_and_only_of_the_links_on_that_interface() {
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let link = |n: u8| Link { id: LinkId::new(n), address: ip(n), index: None, carries: true };
        let mut links = [link(1), link(2)];
        let mut told = Vec::new();
        let mut say = |news| note(&mut links, news, &mut |id: LinkId, why| told.push((id.get(), why)));
        let interface = |index, carries| News::Interface { index, carries };
        let address = |index, n, there| News::Address { index, address: ip(n), there };
        say(interface(4, false));
        say(address(4, 1, true));
        say(address(5, 2, true));
        say(address(4, 9, false));
        say(address(6, 1, false));
        say(interface(4, true));
        say(interface(4, false));
        say(interface(4, false));
        say(interface(4, true));
        say(interface(4, false));
        say(address(5, 2, false));
        say(interface(5, false));
        assert_eq!(told, [(1, LinkLoss::Carrier), (1, LinkLoss::Carrier), (2, LinkLoss::Address)]);
    }
}
