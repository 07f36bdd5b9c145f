//! Nodes with the reference configuration, a client, and somebody who looks whether two nodes ever have the same thing.

use std::fs;
use std::time::Duration;

use harness::reference::{Device, MEMBERS, Reference, STONITH_HELPER};
use harness::{Cib, Cluster, FENCE_AGENT, Options, SharedDisk, address, node_name};

use super::watch::{Watch, has};

/// The ring has the links `eth0` and `eth1`; the service's network is this one, and the fence devices' the next.
pub(crate) const SERVICE_LAN: &str = "eth2";
pub(super) const VIP: &str = "10.77.2.100";
pub(super) const MOUNT: &str = "/var/lib/dbfp";
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// See the module.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    watch: Option<Watch>,
    // After the cluster, whose nodes mount it.
    _disks: [SharedDisk; 2],
}

/// Whether these tests can run here.
pub(crate) fn skip() -> bool {
    let missing = harness::missing().or_else(|| {
        let files = [
            ("/usr/sbin/crm", "crmsh"),
            ("/usr/lib/ocf/resource.d/heartbeat/pgsql", "resource-agents"),
            ("/usr/lib/ocf/resource.d/pacemaker/ping", "pacemaker-resource-agents"),
            ("/usr/sbin/sfex_init", "resource-agents"),
            ("/usr/lib/stonith/plugins/external", "cluster-glue"),
            ("/usr/lib/postgresql/15/bin/initdb", "postgresql-15"),
            ("/usr/sbin/iptables", "iptables"),
            ("/usr/sbin/mkfs.xfs", "xfsprogs"),
            ("/usr/bin/ping", "iputils-ping"),
        ];
        let lacking = files.iter().find(|(file, _)| fs::metadata(file).is_err());
        lacking.map(|(file, package)| format!("needs {file} (package {package})"))
    });
    harness::skip_where(missing)
}

impl Site {
    /// A cluster on which the configuration was loaded by crmsh, and the service runs on n1. `N` nodes on a ring of this
    /// daemon.
    pub(crate) fn new<const N: usize>(name: &str, daemon: &'static str) -> Self {
        let nodes = u32::try_from(N).unwrap();
        let options = Options { nodes, links: 2, networks: 2, spare: true, daemon, ..Options::default() };
        let cluster = Cluster::new(name, options, &Cib::new()).unwrap();
        cluster.add_router();
        let shared = SharedDisk::new(cluster.dir(), "mpatha", &[4, 400]).unwrap();
        let internal = SharedDisk::new(cluster.dir(), "internal_a", &[]).unwrap();
        fs::write(cluster.dir().join("stonith-helper"), STONITH_HELPER).unwrap();
        fs::write(cluster.dir().join("diskd"), include_str!("../../../../../userland/packaging/ocf/diskd"))
            .unwrap();
        let mut site = Self { cluster, watch: None, _disks: [shared, internal] };
        let all = site.cluster.all();
        all.iter().for_each(|node| site.switch_on(*node));
        site.run(1, MAKE_DATABASE);
        site.watch = Some(Watch::new(&site.cluster));
        // The first is the controller.
        site.cluster.boot(1).unwrap();
        site.cluster.wait_for_members(&[1], &[1]);
        site.wait_for(1, "crmadmin -D", "n1");
        all[1..].iter().for_each(|node| site.cluster.boot(*node).unwrap());
        site.cluster.wait_for_members(&all, &all);
        let file = site.cluster.dir().join("reference.crm");
        fs::write(&file, reference::<N>().crm()).unwrap();
        let said = site
            .run(1, &format!("crm options sort-elements no && crm configure load update {}", file.display()));
        println!("crmsh: {said}");
        // Whose disks and network were looked at first has it first, for good.
        let place = site.cluster.wait_for_started(1, &MEMBERS);
        if place != 1 {
            site.run(1, "crm_resource -M -r grpPostgreSQLDB -N n1 -f -Q");
            site.wait_for_service(1);
            site.run(1, "crm_resource -U -r grpPostgreSQLDB");
        }
        site.client();
        site
    }

