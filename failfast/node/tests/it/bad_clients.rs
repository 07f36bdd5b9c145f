//! Clients that write nonsense, do not read, or are too many: nobody else notices.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use failfast::Client;
use failfast::client::SOCKET;
use failfast::server::CONNECTIONS_MAX;
use failfast_core::Mode;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::common::{LIMIT, Node};

fn raw(dir: &Path) -> OwnedFd {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(fd.as_raw_fd(), &UnixAddr::new(&dir.join(SOCKET)).unwrap()).unwrap();
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(60, 0)).unwrap();
    fd
}

fn say(fd: &OwnedFd, bytes: &[u8]) -> String {
    send(fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).unwrap();
    let mut buffer = [0; 1024];
    let len = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

#[test]
fn nonsense_gets_an_answer_that_helps() {
    let mut node = Node::new(Mode::Exit);
    node.beside(|dir| {
        let fd = raw(dir);
        assert!(
            say(&fd, b"hello")
                .starts_with("error a request begins with arm, beat, disarm, maintain, list or status")
        );
        assert!(say(&fd, &[0xff; 40]).starts_with("error a request is one line"));
        assert!(say(&fd, &[b'a'; 5_000]).starts_with("error a request is one line"));
        assert_eq!(say(&fd, b"arm rgmd"), "error arm needs delay_ms=N\n");
        let refused = say(&fd, b"arm rgmd delay_ms=1 heartbeat_ms=0 mode=panic");
        assert!(refused.starts_with("error "), "{refused}");
        assert_eq!(say(&fd, b"disarm rgmd"), "error no such unit is armed by this process\n");
        assert_eq!(say(&fd, b"list"), "\n");
    });
}

#[test]
fn one_who_does_not_read_is_disconnected_and_others_are_served() {
    let mut node = Node::new(Mode::Exit);
    node.beside(|dir| {
        let deaf = raw(dir);
        let mut asked = 0;
        // Its answers fill the socket's buffer; the server must close it and not wait.
        while send(deaf.as_raw_fd(), b"nonsense", MsgFlags::MSG_NOSIGNAL).is_ok() {
            asked += 1;
            assert!(asked < 1_000_000, "never disconnected");
        }
        assert_eq!(Client::connect(dir, LIMIT).unwrap().list().unwrap(), []);
    });
}

#[test]
fn too_many_are_turned_away_and_room_is_given_back() {
    let mut node = Node::new(Mode::Exit);
    node.beside(|dir| {
        let mut all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| raw(dir)).collect();
        // Each has been accepted once it gets an answer.
        for fd in &all {
            assert_eq!(say(fd, b"list"), "\n");
        }
        let refused = say_or_end(&raw(dir));
        assert_eq!(refused, "error too many connections\n");
        all.truncate(CONNECTIONS_MAX / 2);
        // The server has to notice first.
        let end = std::time::Instant::now() + LIMIT;
        while Client::connect(dir, LIMIT).unwrap().list().is_err() {
            assert!(std::time::Instant::now() < end, "no room is given back");
        }
    });
}

/// Only reads: the other side may be gone before anything could be sent.
fn say_or_end(fd: &OwnedFd) -> String {
    let mut buffer = [0; 1024];
    let len = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}
