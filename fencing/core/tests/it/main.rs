//! Fence requests as scripts: `testdata/requests.txt`.
//!
//! A case begins with `== name`. `device:`, `level:`, `members:`, `limits:` set it up; `at SECONDS INPUT` feeds it;
//! lines that begin with `>` are every output that must have come by then, in order.

use fencing::{
    Abilities, CallId, Candidate, Device, Fencer, Level, Limits, Output, Request, Target, Verdict,
};
use holdfast_types::{Boottime, NodeId, Span};

#[test]
fn requests() {
    let text = include_str!("testdata/requests.txt");
    for case in text.split("\n== ").skip(1) {
        let (name, script) = case.split_once('\n').unwrap();
        Run::default().play(name, script);
    }
}

#[derive(Default)]
struct Run {
    fencer: Fencer,
    devices: Vec<Device>,
    levels: Vec<Level>,
    limits: Limits,
    now: Boottime,
}

/// `n3`, `/PATTERN/` or `NAME=VALUE`.
fn target_of(text: &str) -> Target {
    match (text.strip_prefix('/'), text.split_once('=')) {
        (Some(pattern), _) => Target::pattern(pattern.trim_end_matches('/')).unwrap(),
        (_, Some((name, value))) => Target::Attribute(name.into(), value.into()),
        _ => Target::Name(text.into()),
    }
}

fn seconds(text: &str) -> Option<u64> {
    text.trim_end_matches('s').parse::<u64>().ok().map(|s| s * 1_000)
}

impl Run {
    fn play(mut self, name: &str, script: &str) {
        for line in script.lines().map(|l| l.split('#').next().unwrap().trim()).filter(|l| !l.is_empty()) {
            if let Some(want) = line.strip_prefix('>') {
                let got = self.next().unwrap_or_else(|| "nothing".to_owned());
                assert_eq!(got, want.trim(), "{name}");
                continue;
            }
            assert_eq!(self.next(), None, "{name}: before {line}");
            self.input(name, line);
        }
        assert_eq!(self.next(), None, "{name}: at the end");
    }

    /// The next output or question.
    fn next(&mut self) -> Option<String> {
        let ask =
            |a: fencing::Ask| format!("ask {} {} {} on {}", a.call.0, a.device, a.what.action, a.executor);
        self.fencer.poll_output().map(|o| show(&o)).or_else(|| self.fencer.poll_ask().map(ask))
    }

    fn input(&mut self, name: &str, line: &str) {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (key, words.as_slice()) {
            ("device:", [id, params @ ..]) => {
                let params: Vec<(String, String)> = params
                    .iter()
                    .map(|p| p.split_once('=').unwrap())
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect();
                // `@actions=a,b` are what the agent can do; `on!`: run by the node that it is for, when it joins.
                let (ours, theirs): (Vec<_>, Vec<_>) =
                    params.into_iter().partition(|(k, _)| k.starts_with('@'));
                let get = |name: &str| ours.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
                let agent = get("@agent").unwrap_or("fence_x");
                let mut device = Device::new(id, agent, &theirs, seconds).unwrap();
                if let Some(actions) = get("@actions") {
                    device = device.with_abilities(abilities(actions));
                }
                self.devices.push(device);
                self.configure();
            }
            ("level:", [target, index, devices]) => {
                let devices = devices.split(',').map(str::to_owned).collect();
                self.levels.push(Level { target: target_of(target), index: index.parse().unwrap(), devices });
                self.configure();
            }
            ("limits:", [rounds, deadline]) => {
                self.limits.rounds_max = rounds.parse().unwrap();
                self.limits.deadline = Span::from_secs(deadline.parse().unwrap());
                self.configure();
            }
            ("watchdog:", [secs]) => {
                self.limits.watchdog = Some(Span::from_secs(secs.parse().unwrap()));
                self.configure();
            }
            ("attribute:", [node, pair]) => {
                let (key, value) = pair.split_once('=').unwrap();
                let of_node = [(key.to_owned(), value.to_owned())].into();
                self.fencer.set_attributes([((*node).to_owned(), of_node)].into());
            }
            ("members:", nodes) => {
                // `1` or `1!device`
                let candidate = |word: &&str| {
                    let mut parts = word.split('!');
                    let node = NodeId::new(parts.next().unwrap().parse().unwrap());
                    Candidate { node, banned_devices: parts.map(str::to_owned).collect() }
                };
                self.fencer.set_candidates(self.now, nodes.iter().map(candidate).collect());
            }
            ("at", [secs, input @ ..]) => {
                self.now = Boottime::default() + Span::from_secs(secs.parse().unwrap());
                self.at(name, input);
            }
            _ => panic!("{name}: {line}"),
        }
    }

    fn at(&mut self, name: &str, input: &[&str]) {
        match input {
            ["fence", node, action, more @ ..] => {
                let delay =
                    more.first().and_then(|d| d.strip_prefix("delay=")).map_or(0, |d| d.parse().unwrap());
                let request = Request {
                    target: NodeId::new(node.trim_start_matches('n').parse().unwrap()),
                    name: (*node).into(),
                    incarnation: None,
                    action: (*action).into(),
                    reason: "lost".into(),
                    client: "test".into(),
                };
                self.fencer.request_delayed(self.now, request, 0, None, Span::from_secs(delay));
            }
            ["ok", call] => self.fencer.call_done(self.now, CallId(call.parse().unwrap()), None),
            ["fail", call] => {
                self.fencer.call_done(self.now, CallId(call.parse().unwrap()), Some("no answer"))
            }
            ["says", call, rc, words @ ..] => {
                let text = words.join("\n");
                self.fencer.asked(
                    self.now,
                    CallId(call.parse().unwrap()),
                    Some((rc.parse().unwrap(), &text)),
                );
            }
            ["silent", call] => self.fencer.asked(self.now, CallId(call.parse().unwrap()), None),
            ["withdraw", node] => {
                self.fencer.withdraw(NodeId::new(node.trim_start_matches('n').parse().unwrap()));
            }
            ["time"] => {
                assert!(
                    self.fencer.next_timeout().is_some_and(|at| at <= self.now),
                    "{name}: nothing is due"
                );
                self.fencer.handle_timeout(self.now);
            }
            ["idle"] => assert_eq!(self.fencer.next_timeout(), None, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn configure(&mut self) {
        self.fencer.configure(self.devices.clone(), self.levels.clone(), self.limits)
    }
}

fn show(output: &Output) -> String {
    match output {
        Output::Run { call, executor, device, target, what, .. } => {
            format!("run {} {device} {} n{target} on {executor}", call.0, what.action)
        }
        Output::Done(record) if !record.joined.is_empty() => {
            format!("done {} for {} requests", record.request.name, 1 + record.joined.len())
        }
        Output::Done(record) => match &record.verdict {
            Verdict::Succeeded => format!("done {} ok by {}", record.request.name, record.device),
            Verdict::Failed(why) => format!("done {} failed: {why}", record.request.name),
        },
    }
}

fn abilities(actions: &str) -> Abilities {
    let action = |name: &str| match name.strip_suffix('!') {
        Some(name) => format!("<action name='{name}' automatic='1' on_target='1'/>"),
        None => format!("<action name='{name}'/>"),
    };
    let actions: String = actions.split(',').map(action).collect();
    Abilities::of_metadata(&format!("<resource-agent><actions>{actions}</actions></resource-agent>"))
}