    /// Power on: the machine has booted, and none of its daemons runs.
    pub(crate) fn switch_on(&self, node: u32) {
        self.cluster.power_on(node).unwrap();
        let out =
            self.cluster.exec(node, "sh", &["-euc", PREPARE, "prepare", &self.dir(), &self.bin()]).unwrap();
        assert!(out.status.success(), "{out:?}");
        if let Some(watch) = &self.watch {
            watch.switched_on(&self.cluster, node);
        }
    }

    fn dir(&self) -> String {
        self.cluster.dir().display().to_string()
    }

    fn bin(&self) -> String {
        harness::bin_dir().unwrap().display().to_string()
    }

    /// What a script says on either stream, and its exit status.
    pub(crate) fn ask(&self, node: u32, script: &str) -> (String, Option<i32>) {
        let script = format!("PATH=/usr/lib/holdfast/bin:$PATH; exec 2>&1; {script}");
        match self.cluster.exec(node, "sh", &["-c", &script]) {
            Ok(out) => (String::from_utf8_lossy(&out.stdout).into_owned(), out.status.code()),
            Err(e) => (format!("{e:#}"), None),
        }
    }

    /// The same where it has to succeed.
    pub(crate) fn run(&self, node: u32, script: &str) -> String {
        let (said, status) = self.ask(node, script);
        assert_eq!(status, Some(0), "n{node}: {script}: {said}\n{}", self.cluster.report());
        said
    }

    /// Waits until a script says something.
    pub(crate) fn wait_for(&self, node: u32, script: &str, says: &str) {
        let mut before = String::new();
        self.cluster.wait_for(&format!("n{node}: {script} says {says:?}"), || {
            let said = self.ask(node, script).0;
            if said != before {
                println!("n{node}: {script}: {said}");
            }
            let over = said.contains(says);
            before = said;
            over.then_some(())
        });
    }

    /// Waits until the whole group runs on a node, and nothing is under way.
    pub(crate) fn wait_for_service(&self, node: u32) {
        let name = node_name(node);
        self.cluster.wait_for(&format!("the service runs on {name}"), || {
            let status = self.cluster.status(node).ok()?;
            let runs = |id: &&str| {
                let found = status.resources.iter().find(|r| r.id == *id);
                found.is_some_and(|r| {
                    r.role == status::Role::Started && !r.failed && r.nodes == [name.clone()]
                })
            };
            MEMBERS.iter().all(runs).then_some(())
        });
    }

    /// The operator's log of a node, all its lives: `LEVEL: TEXT`.
    pub(crate) fn log(&self, node: u32) -> Vec<String> {
        let path = self.cluster.node_dir(node).join("log/operator/operator.log");
        let text = fs::read_to_string(path).unwrap_or_default();
        let name = format!(" {} ", node_name(node));
        text.lines().map(|l| l.split_once(&name).map_or(l, |(_, rest)| rest).trim().to_owned()).collect()
    }

