//! What entries of the history mean: which of them are failures, what is done about them, and when they are forgotten.

use cib::{Attributes, Element, Facts, Precedence, Score, collect, parse_duration_ms};

use crate::assign::trace::Why;
use crate::model::{DeferredCheck, Flags, NodeId, NodeKind, Order, ResourceId, Role, Variant, WorkingSet};

use super::digests::Parameters;
use super::history::{State, base_name};
use super::operation::{Operation, Status, rc};
use super::settings::agent_of;
use super::status::Failed;

/// What a failure asks for, in the order of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OnFail {
    Ignore,
    Demote,
    Restart,
    ResetRemote,
    RestartContainer,
    Migrate,
    Block,
    Stop,
    Standby,
    Fence,
}

impl<'c> WorkingSet<'c> {
    /// Takes one entry into account.
    pub(super) fn take_operation(&mut self, state: &mut State, operation: &Operation<'c>) {
        if matches!(operation.task, "notify" | "meta-data") {
            return;
        }
        let (id, node) = (state.resource, state.node);
        // A failure of what cannot be told apart is one of all of it.
        let banned = if self.resource(id).is(Flags::UNIQUE) { id } else { self.top_of(id) };
        let ban = |set: &mut Self, node| set.place_on(banned, node, Score::MINUS_INFINITY, Why::History);
        let expired = operation.status != Status::NotInstalled && self.has_expired(state, operation);
        let mut seen = *operation;
        let maskable = is_maskable(operation) && !self.is_bundled(id);
        self.remap(state, &mut seen, maskable);
        if expired && operation.rc != operation.expected_rc {
            if maskable {
                let resource = self.resource_mut(id);
                if resource.role <= Role::Stopped {
                    resource.role = Role::Unknown;
                }
                return;
            }
            // One that recurs is begun anew instead.
            let reachable = self.node(node).online && !self.node(node).unclean;
            if seen.interval_ms > 0 && reachable {
                self.begun_anew.push((id, node, operation.id().to_owned()));
            }
            if seen.interval_ms == 0 || reachable {
                return;
            }
        }
        if maskable {
            self.resource_mut(id).role = Role::Stopped;
            self.record(state, operation);
            ban(self, Some(node));
            return;
        }
        match seen.status {
            Status::Cancelled => return,
            Status::Pending => return self.take_pending(state, &seen),
            Status::Done => return self.take_success(state, &seen, seen.rc),
            Status::NotInstalled => {
                if self.on_fail(id, &seen) == OnFail::Ignore {
                    state.on_fail = OnFail::Migrate;
                }
                ban(self, Some(node));
                return self.take_failure(state, &seen);
            }
            Status::NotConnected if self.node(node).kind == NodeKind::Remote => {
                if let Some(connection) = self.node(node).connection
                    && self.resource(connection).is(Flags::MANAGED)
                {
                    self.resource_mut(connection).set(Flags::FAILED | Flags::MUST_STOP, true);
                }
            }
            _ => {}
        }
        let on_fail = self.on_fail(id, &seen);
        let with_container = on_fail == OnFail::RestartContainer && seen.task == "stop";
        if on_fail == OnFail::Ignore || with_container {
            self.take_success(state, &seen, seen.expected_rc);
            self.resource_mut(id).set(Flags::FAILURE_IGNORED, true);
            self.record(state, &seen);
            if with_container && state.on_fail <= OnFail::Restart {
                state.on_fail = on_fail;
            }
            return;
        }
        self.take_failure(state, &seen);
        match seen.status {
            Status::HardError | Status::NoFenceDevice | Status::NoSecrets => ban(self, Some(node)),
            Status::FatalError => ban(self, None),
            _ => {}
        }
    }

