//! The logs of fault cases from events, as a manager of ours that knows what happens writes them: the same lines as from raw logs, and the
//! reasons besides.

#![forbid(unsafe_code)]

use logconv::{Cause, Event, Message, Operation, Operator, Outcome, Planned, Suffix};

const ALL: [&str; 4] = ["prmExPostgreSQLDB", "prmFsPostgreSQLDB", "prmIpPostgreSQLDB", "prmApPostgreSQLDB"];

struct Node {
    operator: Operator,
    said: Vec<Message>,
}

impl Node {
    fn new() -> Self {
        let mut operator = Operator::new(Suffix::Numbers);
        operator.watch(vec![ALL[0].to_owned(), ALL[3].to_owned()]);
        Self { operator, said: Vec::new() }
    }

    fn say(&mut self, event: Event) {
        self.said.extend(self.operator.say(&event));
    }

    fn does(&mut self, operation: Operation, resource: &str, outcome: Outcome) {
        self.say(Event::Begins { resource: resource.into(), operation, device: false });
        self.say(Event::Ended { resource: resource.into(), operation, outcome, device: false });
    }

    fn plans(&mut self, planned: impl Fn() -> Planned) {
        let all: Vec<_> = ALL.iter().map(|r| ((*r).to_owned(), planned())).collect();
        self.said.extend(self.operator.transition(&all, &[]));
    }

    fn stops(&mut self) {
        for resource in ALL.iter().rev() {
            self.operator.operates(resource);
            self.does(Operation::Stop, resource, Outcome::Agent(0));
        }
    }

    fn starts(&mut self, here: bool) {
        for resource in ALL {
            self.operator.operates(resource);
            if here {
                self.does(Operation::Start, resource, Outcome::Agent(0));
            }
        }
    }

    fn fences(&mut self) {
        let (node, action) = (|| "srv01".to_owned(), || "reboot".to_owned());
        self.say(Event::FenceBegins { action: action(), node: node() });
        self.devices();
        self.say(Event::FenceEnded { action: action(), node: node(), by: "srv02".into(), ok: true });
    }

    fn devices(&mut self) {
        for (device, ok) in [("prmStonith1-1", false), ("prmStonith1-2", true)] {
            self.say(Event::DeviceBegins {
                device: device.into(),
                executor: "srv02".into(),
                action: "reboot".into(),
                node: "srv01".into(),
            });
            self.say(Event::DeviceEnded { device: device.into(), node: "srv01".into(), ok });
        }
    }

    fn settles(&mut self) {
        self.said.extend(self.operator.settled());
    }

    /// What was said is the log, but for our own lines; those are returned.
    fn check(&self, log: &str) -> Vec<&str> {
        let (own, common): (Vec<_>, Vec<_>) = self.said.iter().partition(|m| m.number.starts_with('H'));
        let common: Vec<String> =
            common.iter().map(|m| format!("{:>7}: {}", m.level.as_str(), m.text)).collect();
        let want: Vec<&str> = log.lines().map(|l| l.split_at(l.find(" srv0").unwrap() + 7).1).collect();
        assert_eq!(common, want);
        own.iter().map(|m| m.text.as_str()).collect()
    }
}

fn moved() -> Planned {
    Planned::Move { from: "srv01".into(), to: "srv02".into() }
}

#[test]
fn case_1_as_its_controller_and_the_other_node_write_it() {
    let mut one = Node::new();
    let (resource, operation) = (ALL[3].to_owned(), Operation::Monitor);
    one.say(Event::Ended { resource, operation, outcome: Outcome::Agent(7), device: false });
    one.operator.happened(Cause::Resource, "prmApPostgreSQLDB failed on srv01");
    one.plans(moved);
    one.stops();
    one.starts(false);
    one.settles();
    assert_eq!(one.check(include_str!("cases/1.srv01.log")), ["Reason: prmApPostgreSQLDB failed on srv01"]);
    let mut two = Node::new();
    two.starts(true);
    assert!(two.check(include_str!("cases/1.srv02.log")).is_empty());
}

