//! Where the document comes from: a file, standard input, or the running cluster.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cib::Element;
use scheduler::{FenceEvent, FenceState, FencingHistory};
use serde::Deserialize;
use status::ClusterStatus;

use super::args::Args;
use super::{DISCONNECTED, NO_SUCH_OBJECT, Stop};
use crate::gather::{Sources, ask_rgmd, gather};

/// Where it comes from.
pub(super) enum Source {
    File(PathBuf),
    Input,
    Live(Sources),
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    Document {
        root: Box<Element>,
        fencing: Option<FencingHistory>,
        live: bool,
    },
    /// What an `rgmd` says that keeps no status section yet.
    Status(Box<ClusterStatus>),
}

/// Whether a document stands for a cluster.
pub(super) fn is_file(named: Option<&Path>) -> bool {
    !Source::of(named).is_live()
}

impl Source {
    /// The one that is named, else the one of the environment.
    pub(super) fn of(named: Option<&Path>) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // A name that leads out of the folder is none that could be read.
        let shadow = || admin::shadow_file(&variable("CIB_shadow")?.to_string_lossy()).ok();
        match named.map(Path::to_owned).or_else(shadow).or_else(|| variable("CIB_file")) {
            Some(path) if path.as_os_str() == "-" => Self::Input,
            Some(path) => Self::File(path),
            None => Self::Live(Sources::from_env()),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// The document of this moment. `level`: how much of fencing is asked for.
    pub(super) fn read(&mut self, args: &Args, level: u8) -> Result<Found, Stop> {
        let (name, text) = match self {
            Self::File(path) => (path.display().to_string(), std::fs::read_to_string(path)),
            Self::Input => {
                let mut text = String::new();
                let read = io::stdin().take(DOCUMENT_MAX).read_to_string(&mut text);
                ("standard input".to_owned(), read.map(|_| text))
            }
            Self::Live(sources) => return live(sources, args, level),
        };
        let text = text.map_err(|e| unreadable(&format!("{name}: {e}")))?;
        let root = Element::parse(&text, &name).map_err(|e| unreadable(&e.to_string()))?;
        Ok(Found::Document { root: Box::new(cib::upgrade(root).root), fencing: None, live: false })
    }
}

/// What a document may have at most, and a byte more, which is too much.
const DOCUMENT_MAX: u64 = cib::limits::DOCUMENT.bytes as u64 + 1;

fn unreadable(why: &str) -> Stop {
    let remedy =
        "name a document that `cibadmin -Q` wrote in CIB_file, or unset it to see the running cluster";
    Stop {
        exit: NO_SUCH_OBJECT,
        lines: vec![format!("Could not connect to the CIB: {why}"), format!("crm_mon: {remedy}")],
    }
}

#[derive(Deserialize)]
struct Document {
    xml: Option<String>,
}

#[derive(Deserialize)]
struct History {
    events: Vec<Event>,
}

/// As `rgmd` tells of fencing.
#[derive(Deserialize)]
struct Event {
    target: String,
    action: String,
    state: serde_json::Value,
    #[serde(default)]
    origin: String,
    delegate: Option<String>,
    #[serde(default)]
    client: String,
    #[serde(default)]
    completed_us: i64,
    exit_reason: Option<String>,
}

fn live(sources: &Sources, args: &Args, level: u8) -> Result<Found, Stop> {
    let answer = ask_rgmd(sources, r#"{"cmd":"cib"}"#).map_err(|_| disconnected(sources, args))?;
    let document: Option<Document> = serde_json::from_str(&answer).ok();
    let root = document.and_then(|d| d.xml).and_then(|xml| Element::parse(&xml, "rgmd").ok());
    let Some(root) = root.filter(|r| r.child("status").is_some_and(|s| !s.children.is_empty())) else {
        let status = gather(sources);
        if !status.answered.rgmd {
            return Err(disconnected(sources, args));
        }
        return Ok(Found::Status(Box::new(status)));
    };
    let wanted = level > 0 || args.watch_fencing;
    let fencing = wanted.then(|| fencing(sources));
    Ok(Found::Document { root: Box::new(cib::upgrade(root).root), fencing, live: true })
}

fn fencing(sources: &Sources) -> FencingHistory {
    let asked = ask_rgmd(sources, r#"{"cmd":"fence-history","node":null}"#);
    let history: Option<History> = asked.ok().and_then(|answer| serde_json::from_str(&answer).ok());
    if let Some(history) = history {
        return FencingHistory::Known(history.events.into_iter().map(Event::known).collect());
    }
    // One that does not keep it for others tells it with the rest of its status.
    let status = gather(sources);
    if !status.answered.rgmd {
        return FencingHistory::Unknown(DISCONNECTED, "Not connected".to_owned());
    }
    FencingHistory::Known(status.fencing.into_iter().map(recorded).collect())
}

impl Event {
    fn known(self) -> FenceEvent {
        let Self { target, action, origin, delegate, client, completed_us, exit_reason, .. } = self;
        // By word, or by the peer's number.
        let state = match (self.state.as_str(), self.state.as_i64()) {
            (Some("done" | "success" | "succeeded"), _) | (_, Some(2)) => FenceState::Done,
            (Some("failed"), _) | (_, Some(4)) => FenceState::Failed,
            (_, number) => FenceState::Pending(number.unwrap_or(1)),
        };
        FenceEvent { target, action, state, origin, delegate, client, completed_us, exit_reason }
    }
}

fn recorded(record: status::FenceRecord) -> FenceEvent {
    let filled = |text: String| Some(text).filter(|t| !t.is_empty());
    FenceEvent {
        target: record.target,
        action: record.action,
        state: match record.state {
            status::FenceState::Pending => FenceState::Pending(1),
            status::FenceState::Succeeded => FenceState::Done,
            status::FenceState::Failed => FenceState::Failed,
        },
        origin: record.origin,
        delegate: filled(record.executor),
        client: record.client,
        completed_us: i64::try_from(record.completed_unix_ms).unwrap_or(i64::MAX).saturating_mul(1_000),
        exit_reason: filled(record.error),
    }
}

/// In the peer's words first; then what is the matter, and what to do.
fn disconnected(sources: &Sources, args: &Args) -> Stop {
    let refused = "Connection refused";
    if args.simple_status {
        let lines = vec![
            format!("error: Could not connect to launcher: {refused}"),
            format!("crm_mon: CLUSTER CRIT: Connection to cluster failed: {refused}"),
        ];
        // As monitoring systems know it: critical.
        return Stop { exit: 2, lines };
    }
    let mut lines = vec![
        format!("error: Could not connect to launcher: {refused}"),
        format!("crm_mon: Connection to cluster failed: {refused}"),
    ];
    for note in gather(sources).notes {
        let remedy = if note.remedy.is_empty() { String::new() } else { format!("; {}", note.remedy) };
        lines.push(format!("crm_mon: {}{remedy}", note.what));
    }
    Stop { exit: DISCONNECTED, lines }
}
