//! The client half against a real corosync, alone in network, mount, IPC and PID namespaces of its own: one node on
//! 127.0.0.1. When the namespace's first process ends, the kernel ends everything in it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cmm_ipc::abi::cfg::SHUTDOWN_IMMEDIATE;
use cmm_ipc::abi::cmap::{Map, Value, track};
use cmm_ipc::abi::{cpg, quorum, votequorum};
use cmm_ipc::client::{CfgClient, CmapClient, CpgClient, CpgEvent, Error, QuorumClient, VotequorumClient};
use cmm_ipc::{CsError, Place};
use holdfast_types::{NodeId, Votes};

const PATIENCE: Duration = Duration::from_secs(60);
const ME: NodeId = NodeId::new(1);

const CONFIG: &str = "totem {\n  version: 2\n  cluster_name: ipc\n  transport: udpu\n  crypto_cipher: none\n  crypto_hash: none\n}
logging {\n  to_stderr: yes\n  to_syslog: no\n  to_logfile: no\n}
quorum {\n  provider: corosync_votequorum\n}
system {\n  sched_rr: no\n  priority: 0\n  move_to_root_cgroup: no\n}
nodelist {\n  node {\n    name: one\n    nodeid: 1\n    ring0_addr: 127.0.0.1\n  }\n}\n";

/// Loopback, private folders, a corosync without realtime priority; then this test binary again, inside.
const SCRIPT: &str = "set -e
ip link set lo up
for dir in /dev/shm /run /var/lib/corosync /var/log/corosync /etc/corosync; do mount -t tmpfs tmpfs $dir; done
printf '%s' \"$CONFIG\" > /etc/corosync/corosync.conf
corosync -f 2>/run/corosync.log &
if \"$TEST\" --exact corosync::inside --ignored --nocapture; then exit 0; fi
tail -n 20 /run/corosync.log >&2
exit 1";

#[test]
fn the_client_half_works_on_a_real_corosync() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    if !Path::new("/usr/sbin/corosync").exists() {
        eprintln!("skipped: needs the corosync package");
        return;
    }
    let namespaces = [
        "-n",
        "-m",
        "-i",
        "-u",
        "-p",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
        "--",
    ];
    if !Command::new("unshare").args(namespaces).arg("true").status().is_ok_and(|s| s.success()) {
        eprintln!("skipped: needs namespaces");
        return;
    }
    let outcome = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-c", SCRIPT])
        .env("CONFIG", CONFIG)
        .env("TEST", std::env::current_exe().expect("own path"))
        .output()
        .expect("unshare");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(outcome.status.success(), "{}{}", text(&outcome.stdout), text(&outcome.stderr));
    assert!(text(&outcome.stdout).contains("1 passed"), "{}", text(&outcome.stdout));
}

#[test]
#[ignore = "runs inside the namespaces that the test above makes"]
fn inside() {
    let mut cmap = connect(|place| CmapClient::connect(place, PATIENCE));
    assert_eq!(cmap.connection().server().uid, 0);
    cmap_calls(&mut cmap);
    quorum_calls();
    votequorum_calls();
    cpg_calls();
    cfg_calls();
    // The daemon is gone now, and every handle learns it.
    let end = Instant::now() + PATIENCE;
    loop {
        match cmap.dispatch() {
            Err(Error::Disconnected) => break,
            Ok(_) => assert!(cmap.connection().wait_event(end.saturating_duration_since(Instant::now()))),
            Err(e) => panic!("{e}"),
        }
    }
    assert!(matches!(CmapClient::connect(&Place::Abstract, PATIENCE), Err(Error::Connect(_))));
}

/// The daemon is starting: nobody listens, then it says try again.
fn connect<T>(connect: impl Fn(&Place) -> Result<T, Error>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match connect(&Place::Abstract) {
            Ok(client) => return client,
            Err(Error::Connect(_) | Error::Refused(CsError::TryAgain)) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(e) => panic!("{e}"),
        }
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, want: CsError) {
    match outcome {
        Err(Error::Refused(error)) => assert_eq!(error, want),
        other => panic!("{other:?}, not {want}"),
    }
}

