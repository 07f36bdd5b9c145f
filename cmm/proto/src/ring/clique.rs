//! The best clique: of the nodes that all reach each other both ways, the ones that go on together.
//!
//! Nodes have places 0 to 63 in ascending order of id. The best clique has the greatest sum of weights; among equals it
//! is the one with the lowest ids: compared by the lowest place in which they differ, the one that has it wins. The
//! result is a pure function of the graph, so that all who know the same choose the same.
//!
//! The maximum clique is hard in general and easy where few pairs are apart. The search is branch and bound over places
//! in ascending order: nodes that reach all other candidates are taken without branching, and a branch ends when a
//! greedy colouring of the pairs that are apart shows that it cannot beat what was found. Beyond [`STEPS_MAX`] branches
//! the best one found so far is taken, and the first one in each further search: still a clique, and the same one everywhere, though perhaps not the best.
//!
//! Nothing here decides who forms a ring: that is the agreement of all of its members on the same list, and the commit
//! token. The clique only says whom each of them leaves out.

/// Nodes by place, their weights, and who reaches whom both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Graph {
    weights: [u64; 64],
    /// Bit `b` of `apart[a]`: a and b do not reach each other. Symmetric.
    apart: [u64; 64],
    /// Who is there.
    nodes: u64,
}

/// What one node is worth: votes before all, then that it is there at all, then that it stays where it was.
pub(super) fn weight(votes: u32, stays: bool) -> u64 {
    u64::from(votes) << 20 | 1 << 10 | u64::from(stays)
}

impl Graph {
    /// Nobody.
    pub(super) fn new() -> Self {
        Self { weights: [0; 64], apart: [0; 64], nodes: 0 }
    }

    /// Adds the node of this place, which reaches everybody.
    pub(super) fn add(&mut self, place: usize, weight: u64) {
        self.nodes |= 1 << place;
        self.weights[place] = weight.max(1);
    }

    /// These two do not reach each other. A node reaches itself, whatever is said.
    pub(super) fn part(&mut self, a: usize, b: usize) {
        if a != b {
            self.apart[a] |= 1 << b;
            self.apart[b] |= 1 << a;
        }
    }

    /// As [`Graph::part`], with each of these places.
    pub(super) fn part_all(&mut self, a: usize, others: u64) {
        places(others).for_each(|b| self.part(a, b));
    }

    /// Who is there, by place.
    pub(super) fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Whether these two are known not to reach each other.
    pub(super) fn is_apart(&self, a: usize, b: usize) -> bool {
        self.apart[a] >> b & 1 == 1
    }

    /// Sum of the weights of some nodes.
    pub(super) fn weigh(&self, nodes: u64) -> u64 {
        places(nodes).map(|place| self.weights[place]).sum()
    }

    /// The best clique among some of the nodes.
    pub(super) fn best(&self, among: u64) -> u64 {
        self.search(among, &mut 0)
    }

    fn search(&self, among: u64, steps: &mut u32) -> u64 {
        let mut search = Search { graph: self, best: 0, worth: 0, steps: *steps };
        search.run(among & self.nodes, 0);
        *steps = search.steps;
        search.best
    }

    /// The clique in which the node of this place goes on, when the best one is taken out first, then the best of the
    /// rest, and so on.
    pub(super) fn share(&self, place: usize) -> u64 {
        let (mut rest, mut steps) = (self.nodes, 0);
        while rest >> place & 1 == 1 {
            let best = self.search(rest, &mut steps);
            if best >> place & 1 == 1 {
                return best;
            }
            rest &= !best;
        }
        1 << place
    }

    /// Whether going on as `share` leaves out a node that one of the share still reaches.
    pub(super) fn is_split(&self, share: u64) -> bool {
        places(self.nodes & !share).any(|out| share & !self.apart[out] != 0)
    }

    /// An upper bound for the weight of any clique among `nodes`: of nodes that are all apart from each other it has one
    /// at most.
    fn bound(&self, mut nodes: u64) -> u64 {
        let mut sum = 0;
        while nodes != 0 {
            let mut candidates = nodes;
            let mut heaviest = 0;
            while candidates != 0 {
                let place = candidates.trailing_zeros() as usize;
                nodes &= !(1 << place);
                candidates &= self.apart[place] & nodes;
                heaviest = heaviest.max(self.weights[place]);
            }
            sum += heaviest;
        }
        sum
    }
}

struct Search<'a> {
    graph: &'a Graph,
    best: u64,
    worth: u64,
    steps: u32,
}

impl Search<'_> {
    /// Looks for cliques of `taken` and some of `candidates`, all of which reach all of `taken`.
    fn run(&mut self, mut candidates: u64, mut taken: u64) {
        loop {
            self.steps += 1;
            let free = places(candidates).filter(|place| self.graph.apart[*place] & candidates == 0);
            let free = free.fold(0, |mask, place| mask | 1 << place);
            taken |= free;
            candidates &= !free;
            if candidates == 0 {
                let worth = self.graph.weigh(taken);
                if worth > self.worth {
                    (self.best, self.worth) = (taken, worth);
                }
                return;
            }
            let found = self.best != 0;
            if found && self.steps > STEPS_MAX
                || self.graph.weigh(taken) + self.graph.bound(candidates) <= self.worth
            {
                return;
            }
            // With the lowest one first: of equals, the first one found has the lowest ids.
            let place = candidates.trailing_zeros() as usize;
            candidates &= !(1 << place);
            self.run(candidates & !self.graph.apart[place], taken | 1 << place);
        }
    }
}

fn places(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (place < 64).then_some(place)
    })
}

/// Branches of one search, or of all of one share. Each costs at most 64 steps of bit arithmetic for its bound.
const STEPS_MAX: u32 = 2_048;

