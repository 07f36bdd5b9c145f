//! The reference configuration: PostgreSQL on a shared disk, active on one of two nodes, as Linux-HA Japan's PG-REX sites have
//! it, in the words of the crm shell. And on more nodes than two: each has its fence devices and a score of its own, and where
//! a majority can decide, who has none stops (`no-quorum-policy`), instead of fencing the others.
//!
//! Resources, rules, scores, stickiness, thresholds and `on-fail` stand here once; what is another in every installation
//! (nodes, devices, addresses, programs, intervals, fence devices) is [`Reference`]. Where Debian lacks an agent of the
//! original another stands in its place: `ocf:holdfast:diskd` has no daemon, so that `options` and `interval` of
//! `ocf:pacemaker:diskd` are left out.

use std::fmt::Write;

use crate::config::Member;

/// What of the reference configuration is an installation's own, of `N` nodes: two in the original.
#[derive(Clone, Debug)]
pub struct Reference<const N: usize = 2> {
    /// The node that the service prefers, then the others, each with half the score of the one before.
    pub nodes: [String; N],
    /// Block device with the lock, made by `sfex_init`.
    pub lock_device: String,
    /// Seconds after which a lock that is not renewed is another node's to take.
    pub lock_timeout: u32,
    /// Seconds between two renewals.
    pub lock_interval: u32,
    /// Block device with the file system.
    pub data_device: String,
    /// Its kind, e.g. `xfs`.
    pub fstype: String,
    /// Where it is mounted; the database is in `pgdata/data` below it.
    pub directory: String,
    /// The service's address, the length of its network's prefix, and its interface.
    pub address: String,
    /// See there.
    pub prefix: u8,
    /// See there.
    pub interface: String,
    /// Folder of `pg_ctl` and `psql`.
    pub programs: String,
    /// Host whose answers say that the service's network works.
    pub router: String,
    /// Device with the lock and the file system, looked at by `clnDiskd1`.
    pub shared_disk: String,
    /// Device of the node itself, looked at by `clnDiskd2`.
    pub internal_disk: String,
    /// Time between two monitors of a resource, e.g. `10s`.
    pub monitor: String,
    /// How many failures of a resource move it: 1 in the original.
    pub migration_threshold: u32,
    /// The first and the second fence device of each node, tried in this order.
    pub fencing: [[Device; 2]; N],
}

/// A fence device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its agent, e.g. `external/ipmi`.
    pub agent: String,
    /// Its parameters, by name.
    pub params: Vec<(String, String)>,
    /// Time between two monitors, e.g. `3600s`; `None`: it has none.
    pub monitor: Option<String>,
}

impl Device {
    /// A device with these parameters.
    #[must_use]
    pub fn new(agent: &str, params: &[(&str, &str)], monitor: Option<&str>) -> Self {
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { agent: agent.to_owned(), params, monitor: monitor.map(str::to_owned) }
    }
}

/// The STONITH plugin `external/stonith-helper`, a script: the first device of each node.
pub const STONITH_HELPER: &str = include_str!("stonith-helper");

/// The members of `grpPostgreSQLDB` in the order in which they start.
pub const MEMBERS: [&str; 4] =
    ["prmExPostgreSQLDB", "prmFsPostgreSQLDB", "prmIpPostgreSQLDB", "prmApPostgreSQLDB"];