    /// Waits until a node's log has these lines in this order behind the first `from` lines; whatever else stands between them.
    pub(crate) fn wait_for_log(&self, node: u32, from: usize, lines: &str) {
        let expected: Vec<&str> = lines.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let start = std::time::Instant::now();
        loop {
            let log = self.log(node);
            let mut missing = expected.iter().peekable();
            for line in &log[from..] {
                missing.next_if(|l| **l == line);
            }
            let Some(missing) = missing.next() else { return };
            assert!(
                start.elapsed() < harness::patience(),
                "n{node}'s log lacks {missing:?} in its place:\n{}\n{}",
                log[from..].join("\n"),
                self.cluster.report()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How many lines behind the first `from` of a node's log contain a text.
    pub(crate) fn count(&self, node: u32, from: usize, text: &str) -> usize {
        self.log(node)[from..].iter().filter(|l| l.contains(text)).count()
    }

    /// Starts the client: a row each tenth of a second through the service's address, on a machine that is no node.
    fn client(&mut self) {
        let client = self.cluster.spare();
        self.cluster.power_on(client).unwrap();
        let script = CLIENT.replace("@VIP@", VIP).replace("@PROGRAMS@", PROGRAMS);
        self.cluster.start_as(client, "client", "bash", &["-c", &script]).unwrap();
        self.wait_for_rows();
    }

    /// How many rows the service has said to have committed.
    fn committed(&self) -> Vec<u64> {
        self.cluster.log(self.cluster.spare(), "client").lines().filter_map(|l| l.parse().ok()).collect()
    }

    /// How many rows were not committed, as far as the client knows.
    pub(crate) fn failures(&self) -> usize {
        self.cluster.log(self.cluster.spare(), "client").matches("failed").count()
    }

    /// Waits until rows are committed that were not before.
    pub(crate) fn wait_for_rows(&self) {
        let before = self.committed().len();
        self.cluster.wait_for("rows are committed", || (self.committed().len() > before + 3).then_some(()));
    }

    /// Whether all that was committed is there, and at no moment had two nodes the file system or the address.
    pub(crate) fn check(&self, node: u32) {
        self.wait_for_rows();
        let committed = self.committed();
        let script =
            format!("runuser -u postgres -- {PROGRAMS}/psql -At -d template1 -c 'select id from rows'");
        let there: std::collections::BTreeSet<u64> =
            self.run(node, &script).lines().filter_map(|l| l.parse().ok()).collect();
        let lost: Vec<&u64> = committed.iter().filter(|id| !there.contains(id)).collect();
        assert!(lost.is_empty(), "committed and lost: {lost:?}");
        let twice = self.watch.as_ref().unwrap().twice();
        assert!(twice.is_empty(), "{twice:#?}\n{}", self.cluster.report());
        println!(
            "{} rows committed, none lost; {} looks",
            committed.len(),
            self.watch.as_ref().unwrap().looks()
        );
    }

    /// How often a node's power was taken.
    pub(crate) fn strikes(&self, node: u32) -> usize {
        let name = node_name(node);
        let strike =
            |c: &&harness::FenceCall| c.target == name && ["off", "reboot"].contains(&c.action.as_str());
        self.cluster.fence_calls().iter().filter(strike).count()
    }

    /// Whether a node has the file system mounted.
    pub(crate) fn mounts(&self, node: u32) -> bool {
        self.cluster.init(node).is_some_and(|init| has(init) & 1 != 0)
    }
}

fn reference<const N: usize>() -> Reference<N> {
    let nodes: [u32; N] = std::array::from_fn(|index| index as u32 + 1);
    let fencing = nodes.map(|node| {
        let name = node_name(node);
        // Of each network, and the power switch's own.
        let targets: Vec<String> = (0..3).map(|link| address(node, link).to_string()).collect();
        let targets = format!("{} 10.77.3.254", targets.join(" "));
        [
            Device::new(
                "external/stonith-helper",
                &[
                    ("pcmk_reboot_retries", "1"),
                    ("pcmk_reboot_timeout", "40s"),
                    ("hostlist", &name),
                    ("dead_check_target", &targets),
                    (
                        "standby_check_command",
                        "/usr/sbin/crm_resource -r prmExPostgreSQLDB -W | grep -qi `hostname`",
                    ),
                    ("standby_wait_time", "6"),
                    ("run_online_check", "yes"),
                ],
                None,
            ),
            Device::new(
                FENCE_AGENT,
                &[
                    ("pcmk_reboot_timeout", "60s"),
                    ("plug", &name),
                    ("pcmk_host_list", &name),
                    ("pcmk_host_check", "static-list"),
                ],
                Some("3600s"),
            ),
        ]
    });
    Reference {
        nodes: nodes.map(node_name),
        lock_device: "/dev/mapper/mpatha1".into(),
        lock_timeout: 6,
        lock_interval: 2,
        data_device: "/dev/mapper/mpatha2".into(),
        fstype: "xfs".into(),
        directory: MOUNT.into(),
        address: VIP.into(),
        prefix: 24,
        interface: SERVICE_LAN.into(),
        programs: PROGRAMS.into(),
        router: "10.77.2.254".into(),
        shared_disk: "/dev/mapper/mpatha".into(),
        internal_disk: "/dev/internal_a".into(),
        monitor: "2s".into(),
        migration_threshold: 1,
        fencing,
    }
}

/// What a machine of such a site has before its daemons start. `$1`: the cluster's folder, `$2`: that of the programs.
const PREPARE: &str = r#"
for dir in lib libexec; do
    work=/run/.overlay/$dir
    mkdir -p $work/up $work/work
    mount -t overlay -o "lowerdir=/usr/$dir,upperdir=$work/up,workdir=$work/work" overlay-$dir /usr/$dir
done
mkdir -p /usr/lib/holdfast/bin /usr/lib/ocf/resource.d/holdfast /dev/mapper
"$2/holdfast" link /usr/lib/holdfast/bin >/dev/null
# As on a machine without Pacemaker's own.
for command in /usr/lib/holdfast/bin/*; do
    ln -sfn "$(readlink $command)" "/usr/sbin/$(basename $command)"
done
install -m 755 "$1/stonith-helper" /usr/lib/stonith/plugins/external/
install -m 755 "$1/diskd" /usr/lib/ocf/resource.d/holdfast/
# sfex wants the kernel's reset trigger, which a kernel may lack and a test must not have: it gets a file of this node.
LC_ALL=C sed -i 's|/proc/sysrq-trigger|/run//sysrq-trigger|' /usr/libexec/heartbeat/sfex_daemon
: > /run/sysrq-trigger
cp -a "$1/mpatha" "$1/mpatha1" "$1/mpatha2" /dev/mapper/
cp -a "$1/internal_a" /dev/
mkdir -p /var/lib/dbfp /run/postgresql /var/log/holdfast "$(dirname "$1")"
chown postgres: /run/postgresql
node="$1/$(hostname)"
mkdir -p "$node/log/operator"
mount --bind "$node/log/operator" /var/log/holdfast
"#;

/// Once, on one node: the lock, the file system, the database in it.
const MAKE_DATABASE: &str = r#"
set -e
sfex_init -n 1 /dev/mapper/mpatha1
mkfs.xfs -q /dev/mapper/mpatha2
mount /dev/mapper/mpatha2 /var/lib/dbfp
mkdir -p /var/lib/dbfp/pgdata
chown postgres: /var/lib/dbfp/pgdata
as() { runuser -u postgres -- "$@"; }
bin=/usr/lib/postgresql/15/bin
as $bin/initdb -D /var/lib/dbfp/pgdata/data -A trust --no-sync >/dev/null
echo 'host all all 10.77.2.0/24 trust' >> /var/lib/dbfp/pgdata/data/pg_hba.conf
echo "listen_addresses = '*'" >> /var/lib/dbfp/pgdata/data/postgresql.conf
as $bin/pg_ctl -D /var/lib/dbfp/pgdata/data -l /dev/null -w start >/dev/null
as $bin/psql -q -d template1 -c 'create table rows (id bigint primary key)'
as $bin/pg_ctl -D /var/lib/dbfp/pgdata/data -w stop >/dev/null
umount /var/lib/dbfp
"#;

/// Prints the number of each row that was committed, and of which it is not known.
const CLIENT: &str = r#"
export PGCONNECT_TIMEOUT=2
for ((id = 1; ; id++)); do
    timeout 3 @PROGRAMS@/psql -q -h @VIP@ -U postgres -d template1 -c "insert into rows values ($id)" 2>/dev/null && echo $id || echo "failed $id"
    sleep 0.1
done
"#;
