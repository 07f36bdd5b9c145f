//! Fence requests as scripts: `testdata/requests.txt`.
//!
//! A case begins with `== name`. `device:`, `level:`, `members:`, `limits:` set it up; `at SECONDS INPUT` feeds it;
//! lines that begin with `>` are every output that must have come by then, in order.

use fencing::{CallId, Candidate, Device, Fencer, Level, Limits, Output, Request, Verdict};
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

fn seconds(text: &str) -> Option<u64> {
    text.trim_end_matches('s').parse::<u64>().ok().map(|s| s * 1_000)
}

impl Run {
    fn play(mut self, name: &str, script: &str) {
        for line in script.lines().map(|l| l.split('#').next().unwrap().trim()).filter(|l| !l.is_empty()) {
            if let Some(want) = line.strip_prefix('>') {
                let got = self.fencer.poll_output().map_or_else(|| "nothing".to_owned(), |o| show(&o));
                assert_eq!(got, want.trim(), "{name}");
                continue;
            }
            assert_eq!(self.fencer.poll_output().map(|o| show(&o)), None, "{name}: before {line}");
            self.input(name, line);
        }
        assert_eq!(self.fencer.poll_output().map(|o| show(&o)), None, "{name}: at the end");
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
                self.devices.push(Device::new(id, "fence_x", &params, seconds).unwrap());
                self.configure();
            }
            ("level:", [target, index, devices]) => {
                let devices = devices.split(',').map(str::to_owned).collect();
                self.levels.push(Level { target: (*target).into(), index: index.parse().unwrap(), devices });
                self.configure();
            }
            ("limits:", [rounds, deadline]) => {
                self.limits.rounds_max = rounds.parse().unwrap();
                self.limits.deadline = Span::from_secs(deadline.parse().unwrap());
                self.configure();
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
            ["fence", node, action] => {
                let request = Request {
                    target: NodeId::new(node.trim_start_matches('n').parse().unwrap()),
                    name: (*node).into(),
                    incarnation: None,
                    action: (*action).into(),
                    reason: "lost".into(),
                    client: "test".into(),
                };
                self.fencer.request(self.now, request, 0, None);
            }
            ["ok", call] => self.fencer.call_done(self.now, CallId(call.parse().unwrap()), None),
            ["fail", call] => {
                self.fencer.call_done(self.now, CallId(call.parse().unwrap()), Some("no answer"))
            }
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
        Output::Done(record) => match &record.verdict {
            Verdict::Succeeded => format!("done {} ok by {}", record.request.name, record.device),
            Verdict::Failed(why) => format!("done {} failed: {why}", record.request.name),
        },
    }
}
