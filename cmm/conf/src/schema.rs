//! Every section and key of corosync.conf(5) and votequorum(5), and Holdfast's own, with type, range and effect.
//!
//! corosync takes a misspelt key for a private CMAP key and says nothing; here an unknown key is an error with a
//! suggestion. Keys that only mean something to corosync's own transport are known and told to have no effect.

use crate::{Diagnostics, Item, Section};

/// What a value must look like; also decides its CMAP type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A decimal number in this range.
    Number(u64, u64, Width),
    /// 0 or 1.
    Flag,
    /// `yes`, `no`, `on`, `off`, `1` or `0`.
    YesNo,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any text.
    Text,
}

/// Type of a number in CMAP, as corosync publishes it: clients compare it strictly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    U8,
    U16,
    U32,
    U64,
}

/// What a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Used, or meaningful to clients that read it from CMAP.
    Used,
    /// Known to corosync, without effect here: why.
    Inert(&'static str),
}

/// One key of a section. A name may end in `*` (`exec_*`) or hold `#` for one digit 0 … 7 (`ring#_addr`).
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) effect: Effect,
}

/// One section.
#[derive(Debug)]
pub(crate) struct Spec {
    name: &'static str,
    keys: &'static [Key],
    sections: &'static [&'static Spec],
    /// May stand more than once.
    repeats: bool,
    /// Has keys and sections that are not ours to check.
    open: bool,
    effect: Effect,
}

/// Checks names, types and ranges of everything in the file.
pub(crate) fn check(root: &Section, found: &mut Diagnostics) {
    check_section(root, &ROOT, "", found);
}

/// The kind of the key at this path (section names from the top); `None` where the schema does not know it.
pub(crate) fn kind_of(path: &[&str], key: &str) -> Option<Kind> {
    let mut spec = &ROOT;
    for name in path {
        spec = spec.sections.iter().find(|s| s.name == *name)?;
    }
    spec.key(key).map(|k| k.kind)
}

impl Spec {
    fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| matches(k.name, name))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*') {
        return name.len() > prefix.len() && name.starts_with(prefix);
    }
    match pattern.split_once('#') {
        Some((before, after)) => name
            .strip_prefix(before)
            .and_then(|n| n.strip_suffix(after))
            .is_some_and(|d| matches!(d.as_bytes(), [b'0'..=b'7'])),
        None => pattern == name,
    }
}

fn check_section(section: &Section, spec: &'static Spec, path: &str, found: &mut Diagnostics) {
    for (index, item) in section.items.iter().enumerate() {
        match spec.key(&item.key) {
            Some(key) => check_item(item, key, path, found),
            None if spec.open => {}
            None => unknown_key(item, spec, path, found),
        }
        if spec.repeats_key(&item.key) || spec.open {
            continue;
        }
        if let Some(first) = section.items[..index].iter().rev().find(|i| i.key == item.key) {
            let text = format!(
                "{} is set in line {} already, and this one counts; remove one",
                item.key, first.line
            );
            found.error((item.line, 0), text);
        }
    }
    for (index, inner) in section.sections.iter().enumerate() {
        let path = if path.is_empty() { inner.name.clone() } else { format!("{path}.{}", inner.name) };
        let Some(inner_spec) = spec.sections.iter().find(|s| s.name == inner.name) else {
            if !spec.open {
                let names = spec.sections.iter().map(|s| s.name);
                let hint = did_you_mean(&inner.name, names).unwrap_or_else(|| {
                    let other = ROOT.sections.iter().any(|s| s.name == inner.name);
                    if other {
                        "move it to the top level".into()
                    } else {
                        "remove it, or correct its name".into()
                    }
                });
                found.error(inner.at(), format!("unknown section \"{path}\"; {hint}"));
            }
            continue;
        };
        if let Effect::Inert(why) = inner_spec.effect {
            found.warn(inner.at(), format!("section {path} has no effect: {why}"));
        }
        let earlier = section.sections[..index].iter().any(|s| s.name == inner.name);
        if earlier && !inner_spec.repeats && !inner_spec.open {
            found.error(inner.at(), format!("a second section {path}; put its lines into the first one"));
        }
        check_section(inner, inner_spec, &path, found);
    }
}

