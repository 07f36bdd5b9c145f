//! What operators type on a running cluster: Pacemaker's commands under their own names, and the distribution's crmsh on them.

use std::path::{Path, PathBuf};

use harness::{Cluster, Options, skip};

use crate::{nodes, others, shop};

/// A running cluster, and a folder with the commands.
struct Desk {
    cluster: Cluster,
    /// Where the group is at first.
    place: u32,
    folder: PathBuf,
}

impl Desk {
    fn new(name: &str) -> Self {
        Self::of(name, nodes(2))
    }

    fn of(name: &str, options: Options) -> Self {
        let (cluster, place) = shop(name, options);
        let folder = std::env::temp_dir().join(format!("holdfast-desk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let desk = Self { cluster, place, folder };
        let holdfast = harness::bin_dir().unwrap().join("holdfast");
        desk.run(1, &format!("{} link {}", holdfast.display(), desk.folder.display()));
        desk
    }

    /// What a script with the commands in its path says on either stream, and its exit status.
    fn ask(&self, node: u32, script: &str) -> (String, Option<i32>) {
        let script = format!("PATH={}:$PATH; exec 2>&1; {script}", self.folder.display());
        let out = self.cluster.exec(node, "sh", &["-c", &script]).unwrap();
        (String::from_utf8_lossy(&out.stdout).into_owned(), out.status.code())
    }

    /// The same where it has to succeed.
    fn run(&self, node: u32, script: &str) -> String {
        let (said, status) = self.ask(node, script);
        assert_eq!(status, Some(0), "{script}: {said}\n{}", self.cluster.report());
        said
    }

    /// Waits until a script says something.
    fn wait(&self, node: u32, script: &str, says: &str) {
        let mut before = String::new();
        self.cluster.wait_for(&format!("{script} says {says:?}"), || {
            let said = self.ask(node, script).0;
            if said != before {
                println!("{script}: {said}");
            }
            let over = said.contains(says);
            before = said;
            over.then_some(())
        });
    }

    fn name(node: u32) -> String {
        harness::node_name(node)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn pacemakers_commands_show_and_change_a_running_cluster() {
    if skip() {
        return;
    }
    let desk = Desk::new("operators");
    let (place, other) = (desk.place, others(&desk.cluster, &[desk.place])[0]);
    let (here, there) = (Desk::name(place), Desk::name(other));

    // Who is there.
    assert_eq!(desk.run(place, "crm_node -n").trim(), here);
    assert!(desk.run(other, "crmadmin -D").contains("Designated Controller is: n"));
    let located = desk.run(other, "crm_resource -W -r ip");
    assert!(located.contains(&format!("resource ip is running on: {here}")), "{located}");

    // Attributes: of this life of the node, and for good.
    desk.run(place, "attrd_updater -n path -U 100");
    desk.wait(
        other,
        &format!("attrd_updater -Q -n path -N {here}"),
        &format!("name=\"path\" host=\"{here}\" value=\"100\""),
    );
    desk.run(other, &format!("crm_attribute -l reboot -N {here} -n count -v value++"));
    desk.wait(place, &format!("crm_attribute -l reboot -N {here} -n count -G -q"), "1");
    desk.run(other, &format!("crm_attribute -t nodes -N {here} -n rack -v 7"));
    desk.wait(place, &format!("crm_attribute -t nodes -N {here} -n rack -G -q"), "7");

    // A node out of service, and back.
    desk.run(other, &format!("crm_standby -N {here} -v on"));
    desk.wait(other, "crm_resource -W -r service", &format!("running on: {there}"));
    desk.wait(other, "crm_mon -1", &format!("Node {here}: standby"));
    desk.run(other, &format!("crm_standby -N {here} -D"));

    // Moved, and the ban taken away again.
    desk.wait(other, "crm_mon -1", "Online: [ n1 n2 ]");
    desk.run(other, &format!("crm_resource -M -r shop -N {here}"));
    desk.wait(other, "crm_resource -W -r service", &format!("running on: {here}"));
    assert!(desk.run(place, "cibadmin -Q -o constraints").contains("cli-prefer-shop"));
    desk.run(other, "crm_resource -U -r shop");
    assert!(!desk.run(place, "cibadmin -Q -o constraints").contains("cli-prefer-shop"));

    // The operator's log of each node says what was done there.
    let log = "cat /var/log/holdfast/operator.log";
    desk.wait(other, log, "Resource service started. (rc=0) ok");
    desk.wait(other, log, "Resource service stopped. (rc=0) ok");

    // A failure counts until it is cleaned up.
    desk.run(place, &format!("crm_resource -F -r state -N {here}"));
    desk.wait(other, "crm_mon -1 -f", "fail-count=1");
    desk.run(other, "crm_resource -C -r state");
    desk.cluster.wait_for("nothing has failed", || {
        (!desk.ask(other, "crm_mon -1 -f").0.contains("fail-count")).then_some(())
    });
    desk.cluster.wait_for_started(other, &crate::SHOP);

    // Stopped and started again, and what takes its time is waited for.
    let starts = desk.cluster.service_starts().len();
    desk.run(other, "crm_resource --restart -r service --timeout 120s");
    assert!(desk.cluster.service_starts().len() > starts, "the service was started again");
    desk.run(place, "crm_resource --wait --timeout 120s");
    desk.cluster.wait_for_started(other, &crate::SHOP);

    // The scheduler's and the checker's views of the running cluster.
    let view = desk.run(other, "crm_simulate -L");
    assert!(view.contains("Online: [ n1 n2 ]") && view.contains("service"), "{view}");
    desk.run(place, "crm_verify -L");
    a_fail_over_is_explained_and_what_is_left_of_it_mended(&desk);
    desk.cluster.assert_nothing_ran_twice();
    drop(desk);
}

/// Why the service moved, in a sentence of any node; then what the doctor says is typed, word for word, until nothing is left to be done.
fn a_fail_over_is_explained_and_what_is_left_of_it_mended(desk: &Desk) {
    desk.run(1, "crm_resource -r service -m -p migration-threshold -v 1");
    let place = desk.cluster.service_runs_on("shop")[0];
    let other = others(&desk.cluster, &[place])[0];
    let (here, there) = (Desk::name(place), Desk::name(other));
    desk.run(place, "kill -9 $(cat /run/anything_service.pid)");
    desk.wait(other, "crm_resource -W -r service", &format!("running on: {there}"));
    desk.run(other, "crm_resource --wait --timeout 120s");
    for node in [place, other] {
        let why = desk.run(node, "holdfast why service");
        println!("{why}");
        assert!(why.contains(&there) && why.contains(&here) && why.contains("because it failed on"), "{why}");
    }
    // It stays away from where it failed until somebody has looked.
    desk.run(other, &format!("crm_resource -B -r shop -N {here}"));
    let mut typed = Vec::new();
    loop {
        let (said, status) = desk.ask(other, "holdfast doctor --json");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        if status == Some(0) {
            break;
        }
        let next = said["next"].as_str().unwrap_or_else(|| panic!("no next command in {said}")).to_owned();
        assert!(typed.len() < 10, "never well: {typed:?}\n{said}");
        desk.run(other, &next);
        desk.run(other, "crm_resource --wait --timeout 120s");
        typed.push(next);
    }
    println!("typed: {typed:?}");
    // The steps of the manuals: out of service, cleaned up, back in service, and no ban is left.
    let steps = [
        format!("crm_standby -U {here} -v on"),
        format!("crm_resource -C -r service -N {here}"),
        format!("crm_standby -U {here} -v off"),
        "crm_resource -U -r shop".to_owned(),
    ];
    assert_eq!(typed, steps);
    assert!(!desk.run(place, "crm_mon -1 -f").contains("fail-count"));
}

/// What monitoring reads of a running node, over HTTP.
#[test]
fn monitoring_reads_a_running_node_over_http() {
    if skip() {
        return;
    }
    let desk = Desk::new("monitoring");
    let (place, other) = (desk.place, others(&desk.cluster, &[desk.place])[0]);
    let (here, there) = (Desk::name(place), Desk::name(other));
    let ask = r#"bash -c "exec 3<>/dev/tcp/127.0.0.1/9664; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3""#;
    desk.cluster.start_as(place, "metrics", "holdfast", &["metrics", "--listen", "127.0.0.1:9664"]).unwrap();
    let line = format!("ha_cluster_pacemaker_nodes{{node=\"{there}\",status=\"online\",type=\"member\"}}");
    desk.wait(place, ask, &format!("{line} 1"));
    let seen = desk.run(place, ask);
    for says in [
        "HTTP/1.1 200 OK",
        "ha_cluster_corosync_quorate 1",
        "ha_cluster_pacemaker_stonith_enabled 1",
        "holdfast_failfast_unit{unit=\"rgmd\",state=\"armed\"} 1",
        &format!("node=\"{here}\",resource=\"ip\",role=\"started\",status=\"active\"}} 1"),
    ] {
        assert!(seen.contains(says), "{says} in {seen}");
    }
    desk.cluster.assert_nothing_ran_twice();
}

/// Pacemaker's own monitor reads our document, status and all, as ours does.
#[test]
fn pacemakers_own_crm_mon_shows_the_same_of_our_document() {
    let theirs = Path::new("/usr/sbin/crm_mon");
    if skip() {
        return;
    }
    assert!(theirs.exists(), "needs the package pacemaker-cli-utils");
    let desk = Desk::new("sameview");
    let document = desk.folder.join("cib.xml");
    // Whoever is asked knows what the controller does.
    for node in [1, 2] {
        desk.wait(node, "crmadmin -S $(crmadmin -D | sed 's/.*: //')", "S_IDLE");
    }
    desk.run(1, &format!("cibadmin -Q > {}", document.display()));
    let masked = |text: String| -> Vec<String> {
        // When it was asked, and by which name.
        let moments = ["Last updated:", "Status of pacemakerd", "<last_update ", "<pacemaker-result "];
        let moment = |line: &&str| !moments.iter().any(|m| line.contains(m));
        text.lines().filter(moment).map(str::to_owned).collect()
    };
    for options in ["-1r", "-1rfAo", "-1 -n", "--output-as=xml"] {
        let file = format!("CIB_file={}", document.display());
        let theirs = desk.run(1, &format!("{file} {} {options}", theirs.display()));
        let ours = desk.run(1, &format!("{file} crm_mon {options}"));
        assert_eq!(masked(ours), masked(theirs.clone()), "{options}");
        assert!(theirs.contains("service"), "{theirs}");
    }
}

#[test]
fn crmsh_runs_on_a_running_cluster() {
    if skip() {
        return;
    }
    assert!(Path::new("/usr/sbin/crm").exists(), "needs the package crmsh");
    // One of the two will go for good.
    let desk = Desk::of("crmsh", Options { quorum: "    two_node: 1\n", ..nodes(2) });
    let (place, other) = (desk.place, others(&desk.cluster, &[desk.place])[0]);
    let (here, there) = (Desk::name(place), Desk::name(other));
    let shown = desk.run(1, "crm configure show");
    assert!(shown.contains("group shop state service ip"), "{shown}");

    let load = desk.folder.join("more.crm");
    std::fs::write(
        &load,
        "primitive extra ocf:heartbeat:Dummy op monitor interval=5s timeout=20s\n\
         location extra-place extra 100: n2\n",
    )
    .unwrap();
    desk.run(1, &format!("crm -F configure load update {}", load.display()));
    desk.wait(1, "crm_resource -W -r extra", "running on: n2");
    assert!(desk.run(2, "crm configure show extra").contains("primitive extra Dummy"));

    desk.run(1, &format!("crm resource move shop {there}"));
    desk.wait(1, "crm_resource -W -r service", &format!("running on: {there}"));
    desk.run(1, "crm resource clear shop");
    desk.run(1, &format!("crm node standby {there}"));
    desk.wait(1, "crm_resource -W -r service", &format!("running on: {here}"));
    desk.run(1, &format!("crm node online {there}"));
    desk.run(1, "crm resource cleanup extra");
    desk.wait(1, "crm status", "Online: [ n1 n2 ]");

    // A node that will not come back: refused while it takes part, then gone from all that is shown.
    let (said, status) = desk.ask(place, &format!("crm_node --force -R {there}"));
    assert_eq!(status, Some(113), "{said}");
    assert!(said.contains("stop it there first: systemctl stop rgmd cmmd"), "{said}");
    desk.run(place, &format!("crm_attribute -t nodes -N {there} -n rack -v 7"));
    desk.cluster.stop(other);
    desk.wait(place, "crm_mon -1", &format!("OFFLINE: [ {there} ]"));
    desk.run(place, &format!("crm node delete {there}"));
    for shows in ["crm_node -l", "crm_mon -1A", "cibadmin -Q -o nodes", "cibadmin -Q -o status"] {
        let said = desk.run(place, shows);
        assert!(said.contains(&here) && !said.contains(&there), "{shows}: {said}");
    }
    let (said, status) = desk.ask(place, &format!("crm_node --force -R {there}"));
    assert_eq!(status, Some(68), "{said}");
    assert!(said.contains("those that are there: crm_node --list"), "{said}");
    desk.cluster.assert_nothing_ran_twice();
}