impl<const N: usize> Reference<N> {
    /// For `crm configure load update FILE`.
    #[must_use]
    pub fn crm(&self) -> String {
        let each = |line: &dyn Fn(usize, &str) -> String, between: &str| -> String {
            let lines: Vec<String> =
                (1..).zip(&self.nodes).map(|(number, name)| line(number, name)).collect();
            lines.join(between)
        };
        let mut text = HEAD
            .replace("@THRESHOLD@", &self.migration_threshold.to_string())
            .replace("@POLICY@", if N > 2 { "stop" } else { "ignore" })
            .replace(
                "@STONITH@",
                &each(
                    &|n, _| format!("group grpStonith{n} \\\n\tprmStonith{n}-1 \\\n\tprmStonith{n}-2\n"),
                    "\n",
                ),
            );
        let _ = write!(
            text,
            "\n### Fencing Topology ###\nfencing_topology \\\n{}\n\n### Primitive Configuration ###\n",
            each(&|n, name| format!("\t{name}: prmStonith{n}-1 prmStonith{n}-2"), " \\\n")
        );
        let lock = [
            ("device", self.lock_device.as_str()),
            ("index", "1"),
            ("collision_timeout", "1"),
            ("lock_timeout", &self.lock_timeout.to_string()),
            ("monitor_interval", &self.lock_interval.to_string()),
        ];
        let mount =
            [("device", self.data_device.as_str()), ("directory", &self.directory), ("fstype", &self.fstype)];
        let address = [
            ("ip", self.address.as_str()),
            ("nic", &self.interface),
            ("cidr_netmask", &self.prefix.to_string()),
        ];
        let database = [
            ("pgctl", format!("{}/pg_ctl", self.programs)),
            ("psql", format!("{}/psql", self.programs)),
            ("pgdata", format!("{}/pgdata/data", self.directory)),
            ("pgdba", "postgres".to_owned()),
            ("pgport", "5432".to_owned()),
            ("pgdb", "template1".to_owned()),
        ];
        let database: Vec<(&str, &str)> = database.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let ping = [
            ("name", "default_ping_set"),
            ("host_list", self.router.as_str()),
            ("multiplier", "100"),
            ("attempts", "2"),
            ("timeout", "2"),
            ("debug", "true"),
        ];
        let shared = [("name", "diskcheck_status"), ("device", self.shared_disk.as_str()), ("dampen", "2")];
        let internal =
            [("name", "diskcheck_status_internal"), ("device", self.internal_disk.as_str()), ("dampen", "2")];
        let members: [(Member<'_>, [u32; 2]); 4] = [
            (("prmExPostgreSQLDB", "ocf:heartbeat:sfex", &lock), [90, 60]),
            (("prmFsPostgreSQLDB", "ocf:heartbeat:Filesystem", &mount), [60, 60]),
            (("prmIpPostgreSQLDB", "ocf:heartbeat:IPaddr2", &address), [60, 60]),
            (("prmApPostgreSQLDB", "ocf:heartbeat:pgsql", &database), [300, 300]),
        ];
        for (member, times) in members {
            self.primitive(&mut text, member, times, "fence");
        }
        let watchers: [Member<'_>; 3] = [
            ("prmPing", "ocf:pacemaker:ping", &ping),
            ("prmDiskd1", "ocf:holdfast:diskd", &shared),
            ("prmDiskd2", "ocf:holdfast:diskd", &internal),
        ];
        for watcher in watchers {
            self.primitive(&mut text, watcher, [60, 60], "ignore");
        }
        for (node, devices) in (1..).zip(&self.fencing) {
            for (level, device) in (1..).zip(devices) {
                fence_device(&mut text, &format!("prmStonith{node}-{level}"), device);
            }
        }
        // The last node's first, as the original numbers them.
        let away: String = (1..)
            .zip((1..).zip(&self.nodes).collect::<Vec<_>>().into_iter().rev())
            .map(|(number, (n, name))| {
                format!(
                    "location rsc_location-grpStonith{n}-{number} grpStonith{n} \\\n\trule -INFINITY: #uname eq {name}\n"
                )
            })
            .collect();
        let scores = each(&|n, name| format!("\trule {}: #uname eq {name} \\\n", 400 >> n), "");
        text + &CONSTRAINTS.replace("@AWAY@", &away).replace("@SCORES@", &scores)
    }

    fn primitive(
        &self,
        text: &mut String,
        (id, agent, params): Member<'_>,
        [start, stop]: [u32; 2],
        stop_fails: &str,
    ) {
        let monitor = &self.monitor;
        let params: String = params.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
        let _ = write!(
            text,
            "primitive {id} {agent} \\\n\tparams{params} \\\n\
             \top start interval=\"0s\" timeout=\"{start}s\" on-fail=\"restart\" \\\n\
             \top monitor interval=\"{monitor}\" timeout=\"60s\" on-fail=\"restart\" \\\n\
             \top stop interval=\"0s\" timeout=\"{stop}s\" on-fail=\"{stop_fails}\"\n\n"
        );
    }
}

fn fence_device(text: &mut String, id: &str, device: &Device) {
    let params: String = device.params.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
    let monitor = device.monitor.as_ref().map_or_else(String::new, |interval| {
        format!("\top monitor interval=\"{interval}\" timeout=\"60s\" on-fail=\"restart\" \\\n")
    });
    let agent = &device.agent;
    let _ = write!(
        text,
        "primitive {id} stonith:{agent} \\\n\tparams{params} \\\n\
         \top start interval=\"0s\" timeout=\"60s\" on-fail=\"restart\" \\\n{monitor}\
         \top stop interval=\"0s\" timeout=\"60s\" on-fail=\"ignore\"\n\n"
    );
}

const HEAD: &str = r#"### Cluster Option ###
property no-quorum-policy="@POLICY@" \
	stonith-enabled="true" \
	startup-fencing="false"

### Resource Defaults ###
rsc_defaults resource-stickiness="INFINITY" \
	migration-threshold="@THRESHOLD@"

### Group Configuration ###
group grpPostgreSQLDB \
	prmExPostgreSQLDB \
	prmFsPostgreSQLDB \
	prmIpPostgreSQLDB \
	prmApPostgreSQLDB

@STONITH@
### Clone Configuration ###
clone clnPing prmPing
clone clnDiskd1 prmDiskd1
clone clnDiskd2 prmDiskd2
"#;

const CONSTRAINTS: &str = r#"### Resource Location ###
@AWAY@location rsc_location-grpPostgreSQLDB-3 grpPostgreSQLDB \
@SCORES@	rule -INFINITY: not_defined default_ping_set or default_ping_set lt 100 \
	rule -INFINITY: not_defined diskcheck_status or diskcheck_status eq ERROR \
	rule -INFINITY: not_defined diskcheck_status_internal or diskcheck_status_internal eq ERROR

### Resource Colocation ###
colocation rsc_colocation-grpPostgreSQLDB-clnPing-1 INFINITY: grpPostgreSQLDB clnPing
colocation rsc_colocation-grpPostgreSQLDB-clnDiskd1-2 INFINITY: grpPostgreSQLDB clnDiskd1
colocation rsc_colocation-grpPostgreSQLDB-clnDiskd2-3 INFINITY: grpPostgreSQLDB clnDiskd2

### Resource Order ###
order rsc_order-clnPing-grpPostgreSQLDB-1 0: clnPing grpPostgreSQLDB symmetrical=false
order rsc_order-clnDiskd1-grpPostgreSQLDB-2 0: clnDiskd1 grpPostgreSQLDB symmetrical=false
order rsc_order-clnDiskd2-grpPostgreSQLDB-3 0: clnDiskd2 grpPostgreSQLDB symmetrical=false
"#;
