//! One virtual machine: its QEMU while it is on; its disk, its folder, its last words and its console log always.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::node_name;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::agent::{Agent, Answer};
use crate::kernel::output;
use crate::network::tap;
use crate::qmp::{Event, Events, Qmp};

/// What all machines of a cluster have in common.
#[derive(Clone)]
pub(crate) struct Hardware {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) links: u8,
    pub(crate) memory_mib: u32,
    /// More kernel parameters.
    pub(crate) append: String,
    /// More of QEMU's arguments.
    pub(crate) more: Vec<String>,
}

pub(crate) struct Machine {
    id: u32,
    dir: PathBuf,
    events: Events,
    plug: Plug,
    running: Option<Running>,
}

/// A machine's power: QEMU while there is one. Whoever holds it, a BMC for one, can take it.
#[derive(Clone, Default)]
pub(crate) struct Plug(Arc<Mutex<Option<Child>>>);

impl Plug {
    fn qemu(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether QEMU runs.
    pub(crate) fn is_on(&self) -> bool {
        self.qemu().as_mut().is_some_and(|qemu| matches!(qemu.try_wait(), Ok(None)))
    }

    /// Takes the power: QEMU is killed and gone when this returns.
    pub(crate) fn pull(&self) {
        if let Some(mut qemu) = self.qemu().take() {
            let _ = qemu.kill(); // it may have ended by itself
            let _ = qemu.wait();
        }
    }
}

struct Running {
    qmp: Qmp,
    agent: Agent,
}

/// QEMU has opened its channels within this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Stands for the machine's name in arguments for QEMU.
pub(crate) const NODE: &str = "%NODE%";
/// Stands for its folder.
pub(crate) const DIR: &str = "%DIR%";
const DISK_MIB: u32 = 16;
const LAST_WORDS_BYTES: u64 = 1 << 20;

/// What QEMU calls the disk that outlives the machine.
pub(crate) const STATE_DISK: &str = "state";

/// A disk behind a file, as QEMU's layers `NAME` and, below it, `NAME-file`.
pub(crate) fn disk(name: &str, file: &str, options: &str) -> Vec<String> {
    let lower = format!("file.driver=file,file.filename={file},file.node-name={name}-file");
    vec!["-blockdev".to_owned(), format!("driver=raw,node-name={name},{lower}{options}")]
}

impl Machine {
    /// Makes its folder and its disk.
    pub(crate) fn new(id: u32, dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(dir.join("share"))?;
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4"]).arg(dir.join("disk")).arg(format!("{DISK_MIB}M"));
        output(&mut mke2fs)?;
        fs::File::create(dir.join("erst"))?.set_len(LAST_WORDS_BYTES)?;
        Ok(Self { id, dir, events: Events::default(), plug: Plug::default(), running: None })
    }

    /// Gives it a copy of a system as its root disk.
    pub(crate) fn install(&self, image: &Path) -> Result<()> {
        let mut cp = Command::new("cp");
        output(cp.args(["--sparse=always", "--reflink=auto"]).arg(image).arg(self.dir.join("root"))).map(drop)
    }

    /// The folder that it sees as `/vm`.
    pub(crate) fn share(&self) -> PathBuf {
        self.dir.join("share")
    }

    pub(crate) fn is_on(&self) -> bool {
        self.plug.is_on()
    }

    pub(crate) fn plug(&self) -> Plug {
        self.plug.clone()
    }

    pub(crate) fn power_on(&mut self, hardware: &Hardware) -> Result<()> {
        ensure!(!self.is_on(), "n{} is on already", self.id);
        self.power_off(); // what is left of a life that ended by itself
        let listen = |name: &str| {
            let path = self.dir.join(name);
            let _ = fs::remove_file(&path);
            UnixListener::bind(&path).with_context(|| path.display().to_string())
        };
        let (qmp, agent) = (listen("qmp")?, listen("agent")?);
        let log = fs::File::options().create(true).append(true).open(self.dir.join("qemu.log"))?;
        let mut command = self.command(hardware);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut qemu = command.spawn().context("running qemu-system-x86_64")?;
        let connected = accept(&qmp, &mut qemu).and_then(|qmp| Ok((qmp, accept(&agent, &mut qemu)?)));
        let running =
            connected.and_then(|(qmp, agent)| Ok((Qmp::new(qmp, self.events.clone())?, Agent::new(agent)?)));
        match running {
            Ok((qmp, agent)) => {
                self.running = Some(Running { qmp, agent });
                *self.plug.qemu() = Some(qemu);
                Ok(())
            }
            Err(e) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                let said = fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
                Err(e.context(format!("starting n{}: {}", self.id, said.trim())))
            }
        }
    }

