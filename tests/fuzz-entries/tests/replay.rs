//! Replays the corpus of every fuzz target: what the fuzzer once reached, and what once broke, stays covered.

#![forbid(unsafe_code)]

use std::path::Path;

fn replay(target: &str, run: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).expect("corpus folder") {
        let path = entry.expect("entry").path();
        run(&std::fs::read(&path).expect("corpus file"));
        count += 1;
    }
    assert!(count > 0, "no corpus in {}", dir.display());
    eprintln!("{target}: {count} inputs");
}

#[test]
fn packets() {
    replay("packet", fuzz_entries::packet);
}

#[test]
fn frames_of_hostile_members() {
    replay("ring", fuzz_entries::ring);
}

#[test]
fn ordered_messages() {
    replay("order", fuzz_entries::order);
}

#[test]
fn client_messages() {
    replay("ipc", fuzz_entries::ipc);
}

#[test]
fn quorum_disks() {
    replay("qdisk", fuzz_entries::qdisk);
}

#[test]
fn quorum_servers() {
    replay("qnet", fuzz_entries::qnet);
}

#[test]
fn rings_of_hostile_clients() {
    replay("rings", fuzz_entries::rings);
    // The corpus is young: steps by chance besides, always the same.
    let mut x = 4_u64;
    let mut draw = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 24) as u8
    };
    for _ in 0..RINGS_DRAWN {
        let len = usize::from(draw()) * 16;
        let mut input: Vec<u8> = (0..len).map(|_| draw()).collect();
        // Small offsets meet something.
        input.chunks_exact_mut(7).for_each(|step| step[2] &= draw() & 3);
        fuzz_entries::rings(&input);
    }
}

const RINGS_DRAWN: u32 = 300;

#[test]
fn configurations() {
    replay("conf", fuzz_entries::conf);
}

#[test]
fn cibs() {
    replay("cib", fuzz_entries::cib);
}
