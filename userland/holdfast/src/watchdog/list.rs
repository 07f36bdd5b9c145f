//! `holdfast watchdog list`: from sysfs and /proc alone, since opening a watchdog arms it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use cmm_conf::WatchdogName;
use failfast::watchdog::Identity;
use holdfast_sys::host::process_name;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;
use crate::quorum::file::{Conf, find};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// One device.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    path: String,
    name: String,
    driver: String,
    active: bool,
    no_way_out: bool,
    software: bool,
    /// In seconds, where the kernel says so.
    timeout: Option<u32>,
    min: Option<u32>,
    max: Option<u32>,
    /// What sysfs says of a notice; `None`: nothing, which does not mean that there is none.
    notice: Option<u32>,
    governors: String,
    users: Vec<(i32, String)>,
    configured: bool,
}

/// Processes that have this device open; only root sees those of others.
pub(super) fn users(identity: &Identity) -> Vec<(i32, String)> {
    let Some(wanted) = device_number(&identity.path) else { return Vec::new() };
    // The legacy device is watchdog0 under another number.
    let legacy =
        identity.path.ends_with("watchdog0").then(|| device_number(Path::new("/dev/watchdog"))).flatten();
    let opens = |pid: i32| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().filter_map(|fd| device_number(&fd.path())).any(|n| n == wanted || Some(n) == legacy)
    };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<i32> = processes
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| opens(*pid))
        .collect();
    pids.sort_unstable();
    pids.into_iter().map(|pid| (pid, process_name(pid).unwrap_or_default())).collect()
}

fn device_number(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    metadata.file_type().is_char_device().then(|| metadata.rdev())
}

fn rows(configured: &[WatchdogName]) -> Vec<Row> {
    Identity::all().iter().map(|identity| row(identity, configured)).collect()
}