    /// What an entry says, seen in the light of what was expected.
    fn remap(&mut self, state: &mut State, seen: &mut Operation<'c>, maskable: bool) {
        let (id, node) = (state.resource, state.node);
        let as_good_as = match seen.rc {
            rc::DEGRADED if seen.task == "monitor" => Some(rc::OK),
            rc::DEGRADED_PROMOTED if seen.task == "monitor" => Some(rc::PROMOTED),
            _ => None,
        };
        if let Some(as_good_as) = as_good_as {
            let known = self.node(node);
            if !known.shutdown || known.online {
                self.record(state, seen);
            }
            seen.rc = as_good_as;
        }
        if maskable {
            (seen.status, seen.rc) = (Status::Done, rc::NOT_RUNNING);
        }
        if !matches!(seen.status, Status::Done | Status::Error) {
            return;
        }
        let expected = seen.expected_rc >= 0 && seen.rc == seen.expected_rc;
        seen.status = if expected { Status::Done } else { Status::Error };
        let probe = seen.is_probe();
        match seen.rc {
            rc::OK if probe && seen.expected_rc == rc::NOT_RUNNING => seen.status = Status::Done,
            rc::OK => {}
            rc::NOT_RUNNING => {
                let resource = self.resource_mut(id);
                if probe || expected || !resource.is(Flags::MANAGED) {
                    seen.status = Status::Done;
                    resource.role = Role::Stopped;
                    resource.next_role = Role::Unknown;
                    state.on_fail = OnFail::Ignore;
                }
            }
            rc::PROMOTED => {
                if probe && !expected {
                    seen.status = Status::Done;
                }
                self.resource_mut(id).role = Role::Promoted;
            }
            rc::FAILED_PROMOTED => {
                seen.status = Status::Error;
                self.resource_mut(id).role = Role::Promoted;
            }
            rc::NOT_CONFIGURED => seen.status = Status::FatalError,
            rc::UNIMPLEMENTED => {
                seen.status = if seen.interval_ms == 0 { Status::HardError } else { Status::NotSupported };
                self.block_if_stop_is_final(state, seen);
            }
            rc::NOT_INSTALLED | rc::INVALID_PARAMETER | rc::INSUFFICIENT_PRIVILEGES => {
                seen.status = Status::HardError;
                self.block_if_stop_is_final(state, seen);
            }
            _ => seen.status = Status::Error,
        }
    }

    /// A resource that cannot be stopped, on a node that cannot be fenced, is left alone.
    fn block_if_stop_is_final(&mut self, state: &State, seen: &Operation<'_>) {
        if seen.task != "stop" || self.can_fence(state.node) {
            return;
        }
        let resource = self.resource_mut(state.resource);
        resource.set(Flags::MANAGED, false);
        resource.set(Flags::BLOCKED, true);
    }

    /// Whether a node can be fenced by what there is.
    pub(crate) fn can_fence(&self, node: NodeId) -> bool {
        if self.is_guest(node) {
            let container = self.node(node).connection.and_then(|c| self.resource(c).container);
            let hosts = container.map(|c| &self.resource(c).running_on[..]).unwrap_or_default();
            // A guest on a guest is none that could be fenced.
            return hosts
                .iter()
                .all(|host| self.node(*host).online || !self.is_guest(*host) && self.can_fence(*host));
        }
        self.options.fencing
            && self.has_fence_device
            && (self.have_quorum
                || self.options.no_quorum_policy == crate::model::NoQuorumPolicy::Ignore
                || self.node(node).online)
    }

    fn take_pending(&mut self, state: &State, seen: &Operation<'c>) {
        let (id, node) = (state.resource, state.node);
        match seen.task {
            "start" => {
                self.resource_mut(id).set(Flags::START_PENDING, true);
                self.set_active(id);
            }
            "promote" => self.resource_mut(id).role = Role::Promoted,
            "migrate_to" if self.node(node).unclean => {
                if let Some(target) = seen.xml.get("migrate_target").and_then(|t| self.node_named(t)) {
                    self.order_stop(id, target);
                }
            }
            _ => {}
        }
        let resource = self.resource_mut(id);
        if resource.pending.is_none() && !seen.is_probe() {
            resource.pending = Some(crate::model::UnderWay { task: seen.task.to_owned(), node });
        }
    }

