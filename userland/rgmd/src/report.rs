//! The model of cluster state, as this member knows it. Ring, votes and units are added by whoever asks `cmmd`.

use cib::parse_bool;
use scheduler::{Alone, Decision, Seen};
use status::{
    Answered, Ban, CibStatus, ClusterStatus, FailCount, FailedAction, FenceRecord, FenceState, LastChange,
    NodeRef, NodeStatus, OperationStatus, PendingAction, ResourceStatus, Role,
};

use crate::duties::{unix_ms, unix_seconds};
use crate::history::{Activity, Entry, History, status as op_status};
use crate::manager::Manager;
use crate::replica::Standing;

use holdfast_types::WallTime;

/// Who changed the configuration last, and when; [`None`] where the document does not say it.
fn last_change(root: &cib::Element) -> Option<LastChange> {
    let at = advice::last_change(root, holdfast_sys::timezone::utc_offset)?;
    let word = |name: &str| root.get(name).unwrap_or_default().to_owned();
    let unix_ms = u64::try_from(at).ok()?.saturating_mul(1_000);
    Some(LastChange {
        unix_ms,
        user: word("update-user"),
        client: word("update-client"),
        origin: word("update-origin"),
    })
}

impl Manager {
    /// The model.
    #[must_use]
    pub fn report(&self) -> ClusterStatus {
        let cib = &self.replica.cib;
        let me = self.config.me;
        let now = cib::Moment(unix_seconds(self.now.wall));
        let decision = scheduler::decide(&self.document(), now).unwrap_or_default();
        ClusterStatus {
            cluster_name: self.config.cluster_name.clone(),
            node: NodeRef { id: me, name: self.my_name() },
            updated_unix_ms: unix_ms(self.now.wall),
            answered: Answered { cmmd: false, rgmd: true },
            dc: self.is_synced().then(|| self.replica.dc()).flatten().map(|dc| self.replica.name(dc)),
            dc_version: env!("CARGO_PKG_VERSION").to_owned(),
            quorum: status::QuorumStatus { quorate: self.quorate, ..status::QuorumStatus::default() },
            cib: CibStatus {
                version: cib.version.to_string(),
                stonith_enabled: cib.options.stonith_enabled,
                no_quorum_policy: format!("{:?}", cib.options.no_quorum_policy).to_lowercase(),
                maintenance_mode: cib.options.maintenance,
                warnings: self.problems.clone(),
                last_change: last_change(cib.tree()),
            },
            nodes: self.replica.nodes.keys().map(|id| self.node_report(*id)).collect(),
            resources: self.resource_reports(&decision),
            pending: self.pending_report(),
            failed: self.failed_report(),
            fencing: self.fencing_report(),
            bans: decision
                .bans
                .into_iter()
                .map(|b| Ban { id: b.constraint, resource: b.resource, node: b.node })
                .collect(),
            ..ClusterStatus::default()
        }
    }

    fn node_report(&self, id: u32) -> NodeStatus {
        let node = &self.replica.nodes[&id];
        let configured = self.replica.cib.node(&node.name);
        let flag = |name: &str| {
            configured.and_then(|n| n.attributes.get(name)).is_some_and(|v| parse_bool(v) == Some(true))
        };
        let unclean = self.unclean(id);
        let member = self.sync.as_ref().is_some_and(|s| s.view.iter().any(|(n, _)| *n == id));
        let online = node.standing == Standing::Online && self.replica.epoch > 0;
        NodeStatus {
            id,
            name: node.name.clone(),
            online,
            pending: !online && (member || self.ring.contains(&id)),
            unclean: unclean.is_some(),
            standby: flag("standby"),
            maintenance: flag("maintenance"),
            dc: self.is_synced() && self.replica.dc() == Some(id),
            incarnation: if node.incarnation == 0 {
                self.lives.get(&id).copied().unwrap_or(0)
            } else {
                node.incarnation
            },
            confirmed_dead: node.confirmed.max(self.confirmed.get(&id).copied().unwrap_or(0)),
            why: self.node_why(id, unclean.as_deref()),
            attributes: configured.map(|n| n.attributes.clone().into_iter().collect()).unwrap_or_default(),
        }
    }

    /// Why a node may still run something, if it may.
    fn unclean(&self, id: u32) -> Option<String> {
        match &self.replica.nodes.get(&id)?.standing {
            Standing::Unclean(why) => Some(why.clone()),
            Standing::Never => self.unseen(id).map(|(why, _)| why.to_owned()),
            _ => None,
        }
    }

