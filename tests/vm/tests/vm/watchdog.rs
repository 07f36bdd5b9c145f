//! The watchdog takes the node down where nothing else can, and lets it go in order.

use std::time::{Duration, Instant};

use vm::{Cluster, Options, Watchdog};

use crate::failfast::{assert_seen, assert_why, last_death, last_words};
use crate::{boot, stays};

const FAILFAST: &str = " mode: panic\n watchdog_device: /dev/watchdog0\n watchdog_timeout: 5000\n";

/// Where the kernel has to panic before the watchdog fires. The one is done by the guest, the other by QEMU, and an emulated
/// processor may get nothing for seconds.
pub(crate) const WITH_NOTICE: &str =
    " mode: panic\n watchdog_device: /dev/watchdog0\n watchdog_timeout: 20000\n watchdog_pretimeout: 10000\n";

/// A cluster whose nodes have armed their watchdogs.
fn armed(name: &str, options: Options) -> Cluster {
    let failfast = if options.modules.contains(&"pretimeout_panic") { WITH_NOTICE } else { FAILFAST };
    let cluster = boot(name, Options { failfast, ..options });
    cluster.start_all();
    for node in cluster.all() {
        cluster.wait_for_log(node, "cmmd", "The watchdog is fed: armed with the first quorum");
    }
    cluster
}

/// Kills `cmmd` and its guardian before either can say a word.
fn kill_both(cluster: &Cluster, node: u32) {
    cluster.sh(
        node,
        "kill -STOP $(pidof holdfast-guardian) && kill -9 $(pidof cmmd) $(pidof holdfast-guardian)",
    );
}

fn goes_down(cluster: &Cluster, node: u32, since: Instant) -> bool {
    cluster
        .events(node, since)
        .iter()
        .any(|e| ["WATCHDOG", "RESET", "GUEST_PANICKED"].contains(&e.name.as_str()))
}

#[test]
fn a_watchdog_that_a_dead_daemon_left_armed_fires_and_no_other_daemon_feeds_it() {
    if vm::skip() {
        return;
    }
    let options = Options { nodes: 1, watchdog: Watchdog::I6300esb, ..Options::default() };
    let cluster = armed("left-armed", options);
    // The module that would panic is not loaded: the log says what that means, and the watchdog fires all the same.
    cluster.wait_for_log(1, "cmmd", "run modprobe pretimeout_panic before cmmd starts");
    let boot_id = cluster.boot(1).unwrap();
    let start = Instant::now();
    kill_both(&cluster, 1);
    let next = cluster.run(1, "cmmd -f");
    cluster.wait_for_event(1, "WATCHDOG", start);
    if let Ok(next) = next {
        assert!(next.status != 0 && next.stderr.contains("is running already"), "{next:?}");
    }
    cluster.wait_for_boot(1, Some(&boot_id));
    // Nobody could say a word: what is left is that the watchdog was armed.
    assert_why(&cluster, 1, "power", &["or its watchdog, which was armed"]);
    cluster.start_ring(1);
    cluster.wait_for_members(&[1], &[1]);
}

#[test]
fn a_node_without_quorum_and_with_something_to_protect_goes_down_and_says_why() {
    if vm::skip() {
        return;
    }
    let programs = vec![env!("CARGO_BIN_EXE_vm-member").into()];
    let modules = &["pretimeout_panic"];
    let options = Options { watchdog: Watchdog::I6300esb, modules, programs, ..Options::default() };
    let cluster = armed("quorum", options);
    cluster.start(2, "vm-member", "");
    cluster.wait_for_log(2, "vm-member", "in");
    let boot_id = cluster.boot(2).unwrap();
    let start = Instant::now();
    cluster.cut(2);
    let reason = "The watchdog is not fed any more: not quorate with something to protect";
    cluster.wait_for_log(2, "cmmd", reason);
    // The watchdog gives notice, and the kernel panics: its last words are kept.
    cluster.wait_for_event(2, "GUEST_PANICKED", start);
    cluster.wait_for_boot(2, Some(&boot_id));
    assert!(cluster.console(2).contains(reason), "{}", cluster.console(2));
    assert_eq!(last_death(&cluster, 2), reason);
    let last_words = last_words(&cluster, 2);
    assert!(last_words.contains(reason) && last_words.contains("watchdog pretimeout event"), "{last_words}");
    assert_why(&cluster, 2, "watchdog", &[reason, "the kernel panicked on it", "pretimeout"]);
    assert_seen(&cluster, 1, 2, "silent", &[]);
    assert!(!goes_down(&cluster, 1, start), "n1 has nothing to protect");
    cluster.wait_for_quorum(&[1], false);
    cluster.heal(2);
    cluster.start_ring(2);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);

    // Nothing is in a group on n1, but a unit of it is dead, under maintenance: what that one did may still go on.
    cluster.sh(
        1,
        "setsid sleep 100000 >/dev/null 2>&1 & pid=$!
        holdfast failfast arm db --pid $pid --delay 30m && holdfast failfast maintenance on --for 1h db && kill -9 $pid",
    );
    cluster.wait_for("the unit is dead", || {
        cluster.sh(1, "holdfast failfast status --json").contains("\"trouble\": \"died\"").then_some(())
    });
    let (boot_id, start) = (cluster.boot(1).unwrap(), Instant::now());
    stays("a maintenance is one", Duration::from_secs(3), || !goes_down(&cluster, 1, start));
    cluster.cut(2);
    cluster.wait_for_event(1, "GUEST_PANICKED", start);
    cluster.wait_for_boot(1, Some(&boot_id));
    assert_eq!(last_death(&cluster, 1), reason);
    assert!(!goes_down(&cluster, 2, start), "n2 has nothing to protect");
}

