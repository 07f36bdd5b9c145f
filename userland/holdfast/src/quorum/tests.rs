//! The arithmetic of votes, and how it is shown.

use anstream::adapter::strip_str;
use serde_json::json;
use status::{DevicePart, DeviceStatus, NodeRef};

use super::count::{Change, Device, Electorate, Place, Tally, TieBreak, Voter};
use super::report::{self, Comparison};
use super::seen::Seen;

/// Nodes 1, 2, … with these votes; negative ones are absent. Expected are all of them and the device's.
fn cluster(nodes: &[i32], device: Option<(u32, bool)>) -> Electorate {
    let voter = |(id, votes): (u32, &i32)| Voter {
        id,
        name: format!("n{id}"),
        votes: votes.unsigned_abs(),
        votes_in_file: votes.unsigned_abs(),
        present: *votes >= 0,
        place: Place::Counted,
    };
    let device = device.map(|(votes, present)| Device {
        name: "Disk".to_owned(),
        model: "disk".to_owned(),
        votes,
        present,
        enabled: true,
    });
    let all: u32 = nodes.iter().map(|v| v.unsigned_abs()).sum();
    Electorate {
        voters: (1..).zip(nodes).map(voter).collect(),
        expected: all + device.as_ref().map_or(0, |d| d.votes),
        device,
        ..Electorate::default()
    }
}

fn numbers(votes: &Electorate) -> [u32; 4] {
    let Tally { possible, expected, needed, present, .. } = votes.tally();
    [possible, expected, needed, present]
}

