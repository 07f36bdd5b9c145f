//! The designated controller's transitions: a plan is carried out action by action, each when those before it have
//! succeeded. Anything unexpected aborts the transition: nothing new is sent, what is under way is waited for, and then
//! there is a new plan.

use scheduler::{Action, ActionKind, TransitionGraph};

use crate::message::{Tag, Verdict};

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
    /// Why nothing new is sent.
    pub(crate) aborted: Option<String>,
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
    /// Will not succeed.
    Failed,
}

impl Engine {
    /// Takes up a plan.
    pub(crate) fn begin(&mut self, graph: TransitionGraph) {
        self.last += 1;
        let progress = vec![Progress::Waiting; graph.actions.len()];
        self.running = Some(Transition { id: self.last, graph, progress, aborted: None });
    }

    /// Something unexpected happened. Returns the number of the transition that it ends.
    pub(crate) fn abort(&mut self, why: &str) -> Option<u64> {
        self.stale = true;
        let running = self.running.as_mut()?;
        if running.aborted.is_some() {
            return None;
        }
        running.aborted = Some(why.to_owned());
        Some(running.id)
    }

    /// Another view: everything that was under way is void here; what nodes still do is in the replicated state.
    pub(crate) fn reset(&mut self) {
        self.running = None;
        self.stale = true;
    }

    /// An answer to one of our orders. Whether it was one that is waited for.
    pub(crate) fn answered(&mut self, tag: Tag, verdict: &Verdict) -> bool {
        let Some(running) = self.running.as_mut().filter(|r| r.id == tag.transition) else { return false };
        let Some(progress) = running.progress.get_mut(tag.action).filter(|p| **p == Progress::Sent) else {
            return false;
        };
        *progress = if *verdict == Verdict::Ok { Progress::Done } else { Progress::Failed };
        true
    }

    /// Takes out the transition if it is over: complete, or aborted with nothing under way.
    pub(crate) fn take_finished(&mut self) -> Option<Transition> {
        self.running.take_if(|r| r.is_finished())
    }
}

impl Transition {
    fn is_finished(&self) -> bool {
        // Fences are carried out by themselves: an aborted transition does not wait for them.
        let waits = |(i, p): (usize, &Progress)| {
            *p == Progress::Sent && self.graph.actions[i].kind != ActionKind::Fence
        };
        let under_way = self.progress.iter().enumerate().any(waits);
        match self.aborted {
            Some(_) => !under_way,
            None => self.progress.iter().all(|p| matches!(p, Progress::Done | Progress::Failed)),
        }
    }

    /// Actions that may be sent now.
    pub(crate) fn ready(&self) -> Vec<usize> {
        if self.aborted.is_some() {
            return Vec::new();
        }
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
        assert!(engine.answered(tag(1, 0), &Verdict::Ok));
        assert_eq!(send(&mut engine), [1]);
        assert!(engine.answered(tag(1, 1), &Verdict::Ok));
        assert_eq!(engine.take_finished().map(|t| t.id), Some(1));
    }

    #[test]
    fn an_aborted_transition_waits_for_what_is_under_way_and_sends_nothing() {
        let mut engine = engine();
        send(&mut engine);
        assert_eq!(engine.abort("because"), Some(1));
        assert_eq!(engine.abort("again"), None, "only the first reason counts");
        assert!(engine.take_finished().is_none());
        assert!(engine.answered(tag(1, 0), &Verdict::Ok));
        assert_eq!(send(&mut engine), [0; 0]);
        assert!(engine.take_finished().is_some_and(|t| t.progress[1] == Progress::Waiting));
    }

    #[test]
    fn answers_to_something_else_are_ignored() {
        let mut engine = engine();
        assert!(!engine.answered(tag(1, 0), &Verdict::Ok), "not sent");
        send(&mut engine);
        assert!(!engine.answered(tag(2, 0), &Verdict::Ok), "another transition");
        assert!(!engine.answered(tag(1, 9), &Verdict::Ok), "no such action");
        assert!(engine.answered(tag(1, 0), &Verdict::Failed));
        assert!(!engine.answered(tag(1, 0), &Verdict::Ok), "answered already");
    }
}
