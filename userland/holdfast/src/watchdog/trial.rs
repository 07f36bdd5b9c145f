//! `holdfast watchdog test`: the device is armed and not fed. What is still there afterwards has no watchdog.

use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use failfast::Watchdog;
use failfast::watchdog::{Figures, Identity, Notice};
use holdfast_sys::host;
use holdfast_types::Span;
use serde_json::json;

use super::list::users;
use crate::exit::Exit;
use crate::gather::{Sources, gather};
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The device, by path, or by what "holdfast watchdog list" says it is called
    #[arg(value_name = "DEVICE")]
    device: String,
    /// Time-out to arm it with
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=600))]
    timeout: u64,
    /// Also ask for notice so long before it fires: the kernel panics then
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pretimeout: u64,
    /// Do not ask; the host's name says that this is the machine you think it is
    #[arg(long, value_name = "HOST")]
    yes: Option<String>,
    /// Arm it, feed it for a few seconds, stop it: shows all but that it fires
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one object, fields are only ever added. Nothing is asked: --yes or --dry-run says that it may be done
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, io: &mut Io) -> Exit {
    let identity = match allowed(args) {
        Ok(identity) => identity,
        Err((why, exit)) => {
            io.complain(format_args!("{why}; nothing was opened\n"));
            return exit;
        }
    };
    let host = host::hostname().unwrap_or_default();
    if !args.dry_run && !confirmed(args, &identity, &host, io) {
        io.complain(format_args!("Left as it is.\n"));
        return Exit::Of(REFUSED);
    }
    let figures =
        Figures { timeout: Span::from_secs(args.timeout), pretimeout: Span::from_secs(args.pretimeout) };
    if !args.dry_run {
        nix::unistd::sync();
    }
    let device =
        if args.dry_run { Watchdog::try_out(identity, figures) } else { Watchdog::arm(identity, figures) };
    let device = match device {
        Ok(device) => device,
        Err(e) => {
            io.complain(format_args!("{e}\n"));
            return Exit::Software;
        }
    };
    if args.dry_run { dry_run(args, device, io) } else { fire(args, &device, &host, io) }
}

/// The device, where nothing speaks against it.
fn allowed(args: &Args) -> Result<Identity, (String, Exit)> {
    let refused = |why: String| (why, Exit::Of(REFUSED));
    if host::effective_uid() != 0 {
        return Err(("a watchdog is armed by root only".into(), Exit::NoPermission));
    }
    if ["CARGO", "CARGO_MANIFEST_DIR", "NEXTEST"].iter().any(|v| std::env::var_os(v).is_some()) {
        return Err(refused("below cargo no watchdog is armed: no test takes its machine down".into()));
    }
    let found = if args.device.starts_with('/') {
        Identity::of(Path::new(&args.device))
    } else {
        Identity::named(&args.device)
    };
    let identity = found.map_err(|e| refused(e.to_string()))?;
    let status = gather(&Sources::from_env());
    if status.answered.cmmd || failfast::Client::connect(&Sources::from_env().run_dir, ANSWER_LIMIT).is_ok() {
        return Err(refused(
            "cmmd (or corosync) runs on this node; stop it first: systemctl stop cmmd".into(),
        ));
    }
    let path = identity.path.display();
    let users: Vec<String> =
        users(&identity).into_iter().map(|(pid, name)| format!("{name} (pid {pid})")).collect();
    if !users.is_empty() {
        let text = format!("{path} is in use by {}; stop that first", users.join(", "));
        return Err(refused(text));
    }
    if identity.active {
        let text = format!(
            "{path} is running already: left armed by a program that died, and about to reset this machine, or kept running by \
             its driver"
        );
        return Err(refused(text));
    }
    if args.dry_run && identity.no_way_out {
        let text = format!("{path} cannot be stopped once it is armed (nowayout): there is no dry run of it");
        return Err(refused(text));
    }
    if args.pretimeout >= args.timeout {
        return Err(refused("--pretimeout has to be less than --timeout".into()));
    }
    Ok(identity)
}

