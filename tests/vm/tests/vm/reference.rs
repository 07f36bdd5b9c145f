//! The reference configuration on real kernels: PostgreSQL on a disk that two machines share, fenced by their management controllers, through
//! the faults that no namespace can have and the recovery of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::reference::{Device, MEMBERS, Reference};
use vm::{Cluster, Disk, Options, Root, Watchdog};

use crate::boot;
use crate::reference_witness::{Owners, Writer};

/// The service's address, on the first link.
const ADDRESS: &str = "10.77.0.100";
/// The host, which answers pings there, and has the management controllers.
const ROUTER: &str = "10.77.0.254";
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const MOUNT: &str = "/dbfp";
const SHARED_MIB: u32 = 160;

/// The first fence device of each node, as the sites of the reference configuration have it (`stonith-helper`): it takes no power. It says that the victim is
/// dead if nothing of it answers, its controller included; else it fails, so that the next level is asked, and before that it waits on the
/// node without the service, so that of two halves the one with the service is first.
const HELPER: &str = r#"#!/bin/sh
while read -r line; do
    case $line in
    action=*) action=${line#*=} ;;
    dead_check_target=*) targets=${line#*=} ;;
    standby_wait_time=*) wait=${line#*=} ;;
    esac
done
[ "$1" != -o ] || action=$2
case $action in
metadata)
    cat <<END
<?xml version="1.0" ?>
<resource-agent name="fence_helper" shortdesc="Whether a node is dead already">
<longdesc>Succeeds when nothing of a node answers.</longdesc>
<vendor-url></vendor-url>
<parameters>
<parameter name="action" unique="0" required="1"><content type="string" default="reboot"/><shortdesc lang="en">Action</shortdesc></parameter>
<parameter name="plug" unique="0" required="0" obsoletes="port"><content type="string"/><shortdesc lang="en">Node</shortdesc></parameter>
<parameter name="dead_check_target" unique="0" required="1"><content type="string"/><shortdesc lang="en">Addresses of the node</shortdesc></parameter>
<parameter name="standby_wait_time" unique="0" required="0"><content type="string" default="25"/><shortdesc lang="en">Seconds to wait without the service</shortdesc></parameter>
</parameters>
<actions>
<action name="reboot"/><action name="off"/><action name="on"/><action name="status"/><action name="monitor"/><action name="metadata"/>
</actions>
</resource-agent>
END
    exit 0 ;;
off | reboot) ;;
*) exit 0 ;;
esac
dead=yes
for target in $targets; do
    ! ping -c 1 -W 1 "$target" >/dev/null 2>&1 || dead=
done
[ -z "$dead" ] || exit 0
grep -q ' /dbfp ' /proc/mounts || sleep "$wait"
exit 1
"#;

fn configuration() -> Reference {
    let helper = |node: u32| {
        let targets = format!("10.77.0.{node} 10.77.1.{node} 10.77.2.{node} {ROUTER}");
        let host = format!("n{node}");
        let params = [
            ("pcmk_host_list", host.as_str()),
            ("dead_check_target", &targets),
            ("standby_wait_time", "5"),
            ("pcmk_reboot_retries", "1"),
        ];
        Device::new("fence_helper", &params, None)
    };
    let controller = |node: u32| {
        let params = Cluster::bmc(node);
        let params: Vec<_> = params.iter().map(|(k, v)| (*k, v.as_str())).collect();
        Device::new("fence_ipmilan", &params, Some("3600s"))
    };
    Reference {
        nodes: ["n1".into(), "n2".into()],
        lock_device: "/dev/vdb1".into(),
        lock_timeout: 10,
        lock_interval: 3,
        data_device: "/dev/vdb2".into(),
        fstype: "ext4".into(),
        directory: MOUNT.into(),
        address: ADDRESS.into(),
        prefix: 24,
        interface: "eth0".into(),
        programs: PROGRAMS.into(),
        router: ROUTER.into(),
        shared_disk: "/dev/vdb".into(),
        internal_disk: "/dev/sda".into(),
        monitor: "10s".into(),
        migration_threshold: 1,
        fencing: [1, 2].map(|node| [helper(node), controller(node)]),
    }
}

