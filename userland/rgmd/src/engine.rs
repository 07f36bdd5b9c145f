//! The designated controller's transitions: a graph is carried out action by action, each when those before it have
//! succeeded. Anything unexpected ends the transition and there is a new plan at once. What is still under way then is
//! part of the history, so the new plan knows it: where it wants the same, it waits for that answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use scheduler::transition::Action;
use scheduler::{Alone, Decision};

use crate::message::Tag;

/// Transitions of one controller.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    /// The transition under way.
    pub(crate) running: Option<Transition>,
    /// Number of the last one; kept across controllers by terms.
    pub(crate) last: u64,
    /// The state has changed since the last plan.
    pub(crate) stale: bool,
}

/// One transition. Its actions are called by the places of their synapses.
#[derive(Debug)]
pub(crate) struct Transition {
    /// Its number.
    pub(crate) id: u64,
    /// What was decided.
    pub(crate) decision: Decision,
    /// How far each synapse is.
    progress: Vec<Progress>,
    /// How many inputs each still waits for.
    missing: Vec<usize>,
    /// Synapses that wait for each action of the graph.
    followers: Vec<Vec<usize>>,
    /// Those that wait for nothing any more, the most urgent first.
    ready: BTreeSet<(Reverse<i32>, usize)>,
    /// Orders that are waited for.
    sent: BTreeMap<Tag, usize>,
    open: usize,
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not begun.
    Waiting,
    /// Under way: ordered, or a node is being fenced.
    Sent,
    /// Succeeded.
    Done,
}

impl Engine {
    /// Nothing is under way, and nothing has changed since the last plan.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_none() && !self.stale
    }

    /// Takes up a plan.
    pub(crate) fn begin(&mut self, decision: Decision) {
        self.last += 1;
        self.running = Some(Transition::new(self.last, decision));
    }

    /// Something unexpected happened. Returns the number of the transition that it ends.
    pub(crate) fn abort(&mut self) -> Option<u64> {
        self.stale = true;
        self.running.take().map(|r| r.id)
    }

    /// The transition under way waits for the death of this node.
    pub(crate) fn fences(&self, node: &str) -> bool {
        self.running.as_ref().is_some_and(|r| r.fencing().any(|(_, target, _)| target == node))
    }

    /// One of our orders was carried out. Whether it was one that is waited for.
    pub(crate) fn succeeded(&mut self, tag: Tag) -> bool {
        let Some(running) = &mut self.running else { return false };
        let Some(at) = running.sent.remove(&tag) else { return false };
        running.complete(at);
        true
    }

    /// Takes out the transition if it is complete.
    pub(crate) fn take_finished(&mut self) -> Option<Transition> {
        self.running.take_if(|r| r.open == 0)
    }
}

impl Transition {
    fn new(id: u64, decision: Decision) -> Self {
        let graph = &decision.graph;
        let mut followers = vec![Vec::new(); graph.actions.len()];
        let missing: Vec<usize> = graph.synapses.iter().map(|s| s.inputs.len()).collect();
        for (at, synapse) in graph.synapses.iter().enumerate() {
            for input in &synapse.inputs {
                if let Some(followers) = followers.get_mut(*input) {
                    followers.push(at);
                }
            }
        }
        let first = missing.iter().enumerate().filter(|(_, n)| **n == 0);
        let ready = first.map(|(at, _)| (Reverse(graph.synapses[at].priority), at)).collect();
        let open = graph.synapses.len();
        let progress = vec![Progress::Waiting; open];
        Self { id, decision, progress, missing, followers, ready, sent: BTreeMap::new(), open }
    }

    /// The action of a synapse.
    pub(crate) fn action(&self, at: usize) -> &Action {
        &self.decision.graph.actions[self.decision.graph.synapses[at].action]
    }

    /// What must be true nowhere else when it is carried out.
    pub(crate) fn alone(&self, at: usize) -> Alone {
        let action = self.decision.graph.synapses[at].action;
        self.decision.alone.get(action).copied().unwrap_or(Alone::Running)
    }

    /// Actions that may be begun now, the most urgent first.
    pub(crate) fn ready(&self) -> Vec<usize> {
        self.ready.iter().map(|(_, at)| *at).collect()
    }

    /// It is under way; `tag`: the order whose answer ends it.
    pub(crate) fn begun(&mut self, at: usize, tag: Option<Tag>) {
        self.progress[at] = Progress::Sent;
        self.ready.remove(&(Reverse(self.decision.graph.synapses[at].priority), at));
        if let Some(tag) = tag {
            self.sent.insert(tag, at);
        }
    }

