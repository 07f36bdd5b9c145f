//! What scripted stories of a cluster are told with: each step ends the test with the tail of the trace where it does not come true.

use holdfast_sim::Cluster;
use holdfast_sim::clock::MS;
use holdfast_sim::machine::Death;
use holdfast_sim::oracle::Violation;

/// Runs until that is so, and gives the time that it took.
pub(crate) fn until(
    cluster: &mut Cluster,
    limit: u64,
    what: &str,
    done: impl FnMut(&Cluster) -> bool,
) -> u64 {
    let began = cluster.now;
    match cluster.run_while_not(began + limit, done) {
        Ok(true) => cluster.now - began,
        Ok(false) => fail(cluster, &format!("not within {} ms: {what}", limit / MS)),
        Err(violation) => broken(cluster, &violation),
    }
}

/// Runs on; every invariant holds meanwhile.
pub(crate) fn held(cluster: &mut Cluster, span: u64) {
    let until = cluster.now + span;
    cluster.run_until(until).unwrap_or_else(|violation| broken(cluster, &violation));
}

fn broken(cluster: &Cluster, violation: &Violation) -> ! {
    fail(cluster, &format!("{}: {}\n{}", violation.name, violation.claim, violation.seen))
}

/// Ends the test.
pub(crate) fn fail(cluster: &Cluster, why: &str) -> ! {
    panic!("{}\n{why}\nat {:.3} ms", cluster.trace.tail().join("\n"), cluster.now as f64 / 1e6)
}

pub(crate) fn kill(cluster: &mut Cluster, n: usize, death: Death) {
    cluster.crash(n, death).unwrap_or_else(|violation| broken(cluster, &violation));
}

/// Who is quorate.
pub(crate) fn quorate(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.len()).filter(|n| cluster.quorate(*n)).collect()
}

/// Cuts these from the others, both ways.
pub(crate) fn split(cluster: &mut Cluster, part: &[usize]) {
    for a in 0..cluster.len() {
        for b in (0..cluster.len()).filter(|b| part.contains(&a) != part.contains(b)) {
            cluster.network.cut(a, b);
        }
    }
}
