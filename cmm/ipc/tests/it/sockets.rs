//! The server half over datagram sockets, and a client of the test's own that does what libqb's does.

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmm_ipc::Service;
use cmm_ipc::abi::View;
use cmm_ipc::server::{Connection, Gone, Handshake, Listener, Mode, Next};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, UnixCredentials, sendmsg};

use crate::run_dir::RunDir;

const HANDSHAKE: [u8; 24] = {
    let mut message = [0; 24];
    let (id, size, max) = ((-1_i32).to_le_bytes(), 24_i32.to_le_bytes(), 1_048_576_i32.to_le_bytes());
    let mut at = 0;
    while at < 4 {
        (message[at], message[8 + at], message[16 + at]) = (id[at], size[at], max[at]);
        at += 1;
    }
    message
};

/// The client's ends, as libqb makes them.
struct Client {
    stream: UnixStream,
    requests: UnixDatagram,
    events: UnixDatagram,
    base: String,
    control: PathBuf,
}

fn name(base: &str, end: &str) -> SocketAddr {
    let mut padded = [0; 107];
    let text = format!("{base}-{end}");
    padded[..text.len()].copy_from_slice(text.as_bytes());
    SocketAddr::from_abstract_name(padded).expect("a name")
}

impl Client {
    fn meet(dir: &RunDir, service: Service) -> (Self, Connection) {
        let place = dir.place();
        let listener = Listener::bind(&place, service).expect("bind");
        let mut stream = UnixStream::connect(place.socket_path(service).expect("a file")).expect("connect");
        stream.write_all(&HANDSHAKE).expect("hello");
        let mut handshake: Handshake = listener.accept().expect("accept").expect("one waits");
        assert!(handshake.on_readable().expect("hello").is_some());
        let connection = handshake.accept(&place, Mode::Sockets).expect("sockets");
        let mut reply = vec![0; 12_328];
        stream.read_exact(&mut reply).expect("reply");
        let view = View(&reply);
        assert_eq!((view.i32(16), view.i32(24)), (Ok(0), Ok(0)), "let in, over sockets");
        let text = |at: usize| {
            let field = reply[at..].split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8(field.to_vec()).expect("a name")
        };
        let (control, base) = (PathBuf::from(text(40)), text(4_136));
        assert_eq!(text(8_232), "");
        let end = |own, servers| {
            let socket = UnixDatagram::bind_addr(&name(&base, own)).expect("bind");
            socket.connect_addr(&name(&base, servers)).expect("the server's end is there");
            socket.set_read_timeout(Some(Duration::from_secs(60))).expect("limit");
            socket
        };
        let (requests, events) = (end("response", "request"), end("event", "event-tx"));
        (Self { stream, requests, events, base, control }, connection)
    }

    /// A message of so many bytes that says so.
    fn message(len: usize) -> Vec<u8> {
        let mut message = vec![7; len];
        message[8..12].copy_from_slice(&i32::try_from(len).expect("small").to_le_bytes());
        message
    }
}

fn flow_control(control: &Path) -> u32 {
    let bytes = std::fs::read(control).expect("control file");
    assert_eq!(bytes.len(), 24);
    u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"))
}

#[test]
fn requests_replies_and_events_pass() {
    let dir = RunDir::new("pass");
    let (client, mut server) = Client::meet(&dir, Service::Cpg);
    server.set_flow_control(2);
    assert_eq!(flow_control(&client.control), 2);
    server.set_flow_control(0);
    assert_eq!(flow_control(&client.control), 0);
    let mut got = Vec::new();
    assert_eq!(server.next_request(&mut got), Ok(Next::Nothing));
    for len in [16, 24, 70_000] {
        let request = Client::message(len);
        client.requests.send(&request).expect("send");
        assert_eq!(server.next_request(&mut got), Ok(Next::Request));
        assert!(got == request);
        server.send_response(&request).expect("room");
        let mut reply = vec![0; len + 1];
        assert_eq!(client.requests.recv(&mut reply).expect("reply"), len);
        assert!(reply[..len] == request);
    }
    assert_eq!(dir.ring_files(), 0, "who has asked has opened what has a name");
    server.send_event(&[b"an ", b"event"]).expect("taken");
    let mut event = [0; 100];
    assert_eq!(client.events.recv(&mut event).expect("event"), 8);
    assert_eq!(&event[..8], b"an event");
    assert_eq!(server.next_request(&mut got), Ok(Next::Nothing));
    drop(client.stream);
    assert_eq!(server.next_request(&mut got), Ok(Next::HungUp));
}

#[test]
fn events_wait_for_a_client_that_is_slow() {
    let dir = RunDir::new("slow");
    let (client, mut server) = Client::meet(&dir, Service::Cpg);
    let event = |n: u32| n.to_le_bytes();
    for n in 0..5_000 {
        server.send_event(&[&event(n)]).expect("it waits");
    }
    assert!(server.waiting_bytes() > 0, "the socket takes a few");
    for n in 0..5_000 {
        let mut got = [0; 8];
        assert_eq!(client.events.recv(&mut got).expect("event"), 4);
        assert_eq!(got[..4], event(n), "in order");
        server.flush().expect("it goes on");
    }
    assert_eq!(server.waiting_bytes(), 0);
}

