//! Process groups over membership changes, and the gate.

use cmm_proto::{CpgEvent, Guarantee, Output, Refusal, Request};
use holdfast_types::Span;

use crate::cluster::{Cluster, conn};

const G: &[u8] = b"cib\0";

fn send(c: &mut Cluster, id: u32, conn: u64, payload: &[u8]) -> Result<(), Refusal> {
    let guarantee = Guarantee::Agreed;
    c.submit(
        id,
        Request::CpgMcast { conn: self::conn(conn), guarantee, fragment: None, past_gate: false, payload },
    )
}

fn members(c: &Cluster, id: u32) -> Vec<(u32, u32)> {
    c.node(id).cpg_members(G).iter().map(|m| (m.node.get(), m.pid)).collect()
}

/// Three nodes, a process of each in the group: connection 1, pid 100 + node.
fn joined() -> Cluster {
    let mut c = Cluster::formed(3);
    for id in 1..=3 {
        c.join(id, 1, 100 + id, G);
        let all = usize::try_from(id).expect("small");
        c.until("joined", |c| (1..=3).all(|id| c.node(id).cpg_members(G).len() == all));
    }
    c.forget();
    c
}

#[test]
fn all_members_see_the_same_messages_in_the_same_order() {
    let mut c = joined();
    for round in 0..20 {
        for id in 1..=3 {
            send(&mut c, id, 1, format!("{round}").as_bytes()).unwrap();
        }
    }
    c.until("delivered", |c| (1..=3).all(|id| c.client(id, 1).len() == 60));
    assert_eq!(c.client(1, 1), c.client(2, 1));
    assert_eq!(c.client(1, 1), c.client(3, 1));
}

#[test]
fn a_lost_node_is_nodedown_and_comes_back_as_nodeup() {
    let mut c = joined();
    c.cut(&[3], &[1, 2]);
    c.until("apart", |c| c.settled(&[1, 2]) && c.settled(&[3]));
    assert_eq!(c.client(1, 1), ["-3.103/NodeDown =1.101,2.102", "ring [1, 2]"]);
    assert_eq!(c.client(3, 1), ["-1.101/NodeDown -2.102/NodeDown =3.103", "ring [3]"]);
    c.forget();
    // While apart, each side goes on alone.
    c.submit(1, Request::CpgDisconnect { conn: conn(1) }).unwrap();
    c.join(3, 2, 203, G);
    c.run(Span::from_millis(500));
    c.forget();
    c.heal();
    c.until("one again", |c| c.settled(&[1, 2, 3]));
    assert_eq!(
        c.client(2, 1),
        ["+3.103/NodeUp +3.203/NodeUp =2.102,3.103,3.203", "ring [1, 2, 3]"],
        "told as one"
    );
    assert_eq!(c.client(3, 1), ["+2.102/NodeUp =2.102,3.103,3.203", "ring [1, 2, 3]"]);
    for id in 1..=3 {
        assert_eq!(members(&c, id), [(2, 102), (3, 103), (3, 203)]);
    }
}

/// Who cannot take events until it is rid of its message gets it off while there is room, and not in a change.
#[test]
fn past_a_gate_that_is_shut_for_the_queue_goes_what_there_is_room_for() {
    let mut c = joined();
    let payload = vec![7; 100_000];
    while send(&mut c, 1, 1, &payload).is_ok() {}
    assert!(!c.node(1).gate_open());
    let past = |c: &mut Cluster| {
        let (guarantee, payload) = (Guarantee::Agreed, &payload);
        c.submit(1, Request::CpgMcast { conn: conn(1), guarantee, fragment: None, past_gate: true, payload })
    };
    let got_off = (0..1_000).take_while(|_| past(&mut c).is_ok()).count();
    assert!((1..1_000).contains(&got_off), "{got_off}");
    c.until("open", |c| c.node(1).gate_open());
    c.cut(&[3], &[1, 2]);
    c.until("apart", |c| c.node(1).members().len() == 2);
    assert!(!c.node(1).gate_open());
    assert_eq!(past(&mut c), Err(Refusal::TryAgain));
}

