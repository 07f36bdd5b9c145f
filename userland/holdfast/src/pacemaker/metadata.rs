//! What the daemons of Pacemaker say of the options that they know: crmsh asks them, and takes no other option.
//!
//! Called by the daemon's name with `metadata`, or as `holdfast metadata NAME`.

use crate::exit::Exit;
use crate::io::Io;

/// A daemon and its options: name, type, default, choices, meaning.
struct Daemon {
    name: &'static str,
    long: &'static str,
    short: &'static str,
    options: &'static [(&'static str, &'static str, Option<&'static str>, &'static str, &'static str)],
}

/// Show which cluster options there are, in the form that Pacemaker's daemons have and crmsh reads.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  holdfast metadata pacemaker-schedulerd
  holdfast link /usr/local/lib/holdfast && /usr/local/lib/holdfast/pacemaker-schedulerd metadata")]
pub(crate) struct Args {
    /// pacemaker-schedulerd, pacemaker-controld, pacemaker-fenced or pacemaker-based
    name: String,
}

/// `holdfast metadata NAME`.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    called(&args.name, &["metadata".into()], io)
}

/// The names of the daemons.
pub(crate) const NAMES: [&str; 4] = [SCHEDULERD.name, CONTROLD.name, FENCED.name, BASED.name];

/// Called by the name of a daemon.
pub(crate) fn called(name: &str, words: &[String], io: &mut Io) -> Exit {
    let all = [&SCHEDULERD, &CONTROLD, &FENCED, &BASED];
    let known = all.iter().find(|d| d.name == name || d.name.strip_prefix("pacemaker-") == Some(name));
    let Some(daemon) = known else {
        io.complain(format_args!(
            "holdfast metadata: no daemon is called {name}; there are: {}\n",
            NAMES.join(" ")
        ));
        return Exit::Usage;
    };
    // crmsh asks the controller for the version of the cluster's software.
    if matches!(words, [word] if word == "version") {
        io.say(format_args!("CRM Version: {} ({})\n", super::VERSION, super::BUILD));
        return Exit::Ok;
    }
    if !matches!(words, [word] if word == "metadata") {
        let name = daemon.name;
        io.complain(format_args!(
            "{name}: only tells of its options: {name} metadata; the cluster is started by systemctl start holdfast.target\n"
        ));
        return Exit::Usage;
    }
    io.say(format_args!("{}", text(daemon)));
    Exit::Ok
}

fn text(daemon: &Daemon) -> String {
    let escaped = |text: &str| {
        let mut out = String::new();
        cib::escape(text, &mut out);
        out
    };
    let mut out = format!(
        "<?xml version=\"1.0\"?>\n<resource-agent name=\"{}\" version=\"{}\">\n  <version>1.1</version>\n  <longdesc \
         lang=\"en\">{}</longdesc>\n  <shortdesc lang=\"en\">{}</shortdesc>\n  <parameters>\n",
        daemon.name,
        super::VERSION,
        escaped(daemon.long),
        escaped(daemon.short)
    );
    for (name, kind, default, choices, meaning) in daemon.options {
        let meaning = escaped(meaning);
        let default = default.map(|d| format!(" default=\"{}\"", escaped(d))).unwrap_or_default();
        let choices: String = choices
            .split(',')
            .filter(|c| !c.is_empty())
            .map(|c| format!("        <option value=\"{c}\" />\n"))
            .collect();
        let content = match choices.is_empty() {
            true => format!("      <content type=\"{kind}\"{default}/>\n"),
            false => format!("      <content type=\"{kind}\"{default}>\n{choices}      </content>\n"),
        };
        out += &format!(
            "    <parameter name=\"{name}\">\n      <longdesc lang=\"en\">{meaning}</longdesc>\n      <shortdesc \
             lang=\"en\">{meaning}</shortdesc>\n{content}    </parameter>\n"
        );
    }
    out + "  </parameters>\n</resource-agent>\n"
}

