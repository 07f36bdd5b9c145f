//! Where the document is from: a file, standard input, or the running cluster, with what it knows of fencing.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use ::advice::{Fencing, View};
use cib::operation::Operation;
use cib::{Element, Moment};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::io::Io;

/// Options that name the document.
#[derive(clap::Args)]
pub(super) struct Source {
    /// The document to read, with its status
    #[arg(short = 'x', long, value_name = "FILE")]
    xml_file: Option<PathBuf>,
    /// Read it from standard input
    #[arg(short = 'p', long, conflicts_with = "xml_file")]
    xml_pipe: bool,
    /// What is known of fencing, as `rgmd` answers `fence-history`: JSON
    #[arg(long, value_name = "FILE")]
    fence_history: Option<PathBuf>,
    /// The time to judge by [default: the one that the document was recorded at, or now]
    #[arg(short = 't', long, value_name = "DATETIME", value_parser = moment)]
    set_datetime: Option<Moment>,
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| format!("{text:?} is no date; write it as 2026-12-24 18:00"))
}

/// Why it cannot go on.
pub(super) struct Stop {
    pub(super) text: String,
    pub(super) exit: Exit,
}

impl Stop {
    pub(super) fn file(what: impl Display, error: impl Display) -> Self {
        Self { text: format!("{what}: {error}"), exit: Exit::CannotCreate }
    }
}

/// A document, and what is known besides.
pub(super) struct Document {
    name: String,
    root: Element,
    fencing: Vec<Fencing>,
    now: Moment,
    /// Of a running cluster.
    pub(super) live: bool,
}

impl Document {
    pub(super) fn read(source: &Source, io: &mut Io) -> Result<Self, Stop> {
        let mut fencing = Vec::new();
        let mut live = false;
        let (name, root) = if let Some(path) = &source.xml_file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| Stop::file(&name, e))?;
            let root = Element::parse(&text, &name)
                .map_err(|e| Stop { text: e.to_string(), exit: Exit::CannotCreate })?;
            (name, root)
        } else if source.xml_pipe {
            let text = io.read_document().map_err(|e| Stop::file("standard input", e))?;
            let root = Element::parse(&text, "standard input");
            (
                "standard input".to_owned(),
                root.map_err(|e| Stop { text: e.to_string(), exit: Exit::CannotCreate })?,
            )
        } else {
            let (root, is_live, history) = of_cluster()?;
            (live, fencing) = (is_live, history);
            ("the cluster's document".to_owned(), root)
        };
        if let Some(path) = &source.fence_history {
            let text = std::fs::read_to_string(path).map_err(|e| Stop::file(path.display(), e))?;
            let value: Value = serde_json::from_str(&text).map_err(|e| Stop::file(path.display(), e))?;
            fencing = events(&value);
        }
        let root = cib::upgrade(root).root;
        let recorded = scheduler::WorkingSet::recorded_time(&root);
        let now = source.set_datetime.or(recorded).unwrap_or_else(clock);
        if root.child("status").is_none_or(|s| s.children.is_empty()) {
            let text = format!(
                "{name} has no status: nothing is known of what runs where; give one of a running cluster: cibadmin -Q"
            );
            return Err(Stop { text, exit: if live { Exit::Unavailable } else { Exit::CannotCreate } });
        }
        Ok(Self { name, root, fencing, now, live })
    }

    pub(super) fn view(&self) -> Result<View<'_>, Stop> {
        let view = View::new(&self.root, &self.fencing, self.now).map_err(|e| Stop::file(&self.name, e))?;
        Ok(view.in_zone(holdfast_sys::timezone::utc_offset))
    }
}

/// The document that `CIB_file` names, or that of the running cluster with its fencing.
fn of_cluster() -> Result<(Element, bool, Vec<Fencing>), Stop> {
    let refused = |refusal: cib::operation::Refusal| {
        let details = refusal.details.join("; ");
        let text = if details.is_empty() { refusal.text } else { format!("{}: {details}", refusal.text) };
        Stop { text, exit: Exit::Unavailable }
    };
    let mut cluster = admin::open().map_err(refused)?;
    let root = cluster.cib(&Operation::query(None)).map_err(refused)?;
    let root = root.ok_or_else(|| Stop {
        text: "rgmd answers without a document".to_owned(),
        exit: Exit::Unavailable,
    })?;
    let live = cluster.is_live();
    // What cannot be had is missing in the answer, and is no reason to give none.
    let history = if live { cluster.ask(&json!({"cmd": "fence-history", "node": null})).ok() } else { None };
    Ok((root, live, history.map(|h| events(&h)).unwrap_or_default()))
}

/// `{"events":[…]}`, or the list alone.
fn events(value: &Value) -> Vec<Fencing> {
    let list = value.get("events").unwrap_or(value);
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| serde_json::from_value(without_nulls(e)).ok())
        .collect()
}

/// What is null is not known, as what is missing.
fn without_nulls(value: &Value) -> Value {
    let pairs = value.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null());
    pairs.map(|(k, v)| (k.clone(), v.clone())).collect::<serde_json::Map<_, _>>().into()
}

fn clock() -> Moment {
    Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().cast_signed()))
}

/// Where this node's `rgmd` writes the operator's log.
pub(super) fn operator_log() -> PathBuf {
    match std::env::var_os("HOLDFAST_STATE_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("operator.log"),
        None => "/var/log/holdfast/operator.log".into(),
    }
}
