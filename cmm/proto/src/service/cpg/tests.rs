//! Process groups as tables: what each connection sees after each ordered message.

use super::*;

const G: &[u8] = b"cib\0";

fn node(id: u32) -> NodeId {
    NodeId::new(id)
}

fn ring(seq: u64) -> RingId {
    RingId { representative: node(1), seq }
}

fn conn(id: u64) -> ConnId {
    ConnId::new(id)
}

fn bytes(payload: &[u8]) -> Bytes {
    payload.into()
}

/// One line an event: `conn: +joined -left =members` or `conn: sender "payload"` or `conn: ring members`.
fn show(events: &mut Events) -> Vec<String> {
    let list = |l: &[(GroupMember, GroupReason)], sign: char| {
        let item = |(m, r): &(GroupMember, GroupReason)| format!(" {sign}{}.{}/{r:?}", m.node, m.pid);
        l.iter().map(item).collect::<String>()
    };
    let line = |(conn, event): (ConnId, CpgEvent)| match event {
        CpgEvent::Confchg { members, left, joined, .. } => {
            let members: Vec<String> = members.iter().map(|m| format!("{}.{}", m.node, m.pid)).collect();
            format!("{conn}:{}{} ={}", list(&left, '-'), list(&joined, '+'), members.join(","))
        }
        CpgEvent::Deliver { sender, payload, .. } => {
            format!("{conn}: {}.{} {:?}", sender.node, sender.pid, String::from_utf8_lossy(&payload))
        }
        CpgEvent::Totem { ring, members } => {
            format!("{conn}: ring {} of {:?}", ring.seq, members.iter().map(|m| m.get()).collect::<Vec<_>>())
        }
    };
    events.drain(..).map(line).collect()
}

/// A node 1 that is synchronised with `others`, whose lists are empty.
fn synced(others: &[u32]) -> (Cpg, Events) {
    let mut cpg = Cpg::new(node(1));
    let mut events = Events::new();
    let lists = [1].iter().chain(others).map(|n| (node(*n), &[][..]));
    cpg.synchronise(ring(4), lists, &mut events);
    events.clear();
    (cpg, events)
}

fn joined(cpg: &mut Cpg, id: u64, pid: u32, group: &[u8]) {
    cpg.join(conn(id), pid, group).expect("may join");
    cpg.started(conn(id), pid, group);
    cpg.deliver_join(node(1), pid, group, &mut Events::new());
}

#[test]
fn a_joiner_sees_itself_first_and_the_others_see_it_come_and_go() {
    let (mut cpg, mut events) = synced(&[2]);
    cpg.deliver_join(node(2), 20, G, &mut events);
    assert!(events.is_empty(), "nobody listens here yet");
    cpg.join(conn(1), 10, G).unwrap();
    cpg.started(conn(1), 10, G);
    cpg.deliver_mcast(node(2), 20, G, None, &bytes(b"early"), &mut events);
    assert!(events.is_empty(), "not joined in the order yet");
    cpg.deliver_join(node(1), 10, G, &mut events);
    cpg.deliver_mcast(node(2), 20, G, None, &bytes(b"one"), &mut events);
    cpg.deliver_leave(node(2), 20, G, GroupReason::ProcDown, &mut events);
    cpg.deliver_mcast(node(2), 20, G, None, &bytes(b"ghost"), &mut events);
    assert_eq!(show(&mut events), ["1: +1.10/Join =1.10,2.20", "1: 2.20 \"one\"", "1: -2.20/ProcDown =1.10"]);
}

