//! The options of votequorum, side by side: the same story befalls a cluster of `cmmd` and one of the distribution's corosync at the same
//! time, and `corosync-quorumtool -s` is asked at the same points of both. Where they differ, they do on purpose, and the test says why.

use std::cell::RefCell;

use harness::{Cib, Cluster, Options, Signal, address, node_name, skip};

use crate::clients::{ask, masked};

/// Two clusters of as many nodes, with the same ids and names, on one switch.
struct Pair {
    cluster: Cluster,
    nodes: u32,
    /// Lines of the `quorum` section, in all files that are written from now on.
    quorum: RefCell<String>,
}

const OURS: usize = 0;
const THEIRS: usize = 1;
const DAEMONS: [&str; 2] = ["cmmd", "corosync"];

impl Pair {
    fn new(name: &str, nodes: u32, quorum: &str) -> Self {
        let options = Options { nodes: 2 * nodes, spare: quorum.contains(SERVER), ..Options::default() };
        let cluster = Cluster::new(name, options, &Cib::new()).unwrap();
        let pair = Self { cluster, nodes, quorum: RefCell::new(quorum.to_owned()) };
        pair.write(&pair.all());
        pair
    }

    fn all(&self) -> Vec<u32> {
        (1..=self.nodes).collect()
    }

    /// Where a node of one of the clusters runs.
    fn machine(&self, side: usize, node: u32) -> u32 {
        if side == OURS { node } else { self.nodes + node }
    }

    fn machines(&self, side: usize, nodes: &[u32]) -> Vec<u32> {
        nodes.iter().map(|n| self.machine(side, *n)).collect()
    }

    /// Something is done to these nodes of both clusters.
    fn each(&self, nodes: &[u32], mut act: impl FnMut(usize, u32, u32)) {
        for side in [OURS, THEIRS] {
            nodes.iter().for_each(|n| act(side, *n, self.machine(side, *n)));
        }
    }

    /// Other lines of `quorum`, in the files of all nodes.
    fn configure(&self, quorum: &str) {
        quorum.clone_into(&mut self.quorum.borrow_mut());
        self.write(&self.all());
    }

    fn write(&self, nodes: &[u32]) {
        let server = address(self.cluster.spare(), 0).to_string();
        let quorum = self.quorum.borrow().replace(SERVER, &server);
        self.each(nodes, |side, _, machine| {
            let dir = self.cluster.node_dir(machine);
            let dir = dir.display();
            let mut text = format!(
                "totem {{\n  version: 2\n  cluster_name: {}\n  transport: knet\n  crypto_cipher: aes256\n  crypto_hash: sha256\n  \
                 keyfile: {dir}/etc/authkey\n  token: 1000\n  token_coefficient: 0\n}}\nquorum {{\n  provider: corosync_votequorum\n\
                 {quorum}}}\nlogging {{\n  to_stderr: yes\n  to_syslog: no\n}}\nsystem {{\n  state_dir: {dir}/state\n}}\nnodelist {{\n",
                DAEMONS[side]
            );
            for id in self.all() {
                let (name, address) = (node_name(id), address(self.machine(side, id), 0));
                text += &format!("  node {{\n    nodeid: {id}\n    name: {name}\n    ring0_addr: {address}\n  }}\n");
            }
            std::fs::write(self.cluster.node_dir(machine).join(FILE), text + "}\n").unwrap();
        });
    }

    fn start(&self, nodes: &[u32]) {
        self.each(nodes, |side, _, machine| {
            if !self.cluster.is_on(machine) {
                self.cluster.power_on(machine).unwrap();
            }
            let path = self.cluster.node_dir(machine).join(FILE);
            self.cluster.start(machine, DAEMONS[side], &["-f", "-c", path.to_str().unwrap()]).unwrap();
        });
    }

