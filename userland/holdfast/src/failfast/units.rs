//! `holdfast failfast arm` and `disarm`.

use failfast::core::protocol::UnitLine;
use failfast::core::{ArmRequest, Mode, Restarts, UnitName, UnitState};
use holdfast_types::Span;

use super::{connect, fail, span, words};
use crate::exit::Exit;
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Arm {
    /// The unit: letters, digits, and any of _ . : @ -
    #[arg(value_name = "UNIT", value_parser = name)]
    unit: UnitName,
    /// The process to watch
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(2..))]
    pid: u32,
    /// From its death to the end of the node
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "35s")]
    delay: Span,
    /// Only write a line into the log
    #[arg(long)]
    only_log: bool,
    /// It may be armed again so many times within --window; another restart does not keep the node up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=16))]
    restarts: Option<u8>,
    /// The time in which restarts count
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10m", requires = "restarts")]
    window: Span,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct Disarm {
    /// The unit
    #[arg(value_name = "UNIT", value_parser = name)]
    unit: UnitName,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// A unit's name as an argument.
pub(super) fn name(text: &str) -> Result<UnitName, String> {
    UnitName::new(text).map_err(|e| e.to_string())
}

pub(super) fn arm(args: &Arm, io: &mut Io) -> Exit {
    let request = ArmRequest {
        name: args.unit,
        delay: args.delay,
        heartbeat: Span::ZERO,
        mode: args.only_log.then_some(Mode::Off),
        restarts: args.restarts.map(|count| Restarts { count, window: args.window }),
    };
    if let Err(e) = connect().and_then(|mut client| client.arm_process(args.pid, &request)) {
        return fail(&e, io);
    }
    if args.json {
        let json = serde_json::json!({"unit": args.unit.as_str(), "pid": args.pid, "armed": true});
        io.say(format_args!("{json:#}\n"));
    } else {
        let then = if args.only_log { "a line is logged" } else { "this node goes down" };
        let (unit, pid, delay) = (args.unit, args.pid, words(args.delay));
        io.say(format_args!("Unit {unit} is armed: {delay} after the death of pid {pid} {then}.\n"));
    }
    Exit::Ok
}

pub(super) fn disarm(args: &Disarm, io: &mut Io) -> Exit {
    let unit = args.unit;
    let done = connect().and_then(|mut client| {
        let armed = |l: &UnitLine| l.name == unit && l.state != UnitState::Disarmed;
        let found = client.list()?.into_iter().find(armed);
        // By its pid: a process that takes its place in this moment is not meant.
        found.map(|line| client.disarm_process(line.pid, &unit).map(|()| line.pid)).transpose()
    });
    match done {
        Err(e) => fail(&e, io),
        Ok(None) => {
            io.complain(format_args!("no unit {unit} is watched; \"holdfast failfast status\" lists them\n"));
            Exit::Of(super::REFUSED)
        }
        Ok(Some(pid)) if args.json => {
            let json = serde_json::json!({"unit": unit.as_str(), "pid": pid, "armed": false});
            io.say(format_args!("{json:#}\n"));
            Exit::Ok
        }
        Ok(Some(pid)) => {
            io.say(format_args!("Unit {unit} (pid {pid}) is not watched any more.\n"));
            Exit::Ok
        }
    }
}