impl Spec {
    /// Keys that may stand more than once in one section.
    fn repeats_key(&self, key: &str) -> bool {
        self.name == "uidgid" && matches!(key, "uid" | "gid")
            || self.name == "disk" && matches!(key, "device" | "label")
            || std::ptr::eq(self, &raw const FENCING_SCSI) && key == "device"
            || self.name == "failfast" && matches!(key, "watchdog_device" | "watchdog_identity")
    }
}

fn check_item(item: &Item, key: &'static Key, path: &str, found: &mut Diagnostics) {
    let full = if path.is_empty() { item.key.clone() } else { format!("{path}.{}", item.key) };
    let comment = if item.value.contains('#') { " (a comment needs a line of its own)" } else { "" };
    let mut wrong = |want: String| {
        found.fatal(item.at(), format!("\"{}\" is not a value of {full}{comment}; write {want}", item.value));
    };
    match key.kind {
        Kind::Number(min, max, _) => match parse_number(&item.value) {
            Some(n) if (min..=max).contains(&n) => {}
            _ => return wrong(format!("a number from {min} to {max}")),
        },
        Kind::Flag if !matches!(item.value.as_str(), "0" | "1") => return wrong("0 or 1".into()),
        Kind::YesNo if yes_no(&item.value).is_none() => return wrong("yes or no".into()),
        Kind::OneOf(words) if !words.contains(&item.value.as_str()) => {
            return wrong(match did_you_mean(&item.value, words.iter().copied()) {
                Some(hint) => format!("{} ({hint})", words.join(", ")),
                None => format!("one of {}", words.join(", ")),
            });
        }
        Kind::Text if item.value.len() > VALUE_BYTES_MAX => {
            return wrong(format!("at most {VALUE_BYTES_MAX} bytes"));
        }
        _ => {}
    }
    match key.effect {
        Effect::Used => {}
        Effect::Inert(why) => found.warn(item.at(), format!("{full} has no effect: {why}; remove the line")),
    }
}

fn unknown_key(item: &Item, spec: &'static Spec, path: &str, found: &mut Diagnostics) {
    let place = if path.is_empty() { "the top level" } else { path };
    let hint = did_you_mean(&item.key, spec.keys.iter().map(|k| k.name)).or_else(|| {
        let home = home_of(&ROOT, "", &item.key)?;
        Some(format!("it belongs into section {home}"))
    });
    let hint = hint.unwrap_or_else(|| "remove the line, or correct the name".into());
    found.error((item.line, 0), format!("unknown key \"{}\" in {place}; {hint}", item.key));
}

/// The section that has this key.
fn home_of(spec: &'static Spec, path: &str, key: &str) -> Option<String> {
    spec.sections.iter().find_map(|s| {
        let path = if path.is_empty() { s.name.to_owned() } else { format!("{path}.{}", s.name) };
        if s.key(key).is_some() { Some(path) } else { home_of(s, &path, key) }
    })
}

/// A decimal number without sign or blanks.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

/// `yes` or `no` in corosync's spellings.
pub(crate) fn yes_no(text: &str) -> Option<bool> {
    match text {
        "yes" | "on" | "1" => Some(true),
        "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `did you mean "token"?` for the nearest name, if one is near enough.
fn did_you_mean<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let word = word.to_lowercase();
    names
        .map(|n| (distance(&word, n), n))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, n)| format!("did you mean \"{}\"?", n.replace('#', "0")))
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

