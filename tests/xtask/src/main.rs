//! `cargo xtask`: the project's own commands. `test` is the test command of the README; `deb` makes the package; `tidy` checks
//! what the compiler does not.

#![forbid(unsafe_code)]

mod deb;
mod soak;
mod suite;
mod tidy;
mod times;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test    Install what the tests need from the distribution (as root, where apt is there), build everything in release
          mode, and run every test: units, simulator, real daemons in namespaces and in virtual machines, the
          demo, the client-ABI kit. Says what it skips and why; as root a skipped test of a cluster fails the run.
          --quick   leave out namespaces, virtual machines, the demo and the kit
  deb     Build the package for Debian and its like, target/debian/holdfast_*.deb, in release mode. Needs cargo-deb, which it
          installs into target/tools where it is missing, and dpkg-dev.
          --no-build   of the programs that target/release has
  times   Do every fault to clusters of virtual machines and print the table of how long survivors take until they have their new
          configuration, by the host's clock (decision 28). The table is left in target/times.txt. For a quiet machine.
  soak    Run what draws its faults at random for longer than the tests do: the simulator, real daemons with quorum disks that fail,
          twenty resources to which anything is done, virtual machines that are killed, stopped and cut off. A quarter of the time
          each; docs/soak.md says what was run.
          --minutes N   for so long (default 30)
          --resources   all of it for the resources
  tidy    Check dependency arrows, unsafe code, module comments, stray machine paths, and that the tests which the
          tables of docs/SPECIFICATION.md name are there.

Examples:
  cargo xtask test
  cargo xtask test --quick
  cargo xtask deb && apt install ./target/debian/holdfast_*.deb
  cargo xtask times
  cargo xtask soak --minutes 90
  cargo xtask tidy
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["test"] => suite::run(suite::Extent::Everything),
        ["test", "--quick"] => suite::run(suite::Extent::Quick),
        ["deb"] => deb::run(true),
        ["deb", "--no-build"] => deb::run(false),
        ["times"] => times::run(),
        ["soak", rest @ ..] => match soak::Plan::parse(rest) {
            Some(plan) => soak::run(&plan),
            None => {
                eprintln!("xtask: soak {}: write --minutes N, --resources, or both", rest.join(" "));
                return ExitCode::from(64);
            }
        },
        ["tidy"] => tidy::run(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root, known at build time.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