#[test]
fn the_table_of_states_and_requests_holds() {
    let (mut cpg, mut events) = synced(&[]);
    let c = conn(1);
    assert_eq!(cpg.leave(c).err(), Some(Refusal::NotExist));
    assert_eq!(cpg.mcast(c, None, b"x").err(), Some(Refusal::NotExist));
    cpg.join(c, 10, G).unwrap();
    cpg.started(c, 10, G);
    assert_eq!(cpg.join(c, 10, b"other").err(), Some(Refusal::Exist));
    assert_eq!(cpg.leave(c).err(), Some(Refusal::Busy));
    assert!(cpg.mcast(c, None, b"x").is_ok());
    cpg.deliver_join(node(1), 10, G, &mut events);
    assert_eq!(cpg.join(c, 10, G).err(), Some(Refusal::Exist));
    assert!(cpg.leave(c).is_ok());
    cpg.leaves(c);
    assert_eq!(cpg.join(c, 10, G).err(), Some(Refusal::Busy));
    assert_eq!(cpg.leave(c).err(), Some(Refusal::NotExist));
    assert_eq!(cpg.mcast(c, None, b"x").err(), Some(Refusal::NotExist));
    cpg.deliver_mcast(node(1), 10, G, None, &bytes(b"mine"), &mut events);
    cpg.deliver_leave(node(1), 10, G, GroupReason::Leave, &mut events);
    cpg.deliver_mcast(node(1), 10, G, None, &bytes(b"late"), &mut events);
    assert_eq!(show(&mut events), ["1: +1.10/Join =1.10", "1: 1.10 \"mine\"", "1: -1.10/Leave ="]);
    assert!(cpg.join(c, 10, G).is_ok(), "after the leave the connection is free again");
    assert_eq!(cpg.join(c, 10, &[0; 129]).err(), Some(Refusal::NameTooLong));
    assert_eq!(cpg.mcast(c, None, &vec![0; PAYLOAD_MAX + 1]).err(), Some(Refusal::TooBig));
    assert!(cpg.snapshot().is_empty());
}

#[test]
fn one_process_joins_a_group_once_at_a_time() {
    let (mut cpg, mut events) = synced(&[]);
    joined(&mut cpg, 1, 10, G);
    assert_eq!(cpg.join(conn(2), 10, G).err(), Some(Refusal::Exist));
    assert!(cpg.join(conn(2), 11, G).is_ok(), "another process may");
    assert!(cpg.join(conn(2), 10, b"cib").is_ok(), "another name may, though a C string compares equal");
    assert_eq!(cpg.disconnect(conn(1)), Some((G.into(), 10)));
    assert_eq!(cpg.join(conn(2), 10, G).err(), Some(Refusal::TryAgain), "its leave is on its way");
    cpg.deliver_leave(node(1), 10, G, GroupReason::ProcDown, &mut events);
    assert!(cpg.join(conn(2), 10, G).is_ok());
}

#[test]
fn a_connection_that_dies_while_it_joins_leaves_no_ghost() {
    let (mut cpg, mut events) = synced(&[]);
    cpg.join(conn(1), 10, G).unwrap();
    cpg.started(conn(1), 10, G);
    assert_eq!(cpg.disconnect(conn(1)), Some((G.into(), 10)));
    cpg.deliver_join(node(1), 10, G, &mut events);
    cpg.deliver_leave(node(1), 10, G, GroupReason::ProcDown, &mut events);
    assert!(cpg.snapshot().is_empty() && events.is_empty());
    assert!(cpg.join(conn(2), 10, G).is_ok());
    assert_eq!(cpg.disconnect(conn(9)), None);
}

#[test]
fn a_change_tells_nodedown_then_nodeup_then_procdown_then_the_ring() {
    let (mut cpg, mut events) = synced(&[2, 3, 4]);
    joined(&mut cpg, 1, 10, G);
    joined(&mut cpg, 2, 11, b"other");
    for (n, pid) in [(2, 20), (2, 21), (3, 30), (4, 40)] {
        cpg.deliver_join(node(n), pid, G, &mut events);
    }
    events.clear();
    // 3 is gone; 2 restarted so fast that it is here again; 4 lost its process while apart; 5 is new.
    cpg.lost(&[node(2), node(3)]);
    let (one, two, five) = (cpg.local(), [(G.to_vec(), 22)], [(G.to_vec(), 50), (G.to_vec(), 51)]);
    let lists = [(node(1), &one[..]), (node(2), &two[..]), (node(4), &[][..]), (node(5), &five[..])];
    let (came, went) = cpg.synchronise(ring(8), lists, &mut events);
    assert_eq!((came, went), (vec![node(2), node(5)], vec![node(2), node(3)]));
    assert_eq!(
        show(&mut events),
        [
            "1: -2.20/NodeDown -2.21/NodeDown -3.30/NodeDown =1.10,4.40",
            "1: +2.22/NodeUp +5.50/NodeUp +5.51/NodeUp =1.10,2.22,4.40,5.50,5.51",
            "1: -4.40/ProcDown =1.10,2.22,5.50,5.51",
            "1: ring 8 of [1, 2, 4, 5]",
            "2: ring 8 of [1, 2, 4, 5]",
        ]
    );
}