fn confirmed(args: &Args, identity: &Identity, host: &str, io: &mut Io) -> bool {
    if let Some(given) = &args.yes {
        if given != host {
            io.complain(format_args!("This is host {host}, not {given}.\n"));
        }
        return given == host;
    }
    if args.json {
        io.complain(format_args!("With --json nothing is asked: --yes {host} says that it may be done.\n"));
        return false;
    }
    let (path, name, seconds) = (identity.path.display(), &identity.name, args.timeout);
    io.say(format_args!(
        "{path} ({name}) will be armed and not fed: host {host} IS RESET {seconds} s later, without a shutdown.\n\
         Type the name of the host to go on: "
    ));
    io.read_line().is_ok_and(|line| line.trim() == host)
}

fn dry_run(args: &Args, device: Watchdog, io: &mut Io) -> Exit {
    let (path, name) = (device.identity().path.display().to_string(), device.identity().name.clone());
    let (timeout, worst) = (device.timeout().as_millis() / 1_000, device.worst_case().as_millis() / 1_000);
    let notice = match device.notice() {
        Notice::None => None,
        Notice::Panic(before) => {
            Some(format!("the kernel would panic {} s before it fires", before.as_millis() / 1_000))
        }
        Notice::Refused(why) => Some(why.clone()),
    };
    for _ in 0..FEEDS {
        thread::sleep(Duration::from_millis((args.timeout * 1_000 / 4).min(1_000)));
        if let Err(e) = device.feed() {
            io.complain(format_args!("{path} cannot be fed: {e}; it will reset this machine\n"));
            return Exit::Software;
        }
    }
    let identity = device.identity().clone();
    let put_back = device.put_back();
    let disarmed = device.disarm();
    // Without the attribute there is nothing more to know.
    let runs = identity.attribute("state") == "active";
    let (stopped, why) = match disarmed {
        Ok(()) if !runs => (true, String::new()),
        Ok(()) => (false, "it still runs after the magic close".to_owned()),
        Err(e) => (false, e.to_string()),
    };
    if args.json {
        let json = json!({
            "path": path, "identity": name, "timeout_s": timeout, "worst_case_s": worst, "notice": notice, "fed": FEEDS,
            "stopped": stopped, "why": why, "put_back": put_back.is_ok(),
        });
        io.say(format_args!("{json:#}\n"));
    } else {
        let notice = notice.map_or(String::new(), |n| format!(", {n}"));
        io.say(format_args!(
            "{path} ({name}): armed with {timeout} s{notice}, fed {FEEDS} times. A machine that hangs would be down within {worst} s.\n"
        ));
        if stopped {
            io.say(format_args!("It is stopped again, and set as it was before. That it fires is shown without --dry-run only.\n"));
        } else {
            io.complain(format_args!(
                "IT CANNOT BE STOPPED ({why}): this machine is reset within {worst} s.\n"
            ));
        }
    }
    if let Err(wrong) = &put_back {
        io.complain(format_args!(
            "{path} is not set as it was before: {wrong}. Load its driver anew (modprobe -r, modprobe) if that matters.\n"
        ));
    }
    if stopped && put_back.is_ok() { Exit::Ok } else { Exit::Software }
}

/// Waits for the end of this machine.
fn fire(args: &Args, device: &Watchdog, host: &str, io: &mut Io) -> Exit {
    let (path, worst) = (device.identity().path.display().to_string(), device.worst_case());
    let line = format!("<1>holdfast: watchdog test: {path} is armed with {} s and not fed\n", args.timeout);
    if let Ok(mut log) = std::fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(line.as_bytes()); // for whoever looks at the console
    }
    let start = Instant::now();
    io.say(format_args!(
        "{path} is armed and not fed. Host {host} is reset in {} s, or it has no watchdog.\n",
        args.timeout
    ));
    let limit = worst.to_duration() + MARGIN;
    while start.elapsed() < limit {
        thread::sleep(Duration::from_secs(1));
        if !args.json {
            io.say(format_args!("{} s\n", start.elapsed().as_secs()));
        }
    }
    let seconds = start.elapsed().as_secs();
    if args.json {
        let json = json!({"path": path, "reset": false, "waited_s": seconds});
        io.say(format_args!("{json:#}\n"));
    }
    io.complain(format_args!(
        "{path} DID NOT RESET THIS MACHINE within {seconds} s: it is no watchdog. Try another driver, and look at the BIOS or the \
         hypervisor's watchdog action. It was left armed.\n"
    ));
    Exit::Software
}

/// Nothing was done.
const REFUSED: u8 = 1;
const FEEDS: u32 = 4;
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A second beyond the worst case is no proof yet on a machine that is slow.
const MARGIN: Duration = Duration::from_secs(5);