    /// These leave in order.
    fn stop(&self, nodes: &[u32]) {
        self.each(nodes, |side, _, machine| self.cluster.signal(machine, DAEMONS[side], Signal::SIGTERM));
        self.each(nodes, |side, node, machine| {
            let daemon = DAEMONS[side];
            self.cluster.wait_for(&format!("{daemon} of n{node} ends"), || {
                self.cluster.find(machine, daemon).is_empty().then_some(())
            });
        });
    }

    /// These lose their power.
    fn crash(&self, nodes: &[u32]) {
        self.each(nodes, |_, _, machine| self.cluster.power_off(machine).unwrap());
    }

    fn cut(&self, some: &[u32], others: &[u32]) {
        for side in [OURS, THEIRS] {
            self.cluster.cut(&self.machines(side, some), &self.machines(side, others));
        }
    }

    fn heal(&self) {
        self.cluster.heal();
    }

    /// What one of corosync's programs says on a node of both clusters: the same, with this status.
    fn run(&self, node: u32, program: &str, args: &[&str], status: i32) -> String {
        let say = |side| ask(&self.cluster, self.machine(side, node), program, args);
        let (ours, theirs) = (say(OURS), say(THEIRS));
        assert_eq!(ours, theirs, "{program} {args:?} on n{node}\n{}", self.cluster.report());
        assert_eq!(ours.1, Some(status), "{program} {args:?} on n{node}: {}", ours.0);
        ours.0
    }

    /// How a node counts, as [`Self::both`] has it; what else the program says if that makes no sense.
    fn counts(&self, side: usize, node: u32) -> String {
        let (text, status) = ask(&self.cluster, self.machine(side, node), "corosync-quorumtool", &["-s"]);
        let get = |name: &str| {
            let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            value.map_or("", str::trim).to_owned()
        };
        let [expected, highest, total, flags] =
            ["Expected votes", "Highest expected", "Total votes", "Flags"].map(get);
        let (quorum, quorate) = match get("Quorum").split_once(' ') {
            Some((quorum, "Activity blocked")) => (quorum.to_owned(), false),
            _ => (get("Quorum"), true),
        };
        let agrees = flags.contains("Quorate") == quorate
            && get("Quorate") == if quorate { "Yes" } else { "No" }
            && status == Some(if quorate { 0 } else { 2 })
            && expected == highest;
        if agrees {
            format!("{total} of {expected}, {quorum} needed: {flags}").trim_end_matches(": ").to_owned()
        } else {
            text
        }
    }

    /// Waits until these nodes of both clusters count so: votes present, expected and needed, and the flags. Then both programs say the
    /// same in every line.
    fn both(&self, nodes: &[u32], counts: &str) {
        self.wait(nodes, [counts, counts]);
        for node in nodes {
            self.alike(*node, |ours| ours.to_owned());
        }
    }

    /// Both programs say the same on this node once both have come to rest: corosync's device client goes back and forth for
    /// some seconds after a change. `seen`: what of ours is to be like theirs.
    fn alike(&self, node: u32, seen: impl Fn(&str) -> String) {
        let text = |side| ask(&self.cluster, self.machine(side, node), "corosync-quorumtool", &["-s"]).0;
        let mut said = (String::new(), String::new());
        self.cluster.wait_for(&format!("both sides say the same on n{node}"), || {
            let now = (seen(&masked("", &text(OURS))), masked("", &text(THEIRS)));
            if now != said {
                println!("n{node}, ours and theirs:\n{}\n{}", now.0, now.1);
            }
            said = now;
            (said.0 == said.1).then_some(())
        });
    }

    /// The same where they differ, and why they are meant to.
    fn apart(&self, nodes: &[u32], ours: &str, theirs: &str, why: &str) {
        assert!(ours != theirs && !why.is_empty());
        self.wait(nodes, [ours, theirs]);
    }

