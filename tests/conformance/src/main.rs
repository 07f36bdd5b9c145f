//! `cargo run -p conformance -- --seeds 0..1000`: which drawn clusters the peer's command sees otherwise, and in what.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use conformance::{Aspect, compare, document};

/// Compares the scheduler with the installed crm_simulate on clusters that are drawn at random.
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  cargo run -p conformance -- --seeds 0..1000
  cargo run -p conformance -- --seeds 17..18 --aspect scores --keep /tmp/drawn    with the document itself")]
struct Args {
    /// Which clusters
    #[arg(long, value_name = "FIRST..END", value_parser = range)]
    seeds: (u64, u64),
    /// What is compared [default: all]
    #[arg(long, value_parser = aspect)]
    aspect: Vec<Aspect>,
    /// Where documents go that are seen otherwise
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Most lines shown of each
    #[arg(long, default_value_t = 6)]
    lines: usize,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let both = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    both.ok_or_else(|| format!("{text:?} is no range; write it as 0..1000"))
}

fn aspect(text: &str) -> Result<Aspect, String> {
    let names = || Aspect::ALL.iter().map(|a| a.name).collect::<Vec<_>>().join(", ");
    Aspect::named(text).ok_or_else(|| format!("there is no aspect {text:?}, but {}", names()))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let aspects = if args.aspect.is_empty() { Aspect::ALL.to_vec() } else { args.aspect };
    let (mut asked, mut aborted) = (0, 0);
    let mut wrong: Vec<(u64, &str)> = Vec::new();
    for seed in args.seeds.0..args.seeds.1 {
        let document = document(seed);
        let Some(differences) = compare(&document, &aspects).with_context(|| format!("seed {seed}"))? else {
            aborted += 1;
            continue;
        };
        asked += 1;
        for difference in &differences {
            println!("seed {seed}: {}, {} lines", difference.aspect, difference.lines.len());
            for line in difference.lines.iter().take(args.lines) {
                println!("    {line}");
            }
            wrong.push((seed, difference.aspect));
        }
        if let Some(folder) = args.keep.as_ref().filter(|_| !differences.is_empty()) {
            fs::create_dir_all(folder)?;
            fs::write(folder.join(format!("{seed}.xml")), &document)?;
        }
    }
    for aspect in &aspects {
        let count = wrong.iter().filter(|(_, name)| *name == aspect.name).count();
        println!(
            "{}: {} of {asked} the same ({aborted} on which the peer itself aborts)",
            aspect.name,
            asked - count
        );
    }
    Ok(())
}
