//! Why something is where it is, or as it is: one sentence, then what it rests on.

use logconv::Cause;
use scheduler::{Flags, ResourceId};
use serde::Serialize;

use crate::history::Entry;
use crate::view::{View, is_of};

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What was asked about.
    pub about: String,
    /// The answer.
    pub sentence: String,
    /// What kind of thing was behind it.
    pub cause: Cause,
    /// Where it was before, if it was somewhere else.
    pub from: Option<String>,
    /// Where it is now.
    pub to: Option<String>,
    /// Since when, in seconds since 1970; 0: not known.
    pub at: i64,
    /// What the answer rests on.
    pub evidence: Vec<Evidence>,
    /// Commands that change what is in the way.
    pub commands: Vec<String>,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Where it is from: `history`, `fail counts`, `attributes`, `constraints`, `fencing`, `nodes`, `scores`.
    pub source: &'static str,
    /// In words.
    pub what: String,
}

impl Answer {
    fn tell(&mut self, source: &'static str, what: impl Into<String>) {
        let piece = Evidence { source, what: what.into() };
        if !self.evidence.contains(&piece) {
            self.evidence.push(piece);
        }
    }

    fn advise(&mut self, command: Option<String>) {
        if let Some(command) = command.filter(|c| !self.commands.contains(c)) {
            self.commands.push(command);
        }
    }
}

/// Clocks of nodes may differ by so many seconds, and an entry of the history is of the time when its operation began or ended.
const SLACK: i64 = 5;

impl<'c> View<'c> {
    /// Why a resource or a node is where it is, or as it is. `None`: there is no such thing in the document.
    #[must_use]
    pub fn why(&self, name: &str) -> Option<Answer> {
        match self.find(name) {
            Some(id) => Some(self.why_resource(id, name)),
            None => self.node_named(name).map(|node| node.name.clone()).map(|node| self.why_node(&node)),
        }
    }

