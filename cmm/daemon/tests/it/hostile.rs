//! Values that no sane client sends, to each service; and a client that takes nothing, watched from outside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cmm_ipc::abi::{View, cfg, cmap, cpg, quorum, votequorum};
use cmm_ipc::client::{CfgClient, CmapClient, Connection, CpgClient, Error, QuorumClient};
use cmm_ipc::server::QUEUE_BYTES_MAX;
use cmm_ipc::{CsError, Place, Service};
use holdfast_types::{NodeId, Votes};

use crate::nodes::{Cluster, LIMIT, wait_until};

/// Asks, and gives the error of the reply and its length.
fn ask(connection: &mut Connection, request: &[u8]) -> (CsError, usize) {
    let reply = connection.call(&[request], 1).expect("it is answered");
    let view = View(&reply);
    assert_eq!(view.i32(8).map(|size| size as usize), Ok(reply.len()), "it says how long it is");
    (CsError::from_code(view.i32(16).expect("a header")), reply.len())
}

fn connect(place: &Place, service: Service) -> Connection {
    Connection::connect(place, service, LIMIT).expect("connect")
}

#[test]
fn values_that_no_sane_client_sends_are_refused_and_change_nothing() {
    let cluster = Cluster::new(2);
    let daemons = cluster.start_all();
    let place = Place::Dir(cluster.run_dir(1));
    let formed = || daemons.iter().map(|d| d.log().matches("A new membership").count()).collect::<Vec<_>>();
    let before = formed();

    let mut map = connect(&place, Service::Cmap);
    let set = |map: &mut Connection, key: &[u8], kind: u8, value: &[u8]| {
        ask(map, &cmap::Request::Set { key, kind, value }.encode().expect("fits")).0
    };
    let long = [b'k'; 255];
    for (key, want) in [
        (&b"abc"[..], CsError::Ok),
        (b"ab", CsError::NameTooLong),
        (b"", CsError::NameTooLong),
        (&long, CsError::Ok),
        (b"odd key", CsError::NameTooLong),
        (b"odd\0key", CsError::NameTooLong),
        (b"odd%nkey", CsError::NameTooLong),
        (b"odd\nkey", CsError::NameTooLong),
        (b"odd\xc3\xa9key", CsError::NameTooLong),
        (b"odd\xff\xfekey", CsError::NameTooLong),
        (b"A-z_0.9/:", CsError::Ok),
    ] {
        assert_eq!(set(&mut map, key, 2, &[1]), want, "{}", key.escape_ascii());
    }
    let largest = vec![7; cmap::VALUE_MAX];
    let larger = vec![7; cmap::VALUE_MAX + 1];
    for (kind, value, want) in [
        (12, &largest[..], CsError::Ok),
        (12, &larger, CsError::InvalidParam),
        (12, &[], CsError::Ok),
        // The NUL that is added must fit, too.
        (11, &largest, CsError::InvalidParam),
        (11, &largest[1..], CsError::Ok),
        (11, b"ends\0here", CsError::Ok),
        (11, b"\xff\xfe no text", CsError::Ok),
        (6, &[0; 3], CsError::InvalidParam),
        (6, &[0; 8], CsError::InvalidParam),
        (8, &[], CsError::InvalidParam),
        (9, &[0xff; 4], CsError::Ok),
        (0, &[0], CsError::InvalidParam),
        (13, &[0], CsError::InvalidParam),
        (255, &[0], CsError::InvalidParam),
    ] {
        assert_eq!(set(&mut map, b"test.value", kind, value), want, "kind {kind}, {} bytes", value.len());
    }
    // A request that says it has more value than there is.
    let mut lies = cmap::Request::Set { key: b"test.lies", kind: 12, value: b"four" }.encode().expect("fits");
    for length in [5_u64, 1 << 20, 1 << 32, u64::MAX - 295, u64::MAX] {
        lies[280..288].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(ask(&mut map, &lies).0, CsError::InvalidParam, "{length}");
    }
    let adjust = |map: &mut Connection, key: &[u8], step| {
        ask(map, &cmap::Request::Adjust { key, step }.encode().expect("fits")).0
    };
    assert_eq!(set(&mut map, b"test.i8", 1, &[127]), CsError::Ok);
    assert_eq!(adjust(&mut map, b"test.i8", 1), CsError::Ok);
    assert_eq!(set(&mut map, b"test.u64", 8, &[0xff; 8]), CsError::Ok);
    assert_eq!(adjust(&mut map, b"test.u64", i32::MAX), CsError::Ok);
    assert_eq!(adjust(&mut map, b"test.u64", i32::MIN), CsError::Ok);
    assert_eq!(adjust(&mut map, b"test.none", 1), CsError::NotExist);
    assert_eq!(adjust(&mut map, b"test.value", 1), CsError::InvalidParam);
    let get = |map: &mut Connection, buffer| {
        ask(map, &cmap::Request::Get { key: b"test.u64", buffer }.encode().expect("fits"))
    };
    // Never longer than the caller has room for.
    for (buffer, want) in [
        (0, (CsError::Ok, 40)),
        (7, (CsError::InvalidParam, 40)),
        (8, (CsError::Ok, 48)),
        (u64::MAX, (CsError::Ok, 48)),
    ] {
        assert_eq!(get(&mut map, buffer), want, "{buffer}");
    }
    for handle in [0, 1, u64::MAX] {
        for request in [
            cmap::Request::IterationNext { handle },
            cmap::Request::IterationFinalize { handle },
            cmap::Request::TrackDelete { handle },
        ] {
            assert_eq!(ask(&mut map, &request.encode().expect("fits")).0, CsError::BadHandle, "{request:?}");
        }
    }
    for what in [16, -1, i32::MIN] {
        let request = cmap::Request::TrackAdd { key: b"x", what, client_handle: 1 }.encode().expect("fits");
        assert_eq!(ask(&mut map, &request).0, CsError::InvalidParam, "{what}");
    }
    for number in [2, -1, i32::MAX] {
        let request = cmap::Request::SelectMap { map: number }.encode().expect("fits");
        assert_eq!(ask(&mut map, &request).0, CsError::NotExist, "{number}");
    }
    // As many as there may be, and no more.
    let request = cmap::Request::TrackAdd { key: b"", what: 15, client_handle: 1 }.encode().expect("fits");
    let mut tracker = connect(&place, Service::Cmap);
    let answers: Vec<CsError> = (0..100).map(|_| ask(&mut tracker, &request).0).collect();
    assert_eq!(answers.iter().filter(|a| **a == CsError::Ok).count(), 64);
    assert!(answers[64..].iter().all(|a| *a == CsError::NoResources), "{answers:?}");
    let request = cmap::Request::IterationInit { prefix: b"" }.encode().expect("fits");
    let answers: Vec<CsError> = (0..100).map(|_| ask(&mut tracker, &request).0).collect();
    assert_eq!(answers.iter().filter(|a| **a == CsError::Ok).count(), 64);

    let mut votes = connect(&place, Service::Votequorum);
    for node in [3, 99, 1 << 31, u32::MAX].map(NodeId::new) {
        let info = votequorum::Request::GetInfo { node }.encode();
        assert_eq!(ask(&mut votes, &info), (CsError::NotExist, 320), "{node}");
        let set = votequorum::Request::SetVotes { votes: Votes::new(1), node }.encode();
        assert_eq!(ask(&mut votes, &set).0, CsError::NameNotFound, "{node}");
    }
    for number in [65_536, u32::MAX].map(Votes::new) {
        for node in [0, 1, 2].map(NodeId::new) {
            let set = votequorum::Request::SetVotes { votes: number, node }.encode();
            assert_eq!(ask(&mut votes, &set).0, CsError::InvalidParam, "{number} for {node}");
        }
    }
    for expected in [0, 1, 4, 65_536, u32::MAX].map(Votes::new) {
        let set = votequorum::Request::SetExpected { expected }.encode();
        assert_eq!(ask(&mut votes, &set).0, CsError::InvalidParam, "{expected}");
    }
    let name = [b'q'; 255];
    assert_eq!(
        ask(&mut votes, &votequorum::Request::QdeviceRegister { name: &name }.encode()).0,
        CsError::Access
    );
    assert_eq!(
        ask(&mut votes, &votequorum::Request::QdeviceUnregister { name: b"" }.encode()).0,
        CsError::NotExist
    );

    let mut quorum_client = connect(&place, Service::Quorum);
    for model in [2, 7, u32::MAX] {
        let request = quorum::Request::ModelGetType { model }.encode();
        assert_eq!(ask(&mut quorum_client, &request).0, CsError::InvalidParam, "{model}");
    }
    assert_eq!(
        ask(&mut quorum_client, &quorum::Request::TrackStart { flags: u32::MAX }.encode()).0,
        CsError::Ok
    );

    let mut config = connect(&place, Service::Cfg);
    for node in [3, 99, u32::MAX].map(NodeId::new) {
        let addresses = cfg::Request::NodeAddresses { node }.encode();
        assert_eq!(ask(&mut config, &addresses).0, CsError::NotExist, "{node}");
        let status = cfg::Request::NodeStatus { node, version: 1 }.encode();
        assert_eq!(ask(&mut config, &status).0, CsError::FailedOperation, "{node}");
        let kill = cfg::Request::KillNode { node, reason: &[0xff; 255] }.encode();
        assert_eq!(ask(&mut config, &kill).0, CsError::NotExist, "{node}");
    }
    let mut kill = cfg::Request::KillNode { node: NodeId::new(1), reason: b"no" }.encode();
    kill[24..26].copy_from_slice(&u16::MAX.to_ne_bytes());
    assert_ne!(ask(&mut config, &kill).0, CsError::Ok, "a reason longer than its field");
    for version in [0, 2, u32::MAX] {
        let status = cfg::Request::NodeStatus { node: NodeId::new(1), version }.encode();
        assert_eq!(ask(&mut config, &status).0, CsError::NotSupported, "{version}");
    }
    assert_eq!(ask(&mut config, &cfg::Request::ShutdownReply { yes: true }.encode()).0, CsError::Access);

    let mut groups = connect(&place, Service::Cpg);
    let whole = [b'g'; 128];
    let join = |group: &[u8]| cpg::Request::Join { group, pid: std::process::id(), flags: u32::MAX }.head();
    let mut long_name = join(&whole);
    long_name[16..20].copy_from_slice(&129_u32.to_ne_bytes());
    assert_eq!(ask(&mut groups, &long_name).0, CsError::NameTooLong);
    assert_eq!(ask(&mut groups, &cpg::Request::Leave { group: b"g", pid: 1 }.head()).0, CsError::NotExist);
    assert_eq!(ask(&mut groups, &join(&whole)).0, CsError::Ok);
    for kind in [0, 4, u32::MAX] {
        let request = cpg::Request::IterationInit { group: b"", kind }.head();
        assert_eq!(ask(&mut groups, &request).0, CsError::InvalidParam, "{kind}");
    }
    for cookie in [0, 1, u64::MAX] {
        assert_eq!(ask(&mut groups, &cpg::Request::ZeroCopyMcast { cookie }.head()).0, CsError::NotExist);
        assert_eq!(ask(&mut groups, &cpg::Request::ZeroCopyFree { cookie }.head()).0, CsError::NotExist);
    }
    for service in Service::ALL {
        let mut client = connect(&place, service);
        for id in [-1, 13, 14, 99, i32::MIN, i32::MAX] {
            let mut request = vec![0; 24];
            request[..4].copy_from_slice(&id.to_ne_bytes());
            request[8..12].copy_from_slice(&24_i32.to_ne_bytes());
            assert_eq!(ask(&mut client, &request), (CsError::InvalidParam, 24), "{service:?} {id}");
        }
    }

    // A patience that never ends, and a shutdown that is refused meanwhile.
    assert_eq!(set(&mut map, b"cfg.shutdown_timeout", 8, &[0xff; 8]), CsError::Ok);
    let mut tracker = CfgClient::connect(&place, LIMIT).expect("cfg");
    tracker.track().expect("track");
    let asking =
        std::thread::spawn(move || ask(&mut config, &cfg::Request::TryShutdown { flags: 0 }.encode()).0);
    wait_until("the question", || tracker.dispatch().expect("dispatch"));
    tracker.reply_to_shutdown(false).expect("reply");
    assert_eq!(asking.join().expect("thread"), CsError::Busy);

    assert!(QuorumClient::connect(&place, LIMIT).expect("quorum").is_quorate().expect("call"));
    let mut map = CmapClient::connect(&place, LIMIT).expect("cmap");
    assert_eq!(map.get_str("holdfast.ring.state").expect("get").as_deref(), Some("OPERATIONAL"));
    assert_eq!(formed(), before, "no new ring for that");
}