    fn node_why(&self, id: u32, unclean: Option<&str>) -> String {
        let node = &self.replica.nodes[&id];
        let ago = self.now.boot.since(node.since).as_millis() / 1_000;
        match (unclean, &node.standing) {
            (Some(why), _) => {
                let open = self.replica.fencing.iter().find(|e| e.target == id && e.completed_us == 0);
                let failed = self
                    .replica
                    .fencing
                    .iter()
                    .rev()
                    .find(|e| e.target == id)
                    .and_then(|e| e.error.as_deref());
                let next = match (open, failed) {
                    (Some(entry), _) => format!("fencing ({}) runs", entry.action),
                    (None, Some(error)) => format!(
                        "fencing failed: {error}; if it is known to be down: holdfast stonith_admin --confirm {}",
                        node.name
                    ),
                    (None, None) if !self.replica.cib.options.stonith_enabled => {
                        "stonith-enabled is false: waits for its guardian's word or an operator".to_owned()
                    }
                    (None, None) if !self.power.can_fence(id, &node.name) => {
                        "no fence device reaches it: waits for its guardian's word or an operator".to_owned()
                    }
                    (None, None) => "waits for the confirmation of its death".to_owned(),
                };
                format!("{why}, {ago} s ago; {next}")
            }
            (_, Standing::Dead) => format!("dead, confirmed {ago} s ago"),
            (_, Standing::Left) => format!("stopped cleanly {ago} s ago"),
            (_, Standing::Online) if node.leaving.is_some() => "is shutting down".to_owned(),
            (_, Standing::Never) if self.ring.contains(&id) => {
                "its resource-group manager does not take part".to_owned()
            }
            (_, Standing::Never) => "not seen since the cluster began".to_owned(),
            _ => String::new(),
        }
    }

    fn resource_reports(&self, decision: &Decision) -> Vec<ResourceStatus> {
        let shown = decision.seen.iter().filter(|seen| {
            // Of instances those that are somewhere, of what is gone from the configuration what still runs.
            let instance = seen.id != seen.history || seen.id.contains(':');
            !seen.nodes.is_empty() || !(instance || seen.orphaned)
        });
        shown.map(|seen| self.resource_report(seen, decision)).collect()
    }

