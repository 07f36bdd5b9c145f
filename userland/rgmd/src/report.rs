//! The model of cluster state, as this member knows it. Ring, votes and units are added by whoever asks `cmmd`.

use cib::{Primitive, Resource, parse_bool};
use scheduler::{Activity, Blocked, OpResult, OpStatus, ResourceState};
use status::{
    Answered, Ban, CibStatus, ClusterStatus, FailCount, FailedAction, FenceRecord, FenceState, NodeRef,
    NodeStatus, OperationStatus, PendingAction, ResourceStatus, Role,
};

use crate::duties::unix_ms;
use crate::engine::Progress;
use crate::manager::Manager;
use crate::replica::Standing;

use holdfast_types::{NodeId, WallTime};

impl Manager {
    /// The model.
    #[must_use]
    pub fn report(&self) -> ClusterStatus {
        let state = self.cluster_state();
        let cib = &self.replica.cib;
        let me = self.config.me;
        // Every member can say why, not only the one that decides.
        let blocked =
            if self.is_synced() { scheduler::plan(cib, &state, self.now.wall).blocked } else { Vec::new() };
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
                warnings: cib.warnings.iter().map(ToString::to_string).collect(),
                ..CibStatus::default()
            },
            nodes: self.replica.nodes.keys().map(|id| self.node_report(*id, &state)).collect(),
            resources: self.resource_reports(&blocked),
            pending: self.pending_report(),
            failed: self.failed_report(),
            fencing: self.fencing_report(),
            bans: scheduler::bans(cib, &state)
                .into_iter()
                .map(|(id, resource, node)| Ban { id, resource, node: self.replica.name(node.get()) })
                .collect(),
            ..ClusterStatus::default()
        }
    }

    fn node_report(&self, id: u32, state: &scheduler::ClusterState) -> NodeStatus {
        let node = &self.replica.nodes[&id];
        let configured = self.replica.cib.node(&node.name);
        let flag = |name: &str| {
            configured.and_then(|n| n.attributes.get(name)).is_some_and(|v| parse_bool(v) == Some(true))
        };
        let presence = state.nodes.get(&NodeId::new(id)).map(|n| n.presence.clone()).unwrap_or_default();
        let unclean = matches!(presence, scheduler::Presence::Unclean { .. });
        let member = self.sync.as_ref().is_some_and(|s| s.view.iter().any(|(n, _)| *n == id));
        let online = node.standing == Standing::Online && self.replica.epoch > 0;
        NodeStatus {
            id,
            name: node.name.clone(),
            online,
            pending: !online && (member || self.ring.contains(&id)),
            unclean,
            standby: flag("standby"),
            maintenance: flag("maintenance"),
            dc: self.is_synced() && self.replica.dc() == Some(id),
            incarnation: if node.incarnation == 0 {
                self.lives.get(&id).copied().unwrap_or(0)
            } else {
                node.incarnation
            },
            confirmed_dead: node.confirmed.max(self.confirmed.get(&id).copied().unwrap_or(0)),
            why: self.node_why(id, &presence),
            attributes: configured.map(|n| n.attributes.clone().into_iter().collect()).unwrap_or_default(),
        }
    }

    fn node_why(&self, id: u32, presence: &scheduler::Presence) -> String {
        let node = &self.replica.nodes[&id];
        let ago = self.now.boot.since(node.since).as_millis() / 1_000;
        match (presence, &node.standing) {
            (scheduler::Presence::Unclean { why, .. }, _) => {
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
                        "fencing failed: {error}; if it is known to be down, send {{\"cmd\":\"confirm\",\"node\":\"{}\"}} to rgmd.sock in the run directory",
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
            (_, Standing::Online) if node.leaving => "is shutting down".to_owned(),
            (_, Standing::Never) if self.ring.contains(&id) => {
                "its resource-group manager does not take part".to_owned()
            }
            (_, Standing::Never) => "not seen since the cluster began".to_owned(),
            _ => String::new(),
        }
    }

    fn resource_reports(&self, blocked: &[Blocked]) -> Vec<ResourceStatus> {
        let cib = &self.replica.cib;
        let mut reports: Vec<ResourceStatus> = cib
            .resources
            .iter()
            .flat_map(|r| r.members.iter().map(move |m| (r, m)))
            .map(|(resource, member)| self.resource_report(resource, member, blocked))
            .collect();
        for (id, node) in &self.replica.nodes {
            for (resource, on) in &node.resources {
                if on.activity == Activity::Started && cib.primitive(resource).is_none() {
                    reports.push(ResourceStatus {
                        id: resource.clone(),
                        nodes: vec![self.replica.name(*id)],
                        role: Role::Started,
                        orphaned: true,
                        ..ResourceStatus::default()
                    });
                }
            }
        }
        reports
    }

    fn resource_report(
        &self,
        resource: &Resource,
        member: &Primitive,
        blocked: &[Blocked],
    ) -> ResourceStatus {
        let on: Vec<(u32, &ResourceState)> = self
            .replica
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.resources.get(&member.id)?)))
            .collect();
        let active = |s: &ResourceState| {
            matches!(s.activity, Activity::Started | Activity::Failed | Activity::StopFailed)
        };
        let pending =
            |action: &str| on.iter().any(|(_, s)| s.pending.as_ref().is_some_and(|p| p.action == action));
        let role = if pending("start") {
            Role::Starting
        } else if pending("stop") {
            Role::Stopping
        } else if on.iter().any(|(_, s)| active(s)) {
            Role::Started
        } else if !on.is_empty() && on.iter().all(|(_, s)| s.activity == Activity::Unknown) {
            Role::Unknown
        } else {
            Role::Stopped
        };
        let nodes = on
            .iter()
            .filter(|(_, s)| active(s) || s.pending.as_ref().is_some_and(|p| p.action == "start"))
            .map(|(id, _)| self.replica.name(*id))
            .collect();
        let why = blocked.iter().find(|b| b.resource == member.id).map(|b| &b.why);
        let last = on.iter().filter_map(|(id, s)| Some((active(s), *id, s.last.as_ref()?)));
        let last = last.max_by_key(|(active, _, r)| (*active, r.at_us)).map(|(_, id, r)| (id, r));
        ResourceStatus {
            id: member.id.clone(),
            agent: member.agent(),
            group: resource.group.then(|| resource.id.clone()),
            nodes,
            role,
            failed: on.iter().any(|(_, s)| matches!(s.activity, Activity::Failed | Activity::StopFailed)),
            blocked: on.iter().any(|(_, s)| s.activity == Activity::StopFailed),
            managed: member.meta.managed && !self.replica.cib.options.maintenance,
            disabled: member.meta.target_role == cib::TargetRole::Stopped,
            orphaned: false,
            why: why.cloned().unwrap_or_default(),
            fail_counts: on
                .iter()
                .filter(|(_, s)| s.fail_count > 0)
                .map(|(id, s)| FailCount {
                    node: self.replica.name(*id),
                    count: s.fail_count,
                    migration_threshold: member.meta.migration_threshold.unwrap_or(0),
                    last_failure_unix_ms: s.failure.as_ref().map_or(0, |f| unix_ms(WallTime(f.at_us))),
                })
                .collect(),
            last: last.map(|(id, result)| self.operation(id, result)),
        }
    }

    fn operation(&self, node: u32, result: &OpResult) -> OperationStatus {
        OperationStatus {
            operation: result.action.clone(),
            interval_ms: result.interval_ms,
            node: self.replica.name(node),
            call: result.call,
            rc: result.rc,
            status: match result.status {
                OpStatus::Done => "complete",
                OpStatus::Timeout => "Timed Out",
                OpStatus::Error => "Error",
                OpStatus::NotInstalled => "Not installed",
            }
            .to_owned(),
            exit_reason: result.reason.clone(),
            last_rc_change_unix_ms: unix_ms(WallTime(result.at_us)),
            queued_ms: result.queued_ms,
            exec_ms: result.exec_ms,
        }
    }

    fn pending_report(&self) -> Vec<PendingAction> {
        let mut pending: Vec<PendingAction> = Vec::new();
        for (id, node) in &self.replica.nodes {
            for (resource, on) in &node.resources {
                if let Some(p) = &on.pending {
                    let since_ms = u64::try_from((self.now.wall.0 - p.since_us) / 1_000).unwrap_or(0);
                    let (target, operation) = (resource.clone(), p.action.clone());
                    pending.push(PendingAction {
                        target,
                        operation,
                        node: self.replica.name(*id),
                        since_ms,
                        ..PendingAction::default()
                    });
                }
            }
        }
        let Some(running) = &self.engine.running else { return pending };
        for (action, _) in running.unfinished().filter(|(_, p)| *p == Progress::Waiting) {
            let before = action.after.iter().find(|a| running.progress[**a] != Progress::Done);
            let waits_for = before.and_then(|a| running.graph.actions.get(*a)).map_or_else(
                || "the reconfiguration".to_owned(),
                |a| format!("{} {} on {}", a.kind.operation(), a.resource, self.replica.name(a.node.get())),
            );
            pending.push(PendingAction {
                target: action.resource.clone(),
                operation: action.kind.operation().to_owned(),
                node: self.replica.name(action.node.get()),
                since_ms: 0,
                waits_for,
            });
        }
        pending
    }

    fn failed_report(&self) -> Vec<FailedAction> {
        let mut failed = Vec::new();
        for (id, node) in &self.replica.nodes {
            for (resource, on) in &node.resources {
                if let Some(failure) = &on.failure {
                    failed.push(FailedAction {
                        resource: resource.clone(),
                        operation: self.operation(*id, &failure.result),
                        remedy: format!(
                            "when its cause is gone, send {{\"cmd\":\"cleanup\",\"resource\":\"{resource}\"}} to rgmd.sock in the run directory"
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
