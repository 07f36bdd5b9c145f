//! `cmmd`, the membership daemon: reads the configuration, sets the process up, and runs the event loop.

#![forbid(unsafe_code)]

mod args;
mod check;
mod clients;
mod data_disks;
mod device;
mod disks;
mod event_loop;
mod events;
mod exit;
mod failfast;
mod heuristics;
mod interfaces;
mod keys;
mod lateness;
mod log;
mod net;
mod node_table;
mod outbox;
mod persist;
mod realtime;
mod recorder;
mod reload;
mod reservation;
mod runtime_files;
mod servers;
mod startup;
mod target;
mod units;
mod waits;

use std::process::ExitCode;
use std::sync::Arc;

use ::failfast::black_box;
use cmm_conf::{Config, Diagnostics, Priority, Severity};
use cmm_proto::Node;
use holdfast_sys::daemonize::{self, Background, Signals};
use holdfast_types::Incarnation;

use crate::args::{Args, Other};
use crate::clients::Clients;
use crate::event_loop::{EventLoop, State, WAKER};
use crate::events::DaemonEvent;
use crate::exit::Fatal;
use crate::failfast::Failfast;
use crate::interfaces::Watch;
use crate::keys::{Key, KeyLoader, KeyPlace};
use crate::log::Log;
use crate::net::Net;
use crate::persist::Persister;
use crate::recorder::Recorder;
use crate::reload::Reloader;
use crate::runtime_files::Paths;
use crate::waits::Waiting;
use holdfast_sys::service::Notify;

/// For tests of what must not allocate.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: holdfast_sys::counting::CountingAllocator =
    holdfast_sys::counting::CountingAllocator::new();

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|word| word == heuristics::helper::WORD) {
        return heuristics::helper::run(&args[1..]);
    }
    let args = match Args::parse(args.into_iter()) {
        Ok(args) => args,
        Err(Other::Say(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Other::Wrong(text)) => {
            eprintln!("{text}");
            return ExitCode::from(exit::USAGE);
        }
    };
    let result = Paths::find(args.config.as_deref())
        .and_then(|paths| if args.test { check::run(&paths) } else { run(&args, &paths) });
    match result {
        Ok(status) => ExitCode::from(status),
        Err(fatal) => {
            eprintln!("cmmd: {fatal}");
            ExitCode::from(fatal.status)
        }
    }
}

fn run(args: &Args, paths: &Paths) -> Result<u8, Fatal> {
    let (config, found) = startup::read_config(&paths.config)?;
    let Some(config) = config else {
        eprint!("{found}");
        return Err(Fatal::new(
            exit::CONFIG,
            "the configuration cannot be run; correct it and check it with \"cmmd -t\"",
        ));
    };
    let place = KeyPlace::of(&config, &paths.config);
    let key = place.find().map_err(|why| Fatal::new(exit::CONFIG, why))?;
    let os = |what: &str, e: std::io::Error| Fatal::new(exit::OS, format!("{what}: {e}"));
    let background = match args.foreground {
        true => None,
        false => Some(
            daemonize::into_background(exit::SOFTWARE).map_err(|e| os("cannot go into the background", e))?,
        ),
    };
    let _claim = paths.claim()?;
    // Before any thread: they inherit it.
    let signals = Signals::new().map_err(|e| os("cannot read signals", e))?;
    let log = Log::start(&config.logging, args.json).map_err(|e| os("cannot start the log thread", e))?;
    end_with_words(log.clone());
    let start = Start { config, found, log: log.clone(), signals, background };
    let result = start.run(paths, key, place);
    if let Err(fatal) = &result {
        log.text(Priority::Crit, fatal.text.clone());
        log.flush();
    }
    result
}

/// A broken invariant ends the whole process, whichever thread finds it, after saying where; the guardian does the rest.
fn end_with_words(log: Log) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        log.text(Priority::Emerg, format!("cmmd ends, an invariant is broken: {info}"));
        log.flush();
        std::process::abort();
    }));
}

/// Has the log thread write into the black box, before the guardian opens it.
fn record(config: &Config, paths: &Paths, life: Incarnation, log: &Log) {
    let path = paths.state.join("blackbox");
    match black_box::set_aside(&path) {
        Ok(None) => {}
        Ok(Some(aside)) => {
            let text = format!(
                "The black box of an earlier release is {} now; {} begins anew.",
                aside.display(),
                path.display()
            );
            log.text(Priority::Notice, text);
        }
        Err(e) => {
            log.text(Priority::Warning, format!("The old black box {} cannot be moved: {e}", path.display()))
        }
    }
    match Recorder::open(&path, config.me().id, life) {
        Ok(recorder) => log.record(recorder),
        Err(e) => log.event(DaemonEvent::Degraded {
            what: "no black box",
            error: e.to_string(),
            then: "why this node goes down will not be known here",
        }),
    }
}

/// What is there once the log thread runs.
struct Start {
    config: Config,
    found: Diagnostics,
    log: Log,
    signals: Signals,
    background: Option<Background>,
}

