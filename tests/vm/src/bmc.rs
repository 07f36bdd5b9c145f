//! A management controller for each machine: `ipmi_sim` of OpenIPMI on the machines' first link, which switches the power of QEMU. It
//! outlives the machine, as a real one does, and fence agents know no difference.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use harness::node_name;

use crate::kernel::output;
use crate::machine::Plug;
use crate::network::{HOST, address};

/// A controller that answers.
pub(crate) struct Bmc {
    /// None while it has no power.
    simulator: RefCell<Option<Child>>,
    state: PathBuf,
    requests: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    plug: Plug,
    /// The machine is to be switched on; whoever has it does so, and the controller says already that it is on.
    wanted: AtomicBool,
    orders: Mutex<Vec<(Instant, String)>>,
}

impl Bmc {
    /// The parameters of `fence_ipmilan` for a machine.
    pub(crate) fn parameters(node: u32) -> [(&'static str, String); 7] {
        [
            ("ip", address(HOST, 0)),
            ("ipport", port(node).to_string()),
            ("username", USER.into()),
            ("password", PASSWORD.into()),
            ("lanplus", "1".into()),
            // Without it ipmitool asks for the list of all, at length.
            ("cipher", "3".into()),
            ("pcmk_host_list", node_name(node)),
        ]
    }

    /// Starts it in `dir`; the host has its address on the first link.
    pub(crate) fn start(dir: &Path, node: u32, plug: Plug) -> Result<Self> {
        let state = dir.join("bmc");
        fs::create_dir_all(&state)?;
        let requests = state.join("requests");
        output(Command::new("mkfifo").arg(&requests))?;
        let chassis = state.join("chassis");
        fs::write(&chassis, CHASSIS.replace("@DIR@", &state.to_string_lossy()))?;
        fs::set_permissions(&chassis, fs::Permissions::from_mode(0o755))?;
        let lan = LAN
            .replace("@ADDRESS@", &address(HOST, 0))
            .replace("@PORT@", &port(node).to_string())
            .replace("@CHASSIS@", &chassis.to_string_lossy())
            .replace("@NAME@", &node_name(node));
        fs::write(state.join("lan.conf"), lan)?;
        fs::write(state.join("controller"), CONTROLLER)?;
        // Open for writing too, so that it never ends.
        let reader = File::options().read(true).write(true).open(&requests)?;
        let shared =
            Arc::new(Shared { plug, wanted: AtomicBool::new(false), orders: Mutex::new(Vec::new()) });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(reader, &serving));
        let this = Self { simulator: RefCell::new(None), state, requests, shared, thread: Some(thread) };
        this.plug()?;
        Ok(this)
    }

    /// Gives it power.
    pub(crate) fn plug(&self) -> Result<()> {
        let state = &self.state;
        let log = File::options().create(true).append(true).open(state.join("log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "ipmi_sim", "-n", "-c"]).arg(state.join("lan.conf"));
        command.arg("-f").arg(state.join("controller")).arg("-s").arg(state);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.unplug();
        *self.simulator.borrow_mut() = Some(command.spawn().context("running ipmi_sim")?);
        Ok(())
    }

    /// Takes its power: nobody gets an answer.
    pub(crate) fn unplug(&self) {
        if let Some(mut simulator) = self.simulator.borrow_mut().take() {
            let _ = simulator.kill();
            let _ = simulator.wait();
        }
    }

    /// Whether it was told to switch the machine on since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.shared.wanted.swap(false, Ordering::AcqRel)
    }

    /// What it was told to do, and when: `power 0`, `power 1`, `reset`.
    pub(crate) fn orders(&self) -> Vec<(Instant, String)> {
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.unplug();
        let told = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&self.requests);
        if told.and_then(|mut f| f.write_all(b"quit\n")).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Does what the simulator's program asks for: `REPLY get power`, `REPLY set power 0`, `REPLY set reset 1`.
fn serve(requests: File, shared: &Shared) {
    for line in BufReader::new(requests).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (reply, order) = match words.as_slice() {
            ["quit"] => return,
            [reply, order @ ..] => (*reply, order),
            [] => continue,
        };
        let (off, on) = match order {
            ["set", "power", "0", ..] => (true, false),
            ["set", "power", "1", ..] => (false, !shared.plug.is_on()),
            ["set", "reset", ..] => (true, true),
            _ => (false, false),
        };
        if order.first() == Some(&"set") {
            let mut orders = shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
            orders.push((Instant::now(), order[1..].join(" ")));
        }
        if off {
            shared.wanted.store(false, Ordering::Release);
            shared.plug.pull();
        }
        if on {
            shared.wanted.store(true, Ordering::Release);
        }
        let is_on = shared.wanted.load(Ordering::Acquire) || shared.plug.is_on();
        let answer =
            if order.first() == Some(&"get") { format!("power:{}\n", u8::from(is_on)) } else { "\n".into() };
        // The program waits for it.
        if let Ok(mut file) = File::options().write(true).open(reply) {
            let _ = file.write_all(answer.as_bytes());
        }
    }
}

fn port(node: u32) -> u32 {
    9_000 + node
}

const USER: &str = "admin";
const PASSWORD: &str = "secret";

const LAN: &str = r#"name "@NAME@"
set_working_mc 0x20
startlan 1
  addr @ADDRESS@ @PORT@
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "@CHASSIS@"
user 1 true "" "test" user 10 none md2 md5 straight
user 2 true "admin" "secret" admin 10 none md2 md5 straight
"#;

const CONTROLLER: &str =
    "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n";

/// The simulator's program for all that has to do with power: hands the order on, and the answer back.
const CHASSIS: &str = r#"#!/bin/sh
reply=$(mktemp -u @DIR@/reply.XXXXXXXXXX)
mkfifo "$reply" || exit 1
echo "$reply $*" >@DIR@/requests
cat "$reply"
rm -f "$reply"
"#;