    fn wait(&self, nodes: &[u32], wanted: [&str; 2]) {
        // Twice: it is to come to rest there.
        let (mut times, mut before) = (0, Vec::new());
        self.cluster.wait_for(&format!("nodes {nodes:?} of both clusters count {wanted:?}"), || {
            let seen: Vec<[String; 2]> =
                nodes.iter().map(|n| [OURS, THEIRS].map(|side| self.counts(side, *n))).collect();
            times = if seen.iter().all(|s| *s == wanted) { times + 1 } else { 0 };
            if seen != before {
                println!("{nodes:?}: {seen:?}");
            }
            before = seen;
            (times == 2).then_some(())
        });
    }
}

const FILE: &str = "votequorum.conf";
/// Stands for the quorum server's address.
const SERVER: &str = "@SERVER@";

#[test]
fn the_lowest_node_breaks_ties_as_on_corosync() {
    if skip() {
        return;
    }
    let pair = Pair::new("vqlowest", 4, "  auto_tie_breaker: 1\n");
    pair.start(&[1, 2, 3, 4]);
    pair.both(&[1, 2, 3, 4], "4 of 4, 3 needed: Quorate AutoTieBreaker");
    // Without the lowest one the next one has the say.
    pair.stop(&[1]);
    pair.both(&[2, 3, 4], "3 of 4, 3 needed: Quorate AutoTieBreaker");
    pair.stop(&[3]);
    pair.both(&[2, 4], "2 of 4, 3 needed: Quorate AutoTieBreaker");
    pair.start(&[1]);
    pair.both(&[1, 2, 4], "3 of 4, 3 needed: Quorate AutoTieBreaker");
    pair.crash(&[2]);
    pair.both(&[1, 4], "2 of 4, 3 needed: Quorate AutoTieBreaker");
    pair.crash(&[1]);
    pair.both(&[4], "1 of 4, 3 needed: AutoTieBreaker");
}

#[test]
fn the_highest_node_and_those_of_a_list_break_ties_as_on_corosync() {
    if skip() {
        return;
    }
    let pair = Pair::new("vqlist", 4, "  auto_tie_breaker: 1\n  auto_tie_breaker_node: highest\n");
    pair.start(&[1, 2, 3, 4]);
    pair.both(&[1, 2, 3, 4], "4 of 4, 3 needed: Quorate AutoTieBreaker");
    pair.cut(&[1, 2], &[3, 4]);
    pair.both(&[1, 2], "2 of 4, 3 needed: AutoTieBreaker");
    pair.both(&[3, 4], "2 of 4, 3 needed: Quorate AutoTieBreaker");
    pair.crash(&[1, 2, 3, 4]);
    pair.heal();
    pair.configure("  auto_tie_breaker: 1\n  auto_tie_breaker_node: 2 3\n");
    pair.start(&[1, 2, 3, 4]);
    pair.both(&[1, 2, 3, 4], "4 of 4, 3 needed: Quorate AutoTieBreaker");
    // The first one of the list that is there.
    pair.stop(&[2]);
    pair.both(&[1, 3, 4], "3 of 4, 3 needed: Quorate AutoTieBreaker");
    pair.stop(&[4]);
    pair.both(&[1, 3], "2 of 4, 3 needed: Quorate AutoTieBreaker");
}

#[test]
fn all_are_waited_for_as_on_corosync_and_less_than_half_never_break_a_tie() {
    if skip() {
        return;
    }
    let pair = Pair::new("vqwait", 3, "  wait_for_all: 1\n");
    pair.start(&[1, 2]);
    pair.both(&[1, 2], "2 of 3, 2 needed: WaitForAll");
    pair.start(&[3]);
    pair.both(&[1, 2, 3], "3 of 3, 2 needed: Quorate WaitForAll");
    pair.stop(&[3]);
    pair.both(&[1, 2], "2 of 3, 2 needed: Quorate WaitForAll");
    // Whoever has lost the quorum waits for all again, unless an administrator says otherwise.
    pair.crash(&[2]);
    pair.both(&[1], "1 of 3, 2 needed: WaitForAll");
    pair.start(&[2]);
    pair.both(&[1, 2], "2 of 3, 2 needed: WaitForAll");
    pair.run(1, "corosync-cmapctl", &["-s", "quorum.cancel_wait_for_all", "u8", "1"], 0);
    pair.both(&[1, 2], "2 of 3, 2 needed: Quorate WaitForAll");

    pair.crash(&[1, 2]);
    pair.configure("  wait_for_all: 1\n  auto_tie_breaker: 1\n");
    pair.start(&[1, 2, 3]);
    pair.both(&[1, 2, 3], "3 of 3, 2 needed: Quorate WaitForAll AutoTieBreaker");
    pair.stop(&[3]);
    pair.both(&[1, 2], "2 of 3, 2 needed: Quorate WaitForAll AutoTieBreaker");
    pair.stop(&[2]);
    pair.apart(
        &[1],
        "1 of 3, 2 needed: WaitForAll AutoTieBreaker",
        "1 of 3, 2 needed: Quorate WaitForAll AutoTieBreaker",
        "corosync takes one of three for half of them: two others that were started apart from it would be quorate beside it (decision 20)",
    );
}