impl Start {
    fn run(self, paths: &Paths, key: Key, place: KeyPlace) -> Result<u8, Fatal> {
        let Self { mut config, found, log, signals, background } = self;
        let os = |what: &str, e: std::io::Error| Fatal::new(exit::OS, format!("{what}: {e}"));
        log.text(Priority::Notice, format!("Holdfast cmmd {} starting up", env!("CARGO_PKG_VERSION")));
        for d in found.iter() {
            let priority = if d.severity == Severity::Warning { Priority::Info } else { Priority::Warning };
            log.text(priority, found.line(d));
        }
        for warning in &key.warnings {
            log.text(Priority::Warning, warning.clone());
        }
        log.text(
            Priority::Notice,
            format!("Packets are sealed with key {} ({}).", key.key.fingerprint(), key.source),
        );
        let node_config = startup::node_config(&config, paths, key.key)?;
        let me = config.me().id;
        log.text(
            Priority::Info,
            format!(
                "node {me} of cluster \"{}\", incarnation {}",
                config.totem.cluster_name, node_config.incarnation
            ),
        );
        let mut node = Node::new(node_config, event_loop::now())
            .map_err(|e| Fatal::new(exit::CONFIG, format!("the configuration cannot be run: {e}")))?;
        let net_config = startup::net_config(&config);
        for link in &net_config.links {
            let ip = link.local.ip();
            if !holdfast_sys::host::is_local(ip) {
                let text = format!("address {ip} of this node is not configured on this machine yet");
                log.text(Priority::Warning, text);
            }
        }
        let net = Net::bind(&net_config).map_err(|(local, e)| {
            let text =
                format!("cannot bind UDP {local}: {e}; is another cluster daemon running on this address?");
            Fatal::new(exit::OS, text)
        })?;
        let poll = mio::Poll::new().map_err(|e| os("cannot poll", e))?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER).map_err(|e| os("cannot poll", e))?);
        let persister = Persister::start(
            persist::Files::of(&paths.state, &config.totem.cluster_name, me),
            Arc::clone(&waker),
            log.clone(),
        )
        .map_err(|e| os("cannot start the writing thread", e))?;
        let keys =
            KeyLoader::start(place, Arc::clone(&waker)).map_err(|e| os("cannot start the key thread", e))?;
        let life = node.config().incarnation;
        let device = device::Device::start(&config, life, &waker, &log)
            .map_err(|e| Fatal::new(exit::OS, e.to_string()))?;
        let starter = reload::Starter {
            life,
            waker: Arc::clone(&waker),
            log: log.clone(),
            started: config.quorum.device.is_some(),
        };
        let reloader = Reloader::start(paths.config.clone(), starter)
            .map_err(|e| os("cannot start the reload thread", e))?;
        let data_disks = data_disks::DataDisks::start(&config, event_loop::now(), &mut node, &waker)
            .map_err(|e| os("cannot start the threads of data disks", e))?;
        let mut warnings = Vec::new();
        config.keys.extend(startup::ipc_access(&config, &paths.config, &mut warnings));
        warnings.into_iter().for_each(|text| log.text(Priority::Warning, text));
        let clients = startup::clients_config(&config, paths, &node, &key.source);
        let clients = Clients::new(clients).map_err(|e| Fatal::new(exit::OS, e.to_string()))?;
        record(&config, paths, life, &log);
        let failfast = Failfast::start(&config, paths, &net_config, &mut node, waker, &log)?;
        // From here on this life is one whose end has to be told.
        log.event(DaemonEvent::Started {
            node: me,
            name: config.me().name.clone().unwrap_or_else(|| me.to_string()),
            cluster: config.totem.cluster_name.clone(),
            life,
            mode: failfast::effective_mode(&config, paths).0.as_str(),
        });
        if let Some(background) = background {
            log.quiet_stderr();
            background.ready();
            if let Err(e) = daemonize::detach_stderr() {
                log.event(DaemonEvent::Degraded {
                    what: "standard error cannot be closed",
                    error: e.to_string(),
                    then: "leaving it open",
                });
            }
        }
        realtime::set_up(&config.system, &log);
        log.wake();
        let (interfaces, watched) = Watch::start(&net.interfaces());
        if let Err(e) = watched {
            log.event(DaemonEvent::Degraded {
                what: "network interfaces are not watched",
                error: e.to_string(),
                then: "a link without carrier is noticed by its silence",
            });
        }
        let notify = Notify::from_env();
        let waiting = Waiting::new(&config);
        let event_loop = EventLoop {
            node,
            log,
            net,
            interfaces,
            failfast,
            clients,
            persister,
            keys,
            reloader,
            data_disks,
            device,
            signals,
            notify,
            poll,
            waiting,
            timing: config.timing,
            state: State::new(config.keys),
        };
        event_loop.run().map_err(|e| os("the poller failed", e))
    }
}
