//! Codec: what is written is read, byte by byte as the server expects it, and no bytes do harm.

use proptest::prelude::*;

use super::*;

fn node(n: u32) -> NodeId {
    NodeId::new(n)
}

fn full() -> Message {
    let mut nodes = ArrayVec::new();
    nodes.push(NodeInfo { node: node(1), state: Some(1) });
    nodes.push(NodeInfo { node: node(2), state: None });
    Message {
        kind: Kind::NodeList,
        seq: Some(7),
        cluster: Some(b"alpha".to_vec()),
        tls: Some(TlsSupport::Required),
        client_cert: Some(true),
        messages: Some(MESSAGES_KNOWN),
        options: Some(OPTIONS_KNOWN),
        error: Some(17),
        longest_request: Some(1 << 15),
        longest_reply: Some(1 << 15),
        node: Some(node(3)),
        algorithms: Some(0b1111),
        algorithm: Some(1),
        heartbeat: Some(8_000),
        ring: Some(RingId { representative: node(1), seq: 0x1234_5678_9abc }),
        config_version: Some(9),
        nodes,
        list: Some(ListKind::Membership),
        vote: Some(Vote::Ack),
        quorate: Some(true),
        tie_breaker: Some(TieBreaker::Node(node(2))),
        heuristics: Some(Heuristics::Fail),
        keep_active: Some(true),
    }
}

#[test]
fn what_is_written_is_read() {
    let message = full();
    assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
    let mut stream = Stream::default();
    for byte in message.encode() {
        assert_eq!(stream.next_message(), Ok(None));
        stream.extend(&[byte]);
    }
    assert_eq!(stream.next_message(), Ok(Some(message)));
    assert_eq!(stream.next_message(), Ok(None));
}

/// Bytes as corosync's own client sends them.
#[test]
fn bytes_are_those_of_the_protocol() {
    let mut preinit = Message::numbered(Kind::Preinit, 2);
    preinit.cluster = Some(b"ab".to_vec());
    assert_eq!(preinit.encode(), b"\0\0\0\0\0\x0e\0\0\0\x04\0\0\0\x02\0\x01\0\x02ab");
    let mut reply = Message::numbered(Kind::VoteInfo, 1);
    reply.ring = Some(RingId { representative: node(1), seq: 8 });
    reply.vote = Some(Vote::Nack);
    assert_eq!(
        reply.encode(),
        b"\0\x0e\0\0\0\x1d\0\0\0\x04\0\0\0\x01\0\x0d\0\x0c\0\0\0\x01\0\0\0\0\0\0\0\x08\0\x13\0\x01\x02"
    );
}

#[test]
fn wrong_lengths_and_values_are_named() {
    let of = |body: &[u8]| {
        let mut bytes = vec![0, 14, 0, 0, 0, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        Message::decode(&bytes)
    };
    assert_eq!(of(b"\0\x13\0\x01\x09"), Err(Malformed::Value(19)));
    assert_eq!(of(b"\0\x13\0\x02\x01\x01"), Err(Malformed::Value(19)));
    assert_eq!(of(b"\0\x13\0\x05\x01"), Err(Malformed::CutOff(19)));
    assert_eq!(of(b"\0\x11\0\x00"), Err(Malformed::Value(17)), "a node without id");
    assert!(of(b"\0\x63\0\x02ab").is_ok(), "an option of a later version");
    assert_eq!(Message::decode(&[0, 99, 0, 0, 0, 0]), Err(Malformed::Type(99)));
    let many: Vec<u8> = (0..65).flat_map(|_| *b"\0\x11\0\x08\0\x09\0\x04\0\0\0\x01").collect();
    let mut bytes = vec![0, 10];
    bytes.extend(u32::try_from(many.len()).unwrap().to_be_bytes());
    bytes.extend(many);
    assert_eq!(Message::decode(&bytes), Err(Malformed::Nodes));
    let mut stream = Stream::default();
    stream.extend(&[0, 1, 0xff, 0, 0, 0]);
    assert!(matches!(stream.next_message(), Err(Malformed::TooLong(_))));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 0_usize..600) {
        let _ = Message::decode(&bytes);
        let mut stream = Stream::default();
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        stream.extend(first);
        let _ = stream.next_message();
        stream.extend(second);
        while let Ok(Some(message)) = stream.next_message() {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_flipped_bit_does_no_harm(at in 0_usize..2_000, bit in 0_u8..8) {
        let mut bytes = full().encode();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