    fn take_success(&mut self, state: &mut State, seen: &Operation<'c>, code: i32) {
        let id = state.resource;
        let mut forget = false;
        let resource = self.resource_mut(id);
        if code == rc::NOT_INSTALLED {
            resource.role = Role::Stopped;
        } else if code == rc::NOT_RUNNING {
            forget = true;
        } else {
            match seen.task {
                "monitor" => {
                    forget = state.last_failure.as_deref() == Some(seen.key(&state.name).as_str());
                    if resource.role < Role::Started {
                        self.set_active(id);
                    }
                }
                "start" | "migrate_from" => (resource.role, forget) = (Role::Started, true),
                "stop" => (resource.role, forget) = (Role::Stopped, true),
                "promote" => (resource.role, forget) = (Role::Promoted, true),
                "demote" => {
                    resource.role = Role::Unpromoted;
                    forget = state.on_fail == OnFail::Demote;
                }
                "migrate_to" => self.take_migrate_to(state, seen),
                _ => {
                    if resource.role < Role::Started {
                        self.set_active(id);
                    }
                }
            }
        }
        if !forget {
            return;
        }
        let resource = self.resource_mut(id);
        let goes = match state.on_fail {
            OnFail::Stop | OnFail::Fence | OnFail::Migrate | OnFail::Standby => false,
            // Without an interval between two connections nothing has to be waited for.
            OnFail::ResetRemote => resource.reconnect_ms == 0,
            _ => true,
        };
        if goes {
            state.on_fail = OnFail::Ignore;
            resource.next_role = Role::Unknown;
        }
    }

    fn take_failure(&mut self, state: &mut State, seen: &Operation<'c>) {
        let (id, node) = (state.resource, state.node);
        state.last_failure = Some(seen.key(&state.name));
        let known = self.node(node);
        if !known.shutdown || known.online {
            self.record(state, seen);
        }
        let on_fail = self.on_fail(id, seen);
        state.on_fail = state.on_fail.max(on_fail);
        match seen.task {
            "stop" => {
                let score = Score::MINUS_INFINITY;
                self.place_on(id, Some(node), score, Why::History);
            }
            "migrate_from" => self.take_failed_migrate_from(state, seen),
            "migrate_to" => self.take_failed_migrate_to(state, seen),
            "promote" => self.resource_mut(id).role = Role::Promoted,
            "demote" => {
                let resource = self.resource_mut(id);
                if on_fail == OnFail::Block {
                    (resource.role, resource.next_role) = (Role::Promoted, Role::Stopped);
                } else if seen.rc == rc::NOT_RUNNING {
                    resource.role = Role::Stopped;
                } else {
                    // It is stopped anyway; as promoted it would be demoted for ever.
                    resource.role = Role::Unpromoted;
                }
            }
            _ => {}
        }
        if seen.is_probe() && seen.rc == rc::NOT_INSTALLED {
            self.resource_mut(id).role = Role::Stopped;
        } else if self.resource(id).role < Role::Started {
            self.set_active(id);
        }
        let role_after = match (on_fail, seen.task) {
            (OnFail::Stop, _) => Role::Stopped,
            (OnFail::ResetRemote, _) if self.resource(id).reconnect_ms > 0 => Role::Stopped,
            (_, "promote") => Role::Unpromoted,
            _ => Role::Started,
        };
        let resource = self.resource_mut(id);
        if role_after != Role::Started && resource.next_role < role_after {
            resource.next_role = role_after;
        }
        if role_after == Role::Stopped {
            // One instance as good as the other: the clone does not come up again. What is inside of it is not asked.
            let top = self.top_of(id);
            let all = if self.is_anonymous_clone(top) { top } else { id };
            for at in 0..self.nodes.len() {
                self.set_score(all, at, Score::MINUS_INFINITY, Why::History);
            }
        }
    }

