//! The server half and the client half against each other, over real sockets and rings in a run directory of the test.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cmm_ipc::abi::{View, cpg, quorum};
use cmm_ipc::client::{Connection, CpgClient, CpgEvent, Error, QuorumClient};
use cmm_ipc::server::{self, Gone, Listener, Mode, Next};
use cmm_ipc::{CsError, Place, Service};
use holdfast_types::{NodeId, RingId};

use crate::run_dir::RunDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the next client in, waiting for it.
fn let_in(listener: &Listener, place: &Place) -> server::Connection {
    loop {
        if let Some(mut handshake) = listener.accept().expect("accept") {
            loop {
                if handshake.on_readable().expect("handshake").is_some() {
                    return handshake.accept(place, Mode::SharedMemory).expect("rings");
                }
                std::thread::yield_now();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server of one connection on a thread: `serve` gets each request, until the client hangs up.
fn serve(
    listener: Listener,
    place: Place,
    mut serve: impl FnMut(&mut server::Connection, &[u8]) -> Result<(), Gone> + Send + 'static,
) -> JoinHandle<Result<(), Gone>> {
    std::thread::spawn(move || {
        let mut connection = let_in(&listener, &place);
        let mut request = Vec::new();
        loop {
            match connection.next_request(&mut request)? {
                Next::Request => {
                    serve(&mut connection, &request)?;
                    connection.notify();
                }
                Next::HungUp => return Ok(()),
                Next::Nothing => {
                    connection.flush()?;
                    connection.is_attached();
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    })
}

#[test]
fn calls_replies_and_events_pass() {
    let dir = RunDir::new("calls");
    let listener = Listener::bind(&dir.place(), Service::Quorum).expect("bind");
    let ring = RingId { representative: NodeId::new(1), seq: 4 };
    let view = vec![NodeId::new(1), NodeId::new(2)];
    let sent = quorum::Event::Quorum { quorate: true, ring, view };
    let event = sent.encode();
    let server = serve(listener, dir.place(), move |connection, request| {
        match quorum::Request::decode(request).expect("request") {
            quorum::Request::ModelGetType { model } => {
                connection.send_response(&quorum::type_reply(Some(model), quorum::TYPE_SET))
            }
            quorum::Request::GetQuorate => connection.send_response(&quorum::quorate_reply(true)),
            quorum::Request::TrackStart { .. } => {
                connection.send_event(&[&event])?;
                connection.send_response(&Service::Quorum.error_reply(1, CsError::Ok))
            }
            _ => connection.send_response(&Service::Quorum.error_reply(2, CsError::NotExist)),
        }
    });
    let mut client = QuorumClient::connect(&dir.place(), PATIENCE).expect("connect");
    for _ in 0..100 {
        assert!(client.is_quorate().expect("call"));
    }
    assert_eq!(client.dispatch().expect("dispatch"), None);
    client.track().expect("track");
    // Sent before the reply, so it is there without waiting.
    assert_eq!(client.dispatch().expect("dispatch"), Some(sent));
    assert_eq!(client.dispatch().expect("dispatch"), None);
    assert_eq!(dir.ring_files(), 0, "unlinked as soon as the client has attached");
    drop(client);
    server.join().expect("thread").expect("no error");
}

#[test]
fn a_refused_client_hears_why() {
    let dir = RunDir::new("refused");
    let listener = Listener::bind(&dir.place(), Service::Cmap).expect("bind");
    for (errno, want) in [(11, CsError::TryAgain), (13, CsError::Access), (24, CsError::Library)] {
        let place = dir.place();
        let client =
            std::thread::spawn(move || Connection::connect(&place, Service::Cmap, PATIENCE).map(drop));
        let handshake = loop {
            if let Some(mut handshake) = listener.accept().expect("accept") {
                let credentials = loop {
                    match handshake.on_readable().expect("handshake") {
                        Some(credentials) => break credentials,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(credentials.pid, i32::try_from(std::process::id()).expect("pid"));
                assert!(credentials.is_root_or_own());
                break handshake;
            }
            std::thread::yield_now();
        };
        handshake.refuse(errno);
        match client.join().expect("thread") {
            Err(Error::Refused(error)) => assert_eq!(error, want),
            other => panic!("{other:?}"),
        }
    }
    drop(listener);
    assert!(!dir.0.join("cmap").exists(), "the socket file goes with the listener");
    assert!(matches!(Connection::connect(&dir.place(), Service::Cmap, PATIENCE), Err(Error::Connect(_))));
}

#[test]
fn a_client_that_says_nothing_useful_is_dropped() {
    use std::io::{Read, Write};
    let dir = RunDir::new("useless");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    for bytes in [&[0_u8; 24][..], &[0xff; 24], &[]] {
        let mut stream = std::os::unix::net::UnixStream::connect(dir.0.join("cpg")).expect("connect");
        stream.write_all(bytes).expect("write");
        stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let mut handshake = loop {
            if let Some(handshake) = listener.accept().expect("accept") {
                break handshake;
            }
        };
        let refused = loop {
            match handshake.on_readable() {
                Ok(None) => std::thread::yield_now(),
                other => break other,
            }
        };
        assert!(refused.is_err(), "{bytes:?}");
        drop(handshake);
        assert_eq!(stream.read(&mut [0; 16]).expect("closed without a reply"), 0);
    }
}

/// Echoes multicasts as deliveries, as a group of one would.
fn echo(connection: &mut server::Connection, request: &[u8]) -> Result<(), Gone> {
    let id = View(request).i32(0).expect("id");
    let (fragment, payload) = match cpg::Request::decode(request).expect("request") {
        cpg::Request::Mcast { payload, .. } => (None, payload),
        cpg::Request::Fragment { fragment, payload, .. } => (Some(fragment), payload),
        _ => return connection.send_response(&Service::Cpg.error_reply(id, CsError::Ok)),
    };
    let head = cpg::deliver_head(b"echo", NodeId::new(1), 1, fragment, payload.len());
    connection.send_event(&[&head, payload])?;
    if let Some(fragment) = fragment {
        connection.set_in_call(fragment.position < 3);
        connection.send_response(&Service::Cpg.error_reply(id, CsError::Ok))?;
    }
    Ok(())
}

fn next(client: &mut CpgClient) -> CpgEvent {
    loop {
        if let Some(event) = client.dispatch().expect("dispatch") {
            return event;
        }
        assert!(client.connection().wait_event(PATIENCE), "no event in time");
    }
}

#[test]
fn messages_of_all_sizes_arrive_whole_and_in_order() {
    let dir = RunDir::new("sizes");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let server = serve(listener, dir.place(), echo);
    let mut client = CpgClient::connect(&dir.place(), PATIENCE).expect("connect");
    client.join(b"echo").expect("join");
    for len in [0, 1, 3, 4, 1_000, 300_000, cpg::PAYLOAD_MAX, cpg::PAYLOAD_MAX + 1, 20_000_000] {
        let sent: Vec<u8> = (0..len).map(|k| ((k * 131) >> 3) as u8).collect();
        client.mcast(&sent).expect("mcast");
        match next(&mut client) {
            CpgEvent::Deliver { payload, .. } => assert!(payload == sent, "{len} bytes"),
            other => panic!("{other:?}"),
        }
    }
    let mut sent = 0_u32;
    let mut received = 0_u32;
    while received < 20_000 {
        while sent < 20_000 && sent - received < 500 && client.mcast(&sent.to_ne_bytes()).is_ok() {
            sent += 1;
        }
        match next(&mut client) {
            CpgEvent::Deliver { payload, .. } => assert_eq!(payload, received.to_ne_bytes()),
            other => panic!("{other:?}"),
        }
        received += 1;
    }
    drop(client);
    server.join().expect("thread").expect("no error");
}

#[test]
fn events_wait_for_a_slow_client_and_lose_nothing() {
    let dir = RunDir::new("slow");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let sent_all = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&sent_all);
    let server = serve(listener, dir.place(), move |connection, request| {
        let id = View(request).i32(0).expect("id");
        // Far more notification bytes than a socket holds, and more data than the ring.
        for k in 0..5_000_u32 {
            let head = cpg::deliver_head(b"g", NodeId::new(1), 1, None, 1_000);
            connection.send_event(&[&head, &k.to_ne_bytes(), &[0; 996]])?;
        }
        flag.store(true, Ordering::SeqCst);
        connection.send_response(&Service::Cpg.error_reply(id, CsError::Ok))
    });
    let mut client = CpgClient::connect(&dir.place(), PATIENCE).expect("connect");
    client.leave().expect("the call that starts it");
    assert!(sent_all.load(Ordering::SeqCst));
    for k in 0..5_000_u32 {
        match next(&mut client) {
            CpgEvent::Deliver { payload, .. } => assert_eq!(payload[..4], k.to_ne_bytes()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.dispatch().expect("dispatch"), None);
    drop(client);
    server.join().expect("thread").expect("no error");
}

/// The byte that announces an event follows it: a client that does not wait takes events before their bytes are there, and finds bytes
/// of events that it has.
#[test]
fn events_that_come_one_by_one_while_they_are_looked_for_are_all_found() {
    const EVENTS: u32 = 20_000;
    let dir = RunDir::new("racing");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let taken = Arc::new(AtomicU32::new(0));
    let (place, seen) = (dir.place(), Arc::clone(&taken));
    let server = std::thread::spawn(move || {
        let mut connection = let_in(&listener, &place);
        for k in 0..EVENTS {
            // Never far ahead, so that the client finds nothing again and again.
            while seen.load(Ordering::Relaxed) + 2 < k {
                std::thread::yield_now();
            }
            let head = cpg::deliver_head(b"g", NodeId::new(1), 1, None, 4);
            connection.send_event(&[&head, &k.to_ne_bytes()])?;
            connection.notify();
        }
        while seen.load(Ordering::Relaxed) < EVENTS {
            connection.flush()?;
            std::thread::yield_now();
        }
        Ok::<_, Gone>(())
    });
    let mut client = CpgClient::connect(&dir.place(), PATIENCE).expect("connect");
    for k in 0..EVENTS {
        let event = loop {
            if let Some(event) = client.dispatch().expect("dispatch") {
                break event;
            }
        };
        assert!(matches!(event, CpgEvent::Deliver { payload, .. } if payload[..4] == k.to_ne_bytes()));
        taken.store(k + 1, Ordering::Relaxed);
    }
    server.join().expect("thread").expect("no error");
}

#[test]
fn a_client_that_takes_nothing_is_given_up_at_the_bound() {
    let dir = RunDir::new("stuck");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let place = dir.place();
    let client = std::thread::spawn(move || CpgClient::connect(&place, PATIENCE).expect("connect"));
    let mut connection = let_in(&listener, &dir.place());
    let client = client.join().expect("thread");
    let chunk = vec![0; 100_000];
    let mut sent = 0;
    let gone = loop {
        match connection.send_event(&[&chunk]) {
            Ok(()) => sent += chunk.len(),
            Err(gone) => break gone,
        }
        assert!(sent < 2 * server::QUEUE_BYTES_MAX);
    };
    assert!(matches!(gone, Gone::Slow(n) if n > server::QUEUE_BYTES_MAX));
    drop(client);
}

#[test]
fn a_client_whose_requests_wait_is_not_stuck_in_announcing_them() {
    let dir = RunDir::new("held");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let place = dir.place();
    let sent_all = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&sent_all);
    let client = std::thread::spawn(move || {
        let mut client = CpgClient::connect(&place, PATIENCE).expect("connect");
        // Far more notification bytes than a socket holds.
        for _ in 0..2_000 {
            client.mcast(b"x").expect("room in the ring");
        }
        flag.store(true, Ordering::SeqCst);
        client
    });
    let mut connection = let_in(&listener, &dir.place());
    while !sent_all.load(Ordering::SeqCst) {
        assert!(!client.is_finished() || sent_all.load(Ordering::SeqCst), "it could not go on");
        connection.take_notifications();
    }
    let client = client.join().expect("thread");
    let mut request = Vec::new();
    for _ in 0..2_000 {
        assert_eq!(connection.next_request(&mut request), Ok(Next::Request));
    }
    assert_eq!(connection.next_request(&mut request), Ok(Next::Nothing));
    drop(client);
    assert_eq!(connection.next_request(&mut request), Ok(Next::HungUp));
}

#[test]
fn flow_control_holds_back_what_it_says() {
    let dir = RunDir::new("flow");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let server = serve(listener, dir.place(), |connection, request| {
        let id = View(request).i32(0).expect("id");
        match cpg::Request::decode(request).expect("request") {
            cpg::Request::Finalize => connection.set_flow_control(0),
            cpg::Request::LocalGet => return connection.send_response(&cpg::local_reply(NodeId::new(9))),
            _ => connection.set_flow_control(2),
        }
        connection.send_response(&Service::Cpg.error_reply(id, CsError::Ok))
    });
    let mut client = CpgClient::connect(&dir.place(), PATIENCE).expect("connect");
    client.join(b"g").expect("join");
    assert!(client.mcast(b"x").expect_err("gate is closed").is_try_again());
    assert_eq!(client.local().expect("other calls pass"), NodeId::new(9));
    drop(client);
    server.join().expect("thread").expect("no error");
}

#[test]
fn a_client_that_floods_itself_is_throttled_not_lost() {
    let dir = RunDir::new("flood");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let server = serve(listener, dir.place(), echo);
    let mut client = CpgClient::connect(&dir.place(), PATIENCE).expect("connect");
    let payload = [7; 500];
    let (mut received, mut throttled) = (0, 0);
    for _ in 0..40_000 {
        // As programs do: take events only when told to try again.
        while let Err(e) = client.mcast(&payload) {
            assert!(e.is_try_again(), "{e}");
            throttled += 1;
            while client.dispatch().expect("dispatch").is_some() {
                received += 1;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    while received < 40_000 {
        next(&mut client);
        received += 1;
    }
    assert!(throttled > 0);
    drop(client);
    server.join().expect("thread").expect("no error");
}

#[test]
fn a_client_sees_the_end_of_its_server_in_a_call_and_in_dispatch() {
    let dir = RunDir::new("end");
    for in_call in [false, true] {
        let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
        let place = dir.place();
        let server = std::thread::spawn(move || {
            let mut connection = let_in(&listener, &place);
            let mut request = Vec::new();
            while connection.next_request(&mut request).expect("request") != Next::Request {
                std::thread::yield_now();
            }
            connection.send_event(&[&cpg::totem_event(RingId::default(), &[])]).expect("event");
            connection.notify();
            if !in_call {
                connection.send_response(&cpg::local_reply(NodeId::new(1))).expect("response");
            }
        });
        let mut client = CpgClient::connect(&dir.place(), PATIENCE).expect("connect");
        let answered = client.local();
        server.join().expect("thread");
        if in_call {
            assert!(matches!(answered, Err(Error::Disconnected)), "{answered:?}");
        } else {
            assert_eq!(answered.expect("reply"), NodeId::new(1));
        }
        // What was sent before the end is still there.
        assert!(matches!(client.dispatch(), Ok(Some(CpgEvent::Totem { .. }))));
        assert!(matches!(client.dispatch(), Err(Error::Disconnected)));
        assert!(client.local().is_err());
    }
    assert_eq!(dir.ring_files(), 0);
}

#[test]
fn a_call_that_is_not_answered_ends_at_its_limit() {
    let dir = RunDir::new("limit");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    let server = serve(listener, dir.place(), |_, _| Ok(()));
    let mut client = CpgClient::connect(&dir.place(), PATIENCE).expect("connect");
    client.connection().set_limit(Duration::from_millis(20));
    assert!(matches!(client.local(), Err(Error::TimedOut)));
    assert!(matches!(client.local(), Err(Error::Disconnected)), "a late reply must not answer another call");
    drop(client);
    server.join().expect("thread").expect("no error");
}

#[test]
fn a_client_that_breaks_the_protocol_harms_only_itself() {
    holdfast_sys::shm::guard_against_sigbus().expect("handler");
    let dir = RunDir::new("hostile");
    let listener = Listener::bind(&dir.place(), Service::Cpg).expect("bind");
    for attack in ["byte without a chunk", "truncated rings"] {
        let place = dir.place();
        let client = std::thread::spawn(move || {
            use std::io::Write;
            // The rings' names are gone when the client has attached, so the attacker keeps them open from before.
            let stream =
                std::os::unix::net::UnixStream::connect(place.socket_path(Service::Cpg).expect("path"));
            let mut stream = stream.expect("connect");
            let mut hello = [0; 24];
            hello[..4].copy_from_slice(&(-1_i32).to_ne_bytes());
            hello[8..12].copy_from_slice(&24_i32.to_ne_bytes());
            stream.write_all(&hello).expect("hello");
            let mut reply = vec![0; 12_328];
            std::io::Read::read_exact(&mut stream, &mut reply).expect("reply");
            if attack == "truncated rings" {
                for at in [40, 4_136, 8_232] {
                    let name: Vec<u8> = reply[at..].iter().copied().take_while(|b| *b != 0).collect();
                    for suffix in ["-header", "-data"] {
                        let path = String::from_utf8(name.clone()).expect("path") + suffix;
                        let file = std::fs::OpenOptions::new().write(true).open(path).expect("ring file");
                        file.set_len(0).expect("truncate");
                    }
                }
            }
            stream.write_all(&[0]).expect("byte");
            stream
        });
        let mut connection = let_in(&listener, &dir.place());
        let stream = client.join().expect("thread");
        let mut request = Vec::new();
        let outcome = loop {
            match connection.next_request(&mut request) {
                Ok(Next::Nothing) => std::thread::yield_now(),
                other => break other,
            }
        };
        assert!(matches!(outcome, Err(Gone::Broken(_))), "{attack}: {outcome:?}");
        assert!(stream.as_raw_fd() >= 0);
    }
    assert_eq!(dir.ring_files(), 0, "files of clients that never attached go with their connections");
}