const VALUE_BYTES_MAX: usize = 4_096;
const U32: u64 = u32::MAX as u64;
/// Longest interval that makes sense: ten minutes, in milliseconds.
const MS_MAX: u64 = 600_000;

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, effect: Effect::Used }
}
const fn num(name: &'static str, min: u64, max: u64) -> Key {
    key(name, Kind::Number(min, max, Width::U32))
}
const fn text(name: &'static str) -> Key {
    key(name, Kind::Text)
}
const fn flag(name: &'static str) -> Key {
    key(name, Kind::Flag)
}
const fn yes(name: &'static str) -> Key {
    key(name, Kind::YesNo)
}
const fn word(name: &'static str, words: &'static [&'static str]) -> Key {
    key(name, Kind::OneOf(words))
}
const fn inert(mut k: Key, why: &'static str) -> Key {
    k.effect = Effect::Inert(why);
    k
}
const fn width(mut k: Key, width: Width) -> Key {
    if let Kind::Number(min, max, _) = k.kind {
        k.kind = Kind::Number(min, max, width);
    }
    k
}
const fn section(name: &'static str, keys: &'static [Key], sections: &'static [&'static Spec]) -> Spec {
    Spec { name, keys, sections, repeats: false, open: false, effect: Effect::Used }
}
const fn repeated(mut s: Spec) -> Spec {
    s.repeats = true;
    s
}
const fn open(name: &'static str, effect: Effect) -> Spec {
    Spec { name, keys: &[], sections: &[], repeats: true, open: true, effect }
}

const NO_KNET: &str = "Holdfast has its own transport";
const RELIC: &str = "corosync dropped it long ago";
const HEARTBEATS: &str = "heartbeats are always on, see totem.heartbeat_limit";
const VOTE_ONLY: &str = "a node that loses the disk or its fitness loses the disk's vote and nothing else; failfast does the rest";
const PRIORITIES: &[&str] = &["emerg", "alert", "crit", "err", "error", "warning", "notice", "info", "debug"];
const FACILITIES: &[&str] =
    &["daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"];

static ROOT: Spec = section(
    "",
    &[inert(text("compatibility"), RELIC)],
    &[
        &TOTEM, &NODELIST, &QUORUM, &LOGGING, &SYSTEM, &RESOURCES, &NOZZLE, &UIDGID, &FAILFAST, &FENCING,
        &AMF, &AISEXEC, &SERVICE, &QB, &EVENT,
    ],
);

static TOTEM: Spec = section(
    "totem",
    &[
        num("version", 2, 2),
        word("transport", &["knet", "udpu", "udp"]),
        text("cluster_name"),
        num("nodeid", 1, U32),
        yes("clear_node_high_bit"),
        width(num("config_version", 0, u64::MAX), Width::U64),
        word("ip_version", &["ipv4", "ipv6", "ipv4-6", "ipv6-4"]),
        yes("block_unlisted_ips"),
        // Keys and cryptography: always AES-256-GCM here; these say whether the operator expects a key file.
        yes("secauth"),
        text("crypto_model"),
        word("crypto_cipher", &["none", "aes256", "aes192", "aes128", "3des"]),
        word("crypto_hash", &["none", "md5", "sha1", "sha256", "sha384", "sha512"]),
        word("crypto_type", &["nss", "aes256", "aes192", "aes128", "3des"]),
        text("keyfile"),
        text("key"),
        // Timing, in milliseconds.
        num("token", 1, MS_MAX),
        num("token_coefficient", 0, MS_MAX),
        inert(num("token_warning", 0, 100), "a token is told late at three quarters of its time-out"),
        num("token_retransmit", 1, MS_MAX),
        num("token_retransmits_before_loss_const", 1, 1_000),
        num("hold", 1, MS_MAX),
        num("join", 1, MS_MAX),
        inert(num("send_join", 0, MS_MAX), "JOIN packets are spread by the protocol itself"),
        num("consensus", 1, MS_MAX),
        num("merge", 1, MS_MAX),
        inert(num("downcheck", 0, MS_MAX), "interfaces are not polled"),
        num("fail_recv_const", 1, 1_000_000),
        inert(num("seqno_unchanged_const", 0, 1_000_000), "a quiet ring is recognised at once"),
        inert(num("heartbeat_failures_allowed", 0, 1_000), HEARTBEATS),
        inert(num("max_network_delay", 0, MS_MAX), HEARTBEATS),
        num("window_size", 1, 1_024),
        num("max_messages", 1, 256),
        inert(num("miss_count_const", 0, 1_000), "a hole is asked for when the token shows it"),
        inert(yes("cancel_token_hold_on_retransmit"), "the token is never held while frames are missing"),
        // Holdfast's own timing.
        num("heartbeat_interval", 1, MS_MAX),
        num("heartbeat_limit", 1, MS_MAX),
        num("heartbeat_limit_max", 1, MS_MAX),
        num("lease", 1, MS_MAX),
        num("lease_margin", 0, MS_MAX),
        num("step_limit", 100, 3_600_000),
        // knet and relics.
        num("netmtu", 0, 65_536),
        num("knet_mtu", 0, 65_536),
        num("knet_pmtud_interval", 0, 86_400),
        inert(text("knet_compression_model"), NO_KNET),
        inert(num("knet_compression_threshold", 0, U32), NO_KNET),
        inert(num("knet_compression_level", 0, U32), NO_KNET),
        word("link_mode", &["passive", "active", "rr"]),
        num("ip_dscp", 0, 63),
        inert(num("threads", 0, 1_024), RELIC),
        inert(text("vsftype"), RELIC),
        inert(word("rrp_mode", &["none", "active", "passive"]), RELIC),
        inert(text("rrp_problem_count_timeout"), RELIC),
        inert(text("rrp_problem_count_threshold"), RELIC),
        inert(text("rrp_problem_count_mcast_threshold"), RELIC),
        inert(text("rrp_token_expired_timeout"), RELIC),
        inert(text("rrp_autorecovery_check_timeout"), RELIC),
    ],
    &[&INTERFACE],
);

