//! Units of systemd, over D-Bus: each operation on a thread and a connection of its own, which end with it or when the
//! executor gives it up, so that a manager that does not answer holds nobody else up.
//!
//! | action | calls |
//! |---|---|
//! | `start` | `LoadUnit`, drop-in file, `Reload`, `StartUnit(replace)`, its job's `JobRemoved`, `ActiveState` |
//! | `stop` | `StopUnit(replace)`, its job's `JobRemoved`, drop-in file away, `Reload` |
//! | `restart` | `RestartUnit(replace)`, its job's `JobRemoved` |
//! | `monitor` | `LoadUnit`, `ActiveState`, again while it is changing |
//!
//! The drop-in makes the unit the cluster's: systemd does not restart it behind our back, and at shutdown stops it after
//! `rgmd`, which has stopped it in the cluster's order by then.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::num::NonZeroUsize;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, message};

use crate::ExecutorConfig;
use crate::job::{OpStatus, rc};

/// How an operation on a unit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: OpStatus,
    pub(crate) rc: i32,
    pub(crate) reason: String,
    /// Main process of a unit that runs and has one.
    pub(crate) main: Option<u32>,
}

/// An operation under way. Dropping it lets go of the manager; what the manager does goes on.
#[derive(Debug)]
pub(crate) struct Operation {
    socket: UnixStream,
}