#[test]
fn where_the_kernel_takes_no_order_to_panic_the_watchdog_does_the_rest() {
    if vm::skip() {
        return;
    }
    let options =
        Options { nodes: 1, failfast: FAILFAST, watchdog: Watchdog::I6300esb, ..Options::default() };
    let cluster = boot("no-trigger", options);
    cluster.sh(1, ": >/tmp/plain && mount --bind /tmp/plain /proc/sysrq-trigger");
    cluster.start_all();
    cluster.wait_for_log(1, "cmmd", "The watchdog is fed: armed with the first quorum");
    let boot_id = cluster.boot(1).unwrap();
    let start = Instant::now();
    cluster.sh(1, "kill -9 $(pidof cmmd)");
    cluster.wait_for_event(1, "WATCHDOG", start);
    cluster.wait_for_boot(1, Some(&boot_id));
    assert!(last_death(&cluster, 1).contains("\"cmmd\" died"), "{}", last_death(&cluster, 1));
    assert_why(&cluster, 1, "guardian", &["cmmd was dead"]);
}

#[test]
fn an_orderly_stop_disarms_the_watchdog_unless_something_needs_protection() {
    if vm::skip() {
        return;
    }
    let programs = vec![env!("CARGO_BIN_EXE_vm-member").into()];
    let options = Options { nodes: 1, watchdog: Watchdog::I6300esb, programs, ..Options::default() };
    let cluster = armed("stop", options);
    let start = Instant::now();
    cluster.sh(1, "kill $(pidof cmmd)");
    cluster.wait_for_log(1, "cmmd", "Holdfast cmmd exiting normally");
    // Twice its time-out and more.
    stays("n1 is not reset", Duration::from_secs(12), || !goes_down(&cluster, 1, start));
    let state = || cluster.sh(1, "cat /sys/class/watchdog/watchdog0/state").trim().to_owned();
    assert_eq!(state(), "inactive");

    // With something to protect it is not stopped: whatever that does now, nobody watches it any more.
    cluster.start_ring(1);
    cluster.wait_for("armed again", || (state() == "active").then_some(()));
    cluster.start(1, "vm-member", "");
    cluster.wait_for_log(1, "vm-member", "in");
    let boot_id = cluster.boot(1).unwrap();
    let start = Instant::now();
    cluster.sh(1, "kill $(pidof cmmd)");
    cluster.wait_for_log(1, "cmmd", "the watchdog stays armed: something here still needs protection");
    cluster.wait_for_event(1, "WATCHDOG", start);
    cluster.wait_for_boot(1, Some(&boot_id));
}

#[test]
fn the_chip_sets_watchdog_gives_notice_and_fires() {
    let cluster = panics("tco", Watchdog::Tco, 0);
    if let Some((cluster, start, _)) = cluster {
        // The kernel stays as it is: the hardware does the rest.
        cluster.wait_for_event(1, "WATCHDOG", start);
        cluster.wait_for_event(1, "RESET", start);
    }
}

#[test]
fn the_kernels_own_watchdog_gives_notice() {
    if let Some((cluster, start, boot_id)) = panics("softdog", Watchdog::Software, 1) {
        cluster.wait_for_event(1, "RESET", start);
        cluster.wait_for_boot(1, Some(&boot_id));
        // cmmd and its guardian were stopped: only the kernel could say something.
        assert_why(&cluster, 1, "watchdog", &["gave notice", "nothing fed it"]);
    }
}

/// With a daemon that hangs together with its guardian, this is how the machine goes down.
fn panics(name: &str, watchdog: Watchdog, panic: u32) -> Option<(Cluster, Instant, String)> {
    if vm::skip() {
        return None;
    }
    let modules = &["pretimeout_panic"];
    let cluster = armed(name, Options { nodes: 1, watchdog, panic, modules, ..Options::default() });
    let (boot_id, start) = (cluster.boot(1).unwrap(), Instant::now());
    cluster.sh(1, "kill -STOP $(pidof holdfast-guardian) $(pidof cmmd)");
    let panicked = cluster.wait_for_event(1, "GUEST_PANICKED", start);
    // It was fed until just before.
    assert!(panicked.at.duration_since(start) >= Duration::from_secs(2), "sooner than its time-out");
    Some((cluster, start, boot_id))
}