#[test]
fn the_last_man_stands_after_each_window_as_on_corosync() {
    if skip() {
        return;
    }
    let options = |window: u32| {
        format!("  last_man_standing: 1\n  last_man_standing_window: {window}\n  wait_for_all: 1\n")
    };
    // A window that does not end here: nothing is lowered.
    let pair = Pair::new("vqlastman", 3, &options(600_000));
    pair.start(&[1, 2, 3]);
    pair.both(&[1, 2, 3], "3 of 3, 2 needed: Quorate WaitForAll LastManStanding");
    pair.crash(&[3]);
    pair.both(&[1, 2], "2 of 3, 2 needed: Quorate WaitForAll LastManStanding");
    pair.crash(&[1, 2]);
    pair.configure(&options(500));
    pair.start(&[1, 2, 3]);
    pair.both(&[1, 2, 3], "3 of 3, 2 needed: Quorate WaitForAll LastManStanding");
    pair.crash(&[3]);
    pair.both(&[1, 2], "2 of 2, 2 needed: Quorate WaitForAll LastManStanding");
    pair.crash(&[2]);
    pair.both(&[1], "1 of 2, 2 needed: WaitForAll LastManStanding");
    pair.start(&[2]);
    pair.apart(
        &[2],
        "2 of 2, 2 needed: Quorate WaitForAll LastManStanding",
        "2 of 3, 2 needed: WaitForAll LastManStanding",
        "who is expected is on the disk of each member here; there a node that starts counts by its file (decision 20)",
    );
}

#[test]
fn who_leaves_in_order_is_not_expected_and_who_dies_is_expected_back() {
    if skip() {
        return;
    }
    let pair = Pair::new("vqdownscale", 4, "  allow_downscale: 1\n  expected_votes: 2\n");
    pair.start(&[1, 2]);
    pair.both(&[1, 2], "2 of 4, 3 needed: AllowDownscale");
    pair.start(&[3, 4]);
    pair.both(&[1, 2, 3, 4], "4 of 4, 3 needed: Quorate AllowDownscale");
    let why = "corosync lowers the expected votes and keeps the quorum of before, which with fewer nodes is lost at once; the option is \
               called incomplete there";
    pair.stop(&[4]);
    pair.apart(
        &[1, 2, 3],
        "3 of 3, 2 needed: Quorate AllowDownscale",
        "3 of 3, 3 needed: Quorate AllowDownscale",
        why,
    );
    pair.crash(&[3]);
    pair.apart(&[1, 2], "2 of 3, 2 needed: Quorate AllowDownscale", "2 of 3, 3 needed: AllowDownscale", why);
    pair.start(&[3]);
    // What corosync expects from here on depends on who has heard whom.
    let counts = |nodes: &[u32], counts: &str| {
        pair.cluster.wait_for(&format!("ours count {counts}"), || {
            nodes.iter().all(|n| pair.counts(OURS, *n) == counts).then_some(())
        });
    };
    counts(&[1, 2, 3], "3 of 3, 2 needed: Quorate AllowDownscale");
    pair.stop(&[3]);
    counts(&[1, 2], "2 of 2, 2 needed: Quorate AllowDownscale");
    // Not below what is configured.
    pair.stop(&[2]);
    counts(&[1], "1 of 2, 2 needed: AllowDownscale");
}

