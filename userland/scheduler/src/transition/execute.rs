//! The order in which a graph is carried out where every action ends at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Action, Graph, Kind};

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It did what it should.
    Well,
    /// It was done, with another result than the one expected.
    Failed,
    /// It could not even be tried: nothing that waits for it follows.
    Impossible,
}

/// How a graph ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done, or what is left was given up after a failure.
    Complete,
    /// Actions wait for each other, or for one that is not part of the graph.
    Terminated,
}

/// Priority of what is done after a failure, too.
const ALWAYS: i32 = 1_000_000;

impl Graph {
    /// Hands every action to `carry_out` in the order in which the peer's simulator does: passes over the synapses, each
    /// firing all whose inputs are done by then, those done in the same pass included. After a failure only synapses of
    /// infinite priority fire, and pseudo-actions that do not wait for what failed.
    pub fn execute(&self, mut carry_out: impl FnMut(&Action) -> Done) -> Outcome {
        let mut missing: Vec<usize> = self.synapses.iter().map(|s| s.inputs.len()).collect();
        let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); self.actions.len()];
        for (at, synapse) in self.synapses.iter().enumerate() {
            for input in &synapse.inputs {
                if let Some(waiting) = waiting.get_mut(*input) {
                    waiting.push(at);
                }
            }
        }
        // One entry a synapse that is ready: the pass, and its place. What becomes ready behind the one that just fired
        // still fires in this pass.
        let mut ready: BinaryHeap<Reverse<(usize, usize)>> =
            (0..missing.len()).filter(|at| missing[*at] == 0).map(|at| Reverse((0, at))).collect();
        let mut fired = 0;
        let mut failed = false;
        while let Some(Reverse((pass, at))) = ready.pop() {
            let synapse = &self.synapses[at];
            let Some(action) = self.actions.get(synapse.action) else { continue };
            if failed && synapse.priority < ALWAYS && action.kind != Kind::PseudoEvent {
                continue;
            }
            fired += 1;
            let done = carry_out(action);
            failed |= done != Done::Well;
            if done == Done::Impossible {
                continue;
            }
            for follower in &waiting[synapse.action] {
                if done == Done::Failed && self.synapses[*follower].priority < ALWAYS {
                    continue;
                }
                missing[*follower] -= 1;
                if missing[*follower] == 0 {
                    ready.push(Reverse((if *follower > at { pass } else { pass + 1 }, *follower)));
                }
            }
        }
        if fired == self.synapses.len() || failed { Outcome::Complete } else { Outcome::Terminated }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Synapse;
    use super::*;

    /// `(number, those before it)`, in the order of the synapses.
    fn graph(synapses: &[(u32, &[u32])]) -> Graph {
        let mut graph = Graph::default();
        for (id, _) in synapses {
            graph.actions.push(Action::new(*id, Kind::PseudoEvent, "x", id.to_string()));
        }
        for (action, (_, inputs)) in synapses.iter().enumerate() {
            let place = |id: &u32| synapses.iter().position(|(other, _)| other == id).unwrap_or(usize::MAX);
            let inputs = inputs.iter().map(place).collect();
            graph.synapses.push(Synapse { priority: 0, action, inputs });
        }
        graph
    }

    fn order(graph: &Graph, failing: u32) -> (Vec<u32>, Outcome) {
        let mut done = Vec::new();
        let outcome = graph.execute(|action| {
            done.push(action.id);
            if action.id == failing { Done::Failed } else { Done::Well }
        });
        (done, outcome)
    }

    #[test]
    fn what_becomes_ready_behind_fires_in_the_same_pass_and_before_in_the_next() {
        let graph = graph(&[(3, &[2]), (1, &[]), (2, &[1]), (4, &[1]), (5, &[])]);
        assert_eq!(order(&graph, 0), (vec![1, 2, 4, 5, 3], Outcome::Complete));
    }

    #[test]
    fn after_a_failure_only_what_is_done_in_any_case_goes_on() {
        let mut graph = graph(&[(4, &[]), (1, &[]), (2, &[1]), (3, &[1]), (5, &[]), (6, &[])]);
        graph.synapses[3].priority = ALWAYS;
        for action in &mut graph.actions[..5] {
            action.kind = Kind::RscOp;
        }
        assert_eq!(order(&graph, 1), (vec![4, 1, 3, 6], Outcome::Complete));
    }

    #[test]
    fn what_waits_for_itself_or_for_nothing_there_is_ends_it() {
        assert_eq!(order(&graph(&[(1, &[2]), (2, &[1]), (3, &[])]), 0), (vec![3], Outcome::Terminated));
        assert_eq!(order(&graph(&[(1, &[9])]), 0), (vec![], Outcome::Terminated));
    }
}
