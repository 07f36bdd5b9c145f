//! Hundreds of resources on a few nodes: how long it takes until all run, move and have stopped, and how many changes of the
//! configuration are taken a second meanwhile.

use anyhow::Result;
use harness::Large;

use crate::table::Table;

/// One run.
pub(crate) fn run(
    nodes: u32,
    resources: usize,
    changes: u32,
    connections: u32,
    table: &mut Table,
) -> Result<()> {
    let large = Large::start("bench", nodes, resources)?;
    let ring = large.cluster.ring(1)?.ring.id;
    let mut row = |what: &str, figure: String| table.row(what, &figure);
    row("daemons started → all resources run", format!("{:.2} s", large.started.as_secs_f64()));
    let taken = large.change(1, connections, changes.div_ceil(connections))?.as_secs_f64();
    let total = f64::from(changes.div_ceil(connections) * connections);
    row(
        &format!("{total} changes over {connections} connections"),
        format!("{taken:.2} s, {:.0} a minute", total / taken * 60.0),
    );
    row("one node to standby → all run elsewhere", format!("{:.2} s", large.empty(1)?.as_secs_f64()));
    row("all told to stop → all stopped", format!("{:.2} s", large.stop()?.as_secs_f64()));
    let same = large.cluster.ring(1)?.ring.id == ring;
    row("configurations of the ring meanwhile", if same { "none" } else { "SOME" }.to_owned());
    Ok(())
}