#[test]
fn the_most_votes_ever_expected_are_remembered_from_a_start_not_from_a_reload() {
    if skip() {
        return;
    }
    let (off, on) = ("  expected_votes_tracking: 0\n", "  expected_votes_tracking: 1\n");
    let pair = Pair::new("vqtracking", 3, off);
    pair.start(&[1, 2, 3]);
    pair.both(&[1, 2, 3], "3 of 3, 2 needed: Quorate");
    // Switched on by a reload it counts from the next start.
    pair.configure(on);
    pair.run(2, "corosync-cfgtool", &["-R"], 0);
    let said = "NOT taken over before this node is started anew: quorum.expected_votes_tracking";
    pair.cluster.wait_for("the log says so", || pair.cluster.log(1, "cmmd").contains(said).then_some(()));
    pair.stop(&[1, 2, 3]);
    pair.start(&[1, 2, 3]);
    pair.both(&[1, 2, 3], "3 of 3, 2 needed: Quorate");
    pair.run(1, "corosync-quorumtool", &["-e", "5"], 0);
    pair.both(&[1, 2, 3], "3 of 5, 3 needed: Quorate");
    pair.stop(&[1, 2, 3]);
    pair.start(&[1, 2]);
    pair.apart(
        &[1, 2],
        "2 of 5, 3 needed",
        "2 of 3, 2 needed: Quorate",
        "corosync makes its file, but what was expected is not in it, and counts by the node list (3.1.7)",
    );
    let tracked = pair.cluster.node_dir(pair.machine(THEIRS, 1)).join("state/ev_tracking");
    assert_eq!(std::fs::read(tracked).unwrap(), [0; 4]);
}

#[test]
fn two_nodes_of_two_node_count_as_on_corosync() {
    if skip() {
        return;
    }
    let pair = Pair::new("vqtwonode", 2, "  two_node: 1\n");
    pair.start(&[1]);
    pair.both(&[1], "1 of 2, 1 needed: 2Node WaitForAll");
    pair.start(&[2]);
    pair.both(&[1, 2], "2 of 2, 1 needed: 2Node Quorate WaitForAll");
    pair.cut(&[1], &[2]);
    pair.both(&[1, 2], "1 of 2, 1 needed: 2Node Quorate WaitForAll");
    pair.heal();
    pair.both(&[1, 2], "2 of 2, 1 needed: 2Node Quorate WaitForAll");
    pair.stop(&[2]);
    pair.both(&[1], "1 of 2, 1 needed: 2Node Quorate WaitForAll");
    pair.stop(&[1]);
    pair.start(&[1]);
    pair.both(&[1], "1 of 2, 1 needed: 2Node WaitForAll");
}