static INTERFACE: Spec = repeated(section(
    "interface",
    &[
        width(num("linknumber", 0, 7), Width::U8),
        width(num("ringnumber", 0, 7), Width::U8),
        text("bindnetaddr"),
        inert(yes("broadcast"), "packets go to each node of the node list by itself"),
        inert(text("mcastaddr"), "packets go to each node of the node list by itself"),
        width(num("mcastport", 1, 65_535), Width::U16),
        width(num("ttl", 0, 255), Width::U8),
        width(num("knet_link_priority", 0, 255), Width::U8),
        inert(
            num("knet_ping_interval", 0, MS_MAX),
            "links are probed by heartbeats, see totem.heartbeat_interval",
        ),
        num("knet_ping_timeout", 0, MS_MAX),
        inert(num("knet_ping_precision", 0, U32), NO_KNET),
        num("knet_pong_count", 0, U32),
        word("knet_transport", &["udp", "sctp"]),
    ],
    &[&MEMBER],
));
static MEMBER: Spec = repeated(section("member", &[text("memberaddr")], &[]));

static NODELIST: Spec = section("nodelist", &[], &[&NODE]);
static NODE: Spec = repeated(section(
    "node",
    &[num("nodeid", 1, U32), text("name"), text("ring#_addr"), num("quorum_votes", 0, 65_535)],
    &[],
));

