//! How long the scheduler takes for each document of a folder.

use std::path::Path;
use std::time::Instant;

use scheduler::WorkingSet;

use super::{Stop, clock, read};
use crate::exit::Exit;
use crate::io::Io;

/// Reads and places every `*.xml` of a folder so many times, in the order of their names. What is no document is said, and
/// the others are still done.
pub(super) fn run(folder: &Path, repeat: u32, io: &mut Io) -> Result<Exit, Stop> {
    let cannot = |e: std::io::Error| Stop::file(format!("{}: {e}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|e| e == "xml") {
            files.push(path);
        }
    }
    files.sort();
    io.say(format_args!("Timings:\n"));
    let mut exit = Exit::Ok;
    for file in files {
        let name = file.display().to_string();
        let begun = Instant::now();
        match std::fs::read_to_string(&file)
            .map_err(|e| Stop::file(format!("{name}: {e}")))
            .and_then(|text| times(&text, &name, repeat))
        {
            Ok(()) => {
                let seconds = begun.elapsed().as_secs_f64();
                io.say(format_args!("  * Testing {name} ... {seconds:.2} secs\n"));
            }
            Err(stop) => {
                io.complain(format_args!("crm_simulate: {}\n", stop.text));
                exit = stop.exit;
            }
        }
    }
    Ok(exit)
}

fn times(text: &str, name: &str, repeat: u32) -> Result<(), Stop> {
    let root = read(text, name)?;
    let now = WorkingSet::recorded_time(&root).unwrap_or_else(clock);
    for _ in 0..repeat {
        let mut set = WorkingSet::new(&root, now).map_err(|e| Stop::file(format!("{name}: {e}")))?;
        set.place();
        set.schedule();
        set.graph();
    }
    Ok(())
}
