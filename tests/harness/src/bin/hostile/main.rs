//! Inside of a node: a local client that keeps none of the rules. Each round is one misdeed, drawn from the seed and the
//! number of the round alone, so that `hostile SEED ROUND 1` does again what a run has done.
//!
//! `hostile SEED FIRST ROUNDS`: prints each round before it begins, and `done` at the end. What the daemon answers to it is
//! nobody's concern; what it must not do is harm anybody else, and that is for the test to see.

mod deeds;
mod dice;
mod requests;
mod wire;

use std::io::Write;

use anyhow::{Context, Result};
use dice::Dice;

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let mut number = |what: &'static str| numbers.next().context(what)?.context(what);
    let (seed, first, rounds) = (number("SEED")?, number("FIRST")?, number("ROUNDS")?);
    // It cuts off files that it has mapped itself.
    holdfast_sys::shm::guard_against_sigbus()?;
    let mut hoard = Vec::new();
    for round in first..first.saturating_add(rounds) {
        let mut dice = Dice::new(seed, round);
        let (name, deed) = dice.pick(deeds::ALL);
        println!("seed {seed} round {round}: {name}");
        std::io::stdout().flush()?;
        deed(dice, &mut hoard);
    }
    println!("done");
    Ok(())
}