fn cmap_calls(cmap: &mut CmapClient) {
    assert_eq!(cmap.get_str("totem.cluster_name").expect("get").as_deref(), Some("ipc"));
    assert_eq!(cmap.get("nodelist.node.0.nodeid").expect("get"), Some(Value::u32(1)));
    assert_eq!(cmap.get("ipc.none").expect("get"), None);
    refused(cmap.set("nodelist.node.0.nodeid", &Value::u32(9)), CsError::Access);
    let keys = cmap.keys("").expect("keys");
    assert!(keys.len() > 50 && keys.is_sorted());
    cmap.track("ipc.", true, 7).expect("track");
    let other = cmap.track("ipc.two", false, 8).expect("track");
    cmap.set("ipc.one", &Value::u32(1)).expect("set");
    cmap.set("ipc.one", &Value::u32(1)).expect("set");
    cmap.adjust("ipc.one", 4).expect("adjust");
    cmap.set("ipc.two", &Value::str("text")).expect("set");
    cmap.untrack(other).expect("untrack");
    cmap.delete("ipc.two").expect("delete");
    let entries = vec![("ipc.one".to_owned(), Value::u32(5))];
    assert_eq!(cmap.entries("ipc.").expect("entries"), entries);
    let mut seen = Vec::new();
    while let Some(event) = cmap.dispatch().expect("dispatch") {
        seen.push((event.client_handle, event.what, event.key, event.new, event.old));
    }
    seen.sort_by_key(|(handle, ..)| *handle);
    let (one, two) = ("ipc.one".to_owned(), "ipc.two".to_owned());
    let (n, text) = (|n| Some(Value::u32(n)), Some(Value::str("text")));
    assert_eq!(
        seen,
        [
            (7, track::ADD, one.clone(), n(1), None),
            (7, track::MODIFY, one, n(5), n(1)),
            (7, track::ADD, two.clone(), text.clone(), None),
            (7, track::DELETE, two.clone(), None, text.clone()),
            (8, track::ADD, two, text, None),
        ]
    );
    let mut stats = connect(|place| CmapClient::connect_map(place, Map::Stats, PATIENCE));
    assert!(!stats.keys("stats.").expect("keys").is_empty());
}