/// System calls in which the loop may sleep, on x86-64 and aarch64: waiting for anything to do, and letting others run.
const MAY_SLEEP: &[&str] = if cfg!(target_arch = "x86_64") {
    &["232", "281", "441", "230", "35"]
} else {
    &["22", "441", "115", "101"]
};

#[test]
fn a_client_that_takes_nothing_makes_the_loop_wait_nowhere() {
    let cluster = Cluster::new(1);
    let daemons = cluster.start_all();
    let place = Place::Dir(cluster.run_dir(1));
    let file = format!("/proc/{}/syscall", daemons[0].pid());
    if std::fs::read_to_string(&file).is_err() {
        eprintln!("skipped: {file} cannot be read here");
        return;
    }
    let mut deaf = CpgClient::connect(&place, LIMIT).expect("cpg");
    deaf.join(b"deaf").expect("join");
    let mut sender = Connection::connect(&place, Service::Cpg, LIMIT).expect("cpg");
    let join = cpg::Request::Join { group: b"deaf", pid: 1, flags: 0 }.head();
    assert_eq!(ask(&mut sender, &join).0, CsError::Ok);
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    // From now on, since files are made for who connects: where the thread sleeps, looked at all the time: one call that waits for the client would last until it is closed.
    let watcher = std::thread::spawn(move || {
        let (mut slept_in, mut looks) = (BTreeSet::new(), 0_u32);
        while !stop.load(Ordering::SeqCst) {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let call = text.split_whitespace().next().unwrap_or_default().to_owned();
            looks += 1;
            // A page that is not there is waited for outside of any call.
            if !matches!(call.as_str(), "" | "running" | "-1") {
                slept_in.insert(call);
            }
        }
        (slept_in, looks)
    });
    let payload = vec![7; 100_000];
    let head = cpg::Request::Mcast { guarantee: 2, payload: &payload }.head();
    wait_until("the deaf client is closed", || {
        while sender.next_event().expect("events").is_some() {}
        let _ = sender.send(&[&head, &payload], 2);
        daemons[0].log().contains("client does not take its events").then_some(())
    });
    over.store(true, Ordering::SeqCst);
    let (slept_in, looks) = watcher.join().expect("thread");
    assert!(looks > 100 && !slept_in.is_empty(), "{looks} looks");
    let elsewhere: Vec<_> = slept_in.iter().filter(|call| !MAY_SLEEP.contains(&call.as_str())).collect();
    assert!(elsewhere.is_empty(), "the loop slept in system calls {elsewhere:?}");
}

