//! A program of libcpg under load: three senders, messages of a byte to a mebibyte, while another node comes and goes.

use std::path::Path;

use harness::{Cib, Cluster, Signal, skip};

use crate::{compile, nodes};

/// Of each sender. `HOLDFAST_LOAD_MESSAGES` in the environment for longer runs.
const MESSAGES: u32 = 40_000;

/// What a member was delivered, in order: node and number.
fn order(path: &Path) -> Vec<(u32, u32)> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: &[u8]| u32::from_le_bytes(at.try_into().unwrap());
    bytes.chunks_exact(8).map(|record| (word(&record[..4]), word(&record[4..]))).collect()
}

#[test]
fn a_libcpg_program_gets_every_message_once_and_all_in_one_order() {
    if skip() {
        return;
    }
    let messages =
        std::env::var("HOLDFAST_LOAD_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(MESSAGES);
    let cluster = Cluster::new("load", nodes(4), &Cib::new()).unwrap();
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
        cluster.start(node, "cmmd", &["-f"]).unwrap();
    }
    cluster.wait_for("all are one ring", || {
        let whole = |n: &u32| cluster.ring(*n).is_ok_and(|r| r.ring.members == cluster.all());
        cluster.all().iter().all(whole).then_some(())
    });
    let program = compile(&cluster, "load");
    let program = program.to_str().unwrap();
    let file = |node: u32, name: &str| cluster.node_dir(node).join(name);
    let began = std::time::Instant::now();
    for node in 1..=3 {
        let path = file(node, "order");
        cluster
            .start_as(node, "load", program, &["3", &messages.to_string(), "1", path.to_str().unwrap()])
            .unwrap();
    }
    let ended = |node: u32, log: &str| {
        let log = cluster.log(node, log);
        assert!(!log.contains("wrong"), "n{node}: {log}");
        log.contains("done")
    };
    let all_ended = || [1, 2, 3].map(|node| ended(node, "load")) == [true; 3];
    // They count members: the listener may not be one of the three that they wait for.
    cluster.wait_for("all three get messages", || {
        let some = |node| std::fs::metadata(file(node, "order")).is_ok_and(|m| m.len() > 0);
        ([1, 2, 3].map(some) == [true; 3] || all_ended()).then_some(())
    });
    // The fourth node listens, leaves the group, and leaves the ring and comes back, as long as the others send.
    let mut visits = Vec::new();
    while !all_ended() {
        let (name, log) = (format!("order{}", visits.len()), format!("visit{}", visits.len()));
        cluster.start_as(4, &log, program, &["0", "0", "0", file(4, &name).to_str().unwrap()]).unwrap();
        cluster.wait_for("the listener has got something, or all is over", || {
            let some = std::fs::metadata(file(4, &name)).is_ok_and(|m| m.len() > 8 * 1_000);
            (some || all_ended()).then_some(())
        });
        cluster.signal(4, "load", Signal::SIGTERM);
        cluster.wait_for("it has left", || ended(4, &log).then_some(()));
        visits.push(order(&file(4, &name)));
        if visits.len() % 2 == 0 {
            cluster.stop(4);
            cluster.start(4, "cmmd", &["-f"]).unwrap();
        }
    }
    let all = order(&file(1, "order"));
    assert_eq!(all.len() as u64, 3 * u64::from(messages));
    for node in 2..=3 {
        assert!(order(&file(node, "order")) == all, "n{node} has another order");
    }
    for (n, visit) in visits.iter().enumerate().filter(|(_, visit)| !visit.is_empty()) {
        // Small messages before the first one of a sender that has a number cannot be told apart: they are left out.
        let at = all.iter().position(|first| *first == visit[0]).expect("it was sent");
        let told: Vec<_> = visit.iter().collect();
        let mut rest = all[at..].iter();
        assert!(told.iter().all(|m| rest.any(|o| o == *m)), "visit {n} has another order");
    }
    println!("{} messages of three senders in {:?}, {} visits", all.len(), began.elapsed(), visits.len());
}
