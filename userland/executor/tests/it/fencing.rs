//! The fencing automaton with real fence agents, run by the executor: what they can do is read from their own meta-data.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use executor::{Executor, ExecutorConfig, Job, JobId, Outcome, Work, metadata, run_once};
use fencing::{Abilities, Call, CallId, Candidate, Check, Device, Fencer, Limits, Output, Request, Verdict};
use holdfast_types::{Boottime, NodeId, Span};

use crate::{Bench, next, write_executable};

fn ms(text: &str) -> Option<u64> {
    text.strip_suffix('s')?.parse::<u64>().ok().map(|s| s * 1_000)
}

fn device(config: &ExecutorConfig, id: &str, agent: &str, params: &[(&str, &str)]) -> Device {
    let params: Vec<(String, String)> = params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let xml = metadata(config, "stonith", None, agent).unwrap_or_else(|e| panic!("{agent}: {e}"));
    Device::new(id, agent, &params, ms).unwrap().with_abilities(Abilities::of_metadata(&xml))
}

fn job_of(id: u64, device: &str, call: Call) -> Job {
    Job {
        id: JobId(id),
        resource: device.to_owned(),
        work: Work::Fence { agent: call.agent, action: call.action },
        params: call.params,
        meta: Vec::new(),
        timeout: call.timeout,
        interval: Span::ZERO,
    }
}

/// Drives one request to its end, every agent really run; what was run, and the verdict.
fn fence(config: &ExecutorConfig, devices: Vec<Device>, action: &str) -> (Vec<String>, Verdict) {
    let (executor, outcomes) = Executor::new(config.clone(), || {}).expect("executor starts");
    let start = Instant::now();
    let now = || Boottime::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap());
    let mut fencer = Fencer::default();
    fencer.configure(devices, Vec::new(), Limits { rounds_max: 1, ..Limits::default() });
    let me = Candidate { node: NodeId::new(1), banned_devices: Vec::new() };
    fencer.set_candidates(now(), vec![me]);
    let request = Request {
        target: NodeId::new(2),
        name: "n2".into(),
        incarnation: None,
        action: action.into(),
        reason: "test".into(),
        client: "test".into(),
    };
    fencer.request(now(), request, 0, None);
    let (mut log, mut asks) = (Vec::new(), BTreeMap::new());
    loop {
        while let Some(ask) = fencer.poll_ask() {
            log.push(format!("{} asks {}", ask.device, ask.what.action));
            asks.insert(ask.call.0, ());
            executor.submit(job_of(ask.call.0, &ask.device, ask.what));
        }
        while let Some(output) = fencer.poll_output() {
            match output {
                Output::Run { call, device, what, .. } => {
                    log.push(format!("{device} runs {}", what.action));
                    executor.submit(job_of(call.0, &device, what));
                }
                Output::Done(record) => return (log, record.verdict),
            }
        }
        let out: Outcome = next(&outcomes);
        if asks.remove(&out.id.0).is_some() {
            fencer.asked(now(), CallId(out.id.0), Some((out.rc, &out.stdout)));
        } else {
            let error = format!("{:?} {} {}", out.status, out.rc, out.stderr);
            fencer.call_done(now(), CallId(out.id.0), Some(error.as_str()).filter(|_| !out.is_ok()));
        }
    }
}

#[test]
fn the_real_fence_dummy_turns_a_node_off_and_reboots_it() {
    if !Path::new("/usr/sbin/fence_dummy").exists() {
        eprintln!("SKIPPED: needs the package fence-agents");
        return;
    }
    let bench = Bench::new("fencedummy");
    let status = bench.root.join("status");
    let params = [("status_file", status.to_str().expect("a path")), ("pcmk_host_list", "n2")];
    let dummy = device(&bench.config, "dummy", "fence_dummy", &params);
    let (log, verdict) = fence(&bench.config, vec![dummy.clone()], "off");
    assert_eq!((log, verdict), (vec!["dummy runs off".to_owned()], Verdict::Succeeded));
    let ask = |action: &str| {
        run_once(&bench.config, job_of(1, "dummy", dummy.call(action, "n2", 2, Span::from_secs(60))))
            .expect("it runs")
    };
    assert_eq!(ask("status").rc, 2, "it is off");
    assert!(fence(&bench.config, vec![dummy.clone()], "reboot").1 == Verdict::Succeeded);
    assert!(ask("status").is_ok() && ask("monitor").is_ok(), "it is on again");
}

#[test]
fn of_several_real_devices_the_one_that_lists_the_victim_is_run() {
    if !Path::new("/usr/lib/stonith/plugins/external/ssh").exists() {
        eprintln!("SKIPPED: needs the package cluster-glue");
        return;
    }
    let bench = Bench::new("fencelist");
    let agent = "echo '<resource-agent><actions><action name=\"list\"/><action name=\"off\"/><action name=\"on\"/>\
                 </actions></resource-agent>'";
    write_executable(
        &bench.root.join("fence_lists"),
        &format!(
            "input=$(cat); case $input in *action=metadata*) {agent};; *action=list*) echo n2,alias;; esac"
        ),
    );
    let lists = device(&bench.config, "lists", "fence_lists", &[]);
    assert_eq!(lists.check(), Check::Dynamic);
    // Its script lists what it is configured for: another node.
    let ssh = device(&bench.config, "ssh", "external/ssh", &[("hostlist", "n7")]);
    let (log, verdict) = fence(&bench.config, vec![ssh, lists], "reboot");
    // No reboot in its meta-data: off, then on.
    let mut sorted = log.clone();
    sorted[..2].sort();
    assert_eq!(sorted, ["lists asks list", "ssh asks list", "lists runs off", "lists runs on"], "{log:?}");
    assert_eq!(verdict, Verdict::Succeeded);
}

#[test]
fn abilities_of_installed_agents_are_theirs() {
    if !Path::new("/usr/sbin/fence_scsi").exists() {
        eprintln!("SKIPPED: needs the package fence-agents");
        return;
    }
    let config = ExecutorConfig::new("node1", 1, std::env::temp_dir());
    for (agent, unfences, reboot, check) in [
        ("fence_scsi", true, false, Check::Status),
        ("fence_ipmilan", false, true, Check::Status),
        ("fence_apc", false, true, Check::Dynamic),
    ] {
        let device = device(&config, "d", agent, &[("devices", "/dev/sda")]);
        let xml = metadata(&config, "stonith", None, agent).expect("meta-data");
        let abilities = Abilities::of_metadata(&xml);
        assert_eq!((device.unfences(), abilities.has("reboot")), (unfences, reboot), "{agent}");
        let plug = device.call("off", "n2", 2, Span::ZERO).params;
        assert!(plug.contains(&("plug".to_owned(), "n2".to_owned())), "{agent}: {plug:?}");
        let listed = abilities.has("list") == (check == Check::Dynamic);
        assert!(device.check() == check || !listed, "{agent}: {:?}", device.check());
    }
}
