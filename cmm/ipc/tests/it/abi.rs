//! Messages: the sizes and offsets that corosync's libraries expect, both directions, and bytes from nowhere.

use cmm_ipc::abi::{cfg, cmap, cpg, quorum, votequorum};
use cmm_ipc::{CsError, Service};
use holdfast_types::{NodeId, RingId, Votes};
use proptest::prelude::*;

fn node(n: u32) -> NodeId {
    NodeId::new(n)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

const RING: RingId = RingId { representative: NodeId::new(1), seq: 0x1234_5678_9abc };

#[test]
fn requests_have_the_sizes_of_the_libraries_structs() {
    let path = b"/dev/shm/corosync_zerocopy-abcdef";
    let cpg: [(cpg::Request<'_>, usize); 13] = [
        (cpg::Request::Join { group: b"cib\0", pid: 7, flags: 1 }, 168),
        (cpg::Request::Leave { group: b"cib\0", pid: 7 }, 160),
        (cpg::Request::Mcast { guarantee: 2, payload: b"hello" }, 40),
        (cpg::Request::MembershipGet { group: b"" }, 152),
        (cpg::Request::LocalGet, 16),
        (cpg::Request::IterationInit { group: &[b'x'; 128], kind: cpg::ONE_GROUP }, 160),
        (cpg::Request::IterationNext { handle: 9 }, 24),
        (cpg::Request::IterationFinalize { handle: 9 }, 24),
        (cpg::Request::Finalize, 16),
        (cpg::Request::ZeroCopyAlloc { map_size: 5_156, path }, 152),
        (cpg::Request::ZeroCopyFree { cookie: 3 }, 32),
        (cpg::Request::ZeroCopyMcast { cookie: 3 }, 24),
        (
            cpg::Request::Fragment {
                guarantee: 2,
                fragment: cpg::Fragment { whole_len: 2_000_000, position: 1 },
                payload: b"piece",
            },
            56,
        ),
    ];
    for (request, size) in cpg {
        let head = request.head();
        assert_eq!(head.len(), size, "{request:?}");
        let whole = [&head, request.payload()].concat();
        assert_eq!(u32_at(&whole, 8) as usize, whole.len());
        assert_eq!(cpg::Request::decode(&whole), Ok(request));
    }
    for kind in [1, 3] {
        let mut names_of_nobody = cpg::Request::IterationInit { group: b"", kind }.head();
        names_of_nobody[16..150].fill(0xee);
        assert_eq!(
            cpg::Request::decode(&names_of_nobody),
            Ok(cpg::Request::IterationInit { group: b"", kind }),
            "what the library's stack had there"
        );
    }
    let cmap = [
        (cmap::Request::Set { key: b"a.b.c", kind: 6, value: &[1, 2, 3, 4] }, 300),
        (cmap::Request::Delete { key: b"a.b.c" }, 280),
        (cmap::Request::Get { key: b"a.b.c", buffer: 16_384 }, 288),
        (cmap::Request::Adjust { key: b"a.b.c", step: -1 }, 288),
        (cmap::Request::IterationInit { prefix: b"" }, 280),
        (cmap::Request::IterationNext { handle: 1 }, 24),
        (cmap::Request::IterationFinalize { handle: 1 }, 24),
        (cmap::Request::TrackAdd { key: b"a.", what: 15, client_handle: 7 }, 296),
        (cmap::Request::TrackDelete { handle: 1 }, 24),
        (cmap::Request::SelectMap { map: 1 }, 24),
    ];
    for (request, size) in cmap {
        let bytes = request.encode().expect("short keys");
        assert_eq!(bytes.len(), size, "{request:?}");
        assert_eq!(cmap::Request::decode(&bytes), Ok(request));
    }
    let votequorum = [
        (votequorum::Request::GetInfo { node: node(3) }, 24),
        (votequorum::Request::SetExpected { expected: Votes::new(3) }, 24),
        (votequorum::Request::SetVotes { votes: Votes::new(2), node: node(3) }, 24),
        (votequorum::Request::TrackStart { context: 777, flags: 3 }, 32),
        (votequorum::Request::TrackStop, 16),
        (votequorum::Request::QdeviceRegister { name: b"Qdevice" }, 272),
        (votequorum::Request::QdeviceUnregister { name: b"Qdevice" }, 272),
        (votequorum::Request::QdeviceUpdate { old: b"one", new: b"two" }, 528),
        (votequorum::Request::QdevicePoll { name: b"Qdevice", cast_vote: true, ring: RING }, 296),
        (votequorum::Request::QdeviceMasterWins { name: b"Qdevice", allow: true }, 280),
    ];
    for (request, size) in votequorum {
        let bytes = request.encode();
        assert_eq!(bytes.len(), size, "{request:?}");
        assert_eq!(votequorum::Request::decode(&bytes), Ok(request));
    }
    let cfg = [
        (cfg::Request::RingStatus, 16),
        (cfg::Request::RingReenable, 16),
        (cfg::Request::KillNode { node: node(2), reason: b"because" }, 288),
        (cfg::Request::TryShutdown { flags: 1 }, 24),
        (cfg::Request::ShutdownReply { yes: true }, 24),
        (cfg::Request::NodeAddresses { node: node(2) }, 24),
        (cfg::Request::LocalGet, 16),
        (cfg::Request::Reload, 16),
        (cfg::Request::ReopenLogs, 16),
        (cfg::Request::NodeStatus { node: node(2), version: 1 }, 32),
        (cfg::Request::TrackStart, 24),
        (cfg::Request::TrackStop, 16),
    ];
    for (request, size) in cfg {
        let bytes = request.encode();
        assert_eq!(bytes.len(), size, "{request:?}");
        assert_eq!(cfg::Request::decode(&bytes), Ok(request));
    }
    let quorum = [
        (quorum::Request::GetQuorate, 16),
        (quorum::Request::TrackStart { flags: 3 }, 24),
        (quorum::Request::TrackStop, 16),
        (quorum::Request::GetType, 16),
        (quorum::Request::ModelGetType { model: 1 }, 24),
    ];
    for (request, size) in quorum {
        let bytes = request.encode();
        assert_eq!(bytes.len(), size, "{request:?}");
        assert_eq!(quorum::Request::decode(&bytes), Ok(request));
    }
}

#[test]
fn an_error_has_the_whole_size_of_its_reply() {
    let sizes: [(Service, &[usize]); 5] = [
        (Service::Cmap, &[24, 24, 40, 24, 32, 304, 24, 32, 32, 24]),
        (Service::Cfg, &[10_272, 24, 24, 24, 24, 32, 32, 24, 24, 4_200, 24, 24]),
        (Service::Cpg, &[24, 24, 24, 9_248, 32, 32, 168, 24, 24, 24, 24, 24, 24]),
        (Service::Quorum, &[32, 24, 24, 32, 32]),
        (Service::Votequorum, &[320, 24, 24, 24, 24, 24, 24, 24, 24, 24]),
    ];
    for (service, sizes) in sizes {
        for (id, size) in (0..).zip(sizes) {
            let reply = service.error_reply(id, CsError::NotExist);
            assert_eq!(reply.len(), *size, "{service:?} {id}");
            assert_eq!(u32_at(&reply, 8) as usize, *size);
            assert_eq!(u32_at(&reply, 16), 12);
            assert!(reply[24..].iter().all(|b| *b == 0));
        }
        let unknown = service.error_reply(99, CsError::InvalidParam);
        assert_eq!((unknown.len(), u32_at(&unknown, 0), u32_at(&unknown, 16)), (24, 0, 7));
    }
}

#[test]
fn replies_come_out_as_they_went_in() {
    let address = |n, pid| cpg::Address { node: node(n), pid, reason: 0 };
    let members = vec![address(1, 100), address(2, 200)];
    let reply = cpg::membership_reply(&members);
    assert_eq!(reply.len(), 9_248);
    assert_eq!(
        (u32_at(&reply, 24), u32_at(&reply, 32), u32_at(&reply, 40), u32_at(&reply, 56)),
        (2, 1, 100, 2)
    );
    assert_eq!(cpg::membership_from(&reply), Ok(members));
    assert_eq!(cpg::membership_reply(&vec![address(1, 1); 500]).len(), 9_248);
    assert_eq!(cpg::local_from(&cpg::local_reply(node(5))), Ok(node(5)));
    let item = cpg::iteration_item_reply(b"g\0", node(2), 77);
    assert_eq!(item.len(), 168);
    assert_eq!(cpg::iteration_item_from(&item), Ok((b"g\0".to_vec(), node(2), 77)));

    for value in
        [cmap::Value::u8(200), cmap::Value::u64(u64::MAX), cmap::Value::str("text"), cmap::Value::i32(-7)]
    {
        let reply = cmap::get_reply(&value, true);
        assert_eq!(reply.len(), 40 + value.bytes().len());
        assert_eq!(cmap::get_from(&reply), Ok(value.clone()));
        assert_eq!(cmap::get_reply(&value, false).len(), 40);
    }

    let info = votequorum::Info {
        node: node(2),
        state: 1,
        votes: Votes::new(1),
        expected: Votes::new(3),
        highest_expected: Votes::new(3),
        total: Votes::new(3),
        quorum: Votes::new(2),
        flags: votequorum::flags::QUORATE,
        qdevice_votes: Votes::new(0),
        qdevice_name: "Qdevice".into(),
    };
    assert_eq!(info.encode().len(), 320);
    assert_eq!(votequorum::Info::from_reply(&info.encode()), Ok(info));

    let links =
        vec![("0 10.0.0.1".to_owned(), "n33".to_owned()), ("1 10.0.1.1".to_owned(), "n31".to_owned())];
    let reply = cfg::ring_status_reply(&links);
    assert_eq!(reply.len(), 10_272);
    assert_eq!(&reply[32..42], b"0 10.0.0.1");
    assert_eq!(&reply[2_080..2_083], b"n33");
    assert_eq!(cfg::ring_status_from(&reply), Ok(links));
    for addresses in [vec!["10.0.0.1".parse().expect("v4")], vec!["fe80::1".parse().expect("v6"); 2]] {
        let reply = cfg::node_addresses_reply(&addresses);
        assert_eq!(reply.len(), 32 + 16 * addresses.len());
        assert_eq!(cfg::node_addresses_from(&reply), Ok(addresses));
    }
    let status = cfg::NodeStatus {
        node: node(2),
        reachable: true,
        onwire: [1, 1, 1],
        links: vec![
            cfg::LinkStatus {
                enabled: true,
                connected: true,
                mtu: 1_400,
                source: "10.0.0.1".into(),
                destination: "10.0.0.2".into()
            };
            8
        ],
    };
    assert_eq!(status.encode().len(), 4_200);
    assert_eq!(cfg::NodeStatus::from_reply(&status.encode()), Ok(status));
}

#[test]
fn events_have_their_padded_sizes() {
    let address = |n, reason| cpg::Address { node: node(n), pid: n * 10, reason };
    let (members, left, joined) =
        (vec![address(1, 0), address(3, 0)], vec![address(2, 3)], vec![address(3, 4)]);
    let bytes = cpg::confchg_event(b"g", &members, &left, &joined);
    assert_eq!(bytes.len(), 184 + 24 * 4);
    // Counts: members, joined, left. Lists: members, left, joined.
    assert_eq!((u32_at(&bytes, 160), u32_at(&bytes, 168), u32_at(&bytes, 176)), (2, 1, 1));
    assert_eq!((u32_at(&bytes, 184 + 48), u32_at(&bytes, 184 + 72)), (2, 3));
    assert_eq!(
        cpg::Event::decode(&bytes),
        Ok(cpg::Event::Confchg { group: b"g".to_vec(), members, left, joined })
    );
    for fragment in [None, Some(cpg::Fragment { whole_len: 9, position: 3 })] {
        let head = cpg::deliver_head(b"g", node(2), 20, fragment, 5);
        assert_eq!(head.len(), if fragment.is_some() { 200 } else { 184 });
        let bytes = [&head[..], b"hello"].concat();
        let payload = b"hello".to_vec();
        assert_eq!(
            cpg::Event::decode(&bytes),
            Ok(cpg::Event::Deliver { group: b"g".to_vec(), node: node(2), pid: 20, fragment, payload })
        );
    }
    let nodes = vec![node(1), node(2), node(3)];
    let bytes = cpg::totem_event(RING, &nodes);
    assert_eq!(bytes.len(), 48 + 12);
    assert_eq!(cpg::Event::decode(&bytes), Ok(cpg::Event::Totem { ring: RING, members: nodes.clone() }));

    let events = [
        (quorum::Event::Notification { quorate: true, seq: 8, view: nodes.clone() }, 48 + 12),
        (quorum::Event::Quorum { quorate: false, ring: RING, view: nodes.clone() }, 56 + 12),
        (
            quorum::Event::NodeList {
                ring: RING,
                members: nodes.clone(),
                joined: vec![node(3)],
                left: vec![node(4)],
            },
            64 + 20,
        ),
    ];
    for (event, size) in events {
        assert_eq!(event.encode().len(), size);
        assert_eq!(quorum::Event::decode(&event.encode()), Ok(event));
    }
    let events = [
        (
            votequorum::Event::Quorum { quorate: true, context: 7, nodes: vec![(node(1), 1), (node(2), 2)] },
            48 + 16,
        ),
        (votequorum::Event::ExpectedVotes { context: 7, expected: Votes::new(3) }, 40),
        (votequorum::Event::NodeList { context: 7, ring: RING, members: nodes }, 56 + 12),
    ];
    for (event, size) in events {
        assert_eq!(event.encode().len(), size);
        assert_eq!(votequorum::Event::decode(&event.encode()), Ok(event));
    }
    let event = cmap::Event {
        client_handle: 7,
        key: "a.b.c".into(),
        what: cmap::track::MODIFY,
        new: Some(cmap::Value::u32(2)),
        old: Some(cmap::Value::str("one")),
    };
    let bytes = event.encode().expect("short key");
    assert_eq!(bytes.len(), 336 + 4 + 4);
    assert_eq!(cmap::Event::decode(&bytes), Ok(event));
    for timed_out in [false, true] {
        let event = cfg::TestShutdown { flags: 1, timed_out };
        assert_eq!(event.encode().len(), 32);
        assert_eq!(cfg::TestShutdown::decode(&event.encode()), Ok(event));
    }
}

#[test]
fn values_follow_their_types() {
    use cmap::{Kind, Value};
    assert!(Value::new(Kind::U32, &[1, 2]).is_err());
    assert!(Value::new(Kind::Binary, &[0; 16_385]).is_err());
    assert!(Value::new(Kind::Binary, &[0; 16_384]).is_ok());
    assert!(Value::new(Kind::String, &[b'x'; 16_384]).is_err(), "no room for the NUL");
    assert_eq!(Value::new(Kind::String, b"ab\0cd").expect("value"), Value::str("ab"));
    assert_eq!(Value::u8(255).adjusted(1), Some(Value::u8(0)));
    assert_eq!(Value::u64(0).adjusted(-1), Some(Value::u64(u64::MAX)));
    assert_eq!(Value::i32(i32::MIN).adjusted(-1), Some(Value::i32(i32::MAX)));
    assert_eq!(Value::str("1").adjusted(1), None);
    for (key, good) in
        [("abc", true), ("ab", false), ("abi*x", false), ("a-b_c.d/e:9", true), ("größe", false)]
    {
        assert_eq!(cmap::is_key(key.as_bytes()), good, "{key}");
    }
    assert!(cmap::is_key(&[b'k'; 255]) && !cmap::is_key(&[b'k'; 256]));
}

#[test]
fn errors_keep_their_numbers() {
    for code in (1..=28).chain([30, 100]) {
        assert_eq!(CsError::from_code(code).code(), code);
    }
    assert_eq!(CsError::from_code(0), CsError::Library);
    assert_eq!(CsError::from_code(29), CsError::Library);
    assert_eq!(CsError::from_errno(11), CsError::TryAgain);
    assert_eq!(CsError::from_errno(13), CsError::Access);
    assert_eq!(CsError::from_errno(24), CsError::Library);
}

/// Every decoder there is.
fn decode_everything(bytes: &[u8]) {
    let _ = cpg::Request::decode(bytes);
    let _ = cpg::Event::decode(bytes);
    let _ = cpg::membership_from(bytes);
    let _ = cpg::iteration_item_from(bytes);
    let _ = cmap::Request::decode(bytes);
    let _ = cmap::Event::decode(bytes);
    let _ = cmap::get_from(bytes);
    let _ = cmap::iteration_item_from(bytes);
    let _ = quorum::Request::decode(bytes);
    let _ = quorum::Event::decode(bytes);
    let _ = votequorum::Request::decode(bytes);
    let _ = votequorum::Event::decode(bytes);
    let _ = votequorum::Info::from_reply(bytes);
    let _ = cfg::Request::decode(bytes);
    let _ = cfg::TestShutdown::decode(bytes);
    let _ = cfg::NodeStatus::from_reply(bytes);
    let _ = cfg::ring_status_from(bytes);
    let _ = cfg::node_addresses_from(bytes);
}

proptest! {
    /// A header that fits, so that the fields behind it are reached, and numbers that overflow when they are added.
    #[test]
    fn hostile_messages_are_refused_without_a_panic(
        id in 0_i32..20,
        mut body in prop::collection::vec(any::<u8>(), 0..700),
        wild in prop::collection::vec((0_usize..700, prop::sample::select(vec![0_u32, 1, 127, 129, 255, 256, 0x7fff_ffff, u32::MAX])), 0..12),
        size in prop::option::of(any::<i32>()),
    ) {
        for (at, n) in wild {
            if let Some(field) = body.get_mut(at..at + 4) {
                field.copy_from_slice(&n.to_ne_bytes());
            }
        }
        let len = body.len() as i32;
        for (at, n) in [(0, id), (8, size.unwrap_or(len)), (16, 1)] {
            if let Some(field) = body.get_mut(at..at + 4)
                && (at < 16 || id % 2 == 0)
            {
                field.copy_from_slice(&n.to_ne_bytes());
            }
        }
        decode_everything(&body);
    }

    #[test]
    fn every_prefix_of_a_message_is_refused_without_a_panic(cut in 0_usize..400) {
        let group = [b'g'; 128];
        let mcast = cpg::Request::Mcast { guarantee: 2, payload: &[7; 300] };
        let whole = [mcast.head(), mcast.payload().to_vec()].concat();
        decode_everything(whole.get(..cut).unwrap_or(&whole));
        let join = cpg::Request::Join { group: &group, pid: 1, flags: 0 }.head();
        prop_assert_eq!(cpg::Request::decode(join.get(..cut).unwrap_or(&join)).is_ok(), cut >= join.len());
    }
}