/// `pacemaker-schedulerd`.
const SCHEDULERD: Daemon = Daemon {
    name: "pacemaker-schedulerd",
    long: "Cluster options of the scheduler",
    short: "Scheduler options",
    options: &[
        (
            "no-quorum-policy",
            "select",
            Some("stop"),
            "stop,freeze,ignore,demote,suicide",
            "What happens to resources where there is no quorum",
        ),
        (
            "symmetric-cluster",
            "boolean",
            Some("true"),
            "",
            "Resources may run on any node unless a constraint says otherwise",
        ),
        ("maintenance-mode", "boolean", Some("false"), "", "Nothing is started, stopped or monitored"),
        (
            "start-failure-is-fatal",
            "boolean",
            Some("true"),
            "",
            "One failed start keeps a resource off the node; else failures count up to migration-threshold",
        ),
        (
            "enable-startup-probes",
            "boolean",
            Some("true"),
            "",
            "Resources are looked for before anything is started",
        ),
        (
            "shutdown-lock",
            "boolean",
            Some("false"),
            "",
            "What ran on a node that was shut down in good order waits for it",
        ),
        ("shutdown-lock-limit", "time", Some("0"), "", "How long it waits at most; 0 without a limit"),
        (
            "stonith-enabled",
            "boolean",
            Some("true"),
            "",
            "Nodes that are lost or cannot stop a resource are fenced",
        ),
        (
            "stonith-action",
            "select",
            Some("reboot"),
            "reboot,off,poweroff",
            "What is done to a node that is fenced",
        ),
        ("stonith-timeout", "time", Some("60s"), "", "How long fencing may take"),
        (
            "have-watchdog",
            "boolean",
            Some("false"),
            "",
            "Set by the cluster: nodes have a watchdog that can fence them",
        ),
        ("concurrent-fencing", "boolean", Some("false"), "", "Several nodes may be fenced at a time"),
        (
            "startup-fencing",
            "boolean",
            Some("true"),
            "",
            "Nodes that were never seen are fenced before anything is started",
        ),
        (
            "priority-fencing-delay",
            "time",
            Some("0"),
            "",
            "How long fencing waits where the more important resources are on the other side",
        ),
        ("cluster-delay", "time", Some("60s"), "", "How long messages between nodes may take"),
        (
            "batch-limit",
            "integer",
            Some("0"),
            "",
            "How many actions may run at a time in the cluster; 0 as many as there are",
        ),
        (
            "migration-limit",
            "integer",
            Some("-1"),
            "",
            "How many live migrations may run at a time on a node; -1 without a limit",
        ),
        ("stop-all-resources", "boolean", Some("false"), "", "All resources are stopped"),
        (
            "stop-orphan-resources",
            "boolean",
            Some("true"),
            "",
            "What is no more in the configuration is stopped",
        ),
        (
            "stop-orphan-actions",
            "boolean",
            Some("true"),
            "",
            "Recurring actions that are no more in the configuration end",
        ),
        ("remove-after-stop", "boolean", Some("false"), "", "Deprecated: stopped resources are forgotten"),
        (
            "pe-error-series-max",
            "integer",
            Some("-1"),
            "",
            "How many inputs of the scheduler with errors are kept",
        ),
        (
            "pe-warn-series-max",
            "integer",
            Some("5000"),
            "",
            "How many inputs of the scheduler with warnings are kept",
        ),
        (
            "pe-input-series-max",
            "integer",
            Some("4000"),
            "",
            "How many other inputs of the scheduler are kept",
        ),
        (
            "node-health-strategy",
            "select",
            Some("none"),
            "none,migrate-on-red,only-green,progressive,custom",
            "What is done about nodes whose health attributes are not green",
        ),
        ("node-health-base", "integer", Some("0"), "", "Score that a node begins with"),
        ("node-health-green", "integer", Some("0"), "", "Score of a green health attribute"),
        ("node-health-yellow", "integer", Some("0"), "", "Score of a yellow health attribute"),
        ("node-health-red", "integer", Some("-INFINITY"), "", "Score of a red health attribute"),
        (
            "placement-strategy",
            "select",
            Some("default"),
            "default,utilization,minimal,balanced",
            "Whether utilization counts when resources are placed",
        ),
    ],
};

/// `pacemaker-controld`.
const CONTROLD: Daemon = Daemon {
    name: "pacemaker-controld",
    long: "Cluster options of the resource manager",
    short: "Resource manager options",
    options: &[
        (
            "dc-version",
            "string",
            Some("none"),
            "",
            "Set by the cluster: the version of the node that decides",
        ),
        (
            "cluster-infrastructure",
            "string",
            Some("corosync"),
            "",
            "Set by the cluster: what carries messages",
        ),
        ("cluster-name", "string", None, "", "A name, for those who watch several clusters"),
        ("dc-deadtime", "time", Some("20s"), "", "How long other nodes are waited for at the start"),
        ("cluster-recheck-interval", "time", Some("15min"), "", "How often rules with dates are looked at"),
        (
            "load-threshold",
            "percentage",
            Some("80%"),
            "",
            "How much of a node actions of the cluster may use",
        ),
        (
            "node-action-limit",
            "integer",
            Some("0"),
            "",
            "How many actions may run at a time on a node; 0: twice its processors",
        ),
        (
            "fence-reaction",
            "string",
            Some("stop"),
            "",
            "What a node does that is told of its own fencing: stop or panic",
        ),
        ("election-timeout", "time", Some("2min"), "", "How long nodes take at most to agree who decides"),
        (
            "shutdown-escalation",
            "time",
            Some("20min"),
            "",
            "How long a shutdown may take before it is forced",
        ),
        ("join-integration-timeout", "time", Some("3min"), "", "How long a node may take to join"),
        ("join-finalization-timeout", "time", Some("30min"), "", "How long all nodes may take to join"),
        (
            "transition-delay",
            "time",
            Some("0s"),
            "",
            "How long is waited for more changes before they are acted upon",
        ),
        (
            "stonith-watchdog-timeout",
            "time",
            Some("0"),
            "",
            "How long until a node without connection counts as reset by its watchdog; 0: never",
        ),
        (
            "stonith-max-attempts",
            "integer",
            Some("10"),
            "",
            "How often fencing may fail before the next attempt waits",
        ),
        (
            "no-quorum-policy",
            "select",
            Some("stop"),
            "stop,freeze,ignore,demote,suicide",
            "What happens to resources where there is no quorum",
        ),
        (
            "shutdown-lock",
            "boolean",
            Some("false"),
            "",
            "What ran on a node that was shut down in good order waits for it",
        ),
    ],
};