#[test]
fn the_gate_is_shut_from_the_change_to_the_end_of_the_exchange() {
    let mut c = joined();
    c.kill_with_gasp(3, false);
    c.until("gathers", |c| c.node(1).ring_state() != "OPERATIONAL");
    assert!(!c.node(1).gate_open());
    assert_eq!(send(&mut c, 1, 1, b"now?"), Err(Refusal::TryAgain));
    assert_eq!(c.submit(1, Request::CpgLeave { conn: conn(1) }), Err(Refusal::TryAgain));
    assert_eq!(c.submit(1, Request::CancelWaitForAll), Err(Refusal::TryAgain));
    c.until("open", |c| c.node(1).gate_open());
    let gates: Vec<bool> = c
        .told(1)
        .iter()
        .filter_map(|t| if let Output::Gate { open } = t.output { Some(open) } else { None })
        .collect();
    assert_eq!(gates, [false, true]);
    send(&mut c, 1, 1, b"now").unwrap();
    c.until("delivered", |c| c.client(2, 1).last().is_some_and(|l| l == "1.101 now"));
}

#[test]
fn a_full_queue_shuts_the_gate_until_it_is_half_empty() {
    let mut c = joined();
    let payload = vec![b'x'; 100_000];
    let mut taken = 0;
    while send(&mut c, 1, 1, &payload).is_ok() {
        taken += 1;
        assert!(taken < 1_000, "a queue has a bound");
    }
    assert!(taken > 10 && !c.node(1).gate_open());
    c.until("open again", |c| c.node(1).gate_open());
    let delivered = |c: &Cluster| {
        let deliver = |o: &Output| matches!(o, Output::Cpg { event: CpgEvent::Deliver { .. }, .. });
        c.told(3).iter().filter(|t| deliver(&t.output)).count()
    };
    c.until("all delivered", |c| delivered(c) == taken);
}

#[test]
fn messages_queued_before_a_change_arrive_once_after_it() {
    let mut c = joined();
    for n in 0..200 {
        send(&mut c, 1, 1, format!("{n}").as_bytes()).unwrap();
    }
    c.kill_with_gasp(3, false);
    c.until("two go on", |c| c.settled(&[1, 2]) && c.client(2, 1).iter().any(|l| l == "1.101 199"));
    for id in [1, 2] {
        let got: Vec<String> = c.client(id, 1).into_iter().filter(|l| l.starts_with("1.101")).collect();
        let all: Vec<String> = (0..200).map(|n| format!("1.101 {n}")).collect();
        assert_eq!(got, all, "node {id}");
    }
}

#[test]
fn a_process_that_dies_inside_a_change_is_gone_after_it() {
    let mut c = joined();
    c.kill_with_gasp(3, false);
    c.until("gathers", |c| c.node(1).ring_state() != "OPERATIONAL");
    c.submit(1, Request::CpgDisconnect { conn: conn(1) }).unwrap();
    c.until("two go on", |c| c.settled(&[1, 2]));
    c.until("gone", |c| members(c, 2) == [(2, 102)] && members(c, 1) == [(2, 102)]);
    assert_eq!(c.client(2, 1).last().map(String::as_str), Some("-1.101/ProcDown =2.102"));
    c.join(1, 2, 101, G);
    c.until("back", |c| members(c, 2).len() == 2);
}

#[test]
fn connections_without_a_group_get_the_ring_too() {
    let mut c = Cluster::formed(2);
    c.submit(1, Request::CpgConnect { conn: conn(9) }).unwrap();
    c.kill(2);
    c.until("alone", |c| c.settled(&[1]));
    assert_eq!(c.client(1, 9), ["ring [1]"]);
}