impl Drop for Operation {
    fn drop(&mut self) {
        // Ends whatever its thread waits for. An error: it has ended.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Whether there is a systemd to speak to.
pub(crate) fn is_there(config: &ExecutorConfig) -> bool {
    config.systemd_dir.is_dir() && connect(&config.bus).is_ok()
}

/// Begins an operation; `done` is called on its thread when it has ended.
///
/// # Errors
/// When the bus is not there or a thread cannot be made.
pub(crate) fn begin(
    config: &ExecutorConfig,
    unit: &str,
    action: &str,
    done: impl FnOnce(Answer) + Send + 'static,
) -> io::Result<Operation> {
    let socket = connect(&config.bus)?;
    let stream = socket.try_clone()?;
    let (unit, action) = (unit.to_owned(), action.to_owned());
    let drop_in = config.systemd_dir.join(format!("{unit}.d")).join(DROP_IN);
    std::thread::Builder::new().name("unit".into()).stack_size(512 * 1024).spawn(move || {
        let answer = zbus::block_on(carry_out(stream, &unit, &action, &drop_in));
        done(answer.unwrap_or_else(|e| failed(format!("systemd: {e}"))));
    })?;
    Ok(Operation { socket })
}

/// Names of units: those that files describe, and those that are loaded. `Err`: in words.
pub(crate) fn list(config: &ExecutorConfig) -> Result<Vec<String>, String> {
    let socket = connect(&config.bus).map_err(|e| e.to_string())?;
    let found: zbus::Result<Vec<String>> = zbus::block_on(async {
        let bus = open(socket).await?;
        let files = call(&bus, "ListUnitFiles", &()).await?;
        let files: Vec<(String, String)> = files.body().deserialize()?;
        let loaded = call(&bus, "ListUnits", &()).await?;
        let loaded: Vec<Loaded> = loaded.body().deserialize()?;
        let files = files.into_iter().filter_map(|(path, _)| Some(path.rsplit('/').next()?.to_owned()));
        Ok(files.chain(loaded.into_iter().map(|u| u.0)).collect())
    });
    let names = found.map_err(|e| e.to_string())?;
    let mut names: Vec<String> =
        names.iter().filter_map(|n| n.strip_suffix(".service")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// What a unit says of itself. `Err`: in words.
pub(crate) fn description(config: &ExecutorConfig, name: &str) -> Result<String, String> {
    let socket = connect(&config.bus).map_err(|e| format!("systemd cannot be reached: {e}"))?;
    let unit = crate::agent::unit_name(name);
    let found: zbus::Result<Option<String>> = zbus::block_on(async {
        let bus = open(socket).await?;
        let path: OwnedObjectPath = call(&bus, "LoadUnit", &(&unit,)).await?.body().deserialize()?;
        if property(&bus, &path, "LoadState").await? == "not-found" {
            return Ok(None);
        }
        property(&bus, &path, "Description").await.map(Some)
    });
    found.map_err(|e| e.to_string())?.ok_or_else(|| format!("systemd has no unit {unit}"))
}

type Loaded = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

async fn carry_out(stream: UnixStream, unit: &str, action: &str, drop_in: &Path) -> zbus::Result<Answer> {
    let bus = open(stream).await?;
    let path: OwnedObjectPath = call(&bus, "LoadUnit", &(unit,)).await?.body().deserialize()?;
    let known = property(&bus, &path, "LoadState").await? != "not-found";
    match action {
        "monitor" | "status" if known => monitor(&bus, &path).await,
        // What is not there does not run.
        "stop" if !known => Ok(ok()),
        _ if !known => Ok(Answer {
            status: OpStatus::NotInstalled,
            rc: rc::ERR_INSTALLED,
            reason: format!("systemd has no unit {unit}"),
            main: None,
        }),
        "stop" => {
            let result = job(&bus, "StopUnit", unit).await?;
            if result != "done" {
                return Ok(failed(format!("systemd's stop job ended with \"{result}\"")));
            }
            if std::fs::remove_file(drop_in).is_ok() {
                let _ = drop_in.parent().map(std::fs::remove_dir);
                call(&bus, "Reload", &()).await?;
            }
            Ok(ok())
        }
        _ => {
            if let Err(e) = claim(drop_in, unit) {
                return Ok(failed(format!("cannot write {}: {e}", drop_in.display())));
            }
            call(&bus, "Reload", &()).await?;
            let method = if action == "restart" { "RestartUnit" } else { "StartUnit" };
            let result = job(&bus, method, unit).await?;
            if result != "done" {
                return Ok(failed(format!("systemd's {action} job ended with \"{result}\"")));
            }
            let after = monitor(&bus, &path).await?;
            if after.rc == rc::SUCCESS {
                return Ok(after);
            }
            Ok(failed(format!("its {action} job is done, and yet: {}", after.reason)))
        }
    }
}

/// Has a job made and waits for its end; its result in systemd's word.
async fn job(bus: &Connection, method: &str, unit: &str) -> zbus::Result<String> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    // Listening comes first: a job can be done before we hear its name.
    let mut removed = MessageStream::for_match_rule(rule, bus, Some(SIGNALS_MAX)).await?;
    // Refused where somebody on this connection has subscribed already; signals come in either case.
    let _ = call(bus, "Subscribe", &()).await;
    let ours: OwnedObjectPath = call(bus, method, &(unit, "replace")).await?.body().deserialize()?;
    while let Some(signal) = poll_fn(|cx| Pin::new(&mut removed).poll_next(cx)).await {
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) = signal?.body().deserialize()?;
        if path == ours {
            return Ok(result);
        }
    }
    Err(zbus::Error::Failure("the connection ended before the job did".to_owned()))
}

async fn monitor(bus: &Connection, path: &OwnedObjectPath) -> zbus::Result<Answer> {
    loop {
        let state = property(bus, path, "ActiveState").await?;
        match state.as_str() {
            "active" | "reloading" => return Ok(Answer { main: main_process(bus, path).await, ..ok() }),
            // The executor's time-out ends this.
            "activating" | "deactivating" => std::thread::sleep(PAUSE),
            _ => {
                return Ok(Answer {
                    status: OpStatus::Done,
                    rc: rc::NOT_RUNNING,
                    reason: format!("unit is {state}"),
                    main: None,
                });
            }
        }
    }
}

async fn open(stream: UnixStream) -> zbus::Result<Connection> {
    zbus::connection::Builder::unix_stream(stream).method_timeout(METHOD_TIMEOUT).build().await
}

async fn call<B>(bus: &Connection, method: &str, body: &B) -> zbus::Result<zbus::Message>
where
    B: serde::Serialize + zbus::wire::DynamicType,
{
    bus.call_method(Some(SYSTEMD), "/org/freedesktop/systemd1", Some(MANAGER), method, body).await
}

/// Units of other kinds than services have none.
async fn main_process(bus: &Connection, unit: &OwnedObjectPath) -> Option<u32> {
    let value = property_of(bus, unit, SERVICE, "MainPID").await.ok()?;
    u32::try_from(value).ok().filter(|pid| *pid > 1)
}

async fn property(bus: &Connection, unit: &OwnedObjectPath, name: &str) -> zbus::Result<String> {
    String::try_from(property_of(bus, unit, UNIT, name).await?)
}

async fn property_of(
    bus: &Connection,
    unit: &OwnedObjectPath,
    interface: &str,
    name: &str,
) -> zbus::Result<OwnedVariant> {
    let body = (interface, name);
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = bus.call_method(Some(SYSTEMD), unit, properties, "Get", &body).await?;
    reply.body().deserialize()
}

fn claim(drop_in: &Path, unit: &str) -> io::Result<()> {
    if let Some(dir) = drop_in.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let service = if unit.ends_with(".service") { "\n[Service]\nRestart=no\n" } else { "" };
    let name = unit.trim_end_matches(".service");
    let text = format!("[Unit]\nDescription=Cluster Controlled {name}\nBefore=rgmd.service\n{service}");
    std::fs::write(drop_in, text)
}

/// The bus at the first address that answers. Addresses as in `DBUS_SYSTEM_BUS_ADDRESS`.
fn connect(addresses: &str) -> io::Result<UnixStream> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, format!("no usable bus in \"{addresses}\""));
    for address in addresses.split(';') {
        let Some(options) = address.strip_prefix("unix:") else { continue };
        let option = |name: &str| options.split(',').find_map(|o| o.strip_prefix(name));
        let tried = match (option("path="), option("abstract=")) {
            (Some(path), _) => UnixStream::connect(PathBuf::from(path)),
            (_, Some(name)) => {
                SocketAddr::from_abstract_name(name).and_then(|a| UnixStream::connect_addr(&a))
            }
            _ => continue,
        };
        match tried {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn ok() -> Answer {
    Answer { status: OpStatus::Done, rc: rc::SUCCESS, reason: String::new(), main: None }
}

fn failed(reason: String) -> Answer {
    Answer { status: OpStatus::Done, rc: rc::ERR_GENERIC, reason, main: None }
}

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const DROP_IN: &str = "50-holdfast.conf";
const SIGNALS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Of one call; a job takes as long as the operation may.
const METHOD_TIMEOUT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(250);