#[test]
fn case_2_as_its_controller_writes_it() {
    let mut one = Node::new();
    one.say(Event::NetworkLost { host: "192.168.101.1".into() });
    let (name, value, node) = ("default_ping_set".into(), "0".into(), "srv01".into());
    one.say(Event::AttributeSet { name, value, node });
    one.operator.happened(Cause::Score, "default_ping_set is 0 on srv01");
    one.plans(moved);
    one.stops();
    one.starts(false);
    one.settles();
    assert_eq!(one.check(include_str!("cases/2.srv01.log")), ["Reason: default_ping_set is 0 on srv01"]);
}

#[test]
fn cases_4_to_6_as_the_survivor_writes_them() {
    let mut two = Node::new();
    two.say(Event::NodeLost { node: "srv01".into() });
    two.operator.happened(Cause::Node, "srv01 was lost");
    two.plans(moved);
    two.fences();
    // Known to be dead, it ran nothing.
    two.plans(|| Planned::Start("srv02".into()));
    two.starts(true);
    two.settles();
    for log in [
        include_str!("cases/4.srv02.log"),
        include_str!("cases/5.srv02.log"),
        include_str!("cases/6.srv02.log"),
    ] {
        assert_eq!(two.check(log), ["Reason: srv01 was lost"]);
    }
}

#[test]
fn case_9_as_both_write_it_and_a_move_is_no_failover() {
    let mut one = Node::new();
    one.operator.happened(Cause::Operator, "grpPostgreSQLDB was moved by root");
    one.plans(moved);
    one.operator.operates(ALL[3]);
    one.does(Operation::Stop, ALL[3], Outcome::Agent(1));
    one.operator.resign();
    one.settles();
    assert!(one.check(include_str!("cases/9.srv01.log")).is_empty());
    let mut two = Node::new();
    two.devices();
    two.say(Event::ControllerUnset { node: "srv01".into() });
    two.say(Event::NodeLost { node: "srv01".into() });
    let (action, node, by) = ("reboot".into(), "srv01".into(), "srv02".into());
    two.say(Event::FenceEnded { action, node, by, ok: true });
    two.say(Event::ControllerSet { node: "srv02".into() });
    two.operator.happened(Cause::Node, "srv01 was fenced: prmApPostgreSQLDB could not be stopped there");
    two.plans(|| Planned::Start("srv02".into()));
    two.starts(true);
    two.settles();
    assert_eq!(two.check(include_str!("cases/9.srv02.log")).len(), 1);
}

#[test]
fn the_strongest_cause_counts_and_the_first_of_its_kind() {
    let mut operator = Operator::new(Suffix::Words);
    operator.happened(Cause::Score, "a");
    operator.happened(Cause::Node, "b");
    operator.happened(Cause::Node, "c");
    operator.happened(Cause::Operator, "d");
    assert_eq!(operator.cause(), Cause::Node);
    operator.watch(vec!["db".into()]);
    let said = operator.transition(&[("db".into(), moved())], &[]);
    assert_eq!(said[1].text, "Reason: b");
    operator.settled();
    assert_eq!(operator.cause(), Cause::None);
    let said = operator.transition(&[("db".into(), moved())], &[]);
    assert!(said.is_empty(), "nothing happened");
}

#[test]
fn what_is_moved_after_an_attribute_is_well_again_is_no_failover() {
    let mut one = Node::new();
    one.operator.happened(Cause::Score, "default_ping_set changed on srv01");
    one.plans(|| Planned::Stays("srv02".into()));
    // Watchers still start there, so that nothing has settled.
    one.operator.happened(Cause::Operator, "the configuration changed");
    one.plans(moved);
    one.stops();
    one.settles();
    assert!(one.said.iter().all(|m| !m.text.contains("fail-over")), "{:#?}", one.said);
}