fn quorum_calls() {
    let mut client = connect(|place| QuorumClient::connect(place, PATIENCE));
    assert!(client.is_quorate().expect("quorate"));
    client.track().expect("track");
    match client.dispatch().expect("dispatch") {
        Some(quorum::Event::NodeList { ring, members, joined, left }) => {
            assert_eq!((ring.representative, members, joined, left), (ME, vec![ME], vec![], vec![]));
        }
        other => panic!("{other:?}"),
    }
    match client.dispatch().expect("dispatch") {
        Some(quorum::Event::Quorum { quorate, ring, view }) => {
            assert_eq!((quorate, ring.representative, view), (true, ME, vec![ME]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.dispatch().expect("dispatch"), None);
}

fn votequorum_calls() {
    let mut client = connect(|place| VotequorumClient::connect(place, PATIENCE));
    let info = client.info(None).expect("info");
    assert_eq!((info.node, info.state, info.votes, info.total), (ME, 1, Votes::new(1), Votes::new(1)));
    assert_ne!(info.flags & votequorum::flags::QUORATE, 0);
    refused(client.info(Some(NodeId::new(99))), CsError::NotExist);
    client.track(777).expect("track");
    let first = client.dispatch().expect("dispatch");
    assert!(
        matches!(&first, Some(votequorum::Event::NodeList { context: 777, members, .. }) if *members == [ME]),
        "{first:?}"
    );
    let second = client.dispatch().expect("dispatch");
    assert!(
        matches!(second, Some(votequorum::Event::Quorum { context: 777, quorate: true, .. })),
        "{second:?}"
    );
    client.set_expected(Votes::new(1)).expect("set expected");
    refused(client.set_expected(Votes::new(3)), CsError::InvalidParam);
}

fn next(client: &mut CpgClient) -> CpgEvent {
    let end = Instant::now() + PATIENCE;
    loop {
        match client.dispatch().expect("dispatch") {
            Some(CpgEvent::Totem { .. }) => {}
            Some(event) => return event,
            None => assert!(client.connection().wait_event(end.saturating_duration_since(Instant::now()))),
        }
    }
}

fn cpg_calls() {
    let mut client = connect(|place| CpgClient::connect(place, PATIENCE));
    assert_eq!(client.local().expect("local"), ME);
    client.join(b"ipc\0").expect("join");
    refused(client.join(b"ipc\0"), CsError::Exist);
    let me = cpg::Address { node: ME, pid: std::process::id(), reason: 0 };
    match next(&mut client) {
        CpgEvent::Confchg { group, members, left, joined } => {
            let joins = cpg::Address { reason: 1, ..me };
            assert_eq!((&group[..], members, left, joined), (&b"ipc\0"[..], vec![me], vec![], vec![joins]));
        }
        other => panic!("{other:?}"),
    }
    // The reason field of this reply is not defined in corosync.
    let members: Vec<_> =
        client.members(b"ipc\0").expect("members").iter().map(|m| (m.node, m.pid)).collect();
    assert_eq!(members, [(ME, me.pid)]);
    assert_eq!(client.all().expect("iteration"), [(b"ipc\0".to_vec(), ME, me.pid)]);
    for len in [0, 5, 100_000, cpg::PAYLOAD_MAX, 3_000_000] {
        let sent: Vec<u8> = (0..len).map(|k| ((k * 131) >> 3) as u8).collect();
        let end = Instant::now() + PATIENCE;
        while let Err(e) = client.mcast(&sent) {
            assert!(e.is_try_again() && Instant::now() < end, "{e}");
            std::thread::sleep(Duration::from_millis(1));
        }
        match next(&mut client) {
            CpgEvent::Deliver { node, pid, payload, .. } => {
                assert_eq!((node, pid), (ME, me.pid));
                assert!(payload == sent, "{len} bytes");
            }
            other => panic!("{other:?}"),
        }
    }
    client.leave().expect("leave");
    match next(&mut client) {
        CpgEvent::Confchg { members, left, joined, .. } => {
            let leaves = cpg::Address { reason: 2, ..me };
            assert_eq!((members, left, joined), (vec![], vec![leaves], vec![]));
        }
        other => panic!("{other:?}"),
    }
}

fn cfg_calls() {
    let mut client = connect(|place| CfgClient::connect(place, PATIENCE));
    assert_eq!(client.local().expect("local"), ME);
    assert_eq!(
        client.addresses(ME).expect("addresses"),
        ["127.0.0.1".parse::<std::net::IpAddr>().expect("ip")]
    );
    refused(client.addresses(NodeId::new(99)), CsError::NotExist);
    assert!(client.node_status(ME).expect("status").reachable);
    assert_eq!(client.ring_status().expect("ring status").len(), 1);
    refused(client.kill_node(NodeId::new(99), "test"), CsError::NotExist);
    let mut tracker = connect(|place| CfgClient::connect(place, PATIENCE));
    tracker.track().expect("track");
    let asked = std::thread::spawn(move || client.try_shutdown(0).map(|()| client));
    assert!(tracker.connection().wait_event(PATIENCE));
    assert_eq!(tracker.dispatch().expect("dispatch").map(|q| q.flags), Some(0));
    tracker.reply_to_shutdown(false).expect("veto");
    refused(asked.join().expect("thread").map(drop), CsError::Busy);
    // The reply may be lost when the daemon is quick.
    let _ = tracker.try_shutdown(SHUTDOWN_IMMEDIATE);
}
