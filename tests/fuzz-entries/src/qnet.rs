//! What comes from the quorum server's address may be anything: the codec survives it, and a client keeps its rules.

use cmm_qnet::wire::Stream;
use cmm_qnet::{Algorithm, Channel, Client, Config, Input, Message, Output, Settings, TieBreaker, Tls};
use holdfast_types::{Boottime, NodeId, RingId, Span, Wish};

/// The first byte says which: messages, whole and from a stream, or a client that lives with such a server.
pub fn qnet(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    if kind % 2 == 0 {
        let mut stream = Stream::default();
        stream.extend(data);
        while let Ok(Some(message)) = stream.next_message() {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    } else {
        live(kind >> 1, data);
    }
}

/// Steps of two bytes: what happens, and how long the time is or how many bytes of the rest come from the server.
fn live(kind: u8, mut data: &[u8]) {
    let lease = Span::from_secs(1);
    let config = Config {
        cluster: "fuzz".to_owned(),
        node: NodeId::new(1),
        nodes: [1, 2, 3].map(NodeId::new).to_vec(),
        margin: Span::from_millis(100),
        settings: Settings {
            algorithm: if kind & 1 == 0 { Algorithm::FfSplit } else { Algorithm::Lms },
            tie_breaker: TieBreaker::Lowest,
            keep_active: true,
            tls: [Tls::Off, Tls::On, Tls::Required][usize::from(kind >> 1) % 3],
            heartbeat: lease,
            interval: Span::from_millis(200),
            lease,
            connect_timeout: lease,
        },
    };
    let mut now = Boottime::from_nanos(1);
    let mut client = Client::new(config, now);
    let mut attempts = [0; 2];
    let mut seq = 1;
    while let Some(([step, value], rest)) = data.split_first_chunk::<2>() {
        data = rest;
        let channel = if step & 0x80 == 0 { Channel::Member } else { Channel::Holder };
        let attempt = attempts[channel as usize];
        match step % 6 {
            0 => {
                now = now + Span::from_millis(10).scale(u64::from(*value), 1);
                client.handle_timeout(now);
            }
            1 => client.handle(now, channel, attempt, Input::Connected),
            2 => client.handle(now, channel, attempt, Input::Secured),
            3 => client.handle(now, channel, attempt, Input::Closed),
            4 => {
                seq += u64::from(*value & 1);
                let ring = RingId { representative: NodeId::new(1 + u32::from(*value >> 7)), seq };
                client.set_wish(now, Wish { wanted: *value & 2 == 0, ring, members: 0b111 });
            }
            _ => {
                let (bytes, rest) = data.split_at(data.len().min(usize::from(*value)));
                data = rest;
                client.handle(now, channel, attempt, Input::Received(bytes));
            }
        }
        while let Some(output) = client.poll_output() {
            match output {
                Output::Connect { channel, attempt } => attempts[channel as usize] = attempt,
                Output::Send { bytes, .. } => assert!(Message::decode(&bytes).is_ok()),
                _ => {}
            }
        }
        if let Some(hold) = client.hold(now) {
            assert!(hold.until <= now + lease, "longer than its lease");
        }
    }
}
