//! The distribution's Pacemaker on `cmmd`, with the corosync.conf and key that it had on corosync: only the daemon
//! underneath is another one.

use std::fs;

use anyhow::{Result, ensure};
use harness::{Cib, Cluster, FENCE_AGENT, Process, Signal, skip};

use crate::{SHOP_IP, has_ip, nodes, others};

/// A corosync.conf as distributions have it.
fn configuration(cluster: &Cluster) -> String {
    let node = |id: u32| {
        let (name, address) = (harness::node_name(id), harness::address(id, 0));
        format!("  node {{\n    nodeid: {id}\n    name: {name}\n    ring0_addr: {address}\n  }}\n")
    };
    format!(
        "totem {{\n  version: 2\n  cluster_name: shop\n  transport: knet\n  crypto_cipher: aes256\n  crypto_hash: sha256\n  \
         token: 2000\n}}\nquorum {{\n  provider: corosync_votequorum\n}}\nlogging {{\n  to_stderr: yes\n  \
         to_syslog: no\n}}\nnodelist {{\n{}}}\n",
        cluster.all().into_iter().map(node).collect::<String>()
    )
}

/// Switches a node on: its configuration lies where corosync has it, and it knows the others by name.
fn power_on(cluster: &Cluster, node: u32) -> Result<()> {
    cluster.power_on(node)?;
    let dir = cluster.node_dir(node);
    fs::write(dir.join("corosync.conf"), configuration(cluster))?;
    let host = |id: u32| format!("{} {}\n", harness::address(id, 0), harness::node_name(id));
    fs::write(dir.join("hosts"), cluster.all().into_iter().map(host).collect::<String>())?;
    let script = "cp \"$1/corosync.conf\" /etc/corosync/ && cat \"$1/hosts\" >> /etc/hosts\n\
                  mv /etc/holdfast/authkey /etc/corosync/ && rm /etc/holdfast/*";
    let out = cluster.exec(node, "sh", &["-euc", script, "sh", dir.to_str().unwrap()])?;
    ensure!(out.status.success(), "{out:?}");
    Ok(())
}

pub(crate) fn start_pacemaker(cluster: &Cluster, node: u32) -> Result<()> {
    let log = format!("PCMK_logfile={}", cluster.node_dir(node).join("log/pacemaker.log").display());
    cluster.start_as(node, "pacemakerd", "env", &[&log, "pacemakerd"])
}

/// The daemons of Pacemaker on a node.
pub(crate) fn pacemaker(cluster: &Cluster, node: u32) -> Vec<Process> {
    let mut all = cluster.processes(node);
    all.retain(|p| p.name.starts_with("pacemaker"));
    all
}

/// All of them at once; what falls over the others' deaths meanwhile is dead as well.
fn kill_pacemaker(cluster: &Cluster, node: u32) {
    let found = pacemaker(cluster, node);
    assert!(found.len() >= 7, "{found:?}");
    for process in found {
        let _ = process.signal(Signal::SIGKILL);
    }
}

/// Starts `cmmd` and Pacemaker on a node that is off.
pub(crate) fn boot(cluster: &Cluster, node: u32) -> Result<()> {
    power_on(cluster, node)?;
    cluster.start(node, "cmmd", &["-f"])?;
    start_pacemaker(cluster, node)
}

/// What a command of Pacemaker or crmsh prints on a node, errors included; nothing where the node is off.
pub(crate) fn ask(cluster: &Cluster, node: u32, command: &str) -> (String, bool) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let args = [&["HOME=/run/resource-agents", "LANG=C.UTF-8"], &words[..]].concat();
    match cluster.exec(node, "env", &args) {
        Ok(out) => {
            (String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(), out.status.success())
        }
        Err(_) => (String::new(), false),
    }
}

/// Waits until `asked` sees these nodes, and no others, online.
pub(crate) fn wait_for_online(cluster: &Cluster, asked: &[u32], online: &[u32]) {
    let names: Vec<_> = online.iter().map(|n| harness::node_name(*n)).collect();
    let line = format!("  * Online: [ {} ]", names.join(" "));
    cluster.wait_for(&format!("{asked:?} see {online:?} online"), || {
        let sees = |n: &u32| ask(cluster, *n, "crm_mon -1").0.lines().any(|l| l == line);
        asked.iter().all(sees).then_some(())
    });
}

