//! The minimiser: a failing run becomes a short one that fails the same way, and its words make it again.

use clap::Parser;
use holdfast_sim::Options;
use holdfast_sim::run::run;
use holdfast_sim::sabotage::Bug;
use holdfast_sim::shrink::{Cut, shrink};
use holdfast_sim::trace::Mode;

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    cut: Cut,
}

/// A forgotten record shows only when a node dies in the moment between a ring and its record, and comes back.
#[test]
fn a_planted_bug_is_left_with_a_quarter_of_the_strikes_and_half_of_the_events() {
    let bug = Some(Bug::ForgetRecord);
    let fails = |seed: &u64| {
        run(&Options::draw(*seed), Mode::Off, bug).is_err_and(|f| f.struck.len() >= 8 && f.events > 4_000)
    };
    let seed = (0..2_000).find(fails).expect("a seed that fails after many strikes");
    let options = Options::draw(seed);
    let shrunk = shrink(&options, bug, 300).expect("it fails");
    let (before, after) = (&shrunk.before, &shrunk.after);
    eprintln!("seed {seed}{}\n{shrunk}", shrunk.cut);
    assert_eq!(before.violation.name, after.violation.name);
    assert!(4 * after.struck.len() <= before.struck.len(), "{shrunk}");
    assert!(2 * after.events <= before.events, "{shrunk}");
    assert!(shrunk.runs <= 300);

    // The words on the command line make exactly this run.
    let line = format!("replay{}", shrunk.cut);
    let cut = Words::try_parse_from(line.split(' ')).expect("words that replay understands").cut;
    let mut again = options.clone();
    again.cut(&cut);
    let again = run(&again, Mode::Off, bug).expect_err("it fails again");
    assert_eq!((&again.violation.seen, again.events), (&after.violation.seen, after.events));
    // And so does another search.
    assert_eq!(shrink(&options, bug, 300).expect("it fails").cut, shrunk.cut);
}

#[test]
fn a_run_that_holds_is_not_shrunk() {
    let seed = (0..).find(|s| Options::draw(*s).calm()).expect("a calm run");
    assert!(shrink(&Options::draw(seed), None, 10).is_none());
}