/// (R7: no silent decrease; R9)
#[test]
fn r9_quorum_falls_by_the_administrators_word_only_and_what_makes_no_sense_is_refused_as_on_corosync() {
    if skip() {
        return;
    }
    let pair = Pair::new("vqexpected", 4, "");
    pair.start(&[1, 2, 3, 4]);
    pair.both(&[1, 2, 3, 4], "4 of 4, 3 needed: Quorate");
    pair.stop(&[4]);
    pair.both(&[1, 2, 3], "3 of 4, 3 needed: Quorate");
    let expect = |votes: &str, status: i32| pair.run(1, "corosync-quorumtool", &["-e", votes], status);
    for (votes, says) in [
        ("0", "New expected votes value was not valid, try a positive number"),
        ("-1", "New expected votes value was not valid, try a positive number"),
        ("four", "New expected votes value was not valid, try a positive number"),
        // Fewer than there are, and so many that the quorum would be lost.
        ("2", "Unable to set expected votes: CS_ERR_INVALID_PARAM"),
        ("9", "Unable to set expected votes: CS_ERR_INVALID_PARAM"),
    ] {
        assert_eq!(expect(votes, 1).trim(), says, "{votes}");
        pair.both(&[1], "3 of 4, 3 needed: Quorate");
    }
    expect("5", 0);
    pair.both(&[1, 2, 3], "3 of 5, 3 needed: Quorate");
    expect("3", 0);
    pair.both(&[1, 2, 3], "3 of 3, 2 needed: Quorate");
    pair.crash(&[3]);
    pair.both(&[1, 2], "2 of 3, 2 needed: Quorate");
    pair.crash(&[2]);
    pair.both(&[1], "1 of 3, 2 needed");
    // His word that the others are down.
    expect("1", 0);
    pair.both(&[1], "1 of 1, 1 needed: Quorate");
    // More votes raise it by themselves.
    pair.start(&[2, 3, 4]);
    pair.both(&[1, 2, 3, 4], "4 of 4, 3 needed: Quorate");
}

/// The device's line and flags, with the distribution's server and client for it.
#[test]
fn a_quorum_server_is_shown_as_with_corosync_qdevice() {
    if skip() {
        return;
    }
    let device = format!(
        "  wait_for_all: 1\n  device {{\n    model: net\n    votes: 1\n    timeout: 4000\n    net {{\n      host: {SERVER}\n      \
         tls: off\n      algorithm: ffsplit\n    }}\n  }}\n"
    );
    let pair = Pair::new("vqserver", 2, &device);
    let server = pair.cluster.spare();
    let run = |machine: u32, script: &str| {
        let out = pair.cluster.exec(machine, "sh", &["-ec", script]).unwrap();
        assert!(out.status.success(), "{script}: {out:?}");
    };
    let start_server = || {
        run(server, "mkdir -p /run/corosync-qnetd; rm -f /run/corosync-qnetd/*");
        pair.cluster.start_as(server, "qnetd", "corosync-qnetd", &["-f", "-s", "off"]).unwrap();
    };
    pair.cluster.power_on(server).unwrap();
    start_server();
    pair.start(&[1, 2]);
    for node in [1, 2] {
        let machine = pair.machine(THEIRS, node);
        run(machine, "mkdir -p /run/corosync-qdevice");
        pair.cluster.wait_for("corosync serves its client", || {
            ask(&pair.cluster, machine, "corosync-quorumtool", &["-s"]).0.contains("Flags:").then_some(())
        });
        pair.cluster.start_as(machine, "qdevice", "corosync-qdevice", &["-f"]).unwrap();
    }
    pair.both(&[1, 2], "3 of 3, 2 needed: Quorate WaitForAll Qdevice");
    pair.run(2, "corosync-quorumtool", &["-l"], 0);

    // Without the vote.
    let without = |nodes: &[u32], counts: &str| {
        pair.wait(nodes, [counts, counts]);
        for node in nodes {
            // The client of the device is a part of cmmd, which cannot be there and its device not: "alive" says that the vote counts.
            pair.alike(*node, |ours| ours.replace("  NA,NV,NMW", "   A,NV,NMW"));
            let ours = ask(&pair.cluster, pair.machine(OURS, *node), "corosync-quorumtool", &["-s"]).0;
            assert!(ours.contains("NA,NV,NMW") && ours.contains("Qdevice (votes 1)"), "{ours}");
        }
    };
    pair.cluster.signal(server, "corosync-qnetd", Signal::SIGKILL);
    without(&[1, 2], "2 of 3, 2 needed: Quorate WaitForAll Qdevice");
    start_server();
    pair.both(&[1, 2], "3 of 3, 2 needed: Quorate WaitForAll Qdevice");
    pair.cut(&[1], &[2]);
    pair.both(&[1], "2 of 3, 2 needed: Quorate WaitForAll Qdevice");
    without(&[2], "1 of 3, 2 needed: WaitForAll Qdevice");
}