#[test]
fn possible_needed_and_present_are_those_of_the_predecessors_tables() {
    // Nodes, the device's votes and whether they are here; possible, needed, present; quorate; any that may be lost; nodes with the device.
    type Row = (&'static [i32], Option<(u32, bool)>, [u32; 3], bool, Option<u32>, Option<u32>);
    let rows: &[Row] = &[
        (&[1, 1], Some((1, true)), [3, 2, 3], true, Some(1), Some(1)),
        (&[1, -1], Some((1, true)), [3, 2, 2], true, Some(0), Some(0)),
        (&[1, 1, 1], Some((2, true)), [5, 3, 5], true, Some(1), Some(2)),
        (&[1, -1, -1], Some((2, true)), [5, 3, 3], true, Some(0), Some(0)),
        (&[1, 1, 1, 1], Some((3, true)), [7, 4, 7], true, Some(1), Some(3)),
        (&[1, 1, 1, 1], Some((3, false)), [7, 4, 4], true, Some(0), None),
        (&[1, 1, 1, 1, 1, 1], Some((5, true)), [11, 6, 11], true, Some(1), Some(5)),
        (&[-1, -1, -1, -1, -1, 1], Some((5, true)), [11, 6, 6], true, Some(0), Some(0)),
        (&[-1, -1, -1, -1, -1, 1], Some((5, false)), [11, 6, 1], false, None, None),
        (&[1], None, [1, 1, 1], true, Some(0), None),
        (&[1, 1, 1], None, [3, 2, 3], true, Some(1), None),
        (&[1, 1, 1, 1, 1], None, [5, 3, 5], true, Some(2), None),
        (&[3, 1, 1], None, [5, 3, 5], true, Some(0), None),
        (&[1, 1, -1, -1], None, [4, 3, 2], false, None, None),
        // More votes than nodes with quorum: a device alone is none.
        (&[1, 1], Some((5, true)), [7, 4, 7], true, Some(0), Some(1)),
    ];
    for (nodes, device, [possible, needed, present], quorate, any, with_device) in rows {
        let tally = cluster(nodes, *device).tally();
        let want = Tally {
            possible: *possible,
            expected: *possible,
            needed: *needed,
            present: *present,
            quorate: *quorate,
            stands: *any,
            stands_with_device: *with_device,
        };
        assert_eq!(tally, want, "{nodes:?} {device:?}");
    }
}

/// Every way to lose voters: whoever says that so many may be lost is right for all of them, and not for one more.
#[test]
fn as_many_losses_are_stood_as_every_choice_of_them_leaves_quorum() {
    let mut looked = 0;
    let devices = [None, Some((1, true)), Some((2, true)), Some((4, true)), Some((2, false))];
    for n in 1..=4_u32 {
        for code in 0..4_u32.pow(n) {
            let nodes: Vec<i32> = (0..n).map(|k| [0, 1, 2, -1][(code / 4_u32.pow(k) % 4) as usize]).collect();
            for device in devices {
                for (tie, two_node) in [(None, false), (Some(1), false), (None, n == 2)] {
                    let votes = Electorate { tie, two_node, ..cluster(&nodes, device) };
                    let tally = votes.tally();
                    let voters = n + 1;
                    let quorate = |lost: u32| {
                        let mut left = votes.clone();
                        left.voters
                            .iter_mut()
                            .filter(|v| lost >> (v.id - 1) & 1 == 1)
                            .for_each(|v| v.present = false);
                        left.device.iter_mut().filter(|_| lost >> n & 1 == 1).for_each(|d| d.present = false);
                        left.tally().quorate
                    };
                    // Only what is here can be lost.
                    let here = |lost: u32| {
                        votes.voters.iter().all(|v| v.present || lost >> (v.id - 1) & 1 == 0)
                            && (lost >> n & 1 == 0 || votes.device.as_ref().is_some_and(|d| d.present))
                    };
                    // `all`: the device, too, may be lost.
                    let losses = |k: u32, all: bool| {
                        (0..1_u32 << voters)
                            .filter(move |l| l.count_ones() == k && (all || l >> n & 1 == 0))
                            .filter(|l| here(*l))
                    };
                    assert_eq!(tally.quorate, quorate(0));
                    if !tally.quorate {
                        assert_eq!(tally.stands, None);
                        continue;
                    }
                    let stood =
                        |k: u32, all: bool| losses(k, all).next().is_some() && losses(k, all).all(quorate);
                    let most = |all| (1..=voters).take_while(|k| stood(*k, all)).count() as u32;
                    assert_eq!(tally.stands, Some(most(true)), "{nodes:?} {device:?} {tie:?} {two_node}");
                    if let Some(nodes_only) = tally.stands_with_device {
                        assert_eq!(nodes_only, most(false), "{nodes:?} {device:?}");
                    }
                    looked += 1;
                }
            }
        }
    }
    assert!(looked > 1_000, "{looked}");
}

/// A change and what it makes: possible, expected, needed, present; words of the harm that it would do, if any, and of the remedy.
struct Case {
    name: &'static str,
    votes: Electorate,
    change: Change,
    then: [u32; 4],
    harm: Option<(&'static str, &'static str)>,
}

fn maintained(mut votes: Electorate, node: u32) -> Electorate {
    votes = votes.after(&Change::Maintenance { node, on: true });
    assert_eq!(votes.voter(node).unwrap().place, Place::Maintenance);
    votes
}

fn with_file(expected: u32, votes: Electorate) -> Electorate {
    Electorate { expected, expected_in_file: Some(expected), ..votes }
}

fn server(mut votes: Electorate) -> Electorate {
    votes.device.iter_mut().for_each(|d| d.model = "net".to_owned());
    votes
}

fn disk(votes: u32) -> Device {
    Device { name: "/dev/sdb1".to_owned(), model: "disk".to_owned(), votes, present: false, enabled: true }
}

fn cases() -> Vec<Case> {
    let case = |name, votes, change, then, harm| Case { name, votes, change, then, harm };
    let expected = Change::Expected;
    let votes = |node, votes| Change::Votes { node, votes };
    let maintain = |node, on| Change::Maintenance { node, on };
    vec![
        case("expected falls to those present", cluster(&[1, 1, -1], None), expected(2), [3, 2, 2, 2], None),
        case(
            "never below those present",
            cluster(&[1, 1, -1], None),
            expected(1),
            [3, 2, 2, 2],
            Some((
                "the votes that are here make 2, and not fewer can be expected",
                "holdfast quorum expected 2",
            )),
        ),
        case(
            "nor below those with the device",
            cluster(&[1, -1], Some((1, false))),
            expected(1),
            [3, 2, 2, 1],
            Some((
                "the votes that are here, the quorum device's included, make 2",
                "holdfast quorum expected 2",
            )),
        ),
        case(
            "expected rises as far as a majority is here",
            cluster(&[1, 1, 1], None),
            expected(5),
            [3, 5, 3, 3],
            None,
        ),
        case(
            "and no further",
            cluster(&[1, 1, 1], None),
            expected(6),
            [3, 6, 4, 3],
            Some((
                "would lose quorum: 3 of 6 votes would be present and 4 needed",
                "holdfast quorum expected 5",
            )),
        ),
        case(
            "the last of three, the others may be quorate",
            cluster(&[1, -1, -1], None),
            expected(1),
            [3, 1, 1, 1],
            Some(("n2 and n3 may be quorate without this partition", "make sure that n2 and n3 are down")),
        ),
        case(
            "half of four: nobody else is quorate by itself",
            cluster(&[1, 1, -1, -1], None),
            expected(2),
            [4, 2, 2, 2],
            None,
        ),
        case("inquorate and stays so", cluster(&[1, -1, -1], None), expected(3), [3, 3, 2, 1], None),
        case("a vote more", cluster(&[1, 1, 1], None), votes(1, 2), [4, 4, 3, 4], None),
        case(
            "too many at once: others count by them before they are here",
            cluster(&[1, 1, -1], None),
            votes(1, 5),
            [7, 6, 4, 6],
            Some(("on the way there", "holdfast quorum votes n1 2 ")),
        ),
        case("a vote less", cluster(&[1, 1, 1], None), votes(1, 0), [2, 3, 2, 2], None),
        case(
            "one too few",
            cluster(&[1, 1, -1], None),
            votes(1, 0),
            [2, 3, 2, 1],
            Some(("would lose quorum: 1 of 3 votes would be present and 2 needed", "start n3 first")),
        ),
        case(
            "nothing where there is no quorum",
            cluster(&[1, -1, -1], None),
            votes(1, 2),
            [4, 3, 2, 2],
            Some((
                "is not quorate (1 of 3 votes, 2 needed)",
                "start n2 and n3 first; if they are down for good: holdfast quorum expected 1",
            )),
        ),
        case(
            "a node that is down, in maintenance",
            cluster(&[1, 1, -1], None),
            maintain(3, true),
            [2, 2, 2, 2],
            None,
        ),
        case("one that runs", cluster(&[1, 1, 1], None), maintain(3, true), [2, 2, 2, 2], None),
        case(
            "one too many",
            cluster(&[1, 1, -1], None),
            maintain(2, true),
            [2, 2, 2, 1],
            Some(("would lose quorum: 1 of 2 votes would be present and 2 needed", "start n3 first")),
        ),
        case(
            "of two with a device one",
            cluster(&[1, -1], Some((1, true))),
            maintain(2, true),
            [2, 2, 2, 2],
            None,
        ),
        case("back again", maintained(cluster(&[1, 1, -1], None), 3), maintain(3, false), [3, 3, 2, 2], None),
        case(
            "back too early",
            maintained(cluster(&[1, -1], Some((1, true))).after(&Change::DeviceRemoved), 2),
            maintain(2, false),
            [2, 2, 2, 1],
            Some(("1 of 2 votes would be present and 2 needed", "start n2 first")),
        ),
        case(
            "expected_votes of the file are kept in mind",
            maintained(with_file(4, cluster(&[1, 1, 1], None)), 3),
            maintain(3, false),
            [3, 4, 3, 3],
            None,
        ),
        case(
            "reset ends all of it",
            maintained(maintained(cluster(&[1, 1, 1, 1, -1], None), 5), 4),
            Change::Reset,
            [5, 5, 3, 4],
            None,
        ),
        case(
            "reset that costs quorum",
            maintained(
                maintained(maintained(cluster(&[1, 1, -1, -1, -1], None).after(&expected(3)), 3), 4),
                5,
            ),
            Change::Reset,
            [5, 5, 3, 2],
            Some(("2 of 5 votes would be present and 3 needed", "start n3, n4 and n5 first")),
        ),
        case(
            "the device disabled",
            cluster(&[1, 1], Some((1, true))),
            Change::DeviceEnabled(false),
            [2, 2, 2, 2],
            None,
        ),
        case(
            "disabled where it carries the majority",
            cluster(&[1, -1], Some((1, true))),
            Change::DeviceEnabled(false),
            [2, 2, 2, 1],
            Some((
                "would lose quorum: 1 of 2 votes would be present and 2 needed",
                "start n2 first; or, where it stays down, first: holdfast quorum maintenance n2 on",
            )),
        ),
        case(
            "enabled again, not claimed yet",
            cluster(&[1, 1], Some((1, true))).after(&Change::DeviceEnabled(false)),
            Change::DeviceEnabled(true),
            [3, 3, 2, 2],
            None,
        ),
        case(
            "enabled where it would have to be here at once",
            cluster(&[1, 1], Some((3, true))).after(&Change::DeviceEnabled(false)),
            Change::DeviceEnabled(true),
            [5, 5, 3, 2],
            Some(("2 of 5 votes would be present and 3 needed", "holdfast quorum status")),
        ),
        case(
            "4811232: removed from a degraded cluster of two",
            cluster(&[1, -1], Some((1, true))),
            Change::DeviceRemoved,
            [2, 2, 2, 1],
            Some((
                "would lose quorum: 1 of 2 votes would be present and 2 needed",
                "start n2 first; or, where it stays down, first: holdfast quorum maintenance n2 on; holdfast quorum device disable",
            )),
        ),
        case(
            "removed where the dead node is out of the count, but the expected votes are kept in mind",
            maintained(cluster(&[1, -1], Some((1, true))), 2),
            Change::DeviceRemoved,
            [1, 2, 2, 1],
            Some(("1 of 2 votes would be present and 2 needed", "holdfast quorum device disable")),
        ),
        case(
            "removed where the dead node and the device are out of the count",
            maintained(cluster(&[1, -1], Some((1, true))), 2).after(&Change::DeviceEnabled(false)),
            Change::DeviceRemoved,
            [1, 1, 1, 1],
            None,
        ),
        case(
            "a node less where the nodes alone are quorate, and would not be any more",
            cluster(&[1, 1, 1, 1], Some((3, true))),
            maintain(4, true),
            [6, 6, 4, 6],
            Some((
                "without the quorum device's vote after it, since they are before: they would have 3 of 6 votes, and 4 are needed",
                "first: holdfast quorum device disable",
            )),
        ),
        case(
            "a node less where they need it anyway",
            cluster(&[1, 1, -1], Some((2, true))),
            maintain(3, true),
            [4, 4, 3, 4],
            None,
        ),
        case(
            "a server remembers nobody",
            server(cluster(&[1, -1], Some((1, true)))),
            maintain(2, true),
            [2, 2, 2, 2],
            Some((
                "the nodes have to be quorate without the server's vote for that: they have 1 of 3 votes, and 2 are needed",
                "start n2 first",
            )),
        ),
        case(
            "removed from a whole cluster",
            cluster(&[1, 1, 1], Some((2, true))),
            Change::DeviceRemoved,
            [3, 3, 2, 3],
            None,
        ),
        case(
            "last man standing: the device added to three",
            cluster(&[1, 1, 1], None),
            Change::DeviceAdded(disk(2)),
            [5, 5, 3, 3],
            None,
        ),
        case(
            "added where the votes are too few until it is claimed",
            cluster(&[1, 1, -1], None),
            Change::DeviceAdded(disk(2)),
            [5, 5, 3, 2],
            Some((
                "would lose quorum: 2 of 5 votes would be present and 3 needed",
                "start n3 first; look at: holdfast quorum status",
            )),
        ),
        case(
            "added to an even cluster",
            cluster(&[1, 1], None),
            Change::DeviceAdded(disk(1)),
            [3, 3, 2, 2],
            None,
        ),
        case(
            "added to the file where it is in force already",
            cluster(&[1, -1], Some((1, true))),
            Change::DeviceAdded(disk(1)),
            [3, 3, 2, 2],
            None,
        ),
        case(
            "added with too many votes",
            cluster(&[1, 1, 1, -1], None),
            Change::DeviceAdded(disk(3)),
            [7, 7, 4, 3],
            Some(("3 of 7 votes would be present and 4 needed", "--votes 1")),
        ),
    ]
}

#[test]
fn every_change_is_worked_out_and_what_costs_quorum_is_refused_with_a_remedy() {
    for Case { name, votes, change, then, harm } in cases() {
        assert_eq!(numbers(&votes.after(&change)), then, "{name}");
        let found = votes.harm(&change);
        match (&found, harm) {
            (None, None) => {}
            (Some(found), Some((why, remedy))) => {
                assert!(found.why.contains(why), "{name}: {found:?}");
                assert!(found.remedy.contains(remedy), "{name}: {found:?}");
            }
            _ => panic!("{name}: {found:?}"),
        }
        // Nobody who is quorate loses it by a change that is not refused.
        let (before, after) = (votes.tally().quorate, votes.after(&change).tally().quorate);
        assert!(found.is_some() || after || !before, "{name}");
    }
}

#[test]
fn what_is_so_already_is_known() {
    let votes = cluster(&[1, 1, -1], None);
    assert!(votes.is_so(&Change::Expected(3)) && !votes.is_so(&Change::Expected(2)));
    assert!(votes.is_so(&Change::Reset) && votes.is_so(&Change::DeviceRemoved));
    assert!(votes.is_so(&Change::Maintenance { node: 3, on: false }));
    for (node, change) in
        [(3, Change::Maintenance { node: 3, on: true }), (1, Change::Votes { node: 1, votes: 2 })]
    {
        assert!(!votes.is_so(&change));
        let then = votes.after(&change);
        assert!(then.is_so(&change) && !then.is_so(&Change::Reset), "{node}");
        assert!(then.after(&Change::Reset).is_so(&Change::Reset));
        assert_eq!(numbers(&then.after(&Change::Reset)), numbers(&votes), "all is as it was");
    }
}

#[test]
fn whoever_breaks_ties_counts_and_two_of_two_need_one() {
    let four = Electorate { tie: Some(1), tie_break: TieBreak::Lowest, ..cluster(&[1, 1, -1, -1], None) };
    assert_eq!((four.tally().quorate, four.tally().stands), (true, Some(0)));
    let other = Electorate { tie: Some(3), ..four.clone() };
    assert!(!other.tally().quorate);
    // Who breaks ties goes into maintenance: somebody else does, and with one vote less that is expected three are odd.
    let then = four.after(&Change::Maintenance { node: 1, on: true });
    assert_eq!((then.tie, numbers(&then)), (Some(2), [3, 3, 2, 1]));
    let two = Electorate { two_node: true, ..cluster(&[1, -1], None) };
    let tally = two.tally();
    assert_eq!((tally.needed, tally.quorate, tally.stands), (1, true, Some(0)));
    let whole = Electorate { two_node: true, ..cluster(&[1, 1], None) };
    assert_eq!(whole.tally().stands, Some(1));
}

fn seen(votes: Electorate) -> Seen {
    let tally = votes.tally();
    Seen {
        cluster: "web".to_owned(),
        node: NodeRef { id: 1, name: "n1".to_owned() },
        quorate: tally.quorate,
        needed: tally.needed,
        present: tally.present,
        reason: if tally.quorate { String::new() } else { "1 of 3 votes, 2 needed".to_owned() },
        votes,
        ..Seen::default()
    }
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

#[test]
fn status_is_aligned_and_names_who_is_not_there_and_why() {
    let mut votes = maintained(cluster(&[1, 1, -1, -1, 1], None), 4);
    votes.voters[0].votes = 2;
    votes.voters[4].place = Place::Away;
    let mut all = seen(votes);
    all.flags = ["WaitForAll", "Quorate"].map(str::to_owned).to_vec();
    all.next = vec![1, 2];
    all.waits = "the file of node 3 has another one".to_owned();
    assert_eq!(
        plain(&report::status_text(&all)),
        "\
Cluster web, votes as n1 counts them

Quorum          yes
Votes possible  5 (4 expected)
Votes needed    3
Votes present   4
Stands          no loss
Flags           WaitForAll
Under way       the votes of nodes 1 2 by another table
File waits      the file of node 3 has another one

NODE  ID  PRESENT  POSSIBLE  STATUS
n1    1   2        2         online                this node, 1 in the file
n2    2   1        1         online
n3    3   0        1         offline
n4    4   0        0         maintenance, offline  holdfast quorum maintenance n4 off ends it
n5    5   1        1         away, online          counts again when it is back
"
    );
}

#[test]
fn status_shows_the_device_and_how_many_failures_are_stood() {
    let mut all = seen(cluster(&[1, 1, 1], Some((2, true))));
    let part = DevicePart { name: "/dev/sdb1".to_owned(), ..DevicePart::default() };
    let owner = Some("n2".to_owned());
    all.served_by =
        DeviceStatus { model: "disk".to_owned(), parts: vec![part], owner, ..DeviceStatus::default() };
    assert_eq!(
        plain(&report::status_text(&all)),
        "\
Cluster web, votes as n1 counts them

Quorum          yes
Votes possible  5
Votes needed    3
Votes present   5
Stands          the loss of any 1; of 2 nodes while the device is here

NODE  ID  PRESENT  POSSIBLE  STATUS
n1    1   1        1         online  this node
n2    2   1        1         online
n3    3   1        1         online

DEVICE  PRESENT  POSSIBLE  STATUS
Disk    2        2         online  disk /dev/sdb1, owned by n2
"
    );
    let value = report::status_json(&all);
    assert_eq!(
        [
            &value["possible"],
            &value["needed"],
            &value["present"],
            &value["stands"],
            &value["stands_with_device"]
        ],
        [5, 3, 5, 1, 2].map(|n| json!(n)).each_ref()
    );
    assert_eq!(
        value["device"],
        json!({"name": "Disk", "votes": 2, "present": true, "enabled": true, "model": "disk", "owner": "n2", "why": "",
            "parts": [{"name": "/dev/sdb1", "path": "", "failure": ""}]})
    );
    assert_eq!(
        value["nodes"][2],
        json!({"id": 3, "name": "n3", "votes": 1, "votes_in_file": 1, "present": true, "place": "counted"})
    );
    all.votes = all.votes.after(&Change::DeviceEnabled(false));
    let text = plain(&report::status_text(&all));
    assert!(
        text.ends_with(
            "Disk    0        0         disabled  disk /dev/sdb1, holdfast quorum device enable ends it\n"
        ),
        "{text}"
    );
}

#[test]
fn a_change_is_shown_before_and_after_with_its_harm() {
    let all = seen(cluster(&[1, -1], Some((1, true))));
    let comparison = Comparison::of(&all, &Change::DeviceRemoved);
    assert_eq!(
        plain(&comparison.text()),
        "\
Votes of cluster web: no quorum device

                  NOW       THEN
  n1              1 here    1 here
  n2              1 absent  1 absent
  quorum device   1 here    none
  Expected votes  3         2
  Needed          2         2
  Present         2         1
  Quorate         yes       NO
  Stands          no loss   -
"
    );
    let harm = comparison.harm.as_ref().unwrap();
    assert_eq!(
        plain(&report::harm_text(harm)),
        "! the partition would lose quorum: 1 of 2 votes would be present and 2 needed\n  start n2 first; or, where it stays \
         down, first: holdfast quorum maintenance n2 on; holdfast quorum device disable\n"
    );
    let value = serde_json::Value::Object(comparison.json());
    assert_eq!(value["before"]["quorate"], true);
    assert_eq!(value["after"]["quorate"], false);
    assert_eq!((&value["after"]["needed"], &value["after"]["present"]), (&json!(2), &json!(1)));
    assert_eq!((&value["after"]["device"], &value["cluster"]), (&json!(null), &json!("web")));
    assert!(value["remedy"].as_str().unwrap().contains("maintenance n2 on"), "{value}");
}

#[test]
fn a_change_that_voids_what_was_set_at_run_time_says_so() {
    let votes = cluster(&[1, 1, 1], None).after(&Change::Votes { node: 1, votes: 2 });
    let all = seen(votes);
    let notes = Comparison::of(&all, &Change::Maintenance { node: 3, on: true }).notes().join("\n");
    assert!(
        notes.contains("the votes of n1 were set to 2 at run time, and are the 1 of the file again"),
        "{notes}"
    );
    assert!(notes.contains("that node runs: it stays a member, without a vote"), "{notes}");
    let all = seen(cluster(&[1, 1, -1], None));
    let notes = Comparison::of(&all, &Change::Expected(2)).notes().join("\n");
    assert!(notes.contains("are forgotten by a node that restarts"), "{notes}");
    assert!(notes.contains("n3 must not run anywhere with the number of before"), "{notes}");
}

#[test]
fn waiting_for_something_else_than_votes_stays_so_after_a_change() {
    let mut all = seen(cluster(&[1, 1, 1], None));
    (all.quorate, all.reason) = (false, "waits for all".to_owned());
    let comparison = Comparison::of(&all, &Change::Expected(3));
    assert!(!comparison.quorate_then() && comparison.then.tally().quorate);
}
