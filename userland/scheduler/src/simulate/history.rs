//! One result, as the history of a resource keeps it.

use std::collections::BTreeMap;

use cib::{Element, Moment};

use super::document::TOOL;

/// What version of Pacemaker's language the entries are in.
const FEATURE_SET: &str = "3.16.1";
/// The transition that results belong to which no transition asked for.
const NO_TRANSITION: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

/// An operation that is over.
pub(super) struct Operation<'a> {
    /// The name of the resource in the history.
    pub(super) resource: String,
    /// `start`, ...
    pub(super) task: &'a str,
    pub(super) interval_ms: u64,
    /// What it said.
    pub(super) rc: i32,
    /// What it was expected to say.
    pub(super) expected_rc: i32,
    /// Why it failed, if it did.
    pub(super) exit_reason: &'a str,
    /// What it was given; `None`: nothing is known of that, and no digest is made.
    pub(super) parameters: Option<&'a BTreeMap<String, String>>,
    pub(super) clock: Moment,
}

impl Operation<'_> {
    /// Writes it down as the latest of its kind.
    pub(super) fn record(&self, history: &mut Element) {
        let calls = history.children.iter().filter_map(|op| op.get("call-id")?.trim().parse::<i64>().ok());
        let call = calls.max().unwrap_or(0).max(0).saturating_add(1).to_string();
        // A reload leaves things as a start would.
        let task = if matches!(self.task, "reload" | "reload-agent") { "start" } else { self.task };
        let Self { resource, interval_ms, rc, expected_rc, .. } = self;
        let key = format!("{resource}_{task}_{interval_ms}");
        let migration = matches!(task, "migrate_to" | "migrate_from");
        let parameter = |name: &str| self.parameters.and_then(|all| all.get(name)).map_or("", String::as_str);
        let last = format!("{resource}_last_0");
        let failed = rc != expected_rc;
        let mut reason = "";
        let mut ids = Vec::new();
        if task == "notify" {
            let (when, of) = (parameter("CRM_meta_notify_type"), parameter("CRM_meta_notify_operation"));
            ids.push(format!("{resource}_{when}_notify_{of}_0"));
        } else if migration {
            ids.push(key.clone());
        } else if failed {
            reason = self.exit_reason;
            ids.push(format!("{resource}_last_failure_0"));
            if *interval_ms == 0 {
                ids.push(last);
            }
        } else if *interval_ms > 0 {
            ids.push(key.clone());
        } else {
            ids.push(last);
        }
        // A failed notification fails nothing.
        let rc = if task == "notify" { 0 } else { *rc };
        let transition = format!("{call}:-1:{expected_rc}:{NO_TRANSITION}");
        let (rc, interval, when) = (rc.to_string(), interval_ms.to_string(), self.clock.0.to_string());
        let magic = format!("0:{rc};{transition}");
        let mut pairs = vec![
            ("operation_key", key.as_str()),
            ("operation", task),
            ("crm-debug-origin", TOOL),
            ("crm_feature_set", FEATURE_SET),
            ("transition-key", &transition),
            ("transition-magic", &magic),
            ("exit-reason", reason),
            ("call-id", &call),
            ("rc-code", &rc),
            ("op-status", "0"),
            ("interval", &interval),
            ("last-rc-change", &when),
            ("exec-time", "0"),
            ("queue-time", "0"),
        ];
        if migration {
            for name in ["migrate_source", "migrate_target"] {
                pairs.push((name, parameter(&format!("CRM_meta_{name}"))));
            }
        }
        let digest = self.parameters.map(crate::decide::parameters_digest);
        if let Some(digest) = &digest {
            pairs.push(("op-digest", digest));
        }
        for id in ids {
            let known =
                history.children.iter().position(|op| op.name == "lrm_rsc_op" && op.id() == Some(&id));
            let at = known.unwrap_or_else(|| {
                history.children.push(Element::new("lrm_rsc_op").with("id", &id));
                history.children.len() - 1
            });
            // What an older entry had besides stays there.
            for (name, value) in &pairs {
                history.children[at].attributes.insert(name, value);
            }
        }
    }
}