    pub(super) fn set_active(&mut self, id: ResourceId) {
        let promotable = self.resource(self.top_of(id)).is(Flags::PROMOTABLE);
        self.resource_mut(id).role = if promotable { Role::Unpromoted } else { Role::Started };
    }

    fn record(&mut self, state: &State, operation: &Operation<'c>) {
        if !self.node(state.node).online {
            return;
        }
        let node = self.node(state.node).name.clone();
        let key = operation.key(&state.name);
        // Two without keys pass for one, as with the peer.
        let given = operation.xml.get("operation_key");
        let same = |other: Option<&str>| match (other, given) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a == b,
        };
        if self.failed.iter().any(|f| f.node == node && same(f.xml.get("operation_key"))) {
            return;
        }
        let resource = key.rsplitn(3, '_').nth(2).unwrap_or_default().to_owned();
        self.failed.push(Failed {
            resource,
            node,
            key,
            rc: operation.rc,
            probe: is_maskable(operation) && operation.xml.get("on_node").is_some(),
            masked: is_maskable(operation),
            xml: operation.xml,
        });
    }

    /// What is done now because of what has failed.
    pub(super) fn react(&mut self, id: ResourceId, node: NodeId, on_fail: OnFail) {
        let failed = Flags::FAILED | Flags::MUST_STOP;
        let runs = !matches!(self.resource(id).role, Role::Stopped | Role::Unknown);
        match on_fail {
            OnFail::Ignore => {}
            OnFail::Demote => {
                self.resource_mut(id).set(Flags::FAILED, true);
                self.orders.push(Order::Demote { resource: id, node });
            }
            OnFail::Fence => {
                let reason = format!("{} failed there", self.resource(id).id);
                self.fence(node, &reason);
            }
            OnFail::Standby => {
                let known = self.node_mut(node);
                (known.standby, known.standby_on_fail) = (true, true);
            }
            OnFail::Block => {
                let resource = self.resource_mut(id);
                resource.set(Flags::MANAGED, false);
                resource.set(Flags::BLOCKED, true);
            }
            OnFail::Migrate => {
                let score = Score::MINUS_INFINITY;
                self.place_on(id, Some(node), score, Why::History);
            }
            OnFail::Stop => self.resource_mut(id).next_role = Role::Stopped,
            OnFail::Restart => {
                if runs {
                    self.resource_mut(id).set(failed, true);
                    self.order_stop(id, node);
                }
            }
            OnFail::RestartContainer => {
                self.resource_mut(id).set(failed, true);
                if let Some(container) = self.resource(id).container {
                    if self.is_bundled(id) {
                        // Where it runs is known once all histories have been read.
                        self.containers_to_stop.push(container);
                    } else {
                        self.order_stop(container, node);
                    }
                } else if runs {
                    self.order_stop(id, node);
                }
            }
            OnFail::ResetRemote => {
                self.resource_mut(id).set(failed, true);
                let remote = self.remote_of(id);
                if let Some(remote) = remote.filter(|_| self.options.fencing)
                    && self.is_remote(remote)
                    && !self.node(remote).was_fenced
                {
                    self.fence(remote, "remote connection is unrecoverable");
                }
                if self.resource(id).role > Role::Stopped {
                    self.order_stop(id, node);
                }
                let resource = self.resource_mut(id);
                if resource.reconnect_ms > 0 {
                    resource.next_role = Role::Stopped;
                }
            }
        }
        // A remote node whose connection failed is fenced even if another connection is tried.
        if self.resource(id).is(Flags::FAILED)
            && let Some(remote) = self.remote_of(id)
            && self.node(remote).unclean
        {
            self.node_mut(remote).unseen = false;
        }
    }

    /// It has to stop there: where nobody can be told to do so, the node has to be fenced.
    pub(super) fn order_stop(&mut self, id: ResourceId, node: NodeId) {
        self.orders.push(Order::Stop { resource: id, node, required: true });
        let known = self.node(node);
        let away = !known.online && (!self.is_guest(node) || known.requires_reset);
        if away && !known.unclean && self.resource(id).is(Flags::MANAGED) {
            self.fence(node, "stop is unrunnable");
        }
    }

    /// The node behind a connection.
    fn remote_of(&self, id: ResourceId) -> Option<NodeId> {
        self.resource(id).is_connection.then(|| self.node_named(&self.resource(id).id))?
    }

    /// The operation of the configuration with this name and interval, also one that is switched off.
    pub(crate) fn configured_operation(
        &self,
        id: ResourceId,
        task: &str,
        interval_ms: u64,
    ) -> Option<&Element> {
        let find = |task: &str, interval_ms: u64| {
            self.configured_operations(id)
                .find(|op| op.get("name") == Some(task) && interval_of(op) == interval_ms)
        };
        find(task, interval_ms).or_else(|| {
            if matches!(task, "migrate_to" | "migrate_from") {
                return find("migrate", 0);
            }
            task.contains("_notify_").then(|| find("notify", 0))?
        })
    }

    /// All operations of the configuration, those that are switched off included.
    pub(crate) fn configured_operations(&self, id: ResourceId) -> impl Iterator<Item = &Element> {
        let all = self.resource(id).xml.children_named("operations");
        all.filter_map(|o| self.ids.resolve(o)).flat_map(|o| o.children_named("op"))
    }

    pub(crate) fn is_enabled(&self, op: &Element) -> bool {
        op.get("enabled").and_then(cib::parse_bool) != Some(false)
    }

    /// Meta-attributes of an operation: defaults, its own, its attributes, each stronger than the one before.
    pub(crate) fn operation_meta(&self, id: ResourceId, task: &str, interval_ms: u64) -> Attributes {
        let mut meta = Attributes::new();
        let op = self.configured_operation(id, task, interval_ms);
        let resource = self.resource(id);
        let facts =
            Facts { agent: agent_of(&resource.xml), operation: Some((task, interval_ms)), ..self.facts() };
        let kind = "meta_attributes";
        if let Some(defaults) = self.root.child("configuration").and_then(|c| c.child("op_defaults")) {
            collect(&self.ids, defaults, kind, &facts, None, Precedence::First, &mut meta);
        }
        if task == "monitor"
            && interval_ms == 0
            && let Some(timeout) = self.shortest_monitor(id).and_then(|op| op.get("timeout"))
        {
            meta.insert("timeout".into(), timeout.to_owned());
        }
        if let Some(op) = op {
            collect(&self.ids, op, kind, &facts, None, Precedence::Last, &mut meta);
            meta.extend(op.attributes.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        meta
    }

    /// Recurring monitors of the configuration that are not switched off.
    fn monitors(&self, id: ResourceId) -> impl Iterator<Item = &Element> {
        let all = self.configured_operations(id);
        all.filter(|op| op.get("name") == Some("monitor") && interval_of(op) > 0 && self.is_enabled(op))
    }

    /// The monitor that recurs most often: a probe may take as long as that.
    pub(crate) fn shortest_monitor(&self, id: ResourceId) -> Option<&Element> {
        self.monitors(id).min_by_key(|op| interval_of(op))
    }

    /// What a failure of this operation asks for.
    fn on_fail(&self, id: ResourceId, seen: &Operation<'_>) -> OnFail {
        self.on_fail_of(id, seen.task, seen.interval_ms)
    }

    fn on_fail_of(&self, id: ResourceId, task: &str, interval_ms: u64) -> OnFail {
        let meta = self.operation_meta(id, task, interval_ms);
        let resource = self.resource(id);
        let promoted_monitor = |meta: &Attributes| {
            task == "monitor"
                && interval_ms > 0
                && meta.get("role").and_then(|r| Role::parse(r)) == Some(Role::Promoted)
        };
        let asked = meta.get("on-fail").and_then(|value| {
            Some(match value.to_ascii_lowercase().as_str() {
                "ignore" | "nothing" => OnFail::Ignore,
                "block" => OnFail::Block,
                "fence" if self.options.fencing => OnFail::Fence,
                "fence" => OnFail::Stop,
                "standby" if task != "stop" => OnFail::Standby,
                "migrate" => OnFail::Migrate,
                "stop" if task != "stop" => OnFail::Stop,
                "restart" => OnFail::Restart,
                "restart-container" if resource.container.is_some() => OnFail::RestartContainer,
                "demote" if task == "promote" || promoted_monitor(&meta) => OnFail::Demote,
                _ => return None,
            })
        });
        let start_or_probe = task == "start" || (task == "monitor" && interval_ms == 0);
        let remote = self.remote_of(id).is_some_and(|remote| self.is_remote(remote)) && !start_or_probe;
        if let Some(asked) = asked {
            // Nobody can do anything about a connection that is not managed.
            return if remote && !resource.is(Flags::MANAGED) { OnFail::Stop } else { asked };
        }
        if task == "demote"
            && let Some(inherited) = self.on_fail_of_promoted_monitor(id)
        {
            return inherited;
        }
        if task == "lrm_delete" {
            return OnFail::Ignore;
        }
        if resource.container.is_some() {
            return OnFail::RestartContainer;
        }
        if remote {
            return if resource.is(Flags::MANAGED) { OnFail::ResetRemote } else { OnFail::Stop };
        }
        if task == "stop" {
            return if self.options.fencing { OnFail::Fence } else { OnFail::Block };
        }
        OnFail::Restart
    }

    /// A demotion that fails is as bad as a promoted resource that does.
    fn on_fail_of_promoted_monitor(&self, id: ResourceId) -> Option<OnFail> {
        self.monitors(id)
            .filter(|op| {
                op.get("role").and_then(Role::parse) == Some(Role::Promoted)
                    && op.get("on-fail").is_some_and(|v| !v.eq_ignore_ascii_case("demote"))
            })
            .map(|op| self.on_fail_of(id, "monitor", interval_of(op)))
            .next()
    }

    fn has_expired(&mut self, state: &State, operation: &Operation<'c>) -> bool {
        let (id, node) = (state.resource, state.node);
        let timeout = self.resource(id).failure_timeout;
        let last_failure_entry = operation.id().ends_with("_last_failure_0");
        let mut expired = false;
        let mut effective = Score::ZERO;
        if timeout > 0 && operation.changed > 0 {
            expired = self.now.0 >= operation.changed.saturating_add(timeout)
                && !self.waits_for_fencing(id, operation);
            let (count, last) = self.fail_count(id, node, true);
            effective = count;
            if count > Score::ZERO {
                self.changes_at(cib::Moment(last.saturating_add(timeout).saturating_add(1)));
            }
        }
        let mut clear = None;
        if expired {
            if self.fail_count(id, node, false).0 > Score::ZERO {
                if effective == Score::ZERO {
                    clear = Some("it expired");
                } else {
                    expired = false;
                }
            } else if last_failure_entry && self.resource(id).reconnect_ms > 0 {
                clear = Some("reconnect interval is set");
            }
        }
        if !expired && last_failure_entry && self.was_reconfigured(id, node, operation) {
            clear = Some("resource parameters have changed");
        }
        if let Some(reason) = clear {
            self.orders.push(Order::ClearFailures { resource: id, node, reason });
        }
        let good = [rc::OK, rc::NOT_RUNNING, rc::PROMOTED, rc::DEGRADED, rc::DEGRADED_PROMOTED];
        expired && !(operation.is_probe() && good.contains(&operation.rc))
    }

    /// Whether what failed would be tried with other parameters now.
    fn was_reconfigured(&mut self, id: ResourceId, node: NodeId, operation: &Operation<'c>) -> bool {
        if !matches!(operation.task, "start" | "monitor") {
            return false;
        }
        if self.needs_host_name(id) {
            // What depends on where resources will be is not known yet.
            self.deferred_changes.push(DeferredCheck { id, node, operation: *operation, failure: true });
            return false;
        }
        matches!(self.compare_parameters(id, node, operation), Parameters::Changed | Parameters::Restart)
    }

    /// A failed connection is not forgotten before the node behind it was fenced.
    fn waits_for_fencing(&self, id: ResourceId, operation: &Operation<'_>) -> bool {
        let resource = self.resource(id);
        if resource.reconnect_ms == 0 || !self.options.fencing {
            return false;
        }
        let recurring = operation.interval_ms > 0 && operation.task == "monitor";
        recurring && self.remote_of(id).is_some_and(|remote| !self.node(remote).was_fenced)
    }

    /// How often a resource has failed on a node, and when it did last. `effective`: without what has expired.
    pub(crate) fn fail_count(&self, id: ResourceId, node: NodeId, effective: bool) -> (Score, i64) {
        let (mut count, last) = self.own_fail_count(id, node);
        let timeout = self.resource(id).failure_timeout;
        if effective
            && timeout > 0
            && last > 0
            && self.now.0 > last.saturating_add(timeout)
            && !self.is_blocked_for_good(id, node)
        {
            count = Score::ZERO;
        }
        (count, last)
    }

    /// How often a resource and what runs inside it have failed on a node: what its migration threshold counts.
    pub(crate) fn fail_count_with_fillers(&self, id: ResourceId, node: NodeId) -> Score {
        let (mut count, _) = self.fail_count(id, node, true);
        let resource = self.resource(id);
        let sums_up = !self.is_bundled(id) && resource.container.is_none();
        if sums_up && !matches!(resource.variant, Variant::Bundle(_)) {
            for filler in resource.fillers.iter().filter(|f| self.resource(**f).container == Some(id)) {
                count = count + self.fail_count_with_fillers(*filler, node);
            }
        }
        count
    }

    /// The same, expired or not.
    pub(crate) fn own_fail_count(&self, id: ResourceId, node: NodeId) -> (Score, i64) {
        let resource = self.resource(id);
        let name = resource.history_name.as_deref().unwrap_or(&resource.id);
        let unique = resource.is(Flags::UNIQUE);
        let (mut count, mut last) = (Score::ZERO, 0i64);
        for failure in self.node(node).failures().get(base_name(name)).into_iter().flatten() {
            if !unique || failure.owner == name {
                count = count + failure.count;
                last = last.max(failure.last);
            }
        }
        (count, last)
    }

    /// A failed operation with on-fail=block is not forgotten by itself.
    fn is_blocked_for_good(&self, id: ResourceId, node: NodeId) -> bool {
        let resource = self.resource(id);
        let operations = resource.xml.children_named("operations");
        let mut blocking = operations
            .filter_map(|o| self.ids.resolve(o))
            .flat_map(|o| o.children_named("op"))
            .filter(|op| op.get("on-fail") == Some("block"))
            .filter_map(|op| Some((op.get("name")?, interval_of(op))))
            .peekable();
        if blocking.peek().is_none() {
            return false;
        }
        let name = resource.history_name.as_deref().unwrap_or(&resource.id);
        let entries = self.entries(name, node);
        blocking.any(|(task, interval)| {
            entries.iter().any(|e| {
                e.task == task
                    && e.interval_ms == interval
                    && e.status != Status::Pending
                    && (e.rc != e.expected_rc && e.rc != rc::OK
                        || !matches!(e.status, Status::Done | Status::Error))
            })
        })
    }
}

/// A probe that says that the resource cannot even be asked after there.
fn is_maskable(operation: &Operation<'_>) -> bool {
    operation.is_probe()
        && (matches!(operation.rc, rc::NOT_INSTALLED | rc::INVALID_PARAMETER)
            || operation.status == Status::NotInstalled)
}

/// The interval of a configured operation, in milliseconds.
pub(crate) fn interval_of(op: &Element) -> u64 {
    op.get("interval").and_then(parse_duration_ms).unwrap_or(0)
}