/// A program of the host that must succeed.
fn host(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// What is on the shared disk to begin with: a lock's partition, and one with an empty database.
fn shared_disk(dir: &Path) -> PathBuf {
    let (tree, disk) = (dir.join("tree"), dir.join("disk"));
    let data = tree.join("pgdata/data");
    fs::create_dir_all(&data).unwrap();
    host(Command::new("chown").arg("postgres:").arg(&data));
    let mut initdb = Command::new("setpriv");
    initdb.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    initdb.arg(format!("{PROGRAMS}/initdb")).args([
        "--no-sync",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--wal-segsize=1",
        "-D",
    ]);
    host(initdb.arg(&data).current_dir("/"));
    let add = |file: &str, more: &str| {
        let text = fs::read_to_string(data.join(file)).unwrap();
        fs::write(data.join(file), text + more).unwrap();
    };
    add(
        "postgresql.conf",
        "listen_addresses = '*'\nshared_buffers = 16MB\nmin_wal_size = 2MB\nmax_wal_size = 16MB\njit = off\n",
    );
    add("pg_hba.conf", "host all all 10.77.0.0/24 trust\n");
    fs::File::create(&disk).unwrap().set_len(u64::from(SHARED_MIB) << 20).unwrap();
    let table = dir.join("table");
    fs::write(&table, "label: dos\nstart=2048, size=14336\nstart=16384\n").unwrap();
    host(Command::new("sfdisk").arg("--quiet").arg(&disk).stdin(fs::File::open(&table).unwrap()));
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-E", &format!("offset={}", 16_384 * 512), "-d"]);
    host(mke2fs.arg(&tree).arg(&disk).arg(format!("{}M", SHARED_MIB - 8)));
    disk
}

/// The cluster, and who looks on.
struct Site {
    cluster: Cluster,
    writer: Option<Writer>,
    owners: Owners,
    began: Instant,
}

const STARTS: &str = "
    info: Resource prmExPostgreSQLDB tries to start.
    info: Resource prmExPostgreSQLDB started. (rc=0) ok
    info: Resource prmFsPostgreSQLDB tries to start.
    info: Resource prmFsPostgreSQLDB started. (rc=0) ok
    info: Resource prmIpPostgreSQLDB tries to start.
    info: Resource prmIpPostgreSQLDB started. (rc=0) ok
    info: Resource prmApPostgreSQLDB tries to start.
    info: Resource prmApPostgreSQLDB started. (rc=0) ok";
const STOPS: &str = "
    info: Resource prmApPostgreSQLDB tries to stop.
    info: Resource prmApPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmIpPostgreSQLDB tries to stop.
    info: Resource prmIpPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmFsPostgreSQLDB tries to stop.
    info: Resource prmFsPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmExPostgreSQLDB tries to stop.
    info: Resource prmExPostgreSQLDB stopped. (rc=0) ok";
const FAIL_OVER: &str = "error: Start to fail-over.";

/// The lines of a node that fences another one: the first device finds it alive, or its controller, the second takes its power.
fn fences(node: u32, victim: u32) -> String {
    format!(
        "info: Try to execute STONITH device prmStonith{victim}-1 on n{node} for reboot n{victim}.
        warning: Failed to execute STONITH device prmStonith{victim}-1 for n{victim}.
        info: Try to execute STONITH device prmStonith{victim}-2 on n{node} for reboot n{victim}.
        info: Succeeded to execute STONITH device prmStonith{victim}-2 for n{victim}.
        info: Succeeded to STONITH (reboot) n{victim} by n{node}."
    )
}

/// How a fail-over from a node to another one ends. Whether the last plan was the one with the move, or one made when the victim was known to be
/// dead, is a matter of moments.
fn succeeded(from: u32, to: u32) -> String {
    ["prmExPostgreSQLDB", "prmApPostgreSQLDB"]
        .map(|r| {
            format!("info: Resource {r} : Move n{from} -> n{to} | info: Resource {r} : Started on n{to}")
        })
        .join("\n")
        + "\ninfo: fail-over succeeded."
}

impl Site {
    /// Two machines with the configuration, as crmsh loads it, and the service on one of them.
    fn new() -> (Self, u32) {
        let began = Instant::now();
        let dir = harness::WorkDir::new("reference-disk").unwrap();
        let ocf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../userland/packaging/ocf");
        let diskd = fs::read_to_string(ocf.join("diskd")).unwrap();
        let options = Options {
            links: 3,
            service_link: true,
            memory_mib: 768,
            // It stays as it is until it is fenced.
            panic: 0,
            root: Root::Database,
            bmc: true,
            watchdog: Watchdog::I6300esb,
            shared_disk_mib: SHARED_MIB,
            shared_disk_image: Some(shared_disk(dir.path())),
            quorum: crate::failfast::TWO,
            failfast: " mode: panic\n watchdog_device: /dev/watchdog0\n",
            files: vec![
                ("usr/lib/ocf/resource.d/holdfast/diskd", diskd),
                ("usr/sbin/fence_helper", HELPER.into()),
            ],
            ..Options::default()
        };
        let cluster = boot("reference", options);
        cluster.sh(
            1,
            "sfex_init -n 1 /dev/vdb1 && mount /dev/vdb2 /mnt && chown -R postgres:postgres /mnt/pgdata/data && umount /mnt",
        );
        let owners = Owners::new(&cluster);
        let mut site = Self { cluster, writer: None, owners, began };
        site.say("booted");
        for node in [1, 2] {
            site.prepare(node);
        }
        site.cluster.start_all();
        // The first is the controller.
        for node in [1, 2] {
            site.cluster.start(node, "rgmd", "-f");
            site.wait_for_screen(1, &format!("n{node}"), &["Online: ", "Current DC: n1"]);
        }
        // As soon as a device has failed that is said, not after ten tries.
        let option = "startup-fencing=\"false\"";
        let text =
            configuration().crm().replacen(option, &format!("{option} \\\n\tstonith-max-attempts=\"1\""), 1);
        fs::write(site.cluster.share(1).join("reference.crm"), text).unwrap();
        let said =
            site.cluster.sh(1, "HOME=/root TERM=dumb crm configure load update /vm/reference.crm 2>&1");
        site.say(&format!("loaded by crmsh: {said}"));
        // Where the attributes that it waits for were there first; it stays there.
        let active = site.cluster.wait_for("the service runs", || {
            let screen = site.screen(1);
            let line = screen.lines().find(|l| l.contains("prmApPostgreSQLDB") && l.contains("Started n"))?;
            Some(if line.contains("Started n1") { 1 } else { 2 })
        });
        site.wait_for_service(active);
        site.writer = Some(Writer::new(&site.cluster, ADDRESS));
        site.healthy(active);
        (site, active)
    }

    fn say(&self, what: &str) {
        println!("{:.0} s: {what}", self.began.elapsed().as_secs_f64());
    }

    /// What a service manager would have made at boot, and what tells of mounts.
    fn prepare(&self, node: u32) {
        self.cluster.sh(
            node,
            "mkdir -p /dbfp /run/lock /run/resource-agents && install -d -o postgres -g postgres /run/postgresql
            mount -t cgroup2 cgroup2 /sys/fs/cgroup && echo 1 >/proc/sys/kernel/sysrq",
        );
        Owners::watch(&self.cluster, node, MOUNT);
    }

    fn screen(&self, node: u32) -> String {
        self.cluster.run(node, "crm_mon -1fAL").map(|a| a.stdout).unwrap_or_default()
    }

    fn wait_for_screen(&self, node: u32, what: &str, parts: &[&str]) -> String {
        let mut last = String::new();
        let start = Instant::now();
        loop {
            // Whoever waits also obeys the controllers, which switch machines on.
            self.cluster.wait_for("", || Some(()));
            last = Some(self.screen(node)).filter(|s| !s.is_empty()).unwrap_or(last);
            if parts.iter().all(|p| last.contains(p)) {
                return last;
            }
            assert!(
                start.elapsed() < harness::patience(),
                "gave up waiting: {what}: {parts:?} on n{node}:\n{last}"
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until a screen shows the whole group on a node.
    fn wait_for_service(&self, node: u32) -> String {
        let there = format!("Started n{node}");
        let mut last = String::new();
        self.cluster.wait_for(&format!("the service runs on n{node}"), || {
            last = self.screen(node);
            // A monitor may be under way.
            let there = |l: &str| l.ends_with(&there) || l.ends_with(&format!("{there} (Monitoring)"));
            let runs = |member: &&str| last.lines().any(|l| l.contains(*member) && there(l));
            MEMBERS.iter().all(runs).then_some(())
        });
        last
    }

    /// The operator's log of a node, all its lives: `LEVEL: TEXT`.
    fn log(&self, node: u32) -> Vec<String> {
        let name = format!(" n{node} ");
        let text = self.cluster.log(node, "operator");
        text.lines().map(|l| l.split_once(&name).map_or(l, |(_, rest)| rest).trim().to_owned()).collect()
    }

    /// How long both operators' logs are.
    fn now(&self) -> [usize; 2] {
        [1, 2].map(|node| self.log(node).len())
    }

    /// Waits until a node's log has these lines in this order behind what it had then, of `A | B` either; whatever else stands between them.
    fn wait_for_log(&self, node: u32, then: [usize; 2], lines: &str) {
        let expected: Vec<&str> = lines.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let start = Instant::now();
        loop {
            self.cluster.wait_for("", || Some(()));
            let log = self.log(node);
            let log = &log[then[node as usize - 1]..];
            let mut missing = expected.iter().peekable();
            for line in log {
                missing.next_if(|l| l.split(" | ").any(|l| l == line));
            }
            let Some(missing) = missing.next() else { return };
            let over = start.elapsed() > harness::patience();
            assert!(!over, "n{node}'s log lacks {missing:?} in its place:\n{}", log.join("\n"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// How many lines behind those of then have this.
    fn count(&self, node: u32, then: [usize; 2], text: &str) -> usize {
        self.log(node)[then[node as usize - 1]..].iter().filter(|l| l.contains(text)).count()
    }

    /// How often a machine's controller was told to give it power, after it had none: the end of each reboot by fencing.
    fn strikes(&self, node: u32) -> usize {
        self.cluster.bmc_orders(node).iter().filter(|(_, order)| order.starts_with("power 1")).count()
    }

    /// The service runs there, all that was committed is there, and never had two machines the file system.
    fn check(&self, node: u32) -> String {
        let screen = self.wait_for_service(node);
        let rows = self.writer.as_ref().unwrap().check(&self.cluster);
        let mounts = self.owners.check();
        self.say(&format!("the service runs on n{node}; {rows} rows committed, none lost; {mounts} mounts, never two at once"));
        screen
    }

    /// The same, and both nodes could run it. Gives the node.
    fn healthy(&self, node: u32) -> u32 {
        self.wait_for_screen(3 - node, "both nodes are members", &["Online: [ n1 n2 ]"]);
        self.cluster.wait_for("attributes are well", || {
            let screen = self.screen(node);
            let well = screen.matches(": 100").count() == 2 && screen.matches(": normal").count() == 4;
            (well && !screen.contains("rsc_location-grpPostgreSQLDB-3")).then_some(())
        });
        self.check(node);
        node
    }

    /// Recovery 2, steps 2 to 4: the machine has booted, the cluster's software is started, and it is a member again.
    fn start(&self, node: u32, earlier: Option<&str>) {
        let other = 3 - node;
        let then = self.now();
        self.cluster.wait_for_boot(node, earlier);
        self.prepare(node);
        self.cluster.start_ring(node);
        self.cluster.start(node, "rgmd", "-f");
        self.wait_for_log(other, then, &format!("info: Node n{node} is member"));
    }

    /// Pattern [3]: a node has been lost or cannot stop, and is fenced before the service starts on the other one. Recovery 2 and 3, step 1.
    fn fenced(&self, victim: u32, then: [usize; 2]) {
        let node = 3 - victim;
        let fences = fences(node, victim);
        self.wait_for_log(node, then, &fences);
        self.wait_for_log(node, then, &format!("{fences}{STARTS}"));
        self.wait_for_log(node, then, &format!("{fences}{STARTS}\n{}", succeeded(victim, node)));
        self.wait_for_log(node, then, &format!("warning: Node n{victim} is lost"));
        let screen = self.check(node);
        assert_eq!(self.count(node, then, FAIL_OVER), 1, "{:#?}", self.log(node));
        assert!(
            screen.contains(&format!("Online: [ n{node} ]"))
                && screen.contains(&format!("OFFLINE: [ n{victim} ]")),
            "{screen}"
        );
        assert!(
            screen.contains(&format!(
                "rsc_location-grpPostgreSQLDB-3-rule-1\tprevents grpPostgreSQLDB from running on n{victim}"
            )),
            "{screen}"
        );
    }
}

/// Cases 4, 5 and 6, recovery 2.
fn machine_dies(site: &Site, active: u32, script: &str, event: &str) -> u32 {
    let cluster = &site.cluster;
    let (then, boot_id, struck) = (site.now(), cluster.boot(active), site.strikes(active));
    let start = Instant::now();
    cluster.order(active, script);
    cluster.wait_for_event(active, event, start);
    site.fenced(active, then);
    assert_eq!(site.strikes(active), struck + 1, "{:?}", cluster.bmc_orders(active));
    site.start(active, boot_id.as_deref());
    site.healthy(3 - active)
}

/// Case 8: what can still be stopped is, and starts on the other one. Recovery 3, of a machine whose controller does not answer.
fn shared_disk_is_gone(site: &Site, active: u32) -> u32 {
    let (cluster, other) = (&site.cluster, 3 - active);
    let (then, boot_id) = (site.now(), cluster.boot(active));
    let struck = [1, 2].map(|n| site.strikes(n));
    cluster.break_disk(active, Disk::Shared);
    site.wait_for_log(active, then, STOPS);
    // The database or the lock may have found out before.
    let attribute = format!("info: Attribute \"diskcheck_status\" is updated to \"ERROR\" at \"n{active}\".");
    site.wait_for_log(
        active,
        then,
        &format!("error: Disk connection to /dev/vdb is ERROR. (attr_name=diskcheck_status)\n{attribute}"),
    );
    site.wait_for_log(other, then, STARTS);
    site.wait_for_log(other, then, &attribute);
    site.check(other);
    let ban =
        format!("rsc_location-grpPostgreSQLDB-3-rule-2\tprevents grpPostgreSQLDB from running on n{active}");
    let screen = site.wait_for_screen(other, "n1 and n2 are up", &["Online: [ n1 n2 ]", ": ERROR", &ban]);
    assert_eq!((screen.matches(": ERROR").count(), screen.matches(": normal").count()), (1, 3), "{screen}");
    assert_eq!(
        [1, 2].map(|n| site.count(n, then, FAIL_OVER)).iter().sum::<usize>(),
        1,
        "once, by the controller"
    );
    assert_eq!([1, 2].map(|n| site.strikes(n)), struck, "nobody had to be fenced");
    site.say("case 8");

    // Off by force.
    cluster.unplug_bmc(active);
    cluster.power_off(active);
    site.wait_for_log(
        other,
        then,
        &format!(
            "warning: Node n{active} is lost
            warning: Failed to execute STONITH device prmStonith{active}-1 for n{active}."
        ),
    );
    site.wait_for_log(
        other,
        then,
        &format!(
            "warning: Failed to execute STONITH device prmStonith{active}-2 for n{active}.
            error: Failed to STONITH (reboot) n{active} by n{other}."
        ),
    );
    site.wait_for_screen(other, "it is unclean", &[&format!("Node n{active}: UNCLEAN (offline)")]);
    // The word of somebody who has looked: it switches nothing.
    cluster.sh(other, &format!("stonith_admin -C n{active} </dev/null"));
    site.wait_for_log(other, then, &format!("info: Succeeded to STONITH (off) n{active} by a human."));
    let offline = format!("OFFLINE: [ n{active} ]");
    site.wait_for_screen(other, "it is off", &[&format!("Online: [ n{other} ]"), &offline]);
    // A last try with the silent controller may be under way, and is not to find it well again.
    let device = format!("execute STONITH device prmStonith{active}-2");
    cluster.wait_for("no device is at work", || {
        let count = |what: &str| site.count(other, then, &format!("{what} {device}"));
        (count("Try to") <= count("Failed to")).then_some(())
    });
    // On again, with another cable.
    cluster.plug_bmc(active);
    cluster.power_on(active).unwrap();
    site.start(active, boot_id.as_deref());
    site.healthy(other)
}

/// Case 7, recovery 3: nothing that needs a file can be run any more.
fn internal_disk_is_dead(site: &Site, active: u32) -> u32 {
    let cluster = &site.cluster;
    let (then, boot_id, struck) = (site.now(), cluster.boot(active), site.strikes(active));
    // What was read from it before is forgotten, as in time it is.
    cluster.order(active, "sleep 2; echo 3 >/proc/sys/vm/drop_caches");
    cluster.break_disk(active, Disk::Internal);
    site.fenced(active, then);
    // Who takes over from a victim that was the controller does not take over what a device was doing, and may ask again.
    assert!(site.strikes(active) > struck, "{:?}", cluster.bmc_orders(active));
    site.start(active, boot_id.as_deref());
    site.healthy(3 - active)
}

#[test]
fn the_reference_configuration_survives_what_happens_to_real_machines() {
    if vm::skip() {
        return;
    }
    let (site, mut active) = Site::new();
    let deaths = [
        ("4", "echo c >/proc/sysrq-trigger", "GUEST_PANICKED"),
        ("5", "poweroff -nf", "SHUTDOWN"),
        ("6", "pkill -9 -x cmmd", "GUEST_PANICKED"),
    ];
    for (case, script, event) in deaths {
        active = machine_dies(&site, active, script, event);
        site.say(&format!("case {case}, recovery 2"));
    }
    active = shared_disk_is_gone(&site, active);
    site.say("case 8, recovery 3");
    // The last one, as at the rehearsals of the original's sites: there a disk may really break.
    internal_disk_is_dead(&site, active);
    site.say("case 7, recovery 3");
}