static QUORUM: Spec = section(
    "quorum",
    &[
        word("provider", &["corosync_votequorum"]),
        num("expected_votes", 1, 65_535),
        num("votes", 0, 65_535),
        flag("two_node"),
        flag("wait_for_all"),
        flag("auto_tie_breaker"),
        text("auto_tie_breaker_node"),
        flag("last_man_standing"),
        num("last_man_standing_window", 0, MS_MAX),
        flag("allow_downscale"),
        flag("expected_votes_tracking"),
        num("leaving_timeout", 0, MS_MAX),
    ],
    &[&DEVICE],
);
static DEVICE: Spec = Spec {
    ..repeated(section(
        "device",
        &[
            word("model", &["net", "disk", "scsi"]),
            num("votes", 0, 65_535),
            num("timeout", 1, MS_MAX),
            num("sync_timeout", 1, MS_MAX),
            flag("master_wins"),
        ],
        &[&DEVICE_NET, &HEURISTICS, &DEVICE_DISK, &DEVICE_SCSI],
    ))
};
static DEVICE_NET: Spec = section(
    "net",
    &[
        text("host"),
        width(num("port", 1, 65_535), Width::U32),
        word("tls", &["on", "off", "required"]),
        word("algorithm", &["test", "ffsplit", "2nodelms", "lms"]),
        text("tls_ca"),
        text("tls_cert"),
        text("tls_key"),
        text("tie_breaker"),
        num("connect_timeout", 1, MS_MAX),
        word("force_ip_version", &["0", "4", "6"]),
        yes("keep_active_partition_tie_breaker"),
    ],
    &[],
);
static HEURISTICS: Spec = section(
    "heuristics",
    &[
        word("mode", &["on", "sync", "off"]),
        num("interval", 1, 3_600_000),
        num("timeout", 1, MS_MAX),
        num("sync_timeout", 1, MS_MAX),
        text("exec_*"),
    ],
    &[],
);
static DEVICE_DISK: Spec = section(
    "disk",
    &[
        text("device"),
        text("label"),
        num("interval", 10, 60_000),
        num("tko", 2, 1_000),
        inert(num("tko_up", 1, 1_000), "a ballot takes as long as it takes"),
        inert(num("master_wait", 1, 1_000), "a ballot takes as long as it takes"),
        num("upgrade_wait", 0, 1_000),
        num("min_score", 0, 65_535),
        inert(flag("reboot"), VOTE_ONLY),
        inert(flag("allow_kill"), VOTE_ONLY),
        inert(flag("paranoid"), VOTE_ONLY),
        inert(flag("io_timeout"), VOTE_ONLY),
        inert(num("max_error_cycles", 0, U32), VOTE_ONLY),
        inert(flag("stop_cman"), VOTE_ONLY),
        inert(flag("use_uptime"), "nothing depends on a wall clock"),
        inert(text("status_file"), "\"holdfast qdisk status\" says more, and nothing waits for a file"),
    ],
    &[&DEVICE_HEURISTIC],
);
static DEVICE_HEURISTIC: Spec = repeated(section(
    "heuristic",
    &[
        text("program"),
        num("score", 1, 6_553),
        num("interval", crate::qdisk::HEURISTIC_MS_MIN, 3_600_000),
        num("tko", 1, 10_000),
    ],
    &[],
));
static DEVICE_SCSI: Spec =
    section("scsi", &[text("device"), num("interval", 10, 60_000), num("tko", 2, 1_000)], &[]);

macro_rules! log_keys {
    ($($more:expr),*) => {
        &[
            yes("to_stderr"), yes("to_syslog"), yes("to_logfile"), text("logfile"),
            word("logfile_priority", PRIORITIES), word("syslog_facility", FACILITIES),
            word("syslog_priority", PRIORITIES), word("debug", &["off", "on", "trace", "no", "yes", "0", "1"]),
            $($more),*
        ]
    };
}
static LOGGING: Spec = section(
    "logging",
    log_keys![
        word("timestamp", &["off", "on", "hires", "no", "yes"]),
        yes("fileline"),
        yes("function_name"),
        yes("blackbox")
    ],
    &[&LOGGER_SUBSYS, &LOGGER, &LOGGING_DAEMON],
);
static LOGGER_SUBSYS: Spec = repeated(section("logger_subsys", log_keys![text("subsys")], &[]));
static LOGGER: Spec = open("logger", Effect::Inert(RELIC));
static LOGGING_DAEMON: Spec =
    repeated(section("logging_daemon", log_keys![text("name"), text("subsys")], &[&LOGGER_SUBSYS]));

static SYSTEM: Spec = section(
    "system",
    &[
        word("qb_ipc_type", &["native", "shm", "socket"]),
        yes("sched_rr"),
        text("priority"),
        num("cpu", 0, 4_095),
        inert(
            word("move_to_root_cgroup", &["yes", "no", "auto"]),
            "the cgroup stays the service manager's choice",
        ),
        inert(yes("allow_knet_handle_fallback"), NO_KNET),
        inert(text("state_dir"), "HOLDFAST_STATE_DIR in the environment moves the state"),
    ],
    &[],
);