    fn resource_report(&self, seen: &Seen, decision: &Decision) -> ResourceStatus {
        let on: Vec<(u32, &History)> = self
            .replica
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.history.get(&seen.history)?)))
            .collect();
        let pending = |operation: &str| {
            on.iter().any(|(_, h)| h.pending.as_ref().is_some_and(|p| p.entry.operation == operation))
        };
        let role = if pending("start") {
            Role::Starting
        } else if pending("stop") {
            Role::Stopping
        } else if !seen.nodes.is_empty() {
            match seen.role {
                scheduler::Role::Promoted => Role::Promoted,
                scheduler::Role::Unpromoted => Role::Unpromoted,
                _ => Role::Started,
            }
        } else {
            Role::Stopped
        };
        let last = on.iter().filter_map(|(id, h)| Some((h.is_active(), *id, h.last.as_ref()?)));
        let last = last.max_by_key(|(active, _, e)| (*active, e.changed_at)).map(|(_, id, e)| (id, e));
        ResourceStatus {
            id: seen.id.clone(),
            agent: seen.agent.clone(),
            group: seen.group.clone(),
            nodes: seen.nodes.clone(),
            role,
            failed: seen.failed,
            blocked: seen.blocked,
            managed: seen.managed,
            disabled: seen.disabled,
            orphaned: seen.orphaned,
            why: self.resource_why(seen, decision),
            fail_counts: self.fail_counts(seen),
            last: last.map(|(id, entry)| self.operation(id, entry)),
        }
    }

    /// Why a resource is not where it should be.
    fn resource_why(&self, seen: &Seen, decision: &Decision) -> String {
        if seen.blocked {
            return "an operation failed, and nothing is done with it until that is cleaned up".to_owned();
        }
        if !seen.nodes.is_empty() || seen.disabled {
            return String::new();
        }
        if !self.may_start() {
            return "no quorum".to_owned();
        }
        if let Some((node, why)) = self.held_by(&seen.history, 0, Alone::Running) {
            let name = self.replica.name(node);
            return format!(
                "{name} is UNCLEAN ({why}): nothing that it may run is started before its death is confirmed"
            );
        }
        if decision.stranded.contains(&seen.id) {
            return format!("no node may run it: holdfast explain {} says why", seen.id);
        }
        String::new()
    }

    fn fail_counts(&self, seen: &Seen) -> Vec<FailCount> {
        let counts = |id: u32| {
            let (count, last_s) = self.replica.attributes.failures(id, &seen.history);
            (count > 0).then(|| FailCount {
                node: self.replica.name(id),
                count,
                migration_threshold: seen.migration_threshold,
                last_failure_unix_ms: u64::try_from(last_s).unwrap_or(0).saturating_mul(1_000),
            })
        };
        self.replica.nodes.keys().filter_map(|id| counts(*id)).collect()
    }

    fn operation(&self, node: u32, result: &Entry) -> OperationStatus {
        OperationStatus {
            operation: result.operation.clone(),
            interval_ms: result.interval_ms,
            node: self.replica.name(node),
            call: u64::try_from(result.call).unwrap_or(0),
            rc: result.rc,
            status: match result.status {
                op_status::DONE => "complete",
                op_status::TIMEOUT => "Timed Out",
                op_status::NOT_INSTALLED => "Not installed",
                _ => "Error",
            }
            .to_owned(),
            exit_reason: result.reason.clone(),
            last_rc_change_unix_ms: u64::try_from(result.changed_at).unwrap_or(0).saturating_mul(1_000),
            queued_ms: result.queue_ms,
            exec_ms: result.exec_ms,
        }
    }

    fn pending_report(&self) -> Vec<PendingAction> {
        let mut pending: Vec<PendingAction> = Vec::new();
        for (id, node) in &self.replica.nodes {
            for (resource, on) in node.history.iter() {
                if let Some(p) = &on.pending {
                    let since = unix_seconds(self.now.wall).saturating_sub(p.entry.changed_at);
                    pending.push(PendingAction {
                        target: resource.clone(),
                        operation: p.entry.operation.clone(),
                        node: self.replica.name(*id),
                        since_ms: u64::try_from(since).unwrap_or(0).saturating_mul(1_000),
                        ..PendingAction::default()
                    });
                }
            }
        }
        for (_, name, _) in self.engine.running.iter().flat_map(|r| r.fencing()) {
            let id = self.replica.nodes.iter().find(|(_, n)| n.name == name).map_or(0, |(id, _)| *id);
            let node = holdfast_types::NodeId::new(id);
            if self.power.fencer.is_fencing(node) || self.fence_closing.contains(&id) {
                pending.push(PendingAction {
                    target: name.to_owned(),
                    operation: "fence".to_owned(),
                    ..PendingAction::default()
                });
            }
        }
        // What the history does not keep: notifications, cancellations.
        let orders = self.engine.running.iter().flat_map(|r| r.orders());
        for action in orders.filter(|a| !crate::local::is_recorded(&a.operation)) {
            pending.push(PendingAction {
                target: action.resource.as_ref().map(|r| r.id.clone()).unwrap_or_default(),
                operation: action.operation.clone(),
                node: action.node.as_ref().map(|n| n.name.clone()).unwrap_or_default(),
                ..PendingAction::default()
            });
        }
        pending
    }

    fn failed_report(&self) -> Vec<FailedAction> {
        let mut failed = Vec::new();
        for (id, node) in &self.replica.nodes {
            for (resource, on) in node.history.iter() {
                let entry = on.failed.as_ref().filter(|e| {
                    // What a probe finds is no failure where the resource is seen well since.
                    !(e.is_probe() && matches!(e.rc, 0 | 8)) || on.activity == Activity::Failed
                });
                if let Some(entry) = entry {
                    failed.push(FailedAction {
                        resource: resource.clone(),
                        operation: self.operation(*id, entry),
                        remedy: format!(
                            "when its cause is gone: holdfast crm_resource --cleanup --resource {resource}"
                        ),
                    });
                }
            }
        }
        failed
    }

    fn fencing_report(&self) -> Vec<FenceRecord> {
        let name = |id: u32| if id == 0 { String::new() } else { self.replica.name(id) };
        self.replica
            .fencing
            .iter()
            .rev()
            .map(|e| FenceRecord {
                target: name(e.target),
                action: e.action.clone(),
                device: e.device.clone(),
                executor: name(e.executor),
                client: e.client.clone(),
                origin: name(e.origin),
                state: match (&e.error, e.completed_us) {
                    (_, 0) => FenceState::Pending,
                    (None, _) => FenceState::Succeeded,
                    (Some(_), _) => FenceState::Failed,
                },
                reason: e.reason.clone(),
                error: e.error.clone().unwrap_or_default(),
                requested_unix_ms: unix_ms(WallTime(e.requested_us)),
                completed_unix_ms: unix_ms(WallTime(e.completed_us)),
            })
            .collect()
    }
}