fn row(identity: &Identity, configured: &[WatchdogName]) -> Row {
    let number = |name: &str| identity.attribute(name).parse().ok();
    let place = identity.place();
    let is_meant = |name: &WatchdogName| match name {
        WatchdogName::Identity(name) => *name == identity.name,
        WatchdogName::Path(path) => Identity::of(path.as_ref()).is_ok_and(|other| other.place() == place),
    };
    let driver = fs::read_link(place.join("device/driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    Row {
        path: identity.path.display().to_string(),
        name: identity.name.clone(),
        driver: driver.unwrap_or_else(|| if identity.is_software() { "softdog".into() } else { "-".into() }),
        active: identity.active,
        no_way_out: identity.no_way_out,
        software: identity.is_software(),
        timeout: number("timeout"),
        min: number("min_timeout"),
        max: number("max_timeout").filter(|max| *max > 0),
        notice: number("pretimeout"),
        governors: identity.attribute("pretimeout_available_governors").replace('\n', " "),
        users: users(identity),
        configured: configured.iter().any(is_meant),
    }
}

pub(super) fn run(args: &Args, io: &mut Io) -> Exit {
    let path = find(None, &Sources::from_env().run_dir);
    // A machine without a configuration has watchdogs all the same.
    let config = Conf::read(&path).and_then(|conf| conf.check(&conf.text)).ok();
    let configured = config.map(|c| c.failfast.watchdogs).unwrap_or_default();
    let rows = rows(&configured);
    if args.json {
        let json = as_json(&rows);
        io.say(format_args!("{json:#}\n"));
    } else {
        io.say(format_args!("{}", as_text(&rows)));
    }
    Exit::Ok
}

fn as_json(rows: &[Row]) -> Value {
    let row = |r: &Row| {
        let users: Vec<_> = r.users.iter().map(|(pid, name)| json!({"pid": pid, "name": name})).collect();
        json!({
            "path": r.path, "identity": r.name, "driver": r.driver, "active": r.active, "nowayout": r.no_way_out,
            "software": r.software, "timeout_s": r.timeout, "min_timeout_s": r.min, "max_timeout_s": r.max,
            "pretimeout_s": r.notice, "pretimeout_governors": r.governors, "users": users, "configured": r.configured,
        })
    };
    json!({"watchdogs": rows.iter().map(row).collect::<Vec<_>>()})
}

fn as_text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No watchdog: the kernel has none. Load the driver of this machine's (i6300esb, iTCO_wdt, ipmi_watchdog), or softdog, which dies with the kernel.\n".into();
    }
    let mut text = String::new();
    for r in rows {
        // Writing to a String never fails.
        let _ = writeln!(text, "{}  {}{}", r.path, r.name, if r.configured { "  (configured)" } else { "" });
        let kind = if r.software { ", the kernel's own: it dies with the kernel" } else { "" };
        let _ = writeln!(text, "  driver {}{kind}", r.driver);
        let state = if r.active { "RUNNING" } else { "not running" };
        let timeout = r.timeout.map_or("time-out not known".into(), |t| format!("time-out {t} s"));
        let range = match (r.min, r.max) {
            (Some(min), Some(max)) => format!(" ({min} to {max} s)"),
            (_, Some(max)) => format!(" (up to {max} s)"),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {state}, {timeout}{range}");
        if r.no_way_out {
            text.push_str("  nowayout: once armed it cannot be stopped\n");
        }
        let _ = match r.notice {
            Some(notice) => {
                writeln!(text, "  notice before it fires: {notice} s; governors: {}", r.governors)
            }
            None => writeln!(
                text,
                "  notice before it fires: the driver does not say; \"holdfast watchdog test --dry-run --pretimeout\" asks it"
            ),
        };
        let users: Vec<String> = r.users.iter().map(|(pid, name)| format!("{name} (pid {pid})")).collect();
        if !users.is_empty() {
            let _ = writeln!(text, "  in use by {}", users.join(", "));
        }
    }
    if !rows.iter().any(|r| r.configured)
        && let Some(best) = rows.iter().find(|r| !r.software).or_else(|| rows.first())
    {
        let _ = writeln!(
            text,
            "None is configured. For this one write into failfast {{ }}: watchdog_identity: {}",
            best.name
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Row {
        Row {
            path: "/dev/watchdog0".into(),
            name: name.into(),
            driver: "i6300ESB timer".into(),
            active: false,
            no_way_out: false,
            software: false,
            timeout: Some(30),
            min: Some(1),
            max: Some(2046),
            notice: None,
            governors: String::new(),
            users: vec![],
            configured: false,
        }
    }

    #[test]
    fn devices_are_shown_with_what_matters_and_what_to_write() {
        let other = Row {
            active: true,
            no_way_out: true,
            software: true,
            notice: Some(2),
            governors: "noop panic".into(),
            users: vec![(17, "cmmd".into())],
            ..device("Software Watchdog")
        };
        let text = as_text(&[device("i6300ESB timer"), other]);
        for part in [
            "not running, time-out 30 s (1 to 2046 s)",
            "RUNNING",
            "nowayout: once armed it cannot be stopped",
            "notice before it fires: 2 s; governors: noop panic",
            "the kernel's own: it dies with the kernel",
            "in use by cmmd (pid 17)",
            "watchdog_identity: i6300ESB timer",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let configured = Row { configured: true, ..device("i6300ESB timer") };
        let text = as_text(&[configured]);
        assert!(
            text.starts_with("/dev/watchdog0  i6300ESB timer  (configured)\n") && !text.contains("None is"),
            "{text}"
        );
        assert_eq!(as_json(&[device("x")])["watchdogs"][0]["max_timeout_s"], 2046);
        assert!(as_text(&[]).starts_with("No watchdog"));
    }

    #[test]
    fn who_has_a_device_open_is_found() {
        let identity = Identity::of(Path::new("/dev/null")).unwrap();
        let _open = fs::File::open("/dev/null").unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(users(&identity).iter().any(|(pid, _)| *pid == own));
    }
}