static RESOURCES: Spec = section(
    "resources",
    &[text("watchdog_device"), num("watchdog_timeout", 500, 120_000)],
    &[&RESOURCES_SYSTEM, &RESOURCES_PROCESS],
);
static RESOURCES_SYSTEM: Spec = open("system", Effect::Inert("system load is not watched"));
static RESOURCES_PROCESS: Spec = open("process", Effect::Inert("use failfast { unit { } } for processes"));

static NOZZLE: Spec = Spec {
    effect: Effect::Inert("there is no tap device over the ring"),
    ..section("nozzle", &[text("name"), text("ipaddr"), text("ipprefix"), text("macaddr")], &[])
};
static UIDGID: Spec = repeated(section("uidgid", &[text("uid"), text("gid")], &[]));

static FAILFAST: Spec = section(
    "failfast",
    &[
        word("mode", &["exit", "panic", "reset", "off"]),
        word("exit_scope", &["run-dir", "pid-namespace"]),
        text("watchdog_device"),
        text("watchdog_identity"),
        num("watchdog_timeout", 1_000, 600_000),
        num("watchdog_pretimeout", 0, 600_000),
        num("guardian_limit", 100, 600_000),
    ],
    &[&UNIT],
);
static UNIT: Spec = repeated(section(
    "unit",
    &[
        text("name"),
        num("delay", 0, 3_600_000),
        num("heartbeat", 0, 3_600_000),
        word("mode", &["exit", "panic", "reset", "off"]),
        text("pidfile"),
        text("systemd"),
        text("command"),
        word("on_failure", &["failfast", "restart"]),
        num("restarts", 0, 16),
        num("window", 1_000, 3_600_000),
    ],
    &[],
));

/// Fence devices stand in the CIB as `stonith:` primitives.
static FENCING: Spec = section("fencing", &[], &[&FENCING_SCSI]);
static FENCING_SCSI: Spec = section(
    "scsi",
    &[text("device"), num("interval", 100, 60_000), word("on_conflict", &["failfast", "log"])],
    &[],
);
static AMF: Spec = open("amf", Effect::Inert(RELIC));
static AISEXEC: Spec = open("aisexec", Effect::Inert(RELIC));
static SERVICE: Spec = open("service", Effect::Inert("daemons are started by the service manager"));
static QB: Spec = open("qb", Effect::Inert("clients are always served over shared memory"));
static EVENT: Spec = open("event", Effect::Inert(RELIC));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = || TOTEM.keys.iter().map(|k| k.name);
        assert_eq!(did_you_mean("tokn", names()).as_deref(), Some("did you mean \"token\"?"));
        assert_eq!(did_you_mean("cluster-name", names()).as_deref(), Some("did you mean \"cluster_name\"?"));
        assert_eq!(did_you_mean("consesnus", names()).as_deref(), Some("did you mean \"consensus\"?"));
        assert_eq!(did_you_mean("qqqqqqqq", names()), None);
    }

    #[test]
    fn ring_addresses_match_by_digit_and_programs_by_prefix() {
        assert!(matches("ring#_addr", "ring7_addr") && !matches("ring#_addr", "ring8_addr"));
        assert!(!matches("ring#_addr", "ring_addr") && !matches("ring#_addr", "ring10_addr"));
        assert!(matches("exec_*", "exec_ping") && !matches("exec_*", "exec_"));
    }

    #[test]
    fn no_section_knows_a_key_twice() {
        fn walk(spec: &Spec) {
            for (i, k) in spec.keys.iter().enumerate() {
                assert!(spec.keys[..i].iter().all(|o| o.name != k.name), "{}.{}", spec.name, k.name);
            }
            spec.sections.iter().for_each(|s| walk(s));
        }
        walk(&ROOT);
    }
}
