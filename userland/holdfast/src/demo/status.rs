//! What a node of the demo says of itself: one question to `rgmd`'s socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use status::{ClusterStatus, Role};

use super::files::RESOURCES;

/// Asks; `None` while there is nobody to answer.
pub(super) fn ask(run_dir: &Path) -> Option<ClusterStatus> {
    let stream = UnixStream::connect(run_dir.join("rgmd.sock")).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    (&stream).write_all(b"{\"cmd\":\"status\"}\n").ok()?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// The node on which the whole group runs.
pub(super) fn group_node(status: &ClusterStatus) -> Option<String> {
    let mut nodes = RESOURCES.iter().map(|id| {
        let resource =
            status.resources.iter().find(|r| r.id == *id && r.role == Role::Started && !r.failed)?;
        match resource.nodes.as_slice() {
            [node] => Some(node.clone()),
            _ => None,
        }
    });
    let first = nodes.next()??;
    nodes.all(|n| n.as_deref() == Some(&first)).then_some(first)
}
