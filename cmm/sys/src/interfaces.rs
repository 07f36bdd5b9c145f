//! What the kernel says about network interfaces and addresses of this machine, as it happens (rtnetlink).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto, socket,
};

/// A socket on which the kernel tells of changes.
#[derive(Debug)]
pub struct Interfaces {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// One thing that the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// An interface has changed: it carries packets now, or it does not (it is down, gone, or has nothing at its other
    /// end).
    Interface {
        /// Its index.
        index: u32,
        /// It carries packets.
        carries: bool,
    },
    /// An address is on an interface, or is not any more.
    Address {
        /// The interface's index.
        index: u32,
        /// Which one.
        address: IpAddr,
        /// It is there.
        there: bool,
    },
}

/// What one call has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// News, perhaps none of interest; more may wait.
    Some,
    /// Nothing waits.
    Nothing,
    /// The kernel had more to say than the socket takes: what was lost is not known. [`Interfaces::ask`] helps for
    /// addresses.
    Overrun,
}

impl Interfaces {
    /// Listens from now on, without blocking.
    ///
    /// # Errors
    /// What `socket` and `bind` say.
    pub fn watch() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))?;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Has the kernel tell all addresses there are, as [`News::Address`].
    ///
    /// # Errors
    /// What `sendto` says.
    pub fn ask(&self) -> io::Result<()> {
        let mut request = Vec::with_capacity(HEADER + 4);
        request.extend_from_slice(&((HEADER + 4) as u32).to_ne_bytes());
        request.extend_from_slice(&libc::RTM_GETADDR.to_ne_bytes());
        request.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
        // Sequence number, port, and a family of "all".
        request.extend_from_slice(&[0; 12]);
        sendto(self.socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Takes one message of the kernel without waiting, and gives what is in it to `tell`.
    ///
    /// # Errors
    /// What `recvfrom` says.
    pub fn hear(&mut self, tell: impl FnMut(News)) -> io::Result<Heard> {
        match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
            Ok((len, from)) => {
                // Any process may send to this socket.
                if from.is_some_and(|from| from.pid() == 0) {
                    parse(self.buffer.get(..len).unwrap_or_default(), tell);
                }
                Ok(Heard::Some)
            }
            Err(nix::Error::EAGAIN) => Ok(Heard::Nothing),
            Err(nix::Error::EINTR) => Ok(Heard::Some),
            Err(nix::Error::ENOBUFS) => Ok(Heard::Overrun),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsRawFd for Interfaces {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The messages of one datagram.
fn parse(mut bytes: &[u8], mut tell: impl FnMut(News)) {
    while let Some(header) = bytes.get(..HEADER) {
        let len = word(header, 0).unwrap_or(0) as usize;
        let kind = half(header, 4).unwrap_or(0);
        let Some(body) = bytes.get(HEADER..len) else { return };
        if let Some(news) = news(kind, body) {
            tell(news);
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn news(kind: u16, body: &[u8]) -> Option<News> {
    match kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            let flags = word(body, 8)?;
            let running = (libc::IFF_UP | libc::IFF_RUNNING).cast_unsigned();
            let carries = kind == libc::RTM_NEWLINK && flags & running == running;
            Some(News::Interface { index: word(body, 4)?, carries })
        }
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let family = i32::from(*body.first()?);
            let mut rest = body.get(8..)?;
            let mut address = None;
            while let (Some(len), Some(kind)) = (half(rest, 0), half(rest, 2)) {
                let len = usize::from(len);
                let value = rest.get(4..len)?;
                // With a peer on the other end, `IFA_ADDRESS` is the peer's.
                if kind == libc::IFA_LOCAL || kind == libc::IFA_ADDRESS && address.is_none() {
                    address = ip(family, value);
                }
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
            Some(News::Address { index: word(body, 4)?, address: address?, there: kind == libc::RTM_NEWADDR })
        }
        _ => None,
    }
}

fn ip(family: i32, value: &[u8]) -> Option<IpAddr> {
    match family {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Bytes of a message's header.
const HEADER: usize = 16;
/// The kernel never fills more with one datagram.
const BUFFER_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn interface(index: u32, flags: i32) -> Vec<u8> {
        let flags = flags.cast_unsigned();
        [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &[0xff; 4]].concat()
    }

    fn all(bytes: &[u8]) -> Vec<News> {
        let mut found = Vec::new();
        parse(bytes, |news| found.push(news));
        found
    }

    #[test]
    fn interfaces_carry_when_they_are_up_and_running() {
        let up = libc::IFF_UP | libc::IFF_RUNNING;
        let bytes = [
            message(libc::RTM_NEWLINK, &interface(7, up)),
            message(libc::RTM_NEWLINK, &interface(7, libc::IFF_UP)),
            message(3, b"done"),
            message(libc::RTM_DELLINK, &interface(8, up)),
        ]
        .concat();
        let told = [(7, true), (7, false), (8, false)];
        assert_eq!(all(&bytes), told.map(|(index, carries)| News::Interface { index, carries }));
    }

    #[test]
    fn the_local_address_of_two_is_told() {
        let body = [
            &[libc::AF_INET as u8, 24, 0, 0][..],
            &3_u32.to_ne_bytes(),
            &[8_u16.to_ne_bytes(), libc::IFA_ADDRESS.to_ne_bytes()].concat(),
            &[10, 0, 0, 9],
            &[8_u16.to_ne_bytes(), libc::IFA_LOCAL.to_ne_bytes()].concat(),
            &[10, 0, 0, 1],
        ]
        .concat();
        let address = "10.0.0.1".parse().expect("it is one");
        let gone = News::Address { index: 3, address, there: false };
        assert_eq!(all(&message(libc::RTM_DELADDR, &body)), [gone]);
    }

    #[test]
    fn what_is_cut_or_lies_about_its_length_is_no_news() {
        let whole = message(libc::RTM_NEWLINK, &interface(7, 0));
        for len in 0..whole.len() {
            assert_eq!(all(&whole[..len]), [], "{len}");
        }
        for len in [0, 1, 15, u32::MAX] {
            let mut bad = whole.clone();
            bad[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(all(&bad), [], "{len}");
        }
        let short = [&[libc::AF_INET6 as u8, 64, 0, 0][..], &[1, 0, 0, 0], &[3, 0, 1, 0]].concat();
        assert_eq!(all(&message(libc::RTM_NEWADDR, &short)), []);
    }

    #[test]
    fn the_kernel_names_the_addresses_of_this_machine() {
        let mut interfaces = Interfaces::watch().expect("everybody may");
        interfaces.ask().expect("everybody may");
        let mut found = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        let local =
            |n: &News| matches!(n, News::Address { address, there: true, .. } if address.is_loopback());
        while !found.iter().any(local) {
            assert!(Instant::now() < deadline, "the kernel answers: {found:?}");
            interfaces.hear(|news| found.push(news)).expect("it hears");
        }
    }
}