#[cfg(test)]
mod tests {
    use super::super::testnet::Rng;
    use super::*;

    fn graph(weights: &[u64], apart: &[(usize, usize)]) -> Graph {
        let mut graph = Graph::new();
        for (place, weight) in weights.iter().enumerate() {
            graph.add(place, *weight);
        }
        for (a, b) in apart {
            graph.part(*a, *b);
        }
        graph
    }

    fn random(rng: &mut Rng, n: usize, share: u64, weights: u64) -> Graph {
        let mut graph = Graph::new();
        for place in 0..n {
            graph.add(place, weight(rng.below(weights) as u32, rng.chance(500)));
        }
        for a in 0..n {
            for b in 0..a {
                if rng.chance(share) {
                    graph.part(a, b);
                }
            }
        }
        graph
    }

    fn is_clique(graph: &Graph, nodes: u64) -> bool {
        places(nodes).all(|place| graph.apart[place] & nodes == 0)
    }

    /// By looking at every subset.
    fn best_by_force(graph: &Graph, among: u64) -> u64 {
        let subsets = (1..=among).filter(|nodes| nodes & !among == 0 && is_clique(graph, *nodes));
        // Lower places are worth more among equals: read the bits backwards.
        subsets.max_by_key(|nodes| (graph.weigh(*nodes), nodes.reverse_bits())).unwrap_or(0)
    }

    #[test]
    fn it_is_what_a_look_at_every_subset_finds() {
        let mut rng = Rng::new(1);
        for round in 0..3_000 {
            let n = 1 + rng.below(10) as usize;
            let share = [0, 50, 200, 500, 800, 1000][round % 6];
            let graph = random(&mut rng, n, share, [1, 2, 4][round % 3]);
            let among = if rng.chance(500) { graph.nodes() } else { rng.next() & graph.nodes() };
            assert_eq!(graph.best(among), best_by_force(&graph, among), "{graph:?} among {among:b}");
        }
    }

    #[test]
    fn every_node_has_a_share_and_all_agree_on_all_shares() {
        let mut rng = Rng::new(2);
        for round in 0..500 {
            let n = 2 + rng.below(11) as usize;
            let graph = random(&mut rng, n, [50, 300, 700][round % 3], 3);
            for a in 0..n {
                let share = graph.share(a);
                assert!(share >> a & 1 == 1 && is_clique(&graph, share));
                for b in places(share) {
                    assert_eq!(graph.share(b), share, "{a} and {b} do not agree: {graph:?}");
                }
            }
            assert!((0..n).any(|a| graph.share(a) == graph.best(graph.nodes())));
        }
    }

    #[test]
    fn votes_come_first_then_the_number_of_nodes_then_who_stays_then_low_ids() {
        let w = weight;
        // 0 and 2 are apart, 1 reaches both.
        assert_eq!(graph(&[w(1, false), w(1, false), w(1, false)], &[(0, 2)]).best(!0), 0b011);
        assert_eq!(graph(&[w(1, false), w(1, true), w(1, true)], &[(0, 2)]).best(!0), 0b110);
        assert_eq!(graph(&[w(2, false), w(1, true), w(1, true)], &[(0, 2)]).best(!0), 0b011);
        // 0 is apart from 1 and 2: one with two votes, or two with one each.
        assert_eq!(graph(&[w(2, false), w(1, false), w(1, false)], &[(0, 1), (0, 2)]).best(!0), 0b110);
        assert_eq!(graph(&[w(3, false), w(1, false), w(1, false)], &[(0, 1), (0, 2)]).best(!0), 0b001);
        // Without any vote it is still better to be more.
        assert_eq!(graph(&[w(0, false), w(0, false), w(0, false)], &[(0, 1), (0, 2)]).best(!0), 0b110);
        assert_eq!(Graph::new().best(!0), 0);
        assert_eq!(Graph::new().share(5), 1 << 5, "one that nobody counts is alone");
    }

    #[test]
    fn a_star_a_path_and_parts_of_64_are_quick() {
        let weights = [weight(1, true); 64];
        let star: Vec<_> = (1..64).flat_map(|a| (1..a).map(move |b| (a, b))).collect();
        assert_eq!(graph(&weights, &star).best(!0), 0b11);
        assert_eq!(graph(&weights, &star).share(2), 1 << 2);
        let path: Vec<_> = (0..64).flat_map(|a| (a + 2..64).map(move |b| (a, b))).collect();
        for place in 0..64 {
            assert_eq!(graph(&weights, &path).share(place), 0b11 << (place & !1));
        }
        // Each is apart from one other: two to the power of 32 cliques of the same weight.
        let pairs: Vec<_> = (0..32).map(|a| (a, a + 32)).collect();
        assert_eq!(graph(&weights, &pairs).best(!0), 0xffff_ffff);
        let halves: Vec<_> = (0..20).flat_map(|a| (20..64).map(move |b| (a, b))).collect();
        assert_eq!(graph(&weights, &halves).best(!0), !0 << 20);
    }

    #[test]
    fn the_work_is_bounded_and_what_comes_out_is_a_clique() {
        let mut rng = Rng::new(3);
        let mut cut_short = 0;
        for share in [20, 100, 300, 500, 700, 900] {
            for _ in 0..5 {
                let graph = random(&mut rng, 64, share, 5);
                let mut search = Search { graph: &graph, best: 0, worth: 0, steps: 0 };
                search.run(!0, 0);
                // On the way out each level is looked at once more.
                assert!(search.steps <= STEPS_MAX + 65, "{} steps", search.steps);
                assert!(search.best != 0 && is_clique(&graph, search.best));
                cut_short += u32::from(search.steps > STEPS_MAX);
            }
        }
        assert!(cut_short > 0, "no graph here is hard enough");
    }
}