    /// It has succeeded: what waits for it may follow.
    pub(crate) fn complete(&mut self, at: usize) {
        if self.progress[at] == Progress::Done {
            return;
        }
        let graph = &self.decision.graph;
        self.ready.remove(&(Reverse(graph.synapses[at].priority), at));
        self.progress[at] = Progress::Done;
        self.open -= 1;
        for follower in &self.followers[graph.synapses[at].action] {
            self.missing[*follower] -= 1;
            if self.missing[*follower] == 0 {
                self.ready.insert((Reverse(graph.synapses[*follower].priority), *follower));
            }
        }
    }

    /// Orders under way.
    pub(crate) fn orders(&self) -> impl Iterator<Item = &Action> {
        self.sent.values().map(|at| self.action(*at))
    }

    /// How many orders are under way.
    pub(crate) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Nodes that are to be given access and have not been: the synapse, the name, and whether it is begun.
    pub(crate) fn unfencing(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.open_stonith(true)
    }

    /// Nodes that are to be fenced and are not known to be dead: the synapse, the name, and whether it is begun.
    pub(crate) fn fencing(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.open_stonith(false)
    }

    fn open_stonith(&self, gives_access: bool) -> impl Iterator<Item = (usize, &str, bool)> {
        let open = (0..self.progress.len()).filter(|at| self.progress[*at] != Progress::Done);
        open.filter_map(move |at| {
            let action = self.action(at);
            let meant = action.operation == "stonith" && gives_access_by(action) == gives_access;
            let node = action.node.as_ref().filter(|_| meant)?;
            Some((at, node.name.as_str(), self.progress[at] == Progress::Sent))
        })
    }
}

/// It gives a node access to what is shared (unfencing) instead of taking the node down.
fn gives_access_by(action: &Action) -> bool {
    action.attributes.get("CRM_meta_stonith_action").is_some_and(|a| a == "on")
}

#[cfg(test)]
mod tests {
    use scheduler::transition::{Graph, Kind, Synapse};

    use super::*;

    /// A stop, and a start after it that is of more importance.
    fn engine() -> Engine {
        let mut graph = Graph::default();
        graph.actions.push(Action::new(1, Kind::RscOp, "stop", "a_stop_0"));
        graph.actions.push(Action::new(2, Kind::RscOp, "start", "a_start_0"));
        graph.synapses.push(Synapse { priority: 0, action: 0, inputs: vec![] });
        graph.synapses.push(Synapse { priority: 5, action: 1, inputs: vec![0] });
        let mut engine = Engine::default();
        engine.begin(Decision { graph, ..Decision::default() });
        engine
    }

    fn send(engine: &mut Engine) -> Vec<usize> {
        let running = engine.running.as_mut().unwrap();
        let ready = running.ready();
        for at in &ready {
            running.begun(*at, Some(tag(running.id, u32::try_from(*at).unwrap())));
        }
        ready
    }

    fn tag(transition: u64, action: u32) -> Tag {
        Tag { term: 0, transition, action }
    }

    #[test]
    fn actions_wait_for_those_before_them() {
        let mut engine = engine();
        assert_eq!(send(&mut engine), [0]);
        assert_eq!(send(&mut engine), [0; 0]);
        assert!(engine.succeeded(tag(1, 0)));
        assert!(engine.take_finished().is_none());
        assert_eq!(send(&mut engine), [1]);
        assert!(engine.succeeded(tag(1, 1)));
        assert_eq!(engine.take_finished().map(|t| t.id), Some(1));
    }

    #[test]
    fn after_an_abort_answers_are_those_of_an_earlier_transition() {
        let mut engine = engine();
        send(&mut engine);
        assert_eq!(engine.abort(), Some(1));
        assert_eq!(engine.abort(), None, "only once");
        assert!(engine.stale);
        assert!(!engine.succeeded(tag(1, 0)));
    }

    #[test]
    fn answers_to_something_else_are_ignored() {
        let mut engine = engine();
        assert!(!engine.succeeded(tag(1, 0)), "not sent");
        send(&mut engine);
        assert!(!engine.succeeded(tag(2, 0)), "another transition");
        assert!(!engine.succeeded(tag(1, 9)), "no such action");
        assert!(engine.succeeded(tag(1, 0)));
        assert!(!engine.succeeded(tag(1, 0)), "answered already");
    }
}
