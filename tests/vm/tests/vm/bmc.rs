//! A machine that hangs is fenced by its management controller: the distribution's `fence_ipmilan`, run by the resource manager of a survivor.

use std::time::Instant;

use harness::Cib;
use vm::{Cluster, Options};

use crate::boot;
use crate::failfast::{assert_told, assert_why};

/// A resource that writes stamps to its node's own megabyte of the shared disk for as long as it runs. When it starts, it notes what
/// is in the other node's.
const AGENT: &str = "#!/bin/sh
node=$(hostname | tr -d n)
area() { dd if=/dev/vdb bs=1M skip=$1 count=1 iflag=direct 2>/dev/null | md5sum; }
case $1 in
    start)
        [ -e /run/writes ] && exit 0
        area $((3 - node)) >/vm/other.log
        : >/run/writes
        (
            i=0
            while [ -e /run/writes ]; do
                i=$((i + 1))
                printf '%08d' $i | dd of=/dev/vdb bs=512 seek=$((node * 2048 + i % 2048)) count=1 conv=sync,notrunc oflag=direct
            done
            : >/run/ended
        ) >/dev/null 2>&1 </dev/null & ;;
    stop)
        if [ -e /run/writes ]; then rm /run/writes; until [ -e /run/ended ]; do usleep 10000; done; rm /run/ended; fi ;;
    monitor) if [ -e /run/writes ]; then exit 0; else exit 7; fi ;;
    area) area $2; exit 0 ;;
    meta-data) echo '<resource-agent name=\"writer\"/>'; exit 0 ;;
    *) exit 3 ;;
esac
echo $1 >>/vm/agent.log
";

fn runs_on(cluster: &Cluster, node: u32) -> bool {
    cluster.run(node, "[ -e /run/writes ]").is_ok_and(|a| a.status == 0)
}

/// What is in a node's megabyte of the shared disk, as another one sees it.
fn area(cluster: &Cluster, on: u32, node: u32) -> String {
    cluster.sh(on, &format!("/usr/lib/ocf/resource.d/test/writer area {node}"))
}

#[test]
fn a_machine_that_hangs_is_fenced_by_its_bmc_and_not_a_write_of_it_is_seen_after_the_takeover() {
    if vm::skip() {
        return;
    }
    let [one, two] = [1, 2].map(Cluster::bmc);
    let [one, two] = [&one, &two].map(|p| p.iter().map(|(k, v)| (*k, v.as_str())).collect::<Vec<_>>());
    let cib = Cib::new()
        .primitive("fence-n1", "stonith:fence_ipmilan", &one)
        .primitive("fence-n2", "stonith:fence_ipmilan", &two)
        .property("stonith-enabled", "true")
        .primitive("writer", "ocf:test:writer", &[])
        .prefers("writer", "n2", "100");
    let files =
        vec![("usr/lib/ocf/resource.d/test/writer", AGENT.to_owned()), ("etc/holdfast/cib.xml", cib.xml(2))];
    let options = Options {
        bmc: true,
        memory_mib: 384,
        shared_disk_mib: 4,
        quorum: crate::failfast::TWO,
        files,
        python: vec!["/usr/sbin/fence_ipmilan".into()],
        programs: vec!["/usr/bin/ipmitool".into()],
        ..Options::default()
    };
    let cluster = boot("bmc", options);
    cluster.start_all();
    let rgmd = |node| cluster.start(node, "rgmd", "-f --cib /etc/holdfast/cib.xml");
    cluster.all().into_iter().for_each(rgmd);
    cluster.wait_for("the writer runs where it is preferred", || runs_on(&cluster, 2).then_some(()));
    let first = area(&cluster, 1, 2);
    cluster.wait_for("it writes", || (area(&cluster, 1, 2) != first).then_some(()));
    let earlier = cluster.boot(2);

    let fault = cluster.strike("the whole machine stands still, fenced by IPMI", 2, |c| c.freeze(2));
    let fenced = cluster.wait_for("the survivor has the writer", || {
        // In this order: fence, then start.
        let orders = cluster.bmc_orders(2);
        runs_on(&cluster, 1).then_some(orders)
    });
    let began = |order: &(Instant, String)| order.1.starts_with("power 0") && order.0 > fault.began;
    assert!(fenced.iter().any(began), "it was started before n2 was fenced: {fenced:?}");
    assert!(cluster.bmc_orders(1).is_empty(), "the survivor was fenced: {:?}", cluster.bmc_orders(1));
    cluster.wait_for_log(1, "rgmd", "Peer n2 was terminated (reboot) by n1 on behalf of rgmd @n1: OK");

    // The controller has switched it on again. What it wrote was all there when the survivor's began.
    cluster.wait_for_boot(2, earlier.as_deref());
    assert_eq!(area(&cluster, 1, 2), cluster.log(1, "other"), "n2 has written after the takeover");
    // It does not know by itself what it was; when it is a member again it does.
    assert_why(&cluster, 2, "power", &["it lost its power, or was reset from outside"]);
    cluster.start_ring(2);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    assert_told(
        &cluster,
        2,
        "fenced",
        &["n1 fenced it (reboot) with fence-n2 on behalf of rgmd", "\"source\":\"n1\""],
    );
    rgmd(2);
    cluster.wait_for("the writer is back where it is preferred", || runs_on(&cluster, 2).then_some(()));
    assert!(!runs_on(&cluster, 1));
    assert_eq!(area(&cluster, 2, 1), cluster.log(2, "other"), "n1 has written after its stop");
}