/// As programs do that send until they hear "try again" and only then take their events: they must hear it, also if they are
/// so slow at it that they look like one that waits inside a call.
#[test]
fn who_sends_and_takes_nothing_hears_try_again_before_it_is_closed() {
    let cluster = Cluster::new(1);
    let _daemons = cluster.start_all();
    let place = Place::Dir(cluster.run_dir(1));
    let mut client = connect(&place, Service::Cpg);
    let join = cpg::Request::Join { group: b"own", pid: 1, flags: 0 }.head();
    assert_eq!(ask(&mut client, &join).0, CsError::Ok);
    let payload = vec![7; 20_000];
    let head = cpg::Request::Mcast { guarantee: 2, payload: &payload }.head();
    let mut sent = 0;
    loop {
        match client.send(&[&head, &payload], 2) {
            Ok(()) => sent += payload.len(),
            Err(Error::Refused(CsError::TryAgain)) => break,
            Err(e) => panic!("after {sent} bytes: {e}"),
        }
        // Slower than the ring is while clients lag: that is what is tested.
        std::thread::sleep(Duration::from_millis(4));
    }
    let mut taken = 0;
    wait_until("it has got all that it sent", || {
        while let Some(event) = client.next_event().expect("it is still connected") {
            taken += event.len() / payload.len() * payload.len();
        }
        (taken == sent).then_some(())
    });
}