/// Both of a machine's devices are named by what they are called; the software one is left out of nothing.
const BOTH: &str = " mode: panic\n watchdog_identity: i6300ESB timer\n watchdog_identity: Software Watchdog\n watchdog_timeout: 8000\n watchdog_pretimeout: 0\n";

/// One machine, three of its lives: what an administrator sees and tries, an orderly stop that stops both devices, the proof that one resets
/// the machine, and an orderly stop with a device that cannot be stopped.
#[test]
fn watchdogs_are_found_by_name_fed_together_tried_and_known_where_they_cannot_be_stopped() {
    if vm::skip() {
        return;
    }
    let (watchdog, modules) = (Watchdog::I6300esb, &["softdog", "pretimeout_panic"]);
    let cluster = boot("dogs", Options { nodes: 1, failfast: BOTH, watchdog, modules, ..Options::default() });
    let states = || {
        cluster
            .sh(1, "cat /sys/class/watchdog/watchdog[01]/state")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let list = cluster.sh(1, "holdfast watchdog list");
    for part in
        ["/dev/watchdog0  i6300ESB timer  (configured)", "/dev/watchdog1  Software Watchdog  (configured)"]
    {
        assert!(list.contains(part), "{part:?} is missing in\n{list}");
    }
    let set =
        || cluster.sh(1, "cd /sys/class/watchdog/watchdog0; cat timeout pretimeout pretimeout_governor");
    let before = set();
    let tried = cluster.sh(1, "holdfast watchdog test 'i6300ESB timer' --dry-run --pretimeout 3 --json");
    for part in [
        "\"stopped\": true",
        "\"put_back\": true",
        "\"timeout_s\": 10",
        "the kernel would panic 3 s before it fires",
    ] {
        assert!(tried.contains(part), "{part:?} is missing in {tried}");
    }
    assert_eq!(set(), before, "a dry run changes nothing");
    assert_eq!(states(), "inactive inactive");

    cluster.start_ring(1);
    for device in ["/dev/watchdog0 (i6300ESB timer)", "/dev/watchdog1 (Software Watchdog)"] {
        cluster.wait_for_log(1, "cmmd", &format!("watchdog {device} is armed, time-out 8000 ms"));
    }
    let start = Instant::now();
    let list = cluster.sh(1, "holdfast watchdog list");
    assert!(list.contains("RUNNING") && list.matches("in use by cmmd (pid ").count() == 2, "{list}");
    let refused = cluster.run(1, "holdfast watchdog test /dev/watchdog0 --yes $(hostname)").unwrap();
    assert!(
        refused.status == 1 && refused.stderr.contains("runs on this node; stop it first"),
        "{refused:?}"
    );
    let rehearsal = cluster.sh(1, "holdfast failfast test");
    for part in [
        "ok    the kernel's log and console",
        "ok    the kernel's last words, kept by pstore (erst)",
        "ok    c, then b if the kernel does not panic, would be written to /proc/sysrq-trigger",
        "ok    it comes back 1 s after its panic",
        "ok    watchdog /dev/watchdog0 (i6300ESB timer) is armed",
        "is the kernel's own: it dies with the kernel",
        "This node would go down",
    ] {
        assert!(rehearsal.contains(part), "{part:?} is missing in\n{rehearsal}");
    }
    stays("both are fed", Duration::from_secs(20), || !goes_down(&cluster, 1, start));
    cluster.sh(1, "kill $(pidof cmmd)");
    cluster.wait_for_log(1, "cmmd", "Holdfast cmmd exiting normally");
    cluster.wait_for("both are stopped", || (states() == "inactive inactive").then_some(()));

    let boot_id = cluster.boot(1).unwrap();
    let start = Instant::now();
    cluster.start(1, "holdfast", "watchdog test 'i6300ESB timer' --timeout 4 --yes $(hostname)");
    cluster.wait_for_event(1, "WATCHDOG", start);
    let boot_id = cluster.wait_for_boot(1, Some(&boot_id));
    assert!(cluster.console(1).contains("watchdog test: /dev/watchdog0 is armed with 4 s and not fed"));

    // With nowayout there is no dry run; an orderly stop ends with a reset, which was said before.
    cluster.sh(1, "rmmod softdog && modprobe softdog nowayout=1");
    let refused = cluster.run(1, "holdfast watchdog test 'Software Watchdog' --dry-run").unwrap();
    assert!(refused.status == 1 && refused.stderr.contains("there is no dry run of it"), "{refused:?}");
    cluster.start_ring(1);
    cluster.wait_for_log(
        1,
        "cmmd",
        "watchdog /dev/watchdog1 (Software Watchdog) runs with nowayout: it cannot be stopped",
    );
    let start = Instant::now();
    cluster.sh(1, "kill $(pidof cmmd)");
    cluster.wait_for_log(
        1,
        "cmmd",
        "the watchdog cannot be stopped: the driver runs with nowayout; it will reset this machine",
    );
    cluster.wait_for_event(1, "RESET", start);
    cluster.wait_for_boot(1, Some(&boot_id));
}
