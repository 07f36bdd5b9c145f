//! Writes first inputs for the fuzz targets into `tests/fuzz/corpus`: what real rings say to each other, real requests,
//! real files. `cargo run -p fuzz-entries --example seeds`

#![forbid(unsafe_code)]

use std::path::Path;

use cmm_ipc::abi;
use cmm_proto::ring::{Ring, RingOutput};
use cmm_proto::{Destination, Guarantee};
use holdfast_types::{Boottime, NodeId};

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let put = |target: &str, name: &str, bytes: &[u8]| std::fs::write(root.join(target).join(name), bytes);
    for length in [300, 900] {
        put("ring", &format!("three-nodes-{length}"), &conversation(length))?;
    }
    let requests = [
        abi::cfg::Request::RingStatus.encode(),
        abi::quorum::Request::TrackStart { flags: 3 }.encode(),
        abi::quorum::Request::GetQuorate.encode(),
    ];
    for (n, bytes) in requests.iter().enumerate() {
        put("ipc", &format!("request-{n}"), bytes)?;
    }
    put("rings", "steps", &ring_steps())?;
    put("failfast", "units", &failfast_steps())?;
    put("conf", "three-nodes", CONF.as_bytes())?;
    put("cib", "group", CIB.as_bytes())?;
    Ok(())
}

/// What node 2 hears while three nodes form a ring, send, and lose one of them.
fn conversation(inputs: usize) -> Vec<u8> {
    let mut now = Boottime::from_nanos(1_000_000_000);
    let mut rings: Vec<Ring> = (1..=3).map(|me| Ring::new(fuzz_entries::ring_config(me), now)).collect();
    let mut heard = Vec::new();
    let mut note = |op: u8, body: &[u8]| {
        heard.push(op);
        heard.extend_from_slice(&u16::try_from(body.len()).unwrap_or(0).to_le_bytes());
        heard.extend_from_slice(body);
    };
    for turn in 0..inputs {
        let mut frames = Vec::new();
        for (index, ring) in rings.iter_mut().enumerate() {
            while let Some(output) = ring.poll_output() {
                match output {
                    RingOutput::Send { to, frame, .. } => frames.push((index, to, frame)),
                    RingOutput::Persist(seq) => ring.handle_persisted(now, seq),
                    _ => {}
                }
            }
        }
        for (from, to, frame) in frames {
            let id = |index: usize| NodeId::new(u32::try_from(index).unwrap_or(0) + 1);
            for (index, ring) in rings.iter_mut().enumerate().filter(|(index, _)| *index != from) {
                if to == Destination::AllPeers || to == Destination::Node(id(index)) {
                    if index == 1 {
                        note(u8::from(from == 2), &frame);
                    }
                    ring.handle_frame(now, id(from), &frame);
                }
            }
        }
        if turn == inputs / 2 {
            rings.truncate(2);
        }
        if turn % 7 == 3 {
            let _ = rings[1].submit(now, Guarantee::Agreed, &[b'x'; 40]);
            note(5, &[b'x'; 40]);
        }
        if let Some(at) = rings.iter().filter_map(Ring::next_timeout).min() {
            now = now.max(at);
        }
        for ring in &mut rings {
            ring.handle_timeout(now);
        }
        note(4, &[]);
    }
    heard
}

/// Each step of `fuzz_entries::rings` once and again: requests and what is done to the rings, with the server in between.
fn ring_steps() -> Vec<u8> {
    let request = abi::cmap::Request::SelectMap { map: 1 }.encode().expect("fits");
    let mut steps = Vec::new();
    let mut step = |what: u8, at: u16, value: u32| {
        steps.push(what);
        steps.extend_from_slice(&at.to_le_bytes());
        steps.extend_from_slice(&value.to_le_bytes());
        if what.is_multiple_of(12) {
            steps.extend_from_slice(&request);
        }
    };
    let len = u16::try_from(request.len()).expect("small");
    for round in 0..40_u32 {
        step(0, len, 0);
        step(6, 1, 0);
        for what in [8, 7, 9, 11, 10] {
            step(what, 100, round);
        }
        match round {
            12 => step(2 + 16 * 2, 1, u32::MAX),
            20 => step(3, 7, 0xd0d0_d0d0),
            30 => step(4 + 16, 1, 4_096),
            _ => {}
        }
    }
    steps
}

/// Units that arm, beat, die, are armed anew, go into maintenance and are late; and what a client reads of them.
fn failfast_steps() -> Vec<u8> {
    let mut steps = Vec::new();
    let mut step = |what: u8, len: u8, text: &str| {
        steps.extend_from_slice(&[
            what,
            if text.is_empty() { len } else { u8::try_from(text.len()).unwrap_or(0) },
        ]);
        steps.extend_from_slice(text.as_bytes());
    };
    for text in [
        "arm rgmd delay_ms=5000 heartbeat_ms=1000",
        "arm db delay_ms=0 heartbeat_ms=0 mode=panic restarts=2 window_ms=60000 pid=2",
        "arm web delay_ms=3600000 mode=off",
        "arm x delay_ms=99999999999999999999",
        "beat rgmd",
        "maintain * for_ms=60000",
        "list",
        "status",
        "maintain db for_ms=0",
        "name=db pid=4711 state=triggered delay_ms=0 heartbeat_ms=0 since_ms=7 mode=panic trouble=died deadline_ms=9 restarts=2 window_ms=60000 restarted=1 maintenance_ms=5",
        "node\tmode=panic\tguardian=12\tguardian_seen_ms=40\tguardian_limit_ms=10000\nfeeding\tfed=1\twhy=armed\nwatchdog\tstate=armed\ttimeout_ms=10000\tworst_ms=22000\tnotice_ms=2000\tnowayout=0\tsoftware=1\tpath=/dev/watchdog0\tname=soft\twhy=",
    ] {
        step(0, 0, text);
        step(5, 3, "");
    }
    step(4, 1, "");
    step(1, 0, "arm db delay_ms=0 restarts=2 window_ms=60000");
    step(5, 200, "");
    step(6, 0, "");
    step(4, 3, "");
    step(0, 0, "maintain * for_ms=0");
    step(6, 0, "");
    step(6, 0, "");
    step(2, 0, "disarm web pid=1");
    step(0, 0, "list");
    steps
}

const CONF: &str = "totem {\n  version: 2\n  cluster_name: demo\n  transport: udpu\n  token: 1000\n}\nnodelist {\n  node {\n    nodeid: 1\n    \
                    name: node1\n    ring0_addr: 127.0.0.1\n  }\n  node {\n    nodeid: 2\n    ring0_addr: 127.0.0.2\n  }\n}\nquorum {\n  \
                    provider: corosync_votequorum\n  two_node: 1\n}\nlogging {\n  to_stderr: yes\n}\nfailfast {\n  mode: exit\n}\n";

const CIB: &str = r#"<cib validate-with="pacemaker-3.8" admin_epoch="0" epoch="1" num_updates="0"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="no-quorum-policy" value="stop"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="a"/></nodes><resources><group id="g"><primitive id="r" class="ocf" provider="heartbeat" type="Dummy">
<operations><op id="m" name="monitor" interval="10s" timeout="20s"/></operations></primitive></group></resources>
<constraints><rsc_location id="l" rsc="g" node="a" score="INFINITY"/></constraints></configuration><status/></cib>
"#;