#[test]
fn many_clients_that_take_nothing_share_one_bound() {
    let cluster = Cluster::new(1);
    let daemons = cluster.start_all();
    let place = Place::Dir(cluster.run_dir(1));
    let join = |pid| cpg::Request::Join { group: b"deaf", pid, flags: 0 }.head();
    let deaf = |pid| {
        let mut client = connect(&place, Service::Cpg);
        assert_eq!(ask(&mut client, &join(pid)).0, CsError::Ok);
        client
    };
    let deaf: Vec<Connection> = (1..=8).map(deaf).collect();
    let mut sender = connect(&place, Service::Cpg);
    assert_eq!(ask(&mut sender, &join(9)).0, CsError::Ok);
    let payload = vec![7; 1_000_000];
    let head = cpg::Request::Mcast { guarantee: 2, payload: &payload }.head();
    let closed = "client does not take its events: ";
    let line = wait_until("one of them is closed", || {
        while sender.next_event().expect("events").is_some() {}
        let _ = sender.send(&[&head, &payload], 2);
        daemons[0].log().lines().find(|line| line.contains(closed)).map(str::to_owned)
    });
    let bytes = line.split(closed).nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    assert!(
        bytes.is_some_and(|bytes: usize| bytes < QUEUE_BYTES_MAX),
        "before it has what one alone may have: {line}"
    );
    drop(deaf);
    assert_eq!(ask(&mut sender, &cpg::Request::LocalGet.head()).0, CsError::Ok);
}