    fn command(&self, hardware: &Hardware) -> Command {
        let dir = self.dir.display();
        let mut args: Vec<String> =
            ["-M", "q35", "-accel", "tcg,thread=multi,tb-size=128", "-cpu", "Nehalem"]
                .map(str::to_owned)
                .into();
        let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
        add("-smp", "1".into());
        add("-m", hardware.memory_mib.to_string());
        add("-kernel", hardware.kernel.display().to_string());
        add("-initrd", hardware.initramfs.display().to_string());
        add(
            "-append",
            format!(
                "console=ttyS0 loglevel=4 net.ifnames=0 mitigations=off nokaslr no_timer_check vm.node={} vm.links={} {}",
                self.id, hardware.links, hardware.append
            ),
        );
        add("-chardev", format!("file,id=console,path={dir}/console.log,append=on"));
        add("-serial", "chardev:console".into());
        add("-chardev", format!("socket,id=qmp,path={dir}/qmp"));
        add("-mon", "chardev=qmp,mode=control".into());
        add("-chardev", format!("socket,id=agent,path={dir}/agent"));
        add("-device", "virtio-serial-pci".into());
        add("-device", "virtserialport,chardev=agent,name=holdfast.agent".into());
        add("-device", "pvpanic-pci".into());
        // The guest's own way of going down is what is tested; QEMU only says what it sees.
        add("-action", "panic=none,watchdog=reset".into());
        add("-object", "rng-random,id=rng,filename=/dev/urandom".into());
        add("-device", "virtio-rng-pci,rng=rng".into());
        add(
            "-object",
            format!("memory-backend-file,id=erst,mem-path={dir}/erst,size={LAST_WORDS_BYTES},share=on"),
        );
        add("-device", "acpi-erst,memdev=erst".into());
        let state = disk(STATE_DISK, &format!("{dir}/disk"), "");
        add(&state[0], state[1].clone());
        add(
            "-device",
            format!("virtio-blk-pci,drive={STATE_DISK},write-cache=on,rerror=report,werror=report"),
        );
        add("-fsdev", format!("local,id=share,path={dir}/share,security_model=none"));
        add("-device", "virtio-9p-pci,fsdev=share,mount_tag=share".into());
        for link in 0..hardware.links {
            let (node, tap) = (self.id, tap(self.id, link));
            add("-netdev", format!("tap,id=net{link},ifname={tap},script=no,downscript=no,vhost=off"));
            let mac = format!("52:54:00:77:{link:02x}:{node:02x}");
            add("-device", format!("virtio-net-pci,netdev=net{link},mac={mac},romfile="));
        }
        let own = |arg: &String| {
            arg.replace(NODE, &node_name(self.id)).replace(DIR, &self.dir.display().to_string())
        };
        args.extend(hardware.more.iter().map(own));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]).args(args);
        command
    }

    /// Takes the power: QEMU is killed and gone when this returns.
    pub(crate) fn power_off(&mut self) {
        self.plug.pull();
        self.running = None;
    }

    /// Stops or continues the whole machine. Its clock goes on meanwhile.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let qemu = self.plug.qemu();
        let qemu = qemu.as_ref().with_context(|| format!("n{} is off", self.id))?;
        // Not waited for yet, so the pid is still that of our child.
        kill(Pid::from_raw(i32::try_from(qemu.id())?), signal).context("signalling QEMU")
    }

    /// Presses the reset button.
    pub(crate) fn reset(&mut self) -> Result<()> {
        let id = self.id;
        let running = self.running.as_mut().with_context(|| format!("n{id} is off"))?;
        running.qmp.execute("system_reset", json!({})).map(drop)
    }

    /// From now on, until the power is taken, nothing can be read from one of its disks or written to it.
    pub(crate) fn break_disk(&mut self, disk: &str, read_only: bool) -> Result<()> {
        let id = self.id;
        let running = self.running.as_mut().with_context(|| format!("n{id} is off"))?;
        let broken = format!("{disk}-broken");
        let error = json!({ "event": "none", "errno": nix::libc::EIO, "once": false });
        let filter = json!({ "driver": "blkdebug", "node-name": broken, "read-only": read_only, "image": format!("{disk}-file"), "inject-error": [error] });
        running.qmp.execute("blockdev-add", filter)?;
        let raw = json!({ "driver": "raw", "node-name": disk, "read-only": read_only, "file": broken });
        running.qmp.execute("blockdev-reopen", json!({ "options": [raw] })).map(drop)
    }

    /// The id of the boot whose agent answers; none before the first one.
    pub(crate) fn boot(&mut self) -> Option<String> {
        self.running.as_mut()?.agent.boot().map(str::to_owned)
    }

    pub(crate) fn order(&mut self, script: &str) -> Result<()> {
        let id = self.id;
        let Some(running) = &mut self.running else { bail!("n{id} is off") };
        running.agent.order(script).map(drop).with_context(|| format!("n{id}"))
    }

    pub(crate) fn run(&mut self, script: &str, limit: Duration) -> Result<Answer> {
        let id = self.id;
        let Some(running) = &mut self.running else { bail!("n{id} is off") };
        running.agent.run(script, limit).with_context(|| format!("n{id}"))
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that all lives of the machine have written to the serial console.
    pub(crate) fn console(&self) -> String {
        read_lossy(&self.dir.join("console.log"))
    }

    /// A log in its folder.
    pub(crate) fn log(&self, name: &str) -> String {
        read_lossy(&self.share().join(format!("{name}.log")))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// QEMU connects, or ends with a word why it cannot.
fn accept(listener: &UnixListener, qemu: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU ended: {status}");
        }
        ensure!(start.elapsed() < START_LIMIT, "QEMU does not open its channels");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