/// The node on which `crm_mon` shows the whole group started.
pub(crate) fn place_of_shop(cluster: &Cluster, asked: u32) -> Option<u32> {
    let (screen, _) = ask(cluster, asked, "crm_mon -1");
    let place = |id: &&str| {
        let line = screen.lines().find(|l| l.starts_with(&format!("    * {id}\t")))?;
        line.split_once("Started n")?.1.trim().parse::<u32>().ok()
    };
    let places: Vec<_> = crate::SHOP.iter().map(place).collect::<Option<_>>()?;
    places.iter().all(|p| *p == places[0]).then_some(places[0])
}

/// Waits until the group runs as a whole, not on `old`.
pub(crate) fn wait_for_shop(cluster: &Cluster, asked: u32, old: Option<u32>) -> u32 {
    cluster.wait_for(&format!("n{asked} sees the group run, not on {old:?}"), || {
        let place = place_of_shop(cluster, asked)?;
        let runs = cluster.service_runs_on("shop") == [place] && has_ip(cluster, place);
        (runs && Some(place) != old).then_some(place)
    })
}

/// What an operator types into crmsh: a fence device and a group of three real agents.
fn shop_in_crmsh(cluster: &Cluster) -> String {
    let hosts: Vec<_> = cluster.all().into_iter().map(harness::node_name).collect();
    let service = cluster.service();
    format!(
        "primitive fence stonith:{FENCE_AGENT} params pcmk_host_list=\"{}\"\n\
         primitive state ocf:heartbeat:Dummy op monitor interval=5s timeout=60s\n\
         primitive service ocf:heartbeat:anything params binfile=\"{service}\" cmdline_options=shop \
         op monitor interval=5s timeout=60s\n\
         primitive ip ocf:heartbeat:IPaddr2 params ip={SHOP_IP} cidr_netmask=24 nic=eth0 \
         op monitor interval=5s timeout=60s\n\
         group shop state service ip\n\
         property stonith-enabled=true no-quorum-policy=stop\n",
        hosts.join(" ")
    )
}

/// Three nodes with Pacemaker, all online.
pub(crate) fn up(name: &str) -> Cluster {
    let cluster = Cluster::new(name, nodes(3), &Cib::new()).unwrap();
    let all = cluster.all();
    all.iter().for_each(|n| boot(&cluster, *n).unwrap());
    wait_for_online(&cluster, &all, &all);
    cluster
}

/// The same with the group `shop`; gives the node that has it.
pub(crate) fn shop(name: &str) -> (Cluster, u32) {
    let cluster = up(name);
    let file = cluster.node_dir(1).join("shop.crm");
    fs::write(&file, shop_in_crmsh(&cluster)).unwrap();
    let (text, done) = ask(&cluster, 1, &format!("crm configure load update {}", file.display()));
    assert!(done, "{text}");
    let place = wait_for_shop(&cluster, 1, None);
    (cluster, place)
}

/// How often the fence device took a node's power.
fn strikes(cluster: &Cluster, node: u32) -> usize {
    let name = harness::node_name(node);
    let struck = |action: &str| action == "off" || action == "reboot";
    cluster.fence_calls().iter().filter(|c| struck(&c.action) && c.target == name && c.answer == "ok").count()
}

/// Boots a node that was fenced, and waits until all are online.
fn bring_back(cluster: &Cluster, node: u32) {
    boot(cluster, node).unwrap();
    let all = cluster.all();
    wait_for_online(cluster, &all, &all);
    cluster.assert_nothing_ran_twice();
}

fn crm(cluster: &Cluster, node: u32, command: &str) -> String {
    let (text, done) = ask(cluster, node, &format!("crm {command}"));
    assert!(done, "crm {command}: {text}");
    text
}

fn has_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "{line:?} is missing in\n{text}");
    }
}

