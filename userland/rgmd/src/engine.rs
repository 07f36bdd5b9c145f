//! The designated controller's transitions: a plan is carried out action by action, each when those before it have
//! succeeded. Anything unexpected ends the transition and there is a new plan at once: what is still under way keeps its
//! own resource out of that plan, and nothing else.

use scheduler::{Action, ActionKind, TransitionGraph};

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

/// One transition.
#[derive(Debug)]
pub(crate) struct Transition {
    /// Its number.
    pub(crate) id: u64,
    /// Its plan.
    pub(crate) graph: TransitionGraph,
    /// How far each action is.
    pub(crate) progress: Vec<Progress>,
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not sent.
    Waiting,
    /// Under way.
    Sent,
    /// Succeeded.
    Done,
}

impl Engine {
    /// Takes up a plan.
    pub(crate) fn begin(&mut self, graph: TransitionGraph) {
        self.last += 1;
        let progress = vec![Progress::Waiting; graph.actions.len()];
        self.running = Some(Transition { id: self.last, graph, progress });
    }

    /// Something unexpected happened. Returns the number of the transition that it ends.
    pub(crate) fn abort(&mut self) -> Option<u64> {
        self.stale = true;
        self.running.take().map(|r| r.id)
    }

    /// The transition under way waits for the death of this node.
    pub(crate) fn fences(&self, node: u32) -> bool {
        let waits = |a: &Action| a.kind == ActionKind::Fence && a.node.get() == node;
        self.running.as_ref().is_some_and(|r| r.graph.actions.iter().any(waits))
    }

    /// One of our orders was carried out. Whether it was one that is waited for.
    pub(crate) fn succeeded(&mut self, tag: Tag) -> bool {
        let Some(running) = self.running.as_mut().filter(|r| r.id == tag.transition) else { return false };
        let Some(progress) = running.progress.get_mut(tag.action).filter(|p| **p == Progress::Sent) else {
            return false;
        };
        *progress = Progress::Done;
        true
    }

    /// Takes out the transition if it is complete.
    pub(crate) fn take_finished(&mut self) -> Option<Transition> {
        self.running.take_if(|r| r.progress.iter().all(|p| *p == Progress::Done))
    }
}

impl Transition {
    /// Actions that may be sent now.
    pub(crate) fn ready(&self) -> Vec<usize> {
        let done = |id: &usize| self.progress[*id] == Progress::Done;
        (0..self.progress.len())
            .filter(|i| self.progress[*i] == Progress::Waiting && !self.graph.actions[*i].held)
            .filter(|i| self.graph.actions[*i].after.iter().all(done))
            .collect()
    }

    /// Actions under way.
    pub(crate) fn sent(&self) -> usize {
        self.progress.iter().filter(|p| **p == Progress::Sent).count()
    }

    /// Actions that have not ended.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (&Action, Progress)> {
        let open = self.graph.actions.iter().zip(self.progress.iter().copied());
        open.filter(|(_, p)| matches!(p, Progress::Waiting | Progress::Sent))
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::NodeId;

    use super::*;

    fn action(kind: ActionKind, after: Vec<usize>) -> Action {
        Action { kind, node: NodeId::new(1), resource: "a".into(), after, held: false, reason: String::new() }
    }

    fn engine() -> Engine {
        let actions = vec![action(ActionKind::Stop, vec![]), action(ActionKind::Start, vec![0])];
        let mut engine = Engine::default();
        engine.begin(TransitionGraph { actions, ..TransitionGraph::default() });
        engine
    }

    fn send(engine: &mut Engine) -> Vec<usize> {
        let running = engine.running.as_mut().unwrap();
        let ready = running.ready();
        ready.iter().for_each(|i| running.progress[*i] = Progress::Sent);
        ready
    }

    fn tag(transition: u64, action: usize) -> Tag {
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
