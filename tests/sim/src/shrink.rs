//! Shortens a failing run: leaves out classes of faults, nodes, single strikes and time as long as the same invariant
//! breaks. Every strike has randomness of its own, so that leaving one out leaves the others as they are; what the
//! network does to each packet does change, which is why every step is a run and not a guess. The result is a [`Cut`],
//! whose words on the command line of `replay` make the same run again.

use std::collections::BTreeSet;

use clap::ValueEnum;

use crate::clock::{Instant, MS};
use crate::faults::StrikeId;
use crate::options::{Class, Options};
use crate::run::{Failure, run};
use crate::sabotage::Bug;
use crate::trace::Mode;

/// What is left out of the run of a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Cut {
    /// Classes of faults to switch off, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub without: Vec<Class>,
    /// Only the first so many of the nodes.
    #[arg(long)]
    pub first_nodes: Option<usize>,
    /// Only these strikes, as CLASS:NUMBER, separated by commas; "none" for none.
    #[arg(long, value_parser = parse_strikes)]
    pub strikes: Option<Strikes>,
    /// Faults stop after so many milliseconds, if they do not before.
    #[arg(long)]
    pub until_ms: Option<u64>,
}

/// Some strikes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strikes(pub BTreeSet<StrikeId>);

fn parse_strikes(text: &str) -> Result<Strikes, String> {
    if text == "none" {
        return Ok(Strikes::default());
    }
    text.split(',').map(str::parse).collect::<Result<_, String>>().map(Strikes)
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |words: Vec<String>| words.join(",");
        if !self.without.is_empty() {
            let names = self.without.iter().filter_map(ValueEnum::to_possible_value);
            write!(f, " --without {}", list(names.map(|v| v.get_name().to_owned()).collect()))?;
        }
        if let Some(nodes) = self.first_nodes {
            write!(f, " --first-nodes {nodes}")?;
        }
        match &self.strikes {
            Some(only) if only.0.is_empty() => write!(f, " --strikes none")?,
            Some(only) => {
                write!(f, " --strikes {}", list(only.0.iter().map(ToString::to_string).collect()))?;
            }
            None => {}
        }
        self.until_ms.map_or(Ok(()), |ms| write!(f, " --until-ms {ms}"))
    }
}

impl Options {
    /// Leaves out what the cut says.
    pub fn cut(&mut self, cut: &Cut) {
        for class in &cut.without {
            self.without(*class);
        }
        if let Some(nodes) = cut.first_nodes {
            self.first_nodes(nodes);
        }
        if let Some(strikes) = &cut.strikes {
            self.strikes = Some(strikes.0.clone());
        }
        if let Some(ms) = cut.until_ms {
            self.duration = self.duration.min(ms * MS);
        }
    }
}

/// A shortened run.
#[derive(Debug)]
pub struct Shrunk {
    /// What is left out.
    pub cut: Cut,
    /// How the seed failed before.
    pub before: Failure,
    /// How it fails now.
    pub after: Failure,
    /// Runs that it took.
    pub runs: u32,
}

/// Shortens the run that `seed` draws, with `bug` planted, in at most `runs_max` runs; none if it does not fail.
#[must_use]
pub fn shrink(options: &Options, bug: Option<Bug>, runs_max: u32) -> Option<Shrunk> {
    let before = *run(options, Mode::Off, bug).err()?;
    let mut search = Search { options, bug, left: runs_max, cut: Cut::default(), best: before.clone() };
    loop {
        let size = search.size();
        search.classes();
        search.nodes();
        search.strikes();
        search.time();
        if search.size() >= size || search.left == 0 {
            break;
        }
    }
    let runs = runs_max - search.left;
    let (cut, best) = (search.cut, search.best);
    // The last lines of the trace are those of the run that is left.
    let mut shortest = options.clone();
    shortest.cut(&cut);
    let after = run(&shortest, Mode::Tail, bug).err().map_or(best, |failure| *failure);
    Some(Shrunk { cut, before, after, runs })
}

struct Search<'a> {
    options: &'a Options,
    bug: Option<Bug>,
    left: u32,
    cut: Cut,
    /// How the run fails with the cut.
    best: Failure,
}