#[test]
fn pacemaker_runs_a_group_and_moves_it_by_fencing_when_daemons_are_killed() {
    if skip() {
        return;
    }
    let (cluster, old) = shop("pacemaker");
    let status = crm(&cluster, 2, "status");
    has_lines(
        &status,
        &[
            "  * Stack: corosync",
            "  * 3 nodes configured",
            "  * Online: [ n1 n2 n3 ]",
            "  * Resource Group: shop:",
        ],
    );
    assert!(status.contains("partition with quorum"), "{status}");
    let configured = crm(&cluster, 3, "configure show");
    has_lines(
        &configured,
        &[
            "node 1: n1",
            "group shop state service ip",
            "\tcluster-infrastructure=corosync \\",
            "\tcluster-name=shop \\",
        ],
    );
    crm(&cluster, 1, "configure verify");
    // Pacemaker is asked before the ring's daemon is shut down, and says no.
    let (text, _) = ask(&cluster, 2, "corosync-cfgtool -H");
    assert!(text.contains("Could not shutdown (error = 10)"), "busy: {text}");

    // The ring's daemon dies and is started again; nobody is fenced meanwhile, so that the rest of the node lives on.
    crm(&cluster, 1, "configure property maintenance-mode=true stonith-enabled=false");
    let supervisor = cluster.find(old, "pacemakerd");
    cluster.signal(old, "cmmd", Signal::SIGKILL);
    cluster.wait_for("Pacemaker's daemons lose the cluster", || {
        cluster.find(old, "pacemaker-controld").is_empty().then_some(())
    });
    cluster.start(old, "cmmd", &["-f"]).unwrap();
    let all = cluster.all();
    wait_for_online(&cluster, &all, &all);
    assert_eq!(cluster.find(old, "pacemakerd"), supervisor, "it stayed and started its daemons again");
    crm(&cluster, 1, "configure property maintenance-mode=false stonith-enabled=true");
    assert_eq!(wait_for_shop(&cluster, 1, None), old);

    // The same where fencing is on: the node is gone for the others, and what it runs has to be ended.
    cluster.signal(old, "cmmd", Signal::SIGKILL);
    let asked = others(&cluster, &[old]);
    let new = wait_for_shop(&cluster, asked[0], Some(old));
    wait_for_online(&cluster, &asked, &asked);
    assert_eq!(strikes(&cluster, old), 1, "{:?}", cluster.fence_calls());
    bring_back(&cluster, old);

    // All of Pacemaker dies on a node whose ring's daemon lives.
    let (old, asked) = (new, others(&cluster, &[new]));
    kill_pacemaker(&cluster, old);
    let new = wait_for_shop(&cluster, asked[0], Some(old));
    assert_eq!(strikes(&cluster, old), 1, "{:?}", cluster.fence_calls());
    bring_back(&cluster, old);

    // The rest of a node's life: what an operator wants, without a fence.
    let before = cluster.fence_calls().len();
    crm(&cluster, 1, &format!("node standby n{new}"));
    let (old, new) = (new, wait_for_shop(&cluster, 1, Some(new)));
    crm(&cluster, 1, &format!("node online n{old}"));
    cluster.signal(new, "pacemakerd", Signal::SIGTERM);
    let asked = others(&cluster, &[new]);
    wait_for_shop(&cluster, asked[0], Some(new));
    cluster.wait_for("Pacemaker ends", || pacemaker(&cluster, new).is_empty().then_some(()));
    let (text, _) = ask(&cluster, new, "corosync-cfgtool -H");
    assert!(!text.contains("Could not shutdown"), "nobody is against it any more: {text}");
    cluster.wait_for("the ring's daemon ends", || cluster.find(new, "cmmd").is_empty().then_some(()));
    wait_for_online(&cluster, &asked, &asked);
    let fenced = cluster.fence_calls()[before..].iter().any(|c| c.action == "off" || c.action == "reboot");
    assert!(!fenced, "{:?}", cluster.fence_calls());
    cluster.assert_nothing_ran_twice();
}
