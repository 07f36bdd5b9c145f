//! What one core bears of packets that nobody should believe: the check of each kind, packets a second.

use std::time::{Duration, Instant};

use cmm_proto::wire::{ClusterKey, HEADER_LEN, Opener, PacketKind, Sealer};
use holdfast_types::{Incarnation, LinkId, NodeId};

/// Each kind is measured for this long.
const SPAN: Duration = Duration::from_millis(500);
/// Clock readings would cost as much as the cheap checks.
const BATCH: u32 = 256;
/// Body of the packets: most of a frame.
const BODY: usize = 1_300;

/// Rows: what kind of packet, and how many a second.
pub(crate) fn measure() -> Vec<(&'static str, f64)> {
    let key = ClusterKey::new([7; 32]);
    let sealer = |key: &ClusterKey| Sealer::new(key, "bench", NodeId::new(1), Incarnation::new(5));
    let body = vec![0x5a; BODY];
    let one = |sealer: &mut Sealer| sealer.seal(PacketKind::Ring, LinkId::new(0), &body);
    let mut opener = Opener::new(&key, "bench", NodeId::new(2), [1, 2, 3].map(NodeId::new));
    let mut honest = sealer(&key);
    let first = one(&mut honest);
    opener.open(&mut first.clone()).expect("it is honest");

    let noise: Vec<u8> = (0..BODY).map(|i| (i * 31) as u8).collect();
    let stranger = one(&mut sealer(&ClusterKey::new([8; 32])));
    let mut forged = one(&mut honest);
    forged[HEADER_LEN] ^= 1;
    let mut forged_life = one(&mut honest);
    forged_life[12] ^= 0x40; // a later incarnation: its key must be derived before the seal can be tried
    let kinds = [
        ("noise", noise),
        ("sealed with an unknown key", stranger),
        ("replayed", first),
        ("forged, of the life that is known", forged),
        ("forged, of a life that is not", forged_life),
    ];
    let mut rows = Vec::new();
    for (what, packet) in kinds {
        let mut buffer = packet.clone();
        let rate = rate(|| {
            buffer.copy_from_slice(&packet);
            assert!(opener.open(&mut buffer).is_err(), "{what} opened");
        });
        rows.push((what, rate));
    }
    let honest_rate = {
        let packets: Vec<Vec<u8>> = (0..100_000).map(|_| one(&mut honest)).collect();
        let began = Instant::now();
        let count = packets.len() as f64;
        for mut packet in packets {
            opener.open(&mut packet).expect("it is honest");
        }
        count / began.elapsed().as_secs_f64()
    };
    rows.push(("honest, for comparison", honest_rate));
    rows
}

fn rate(mut one: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0.0;
    while began.elapsed() < SPAN {
        (0..BATCH).for_each(|_| one());
        count += f64::from(BATCH);
    }
    count / began.elapsed().as_secs_f64()
}