    /// Everything that can be asked about.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        let resources = self.set.top.iter().filter_map(|id| self.resource(*id)).map(|r| r.id.clone());
        resources.chain(self.set.nodes.iter().map(|n| n.name.clone())).collect()
    }

    fn why_resource(&self, id: ResourceId, name: &str) -> Answer {
        let mut answer = Answer { about: name.to_owned(), ..Answer::default() };
        let nodes = self.runs_on(id);
        match &nodes[..] {
            [] => self.why_nowhere(id, &mut answer),
            [node] => self.why_there(id, node, &mut answer),
            several => {
                answer.sentence = format!("{name} runs on {}.", several.join(" and "));
                for node in several {
                    let since = self.started(id, node);
                    answer.tell(
                        "history",
                        format!("on {node} since {}", self.when(since).trim_start_matches("at ")),
                    );
                }
            }
        }
        self.elsewhere(id, &nodes, &mut answer);
        answer
    }

    /// When all of a resource was started on a node.
    fn started(&self, id: ResourceId, node: &str) -> i64 {
        let leaves = self.leaves(id);
        let starts = self.of(&leaves).filter(|e| e.node == node && e.task == "start" && e.succeeded());
        starts.map(|e| e.at).max().unwrap_or(0)
    }

    fn why_there(&self, id: ResourceId, node: &str, answer: &mut Answer) {
        let name = answer.about.clone();
        let at = self.started(id, node);
        (answer.to, answer.at) = (Some(node.to_owned()), at);
        if at > 0 {
            answer.tell("history", format!("{name} was started on {node} {}", self.when(at)));
        }
        if let Some(from) = self.came_from(id, node, at) {
            self.moved(id, &from, node, answer);
            return;
        }
        answer.cause = Cause::None;
        let whole = self.whole(id);
        let choice = self.choice(whole, node);
        answer.sentence = if at > 0 {
            format!(
                "{name} runs on {node} since {}; nothing says that it was elsewhere before: {choice}.",
                self.when(at).trim_start_matches("at ")
            )
        } else {
            format!("{name} runs on {node}: {choice}.")
        };
    }

    /// The node that a resource left for the one where it is.
    fn came_from(&self, id: ResourceId, to: &str, at: i64) -> Option<String> {
        let leaves = self.leaves(id);
        // Stopped elsewhere, or failed to be, after it had been looked for there, and before it was started here.
        let stops = self.of(&leaves).filter(|e| {
            e.node != to && e.task == "stop" && e.at > 0 && (at == 0 || e.at <= at.saturating_add(SLACK))
        });
        let stopped = stops.max_by_key(|e| e.at);
        // A node that was fenced has no history any more.
        let fenced = self.fencing.iter().filter(|f| {
            f.succeeded()
                && !f.target.eq_ignore_ascii_case(to)
                && f.action != "on"
                && (at == 0
                    || (f.at() <= at.saturating_add(SLACK) && f.at() >= at.saturating_sub(FENCED_BEFORE)))
        });
        let fenced = fenced.max_by_key(|f| f.completed_us);
        match (stopped, fenced) {
            (Some(stop), Some(fence))
                if stop.at < fence.at() && !self.has_history(&leaves, &fence.target) =>
            {
                Some(fence.target.clone())
            }
            (Some(stop), _) => Some(stop.node.to_owned()),
            (None, Some(fence)) => Some(fence.target.clone()),
            (None, None) => {
                // What is down and has left nothing behind, and would be its home.
                let home = self.home(self.whole(id)).filter(|home| home != to)?;
                let down = self.node_named(&home).is_some_and(|n| !n.online);
                (down && !self.has_history(&leaves, &home)).then_some(home)
            }
        }
    }

    fn has_history(&self, leaves: &[&scheduler::Resource<'c>], node: &str) -> bool {
        self.of(leaves).any(|e| e.node.eq_ignore_ascii_case(node))
    }

    /// It was moved: what for?
    fn moved(&self, id: ResourceId, from: &str, to: &str, answer: &mut Answer) {
        let name = answer.about.clone();
        answer.from = Some(from.to_owned());
        let whole = self.whole(id);
        let leaves = self.leaves(whole);
        let own = self.leaves(id);
        let stop = self.of(&own).filter(|e| e.node == from && e.task == "stop").max_by_key(|e| e.at);
        if let Some(stop) = stop {
            answer.tell("history", format!("{} was stopped on {from} {}", stop.resource, self.when(stop.at)));
        }
        let since = self.when(answer.at);
        let (verb, since) = ("moved", since.as_str());
        // A node that is gone says more than what was found on it before.
        let down = self.node_named(from).is_some_and(|n| !n.online);
        let fenced = self.fenced(from).filter(|f| f.succeeded());
        if let Some(fence) = fenced.filter(|f| down || f.at() >= stop.map_or(0, |s| s.at)) {
            answer.cause = Cause::Node;
            let why =
                if fence.exit_reason.is_empty() { String::new() } else { format!(": {}", fence.exit_reason) };
            answer.tell(
                "fencing",
                format!(
                    "{from} was fenced ({}) by {} {}{why}",
                    fence.action,
                    fence.delegate,
                    self.when(fence.at())
                ),
            );
            answer.sentence = format!(
                "{name} {verb} from {from} to {to} {since} because {from} was lost and fenced by {}{why}.",
                fence.delegate
            );
            return;
        }
        if down && stop.is_none() {
            answer.cause = Cause::Node;
            answer
                .tell("nodes", format!("{from} is offline, and its history is gone, as after it was fenced"));
            answer.sentence = format!("{name} {verb} from {from} to {to} {since} because {from} was lost.");
            return;
        }
        let before = stop.map_or(i64::MAX, |s| s.at.saturating_add(SLACK));
        if let Some(failure) = self.failure(&leaves, from, before) {
            answer.cause = Cause::Resource;
            answer.tell(
                "history",
                format!("{} on {from}: {} {}", failure.resource, failure.words(), self.when(failure.at)),
            );
            let threshold =
                leaves.iter().find(|l| is_of(l, failure.resource)).map(|l| l.migration_threshold.to_string());
            let count = self.fail_counts().into_iter().find(|(r, n, ..)| r == failure.resource && n == from);
            if let Some((_, _, count, _)) = count {
                let of = threshold.as_deref().unwrap_or("INFINITY");
                answer.tell(
                    "fail counts",
                    format!(
                        "{} has fail count {count} on {from}, migration-threshold {of}",
                        failure.resource
                    ),
                );
                answer.advise(Some(format!("crm_resource -C -r {} -N {from}", failure.resource)));
            }
            let whose = if failure.resource == name { "it".to_owned() } else { failure.resource.to_owned() };
            answer.sentence = format!(
                "{name} {verb} from {from} to {to} {since} because {whose} failed on {from}: {}.",
                failure.words()
            );
            return;
        }
        // Fail counts outlive the history of a failure.
        let counted = self.fail_counts().into_iter().find(|(r, n, _, last)| {
            n == from && leaves.iter().any(|l| is_of(l, r)) && (*last == 0 || *last <= before)
        });
        if let Some((owner, _, count, last)) = counted {
            answer.cause = Cause::Resource;
            answer.tell(
                "fail counts",
                format!("{owner} has fail count {count} on {from}, last {}", self.when(last)),
            );
            answer.advise(Some(format!("crm_resource -C -r {owner} -N {from}")));
            answer.sentence =
                format!("{name} {verb} from {from} to {to} {since} because {owner} failed on {from}.");
            return;
        }
        let forbidden = self.forbidden(whole, from);
        let standby = self.node_named(from).is_some_and(|n| n.standby);
        if let Some(refusal) = forbidden {
            let by = refusal.constraint.as_ref().map(|c| format!(" (constraint {c})")).unwrap_or_default();
            answer.cause = if refusal.by_operator { Cause::Operator } else { Cause::Score };
            let source = if refusal.by_attribute { "attributes" } else { "constraints" };
            answer.tell(source, format!("{}{by}", refusal.why));
            answer.advise(refusal.remedy.filter(|_| refusal.by_operator));
            let why = if refusal.by_operator {
                format!("an operator moved it{by}")
            } else {
                format!("{}{by}", refusal.why)
            };
            answer.sentence = format!("{name} {verb} from {from} to {to} {since} because {why}.");
            return;
        }
        let preferred = self.moves().into_iter().find(|(c, r, n, _)| {
            c.id().is_some_and(|id| id.starts_with("cli-prefer-"))
                && self.find(r).is_some_and(|r| self.whole(r) == whole)
                && n.is_some_and(|n| n.eq_ignore_ascii_case(to))
        });
        if let Some((constraint, rsc, ..)) = preferred {
            let id = constraint.id().unwrap_or_default();
            answer.cause = Cause::Operator;
            answer.tell("constraints", format!("{id} is what an operator's move left behind"));
            answer.advise(Some(format!("crm_resource -U -r {rsc}")));
            answer.sentence = format!(
                "{name} {verb} from {from} to {to} {since} because an operator moved it (constraint {id})."
            );
            return;
        }
        if standby {
            answer.cause = Cause::Operator;
            answer.tell("nodes", format!("{from} is in standby"));
            answer.advise(Some(format!("crm_standby -U {from} -v off")));
            answer.sentence =
                format!("{name} {verb} from {from} to {to} {since} because {from} was put into standby.");
            return;
        }
        if down {
            answer.cause = Cause::Operator;
            answer.tell("nodes", format!("{from} is offline, and stopped what it ran before it left"));
            answer.sentence =
                format!("{name} {verb} from {from} to {to} {since} because {from} left in order.");
            return;
        }
        answer.sentence = format!(
            "{name} {verb} from {from} to {to} {since}; why is not in the status any more: what was in the way is gone. The operator's log has it."
        );
    }

    /// The last failure of one of these on a node, before this time and after it was started there.
    fn failure<'a>(
        &'a self,
        leaves: &'a [&scheduler::Resource<'c>],
        node: &str,
        before: i64,
    ) -> Option<&'a Entry<'c>> {
        let of_node = || self.of(leaves).filter(|e| e.node == node);
        of_node()
            .filter(|e| e.failed() && !e.is_probe() && e.at <= before)
            .filter(|failure| {
                let started = of_node()
                    .filter(|e| e.resource == failure.resource && e.task == "start" && e.succeeded());
                failure.task == "start"
                    || started.map(|e| e.at).max().unwrap_or(0) <= failure.at.saturating_add(SLACK)
            })
            .max_by_key(|e| e.at)
    }

    fn why_nowhere(&self, id: ResourceId, answer: &mut Answer) {
        let name = answer.about.clone();
        let whole = self.whole(id);
        let leaves = self.leaves(id);
        if let Some(leaf) = leaves.iter().find(|l| l.is(Flags::BLOCKED)) {
            answer.cause = Cause::Resource;
            answer.sentence = format!("{name} runs nowhere: {} is blocked after a failure.", leaf.id);
            return;
        }
        let disabled = leaves
            .iter()
            .any(|l| l.meta.get("target-role").is_some_and(|r| r.eq_ignore_ascii_case("stopped")));
        if disabled {
            answer.cause = Cause::Operator;
            answer.tell("constraints", "its target-role is Stopped");
            answer.advise(Some(format!(
                "crm_resource -r {} -m -d target-role",
                self.resource(whole).map_or(name.as_str(), |r| &r.id)
            )));
            answer.sentence = format!("{name} runs nowhere: an operator wants it stopped (target-role).");
            return;
        }
        if self.set.options.stop_all {
            answer.cause = Cause::Operator;
            answer.advise(Some("crm_attribute -n stop-all-resources -D".to_owned()));
            answer.sentence = format!("{name} runs nowhere: the property stop-all-resources is set.");
            return;
        }
        if !self.set.have_quorum && self.set.options.no_quorum_policy == scheduler::NoQuorumPolicy::Stop {
            answer.cause = Cause::Node;
            answer.advise(Some("holdfast quorum status".to_owned()));
            answer.sentence = format!("{name} runs nowhere: the nodes that are up have no quorum.");
            return;
        }
        let mut reasons = Vec::new();
        let mut cause = Cause::None;
        for node in &self.set.nodes {
            let Some(refusal) = self.refusal(whole, &node.name) else { continue };
            let by = refusal.constraint.as_ref().map(|c| format!(" (constraint {c})")).unwrap_or_default();
            reasons.push(format!("not on {} since {}{by}", node.name, refusal.why));
            let kind = if refusal.by_attribute {
                Cause::Score
            } else if refusal.by_operator {
                Cause::Operator
            } else if !node.online || node.unclean {
                Cause::Node
            } else {
                Cause::Resource
            };
            cause = cause.max(kind);
            answer.advise(refusal.remedy);
        }
        answer.cause = cause;
        if let Some(failure) = self.of(&leaves).filter(|e| e.failed() && !e.is_probe()).max_by_key(|e| e.at) {
            answer.tell(
                "history",
                format!(
                    "{} on {}: {} {}",
                    failure.resource,
                    failure.node,
                    failure.words(),
                    self.when(failure.at)
                ),
            );
        }
        answer.sentence = if reasons.len() == self.set.nodes.len() {
            format!("{name} runs nowhere: {}.", reasons.join("; "))
        } else if leaves.iter().any(|l| l.assigned.is_some()) {
            format!("{name} runs nowhere yet: it is going to be started.")
        } else {
            let rest = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
            format!("{name} runs nowhere: what it needs does not run, or may not be with it{rest}.")
        };
    }

    /// Why it is on none of the other nodes.
    fn elsewhere(&self, id: ResourceId, here: &[String], answer: &mut Answer) {
        let whole = self.whole(id);
        for node in self.set.nodes.iter().filter(|n| !here.contains(&n.name)) {
            if let Some(refusal) = self.refusal(whole, &node.name) {
                let by =
                    refusal.constraint.as_ref().map(|c| format!(" (constraint {c})")).unwrap_or_default();
                answer.tell("scores", format!("not on {} now: {}{by}", node.name, refusal.why));
            }
        }
    }

    fn why_node(&self, name: &str) -> Answer {
        let mut answer = Answer { about: name.to_owned(), ..Answer::default() };
        let Some(node) = self.node_named(name) else { return answer };
        let fenced = self.fenced(name);
        if let Some(fence) = fenced {
            let why =
                if fence.exit_reason.is_empty() { String::new() } else { format!(": {}", fence.exit_reason) };
            let by =
                if fence.delegate.is_empty() { String::new() } else { format!(" by {}", fence.delegate) };
            let state = match (fence.succeeded(), fence.failed()) {
                (true, _) => "was fenced",
                (_, true) => "could not be fenced",
                _ => "is being fenced",
            };
            let at =
                if fence.completed_us > 0 { format!(" {}", self.when(fence.at())) } else { String::new() };
            answer.tell("fencing", format!("{name} {state} ({}){by}{at}{why}", fence.action));
            answer.at = fence.at();
        }
        let failed_stop = self.entries.iter().find(|e| e.node == node.name && e.task == "stop" && e.failed());
        if let Some(stop) = failed_stop {
            answer.tell(
                "history",
                format!("{} on {name}: {} {}", stop.resource, stop.words(), self.when(stop.at)),
            );
        }
        answer.sentence = if node.unclean {
            answer.cause = Cause::Node;
            let why = match (failed_stop, node.online, fenced.is_some_and(crate::Fencing::failed)) {
                (Some(stop), ..) => {
                    format!("{} could not be stopped there ({})", stop.resource, stop.words())
                }
                (None, true, _) => "a failure there asks for it".to_owned(),
                (None, false, true) => "it was lost, and could not be fenced".to_owned(),
                (None, false, false) => "it was lost without a word, and is not fenced yet".to_owned(),
            };
            if !node.online {
                answer.advise(Some(format!(
                    "stonith_admin -C {name}    (only when it is certain that it is off)"
                )));
            }
            format!(
                "{name} is UNCLEAN: {why}; nothing that it may run is started elsewhere until its death is certain."
            )
        } else if !node.online {
            answer.cause = Cause::Node;
            match fenced.filter(|f| f.succeeded()) {
                Some(fence) => format!(
                    "{name} is offline: it was fenced ({}) by {} {}.",
                    fence.action,
                    fence.delegate,
                    self.when(fence.at())
                ),
                None if node.pending => format!("{name} is joining."),
                None if self.entries.iter().any(|e| e.node == node.name) => {
                    answer.cause = Cause::Operator;
                    format!("{name} is offline: it left in order.")
                }
                None => format!(
                    "{name} is offline: it was lost and fenced, or has not been up in this life of the cluster."
                ),
            }
        } else if node.standby {
            answer.cause = if node.standby_on_fail { Cause::Resource } else { Cause::Operator };
            answer.advise(Some(format!("crm_standby -U {name} -v off")));
            let why =
                if node.standby_on_fail { "a failure put it there" } else { "an operator put it there" };
            format!("{name} is up, and in standby: {why}.")
        } else if node.maintenance {
            answer.cause = Cause::Operator;
            format!("{name} is up, and in maintenance: nothing there is touched.")
        } else if node.pending {
            format!("{name} is joining.")
        } else {
            format!("{name} is up.")
        };
        for (id, resource) in self.services().into_iter().filter_map(|id| Some((id, self.resource(id)?))) {
            if self.runs_on(id).iter().any(|n| n == name) {
                answer.tell("nodes", format!("{} runs there", resource.id));
            } else if let Some(refusal) =
                self.refusal(id, name).filter(|_| node.online && !node.unclean && !node.standby)
            {
                let by =
                    refusal.constraint.as_ref().map(|c| format!(" (constraint {c})")).unwrap_or_default();
                answer.tell("scores", format!("{} cannot be there: {}{by}", resource.id, refusal.why));
                answer.advise(refusal.remedy);
            }
        }
        answer
    }
}

/// A node that was fenced longer than so many seconds before a start is not the reason for it. Locks may be waited for.
const FENCED_BEFORE: i64 = 600;