#[test]
fn a_steady_flow_over_sockets_allocates_nothing() {
    let dir = RunDir::new("steady");
    let (client, mut server) = Client::meet(&dir, Service::Cpg);
    let (request, mut got, mut taken) = (Client::message(1_000), Vec::new(), vec![0; 2_000]);
    let mut flow = || {
        let before = crate::ALLOCATOR.allocations_here();
        for _ in 0..1_000 {
            client.requests.send(&request).expect("send");
            assert_eq!(server.next_request(&mut got), Ok(Next::Request));
            server.send_event(&[&request[..24], &request[24..]]).expect("room");
            server.send_response(&request[..24]).expect("room");
            assert_eq!(client.events.recv(&mut taken).expect("event"), 1_000);
            assert_eq!(client.requests.recv(&mut taken).expect("reply"), 24);
            assert_eq!(server.next_request(&mut got), Ok(Next::Nothing));
        }
        crate::ALLOCATOR.allocations_here() - before
    };
    flow();
    assert_eq!(flow(), 0);
}

#[test]
fn what_is_not_the_clients_or_no_message_does_not_pass() {
    let dir = RunDir::new("broken");
    let (client, mut server) = Client::meet(&dir, Service::Cmap);
    let mut got = Vec::new();
    client.requests.send(&Client::message(16)).expect("send");
    assert_eq!(server.next_request(&mut got), Ok(Next::Request));
    let stranger = UnixDatagram::unbound().expect("socket");
    let to = name(&client.base, "request");
    assert!(stranger.send_to_addr(&Client::message(16), &to).is_err(), "the kernel refuses all others now");
    let mut lies = Client::message(40);
    lies[8] = 39;
    client.requests.send(&lies).expect("send");
    assert!(matches!(server.next_request(&mut got), Err(Gone::Broken(_))));

    let (client, mut server) = Client::meet(&dir, Service::Cfg);
    client.requests.send(&[]).expect("send");
    assert!(matches!(server.next_request(&mut got), Err(Gone::Broken(_))), "nothing at all is no message");
    let (client, mut server) = Client::meet(&dir, Service::Quorum);
    let large = Client::message(Service::Quorum.grant() as usize + 1);
    client.requests.send(&large).expect("send");
    assert!(matches!(server.next_request(&mut got), Err(Gone::Broken(_))), "more than was granted");
}

/// Sends to the server's end of a client's sockets as a process of `uid` would, with descriptors or without. Only root can
/// pretend that: `None` otherwise.
fn forge(client: &Client, message: &[u8], uid: u32, fds: &[RawFd]) -> Option<()> {
    let stranger = UnixDatagram::unbound().expect("socket");
    let mut padded = [0; 107];
    let text = format!("{}-request", client.base);
    padded[..text.len()].copy_from_slice(text.as_bytes());
    let to = UnixAddr::new_abstract(&padded).expect("a name");
    let pid = i32::try_from(std::process::id()).expect("pid");
    let who: UnixCredentials = nix::libc::ucred { pid, uid, gid: uid }.into();
    let mut control = vec![ControlMessage::ScmCredentials(&who)];
    if !fds.is_empty() {
        control.push(ControlMessage::ScmRights(fds));
    }
    match sendmsg(stranger.as_raw_fd(), &[IoSlice::new(message)], &control, MsgFlags::empty(), Some(&to)) {
        Ok(_) => Some(()),
        Err(nix::Error::EPERM) if !nix::unistd::geteuid().is_root() => None,
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn what_strangers_have_sent_is_never_the_clients() {
    let dir = RunDir::new("strangers");
    let (client, mut server) = Client::meet(&dir, Service::Cfg);
    let (own, forged) = (Client::message(20), Client::message(33));
    let me = nix::unistd::geteuid().as_raw();
    let sent = || -> Option<()> {
        forge(&client, &forged, me + 1, &[])?;
        forge(&client, &forged, me + 1, &[client.stream.as_raw_fd(); 3])?;
        client.requests.send(&own).expect("send");
        // Behind the client's first one, where it waits until that was looked at.
        forge(&client, &forged, me + 1, &[])?;
        // Not even another process of the same user.
        forge(&client, &forged, me, &[])
    };
    if sent().is_none() {
        eprintln!("skipped: only root can pretend to be somebody else");
        return;
    }
    client.requests.send(&own).expect("send");
    let mut got = Vec::new();
    for _ in 0..2 {
        assert_eq!(server.next_request(&mut got), Ok(Next::Request));
        assert!(got == own, "the client's own");
    }
    assert_eq!(server.next_request(&mut got), Ok(Next::Nothing));
}

#[test]
fn a_client_that_never_asks_leaves_nothing_behind() {
    let dir = RunDir::new("idle");
    let (client, mut server) = Client::meet(&dir, Service::Cpg);
    assert_eq!(dir.ring_files(), 1);
    drop(client);
    assert_eq!(server.next_request(&mut Vec::new()), Ok(Next::HungUp));
    drop(server);
    assert_eq!(dir.ring_files(), 0);
}