impl Search<'_> {
    /// What gets smaller with each success.
    fn size(&self) -> (usize, usize, usize, Instant) {
        let nodes = self.cut.first_nodes.unwrap_or(self.options.nodes.len());
        (self.best.struck.len(), nodes, usize::MAX - self.cut.without.len(), self.best.violation.at)
    }

    /// Whether the same invariant breaks with this cut; then it is the best so far.
    fn fails(&mut self, cut: &Cut) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let mut options = self.options.clone();
        options.cut(cut);
        match run(&options, Mode::Off, self.bug) {
            Err(failure) if failure.violation.name == self.best.violation.name => {
                (self.cut, self.best) = (cut.clone(), *failure);
                true
            }
            _ => false,
        }
    }

    fn try_without(&mut self, classes: &[Class]) -> bool {
        let mut cut = self.cut.clone();
        cut.without.extend(classes);
        self.fails(&cut)
    }

    /// Switches off all classes, or halves of them, or single ones.
    fn classes(&mut self) {
        let all = Class::value_variants().iter().filter(|c| !self.cut.without.contains(c));
        let all: Vec<Class> = all.copied().filter(|c| self.options.has(*c)).collect();
        self.halves(&all, &mut |search, part| search.try_without(part));
    }

    /// Calls `drop` with all of `items`, then with halves of what could not be dropped, down to single ones.
    fn halves<T: Clone>(&mut self, items: &[T], drop: &mut impl FnMut(&mut Self, &[T]) -> bool) {
        if items.is_empty() || self.left == 0 || drop(self, items) || items.len() == 1 {
            return;
        }
        let (one, other) = items.split_at(items.len() / 2);
        self.halves(one, drop);
        self.halves(other, drop);
    }

    /// As few nodes as will do.
    fn nodes(&mut self) {
        let now = self.cut.first_nodes.unwrap_or(self.options.nodes.len());
        for nodes in (2..now).take(6) {
            if self.fails(&Cut { first_nodes: Some(nodes), ..self.cut.clone() }) {
                return;
            }
        }
    }

    /// Leaves strikes out, the last ones first: they are the least likely to matter.
    fn strikes(&mut self) {
        let mut struck: Vec<StrikeId> = self.best.struck.iter().map(|(_, id)| *id).collect();
        struck.reverse();
        self.halves(&struck, &mut |search, part| {
            let now = search.best.struck.iter().map(|(_, id)| *id);
            let rest = now.filter(|id| !part.contains(id)).collect();
            search.fails(&Cut { strikes: Some(Strikes(rest)), ..search.cut.clone() })
        });
    }

    /// Lets the faults stop earlier.
    fn time(&mut self) {
        let duration = self.cut.until_ms.map_or(self.options.duration, |ms| ms * MS);
        let until = |at: Instant| Some(at.div_ceil(MS));
        let broken = self.best.violation.at;
        if broken + 2 * MS < duration
            && !self.fails(&Cut { until_ms: until(broken + MS), ..self.cut.clone() })
        {
            return;
        }
        // The shortest time that will do, to a sixteenth of it.
        let high = self.cut.until_ms.unwrap_or(duration.div_ceil(MS));
        let (mut low, mut high, step) = (0, high, high / 16 + 1);
        while high - low > step {
            let middle = (low + high) / 2;
            if self.fails(&Cut { until_ms: Some(middle), ..self.cut.clone() }) {
                high = middle;
            } else {
                low = middle;
            }
        }
    }
}

impl std::fmt::Display for Shrunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |f: &mut std::fmt::Formatter<'_>, name, failure: &Failure| {
            let v = &failure.violation;
            let (strikes, events, ms) = (failure.struck.len(), failure.events, v.at as f64 / 1e6);
            writeln!(f, "{name}: {} broken at {ms:.3} ms after {strikes} strikes and {events} events", v.name)
        };
        line(f, "before", &self.before)?;
        line(f, "after ", &self.after)?;
        writeln!(f, "in {} runs; what still strikes:", self.runs)?;
        for (at, id) in &self.after.struck {
            writeln!(f, "  {:>12.3} ms  {id}", *at as f64 / 1e6)?;
        }
        writeln!(f, "seen: {}", self.after.violation.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Strike;

    #[test]
    fn the_words_of_a_cut_say_all_of_it() {
        #[derive(clap::Parser)]
        struct Words {
            #[command(flatten)]
            cut: Cut,
        }
        let strikes = BTreeSet::from([StrikeId(Strike::Crash, 3), StrikeId(Strike::OneWay, 0)]);
        let cuts = [
            Cut::default(),
            Cut { strikes: Some(Strikes::default()), ..Cut::default() },
            Cut {
                without: vec![Class::Loss, Class::Mcast],
                first_nodes: Some(3),
                strikes: Some(Strikes(strikes)),
                until_ms: Some(1_234),
            },
        ];
        for cut in cuts {
            let line = format!("sim{cut}");
            let words: Words = clap::Parser::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(words.cut, cut, "{line}");
        }
    }
}