#[test]
fn messages_of_nodes_that_are_not_synchronised_are_not_delivered() {
    let (mut cpg, mut events) = synced(&[2]);
    joined(&mut cpg, 1, 10, G);
    cpg.deliver_join(node(3), 30, G, &mut events);
    cpg.deliver_mcast(node(3), 30, G, None, &bytes(b"stranger"), &mut events);
    cpg.deliver_join(node(2), 20, G, &mut events);
    cpg.lost(&[node(2)]);
    cpg.deliver_join(node(2), 21, G, &mut events);
    assert_eq!(show(&mut events), ["1: +2.20/Join =1.10,2.20"]);
}

#[test]
fn the_first_synchronisation_is_where_a_node_joins() {
    let mut cpg = Cpg::new(node(1));
    let mut events = Events::new();
    cpg.connect(conn(7));
    let first = cpg.synchronise(ring(4), [(node(1), &[][..])], &mut events);
    assert_eq!(first, (vec![node(1)], vec![]));
    let again = cpg.synchronise(ring(8), [(node(1), &[][..])], &mut events);
    assert_eq!(again, (vec![], vec![]));
    assert_eq!(show(&mut events), ["7: ring 4 of [1]", "7: ring 8 of [1]"]);
}

#[test]
fn a_confchg_inside_a_fragmented_message_interrupts_it() {
    let (mut cpg, mut events) = synced(&[2]);
    joined(&mut cpg, 1, 10, G);
    let at = |position| Some(CpgFragment { whole_len: 3, position });
    assert!(cpg.mcast(conn(1), at(1), b"a").is_ok());
    assert!(cpg.mcast(conn(1), at(2), b"b").is_ok());
    cpg.deliver_join(node(2), 20, G, &mut events);
    assert_eq!(cpg.mcast(conn(1), at(3), b"c").err(), Some(Refusal::Interrupt));
    assert!(cpg.mcast(conn(1), None, b"whole").is_ok(), "whole messages do not mind");
    assert!(cpg.mcast(conn(1), at(1), b"a").is_ok());
    assert!(cpg.mcast(conn(1), at(3), b"c").is_ok());
    assert_eq!(cpg.mcast(conn(1), at(4), b"c").err(), Some(Refusal::InvalidParam));
}

#[test]
fn no_list_is_longer_than_libcpg_can_hold() {
    let (mut cpg, mut events) = synced(&[]);
    joined(&mut cpg, 1, 10, G);
    let many: Vec<_> = (1_000..1_300).map(|pid| (G.to_vec(), pid)).collect();
    let one = cpg.local();
    cpg.synchronise(ring(8), [(node(1), &one[..]), (node(2), &many[..])], &mut events);
    let mut ups = 0;
    for (_, event) in &events {
        if let CpgEvent::Confchg { members, joined, .. } = event {
            assert!(members.len() <= GROUP_MEMBERS_MAX && joined.len() <= GROUP_MEMBERS_MAX);
            ups += joined.len();
        }
    }
    assert_eq!(ups, 300);
    assert_eq!(cpg.members(G).len(), 301);
    assert_eq!(cpg.join(conn(3), 12, G).err(), Some(Refusal::TooBig), "a full group takes no more");
}
