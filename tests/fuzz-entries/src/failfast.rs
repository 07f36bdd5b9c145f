//! The failfast socket: what any process that may connect to it can say, and what `cmmd` may answer a client.

use failfast_core::limits::{REQUEST_MAX, UNITS_MAX};
use failfast_core::protocol::{Report, Request, UnitLine};
use failfast_core::{Mode, Output, Registry, UnitKey};
use holdfast_types::{Boottime, Span};

/// Steps of one input.
const STEPS_MAX: usize = 2_048;

/// A sequence of {what, length, bytes}: datagrams of three processes, deaths, and time that passes; the bytes are read as an answer, too.
/// What a datagram asks for is done: a registry in mode `exit` may decide to go down once, and goes on.
pub fn failfast(data: &[u8]) {
    let mut now = Boottime::from_nanos(1_000_000_000);
    let mut registry = Registry::new(Mode::Exit, now);
    let mut keys: Vec<UnitKey> = Vec::new();
    let mut decisions = 0;
    let mut rest = data;
    for _ in 0..STEPS_MAX {
        let Some((&[what, len], tail)) = rest.split_first_chunk::<2>() else { break };
        let (body, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        match what % 8 {
            0..=3 => {
                answer(body);
                serve(&mut registry, &mut keys, now, u32::from(what % 3) + 1, body);
            }
            4 => {
                if let Some(key) = keys.get(usize::from(len) % keys.len().max(1)) {
                    registry.handle_death(now, *key);
                }
            }
            5 => now = now + Span::from_millis(u64::from(len) * 100),
            _ => now = now.max(registry.next_timeout().unwrap_or(now)),
        }
        registry.handle_timeout(now);
        // Whoever asks for a turn at once, and again in that turn, has the loop spin.
        assert!(registry.next_timeout().is_none_or(|at| at > now), "no turn is due after a turn");
        while let Some(output) = registry.poll_output() {
            decisions += usize::from(matches!(output, Output::Decision(_)));
        }
        assert!(registry.units().count() <= UNITS_MAX && decisions <= 1);
    }
}

fn serve(registry: &mut Registry, keys: &mut Vec<UnitKey>, now: Boottime, sender: u32, datagram: &[u8]) {
    let Ok(request) = Request::parse(datagram) else { return };
    let text = request.to_string();
    assert!(text.len() <= REQUEST_MAX, "what is said shortly can be said");
    // As text: the longest times are cut to what there is room for.
    let again = Request::parse(text.as_bytes()).map(|request| request.to_string());
    assert_eq!(again, Ok(text), "written again, it reads the same");
    match request {
        Request::Arm(request, pid) => keys.extend(registry.arm(now, pid.unwrap_or(sender), &request)),
        Request::Beat(name) => {
            let _ = registry.beat(now, sender, &name); // it may have no such unit
        }
        Request::Disarm(name, pid) => {
            let _ = registry.disarm(now, sender, pid.unwrap_or(sender), &name);
        }
        Request::Maintain(name, length) => {
            let _ = registry.maintain(now, name.as_ref(), length);
        }
        Request::List => {
            for unit in registry.units() {
                let line = UnitLine::new(&unit, now);
                assert_eq!(UnitLine::parse(&line.to_string()).map(|l| l.to_string()), Some(line.to_string()));
            }
        }
        Request::Status => {}
    }
}

/// What a client may read.
fn answer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(line) = UnitLine::parse(text) {
        let again = UnitLine::parse(&line.to_string()).map(|line| line.to_string());
        assert_eq!(again, Some(line.to_string()));
    }
    if let Some(report) = Report::parse(text) {
        let again = Report::parse(&report.to_string()).map(|report| report.to_string());
        assert_eq!(again, Some(report.to_string()));
    }
}
