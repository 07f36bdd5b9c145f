//! `cmmd -t`: what is wrong with the configuration, and the timing model with this machine's measured lateness.

use std::time::Duration;

use cmm_conf::{Config, Scheduling, Severity};
use holdfast_sys::{clock, realtime};
use holdfast_types::Span;

use crate::exit::{self, Fatal};
use crate::keys::KeyPlace;
use crate::runtime_files::Paths;
use crate::startup;

/// Checks, prints, and says how to exit.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn run(paths: &Paths) -> Result<u8, Fatal> {
    let (config, found) = startup::read_config(&paths.config)?;
    eprint!("{found}");
    let Some(config) = config else { return Ok(exit::REFUSED) };
    let mut refused = found.worst() >= Some(Severity::Error);
    match KeyPlace::of(&config, &paths.config).find() {
        Ok(key) => key.warnings.iter().for_each(|w| eprintln!("{}:1: warning: {w}", paths.config.display())),
        Err(e) => {
            eprintln!("{e}");
            refused = true;
        }
    }
    let jitter = measure(&config);
    println!("Timing model of {} nodes, cluster \"{}\":", config.nodes.len(), config.totem.cluster_name);
    print!("{}", config.timing);
    println!("  {:<19} {:>12}   wake-ups of this machine, 99 of 100 within", "lateness", jitter.to_string());
    if let Some(broken) = config.timing.broken_by_jitter(jitter) {
        eprintln!("{}:1: unsafe timing: {broken}", paths.config.display());
        refused = true;
    }
    if on_a_hypervisor() {
        println!(
            "  This is a virtual machine: a hypervisor that stops its clock is outside this arithmetic; only fencing or"
        );
        println!("  reservations protect there.");
    }
    println!("{}", if refused { "The configuration is refused." } else { "The configuration is fine." });
    Ok(if refused { exit::REFUSED } else { 0 })
}

/// How late a sleeper of one millisecond wakes up, scheduled as the daemon will be where that is permitted.
fn measure(config: &Config) -> Span {
    let scheduling = config.system.scheduling;
    let measured = std::thread::spawn(move || {
        if let Scheduling::Realtime(priority) = scheduling {
            let leash = realtime::limit_realtime_run(500_000, 1_000_000);
            // Without the right the daemon runs like this, too.
            let _ = leash.and_then(|()| realtime::schedule_realtime(priority));
        }
        let mut late: Vec<u64> = (0..SAMPLES)
            .map(|_| {
                let due = clock::boottime_nanos() + 1_000_000;
                std::thread::sleep(Duration::from_millis(1));
                clock::boottime_nanos().saturating_sub(due)
            })
            .collect();
        late.sort_unstable();
        Span::from_nanos(late[SAMPLES * 99 / 100])
    });
    measured.join().unwrap_or(Span::ZERO)
}

fn on_a_hypervisor() -> bool {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpus.lines().find(|l| l.starts_with("flags")).is_some_and(|l| l.split(' ').any(|f| f == "hypervisor"))
}

const SAMPLES: usize = 200;