/// `pacemaker-fenced`.
const FENCED: Daemon = Daemon {
    name: "pacemaker-fenced",
    long: "Parameters that every fence device has, whatever its agent",
    short: "Instance attributes available for all stonith-class resources",
    options: &[
        (
            "pcmk_host_argument",
            "string",
            Some("port"),
            "",
            "The parameter that names the node to the agent, or none",
        ),
        ("pcmk_host_map", "string", Some(""), "", "What the device calls nodes: node1:1;node2:2,3"),
        ("pcmk_host_list", "string", Some(""), "", "The nodes that the device can fence"),
        (
            "pcmk_host_check",
            "string",
            Some("dynamic-list"),
            "",
            "How it is found out which nodes the device can fence: dynamic-list, static-list, status, none",
        ),
        (
            "pcmk_delay_max",
            "time",
            Some("0s"),
            "",
            "A random delay up to this before the device acts, so that two nodes do not shoot each other",
        ),
        (
            "pcmk_delay_base",
            "string",
            Some("0s"),
            "",
            "A fixed delay before the device acts; by node: node1:10s;node2:0",
        ),
        (
            "pcmk_action_limit",
            "integer",
            Some("1"),
            "",
            "How many actions the device takes at a time; -1 without a limit",
        ),
        ("pcmk_reboot_action", "string", Some("reboot"), "", "What the agent is told in place of 'reboot'"),
        (
            "pcmk_reboot_timeout",
            "time",
            Some("60s"),
            "",
            "How long 'reboot' may take, if not as long as the cluster has it",
        ),
        ("pcmk_reboot_retries", "integer", Some("2"), "", "How often 'reboot' is tried within its time"),
        ("pcmk_off_action", "string", Some("off"), "", "What the agent is told in place of 'off'"),
        (
            "pcmk_off_timeout",
            "time",
            Some("60s"),
            "",
            "How long 'off' may take, if not as long as the cluster has it",
        ),
        ("pcmk_off_retries", "integer", Some("2"), "", "How often 'off' is tried within its time"),
        ("pcmk_on_action", "string", Some("on"), "", "What the agent is told in place of 'on'"),
        (
            "pcmk_on_timeout",
            "time",
            Some("60s"),
            "",
            "How long 'on' may take, if not as long as the cluster has it",
        ),
        ("pcmk_on_retries", "integer", Some("2"), "", "How often 'on' is tried within its time"),
        ("pcmk_list_action", "string", Some("list"), "", "What the agent is told in place of 'list'"),
        (
            "pcmk_list_timeout",
            "time",
            Some("60s"),
            "",
            "How long 'list' may take, if not as long as the cluster has it",
        ),
        ("pcmk_list_retries", "integer", Some("2"), "", "How often 'list' is tried within its time"),
        (
            "pcmk_monitor_action",
            "string",
            Some("monitor"),
            "",
            "What the agent is told in place of 'monitor'",
        ),
        (
            "pcmk_monitor_timeout",
            "time",
            Some("60s"),
            "",
            "How long 'monitor' may take, if not as long as the cluster has it",
        ),
        ("pcmk_monitor_retries", "integer", Some("2"), "", "How often 'monitor' is tried within its time"),
        ("pcmk_status_action", "string", Some("status"), "", "What the agent is told in place of 'status'"),
        (
            "pcmk_status_timeout",
            "time",
            Some("60s"),
            "",
            "How long 'status' may take, if not as long as the cluster has it",
        ),
        ("pcmk_status_retries", "integer", Some("2"), "", "How often 'status' is tried within its time"),
    ],
};

/// `pacemaker-based`.
const BASED: Daemon = Daemon {
    name: "pacemaker-based",
    long: "Cluster options of the configuration",
    short: "Configuration options",
    options: &[
        (
            "enable-acl",
            "boolean",
            Some("false"),
            "",
            "Access control lists decide who may read and change what",
        ),
        (
            "cluster-ipc-limit",
            "integer",
            Some("500"),
            "",
            "How many messages may wait for a client before it is dropped",
        ),
    ],
};
