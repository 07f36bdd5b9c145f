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

#[test]
fn words_on_the_failfast_socket() {
    replay("failfast", fuzz_entries::failfast);
    // Words of the protocol put together by chance, always the same.
    const WORDS: [&str; 26] = [
        "arm ",
        "beat ",
        "disarm ",
        "maintain ",
        "list",
        "status",
        "a ",
        "b ",
        "rgmd ",
        "* ",
        "delay_ms=",
        "heartbeat_ms=",
        "restarts=",
        "window_ms=",
        "for_ms=",
        "pid=",
        "mode=",
        "0 ",
        "1 ",
        "250 ",
        "3600000 ",
        "99999999999999999999 ",
        "panic ",
        "off ",
        "\n",
        "=",
    ];
    let mut x = 4_u64;
    let mut draw = |below: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        usize::try_from(x >> 24).unwrap_or(0) % below
    };
    let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    for _ in 0..WORDS_DRAWN {
        let mut input = Vec::new();
        for _ in 0..200 {
            let what = draw(8);
            let body: String = if what < 4 {
                let arm = ["arm ", "a "].into_iter().take(2 * draw(2));
                arm.chain((0..draw(8)).map(|_| WORDS[draw(WORDS.len())]).collect::<Vec<_>>()).collect()
            } else {
                String::new()
            };
            input.extend([byte(what), if what < 4 { byte(body.len()) } else { byte(draw(256)) }]);
            input.extend(body.bytes().take(255));
        }
        fuzz_entries::failfast(&input);
    }
}

const WORDS_DRAWN: u32 = 2_000;
const RINGS_DRAWN: u32 = 300;

#[test]
fn configurations() {
    replay("conf", fuzz_entries::conf);
}

#[test]
fn cibs() {
    replay("cib", fuzz_entries::cib);
}

#[test]
fn logs_and_rules_of_a_site() {
    replay("logconv", fuzz_entries::logconv);
}

#[test]
fn documents_to_judge() {
    replay("validate", fuzz_entries::validate);
    // What made the scheduler work made the checks pass through much, too.
    replay("scheduler", fuzz_entries::validate);
}

#[test]
fn documents_to_decide_by() {
    replay("scheduler", fuzz_entries::scheduler);
}
