//! From actions and edges to the transition graph: which of them stand in it, and all that is to be known for each.

use cib::{Attributes, parse_duration_ms};

use crate::model::{Flags, NodeId, NodeKind, ResourceId, Variant, WorkingSet};
use crate::orderings::Kind;
use crate::transition::{self, Descriptor, Graph, Head, Place, Synapse};

use super::{ActionId, Edge, Is, Key, Task};

/// How long an operation may take for which nothing is configured.
const DEFAULT_TIMEOUT_MS: u64 = 20_000;

impl WorkingSet<'_> {
    /// What has to be done, as a graph. After [`Self::schedule`].
    pub fn graph(&mut self) -> Graph {
        let mut order = Vec::new();
        for id in self.top.clone() {
            self.choose_of(id, &mut order);
        }
        let maintenance = self.maintenance_to_tell();
        if !maintenance.is_empty() {
            let tell = self.pseudo_action("maintenance_nodes");
            self.set_is(tell, Is::PRINT_ALWAYS);
        }
        for action in self.actions.ids().rev() {
            self.choose(action, &mut order);
        }
        let mut graph = Graph { head: self.graph_head(), ..Graph::default() };
        let mut places: Vec<Option<usize>> = vec![None; self.actions.table.len()];
        for action in order {
            let place = self.put_into(&mut graph, &mut places, action);
            self.describe(action, &mut graph.actions[place]);
            if graph.actions[place].operation == "maintenance_nodes" {
                graph.actions[place].maintenance.clone_from(&maintenance);
            }
            let edges: Vec<ActionId> =
                self.actions[action].before.iter().filter(|e| e.in_graph).map(|e| e.other).collect();
            let inputs =
                edges.into_iter().map(|input| self.put_into(&mut graph, &mut places, input)).collect();
            graph.synapses.push(Synapse { priority: self.urgency(action), action: place, inputs });
        }
        graph
    }

    /// Remote nodes and guests that have not been told yet that they are in maintenance, or not any more.
    fn maintenance_to_tell(&self) -> Vec<(String, bool)> {
        let nodes = self.by_name.iter().map(|n| self.node(*n));
        nodes
            .filter(|n| n.kind == NodeKind::Remote && n.maintenance != n.told_maintenance)
            .map(|n| (n.id.clone(), n.maintenance))
            .collect()
    }

    fn graph_head(&self) -> Head {
        let default = Head::default();
        let option = |name: &str| self.options.all.get(name).cloned();
        let fatal = option("start-failure-is-fatal").and_then(|v| cib::parse_bool(&v)).unwrap_or(true);
        let limit = option("migration-limit").filter(|l| l.trim().parse::<i64>().is_ok_and(|l| l > 0));
        let recheck = self.recheck.get().filter(|at| *at > self.now);
        Head {
            cluster_delay: option("cluster-delay").unwrap_or(default.cluster_delay),
            stonith_timeout: option("stonith-timeout").unwrap_or(default.stonith_timeout),
            failed_start_offset: if fatal { "INFINITY".into() } else { "1".into() },
            batch_limit: option("batch-limit").unwrap_or(default.batch_limit),
            migration_limit: limit,
            recheck_by: recheck.map(|at| at.0.to_string()),
            ..default
        }
    }

    /// Those of a resource and its parts that stand in the graph, in the order in which they stand there.
    fn choose_of(&mut self, id: ResourceId, order: &mut Vec<ActionId>) {
        match self.resource(id).variant.clone() {
            Variant::Primitive | Variant::Group => self.choose_own(id, order),
            Variant::Clone(_) => {
                for at in (0..self.actions.of(id).len()).rev() {
                    let action = self.actions.of(id)[at];
                    self.flags_of(action, None);
                }
                self.create_notifications(id);
                for child in self.resource(id).children.clone() {
                    self.choose_of(child, order);
                }
                self.choose_own(id, order);
            }
            Variant::Bundle(bundle) => {
                if let Some(inside) = bundle.inside {
                    self.choose_of(inside, order);
                }
                for replica in &bundle.replicas {
                    for part in
                        [replica.ip, Some(replica.container), replica.connection].into_iter().flatten()
                    {
                        self.choose_of(part, order);
                    }
                }
            }
        }
    }

    fn choose_own(&mut self, id: ResourceId, order: &mut Vec<ActionId>) {
        for at in (0..self.actions.of(id).len()).rev() {
            let action = self.actions.of(id)[at];
            self.choose(action, order);
        }
        for child in self.resource(id).children.clone() {
            self.choose_of(child, order);
        }
    }

    /// Puts an action into the graph, if it belongs there, and decides about its inputs.
    fn choose(&mut self, id: ActionId, order: &mut Vec<ActionId>) {
        if !self.is(id, Is::DEDUPLICATED) {
            self.merge_inputs(id);
            self.set_is(id, Is::DEDUPLICATED);
        }
        if self.is(id, Is::IN_GRAPH) || !self.belongs_in_graph(id) {
            return;
        }
        self.set_is(id, Is::IN_GRAPH);
        order.push(id);
        for at in 0..self.actions[id].before.len() {
            let edge = &self.actions[id].before[at];
            let counts = edge.in_graph || edge.kind != Kind::NONE && self.counts_as_input(id, edge);
            let apart = edge.kind == Kind::LOAD || edge.kind == Kind::ANTI_COLOCATION;
            let edge = &mut self.actions[id].before[at];
            edge.in_graph = counts;
            if apart && !counts {
                edge.kind = Kind::NONE;
            }
        }
    }

    /// Inputs by number, each once, with all that its edges said.
    fn merge_inputs(&mut self, id: ActionId) {
        let edges = &mut self.actions[id].before;
        edges.sort_by_key(|e| e.other);
        edges.dedup_by(|next, kept| {
            let same = next.other == kept.other;
            if same {
                kept.kind = kept.kind.with(next.kind);
            }
            same
        });
    }

    fn belongs_in_graph(&self, id: ActionId) -> bool {
        let action = &self.actions[id];
        if !action.is.has(Is::RUNNABLE) || action.is.has(Is::OPTIONAL) && !action.is.has(Is::PRINT_ALWAYS) {
            return false;
        }
        if let Some(resource) = action.resource
            && !self.resource(resource).is(Flags::MANAGED)
            && action.task != Task::MONITOR
            && action.interval_ms() == 0
        {
            return false;
        }
        if action.is.has(Is::PSEUDO) || matches!(action.task, Task::STONITH | Task::SHUTDOWN) {
            return true;
        }
        let Some(node) = action.node else { return false };
        if action.is.has(Is::ON_DC) {
            return true;
        }
        let known = self.node(node);
        if self.is_guest(node) && !known.requires_reset {
            return true;
        }
        known.online && !known.unclean
    }

    /// Whether an action has to wait for one that is before it. The edge says something.
    pub(crate) fn counts_as_input(&self, id: ActionId, edge: &Edge) -> bool {
        let (action, kind) = (&self.actions[id], edge.kind);
        let input = &self.actions[edge.other];
        let runnable = input.is.has(Is::RUNNABLE);
        let says_more =
            kind.without(Kind::PRINTS_FIRST.with(Kind::PRINTS_THEN).with(Kind::OPTIONAL)) != Kind::NONE;
        let stop = self.key_ends_with(edge.other, Task::STOP);
        if !runnable && (!says_more || kind.has(Kind::ONE_OR_MORE) || kind.has(Kind::FIRST_MIGRATABLE)) {
            return false;
        }
        let migratable = input.is.has(Is::MIGRATABLE);
        if migratable && (kind.has(Kind::FIRST_NOT_MIGRATABLE) || kind == Kind::OPTIONAL && stop) {
            return false;
        }
        if kind == Kind::LOAD {
            // Capacity is waited for where something will be, and not where its migration begins.
            if let Some(resource) = action.resource.filter(|_| action.task == Task::MIGRATE_TO) {
                return input.node.is_some() && input.node == self.resource(resource).assigned;
            }
            return input.node.is_some() && input.node == action.node && !input.is.has(Is::OPTIONAL);
        }
        if kind == Kind::ANTI_COLOCATION {
            let apart = input.node.is_some() && action.node.is_some() && input.node != action.node;
            return !apart && !input.is.has(Is::OPTIONAL);
        }
        if let (Some(of_input), Some(own)) = (input.resource, action.resource)
            && of_input != own
            && stop
            && self.resource(of_input).is(Flags::FAILED)
            && !self.resource(of_input).is(Flags::MANAGED)
            && matches!(self.resource(own).variant, Variant::Clone(_))
        {
            return false;
        }
        !input.is.has(Is::OPTIONAL)
            || input.is.has(Is::PRINT_ALWAYS)
            || input.is.has(Is::IN_GRAPH)
            || self.belongs_in_graph(edge.other)
    }

    fn urgency(&self, id: ActionId) -> i32 {
        let action = &self.actions[id];
        let own = if action.urgent { cib::Score::INFINITY } else { cib::Score::ZERO };
        let priority = action.resource.map_or(own, |r| self.resource(r).priority.max(own));
        priority.get().max(0)
    }

    /// An action's place in the graph's table, where it is put if it is not there.
    fn put_into(&self, graph: &mut Graph, places: &mut [Option<usize>], id: ActionId) -> usize {
        let slot = &mut places[id.0 as usize];
        if let Some(place) = *slot {
            return place;
        }
        let place = graph.actions.len();
        *slot = Some(place);
        let action = &self.actions[id];
        let pseudo = action.is.has(Is::PSEUDO);
        let (kind, with_node) = match action.task {
            Task::STONITH if pseudo => (transition::Kind::PseudoEvent, true),
            Task::STONITH | Task::SHUTDOWN | Task::CLEAR_FAILCOUNT | Task::LRM_DELETE => {
                (transition::Kind::CrmEvent, true)
            }
            _ if pseudo => (transition::Kind::PseudoEvent, false),
            _ => (transition::Kind::RscOp, true),
        };
        let name = self.actions.tasks.name(action.task);
        let key = self.key_of(id);
        let mut entry = transition::Action::new(id.0 + 1, kind, name, key);
        entry.in_cib = action.task == Task::LRM_DELETE;
        if let (Some(resource), Key::Of(task, interval)) = (action.resource, &action.key)
            && let Some(history_name) = &self.resource(resource).history_name
        {
            // A cancelled operation keeps its name, as does what is told of another action.
            let task = match action.task {
                Task::NOTIFY => action
                    .meta("notify_type")
                    .zip(action.meta("notify_operation"))
                    .map(|(kind, of)| format!("{kind}_notify_{of}")),
                Task::CANCEL => Some(self.actions.tasks.name(*task).to_owned()),
                task => Some(self.actions.tasks.name(task).to_owned()),
            };
            let known_as = format!("{history_name}_{}_{interval}", task.unwrap_or_default());
            entry.internal_key = Some(std::mem::replace(&mut entry.key, known_as));
        }
        if let Some(node) = action.node.filter(|_| with_node) {
            let known = self.node(node);
            entry.node = Some(Place { name: known.name.clone(), uuid: known.id.clone() });
            entry.router = self.router(id, node).map(|n| self.node(n).name.clone());
        }
        graph.actions.push(entry);
        place
    }

    /// The cluster node that an action on a remote node or guest goes through.
    fn router(&self, id: ActionId, node: NodeId) -> Option<NodeId> {
        let action = &self.actions[id];
        if action.task == Task::STONITH || self.node(node).kind != NodeKind::Remote {
            return None;
        }
        let connection = self.node(node).connection?;
        let began = self.current_node(connection);
        let resource = self.resource(connection);
        let (Some(began), Some(ended)) = (began, resource.assigned) else {
            return began.or(resource.assigned);
        };
        let partly = resource.container.is_none() && resource.partial_migration.is_some();
        let task = match action.task {
            Task::NOTIFY => action.meta("notify_operation").and_then(|t| self.actions.tasks.known(t)),
            task => Some(task),
        };
        let early = matches!(
            task,
            Some(Task::CANCEL | Task::STOP | Task::DEMOTE | Task::MIGRATE_FROM | Task::MIGRATE_TO)
        );
        // What has to be done before the connection moves goes the old way.
        Some(if early && !partly { began } else { ended })
    }

    /// Fills in all that whoever carries an action out has to know.
    fn describe(&mut self, id: ActionId, entry: &mut transition::Action) {
        let action = &self.actions[id];
        let (resource, node, task) = (action.resource, action.node, action.task);
        let pseudo = action.is.has(Is::PSEUDO);
        if let Some(resource) = resource.filter(|_| !pseudo) {
            let known = self.resource(resource);
            let locks = known.locked_to.is_some()
                && known.locked_to == node
                && (task == Task::STOP || node.is_some_and(|n| !self.node(n).shutdown));
            entry.shutdown_lock = locks.then(|| known.lock_time.to_string());
            entry.resource = Some(self.descriptor(resource));
        }
        let attributes = &mut entry.attributes;
        attributes.insert("crm_feature_set".to_owned(), FEATURE_SET.to_owned());
        if let Some(resource) = resource {
            let on_node = node.map(|n| self.node(n).attributes.clone());
            if node.is_some() || self.resource(resource).is_primitive() {
                let mut parameters = self.parameters(resource, on_node.as_ref());
                if parameters.get("addr").is_some_and(|a| a == "#uname")
                    && let Some(host) = self.host_name(resource)
                {
                    parameters.insert("addr".to_owned(), host.to_owned());
                }
                attributes.extend(parameters);
                if let Some(on_node) = &on_node {
                    let (task, interval_ms) = self.operation_of(id);
                    attributes.extend(self.parameters_of_operation(resource, on_node, &task, interval_ms));
                }
            }
        }
        let mut meta = |name: &str, value: String| {
            if !name.contains(['#', ':']) {
                attributes.insert(format!("CRM_meta_{}", name.replace('-', "_")), value);
            }
        };
        // What is configured for an operation counts more than what an action brings along.
        let configured = resource.map(|r| self.operation_attributes(id, r)).unwrap_or_default();
        if let Some(expected) = self.actions[id].expected {
            meta("op_target_rc", expected.to_string());
        }
        for (name, value) in self.actions[id].meta.iter().filter(|(n, _)| !configured.contains_key(n)) {
            meta(name, value.clone());
        }
        for (name, value) in &configured {
            meta(name, value.clone());
        }
        if let Some(place) = &entry.node {
            meta("on_node", place.name.clone());
            meta("on_node_uuid", place.uuid.clone());
        }
        if let Some(resource) = resource {
            self.describe_ancestry(resource, &mut meta);
            if let Some(node) = node {
                self.describe_host(id, resource, node, &mut meta);
            }
            if let Some(address) = self.resource(resource).meta.get("external-ip") {
                entry.attributes.insert("pcmk_external_ip".to_owned(), address.clone());
            }
        } else if let Some(node) = node.filter(|_| task == Task::STONITH) {
            for (name, value) in &self.node(node).attributes {
                meta(name, value.clone());
            }
        }
        if let Some(node) = node.filter(|_| entry.node.is_some()) {
            entry.downed = self.downed_by(id, node);
        }
    }

    fn descriptor(&self, id: ResourceId) -> Descriptor {
        let resource = self.resource(id);
        let configured = || resource.configured_id().to_owned();
        let (name, long_id) = match &resource.history_name {
            // An orphan must be named as the history has it, or another instance might be meant.
            Some(history_name) if resource.is(Flags::ORPHAN) => {
                (history_name.clone(), Some(resource.id.clone()))
            }
            Some(history_name) if !resource.is(Flags::UNIQUE) && history_name != resource.configured_id() => {
                (configured(), Some(history_name.clone()))
            }
            _ if !resource.is(Flags::UNIQUE) => (configured(), Some(resource.id.clone())),
            _ => (resource.id.clone(), None),
        };
        Descriptor {
            id: name,
            long_id,
            class: resource.class.clone(),
            provider: resource.provider.clone(),
            kind: resource.kind.clone(),
        }
    }

    /// Name and interval of the operation that an action is for the configuration.
    pub(crate) fn operation_of(&self, id: ActionId) -> (String, u64) {
        let action = &self.actions[id];
        let task = action.key_task().unwrap_or(action.task);
        (self.actions.tasks.name(task).to_owned(), action.interval_ms())
    }

    /// Meta-attributes of the operation that an action is, times in milliseconds.
    fn operation_attributes(&self, id: ActionId, resource: ResourceId) -> Attributes {
        let action = &self.actions[id];
        let (task, interval_ms) = self.operation_of(id);
        let task = task.as_str();
        let configured = self.configured_operation(resource, task, interval_ms);
        let mut meta = self.operation_meta(resource, task, interval_ms);
        meta.shift_remove("id");
        meta.shift_remove("interval");
        if interval_ms > 0 {
            meta.insert("interval".to_owned(), interval_ms.to_string());
        }
        let known = self.resource(resource);
        let probe = task == "monitor" && interval_ms == 0;
        let mut timeout = meta.get("timeout").cloned();
        if probe && configured.is_none_or(|o| o.get("timeout").is_none()) {
            let shortest = self.shortest_monitor(resource);
            timeout = shortest.and_then(|o| o.get("timeout")).map(str::to_owned).or(timeout);
        }
        if known.is(Flags::FENCE_DEVICE) && (probe || task == "start") {
            let on_node = action.node.map(|n| &self.node(n).attributes);
            timeout = self.parameters(resource, on_node).get("pcmk_monitor_timeout").cloned().or(timeout);
        }
        let milliseconds = timeout.map_or(Some(DEFAULT_TIMEOUT_MS), |t| parse_duration_ms(&t));
        meta.insert("timeout".to_owned(), milliseconds.unwrap_or(DEFAULT_TIMEOUT_MS).to_string());
        if let Some(delay) = meta.get("start-delay") {
            let delay = parse_duration_ms(delay).unwrap_or(0);
            meta.insert("start-delay".to_owned(), delay.to_string());
        } else if let Some(origin) = meta.get("interval-origin")
            && let Some(origin) = cib::Moment::parse(origin).filter(|_| interval_ms > 0)
        {
            let delay = self.delay_until_multiple(origin, interval_ms);
            meta.insert("start-delay".to_owned(), delay.to_string());
        }
        meta
    }

    /// Milliseconds until the next multiple of an interval from an origin.
    fn delay_until_multiple(&self, origin: cib::Moment, interval_ms: u64) -> u64 {
        let interval = (interval_ms / 1_000).cast_signed();
        if interval == 0 {
            return 0;
        }
        let since = self.now.0.saturating_sub(origin.0).rem_euclid(interval);
        let delay = if since == 0 { 0 } else { interval - since };
        delay.cast_unsigned().saturating_mul(1_000)
    }

    /// What an agent is told of the clone that its resource is an instance of, and of containers around it.
    fn describe_ancestry(&self, id: ResourceId, meta: &mut impl FnMut(&str, String)) {
        let mut at = Some(id);
        while let Some(one) = at {
            let resource = self.resource(one);
            match &resource.variant {
                Variant::Primitive => self.describe_instance(one, meta),
                Variant::Clone(instances) => {
                    meta("globally-unique", resource.is(Flags::UNIQUE).to_string());
                    meta("notify", resource.is(Flags::NOTIFY).to_string());
                    meta("clone-max", instances.max.to_string());
                    meta("clone-node-max", instances.node_max.to_string());
                    if resource.is(Flags::PROMOTABLE) {
                        meta("promoted-max", instances.promoted_max.to_string());
                        meta("promoted-node-max", instances.promoted_node_max.to_string());
                        // By their old names for agents of old.
                        meta("master-max", instances.promoted_max.to_string());
                        meta("master-node-max", instances.promoted_node_max.to_string());
                    }
                }
                Variant::Group | Variant::Bundle(_) => {}
            }
            at = resource.parent;
        }
    }

    fn describe_instance(&self, id: ResourceId, meta: &mut impl FnMut(&str, String)) {
        let resource = self.resource(id);
        let in_clone = |p: ResourceId| matches!(self.resource(p).variant, Variant::Clone(_));
        let parents = std::iter::successors(resource.parent, |p| self.resource(*p).parent);
        if parents.into_iter().any(in_clone)
            && let Some((_, number)) = resource.id.rsplit_once(':')
        {
            meta("clone", number.to_owned());
        }
        if let Some(remote) = resource.meta.get("remote-node") {
            meta("remote-node", remote.clone());
        }
        let around = std::iter::successors(Some(id), |p| self.resource(*p).parent);
        for container in around.filter_map(|p| self.resource(p).container) {
            meta("container", self.resource(container).id.clone());
        }
    }

    /// On a guest: the node that its container is on when this is done.
    fn describe_host(
        &self,
        id: ActionId,
        resource: ResourceId,
        node: NodeId,
        meta: &mut impl FnMut(&str, String),
    ) {
        if !self.is_guest(node) {
            return;
        }
        let Some(container) = self.node(node).connection.and_then(|c| self.resource(c).container) else {
            return;
        };
        let action = &self.actions[id];
        let task = match action.task {
            Task::NOTIFY | Task::NOTIFIED => {
                action.meta("notify_operation").and_then(|t| self.actions.tasks.known(t))
            }
            task => Some(task),
        };
        let host = match task {
            Some(Task::STOP | Task::STOPPED | Task::DEMOTE | Task::DEMOTED) => self.current_node(container),
            Some(Task::START | Task::RUNNING | Task::MONITOR | Task::PROMOTE | Task::PROMOTED) => {
                self.resource(container).assigned
            }
            _ => None,
        };
        if let Some(host) = host {
            if let Some(target) = self.resource(resource).meta.get("container-attribute-target") {
                meta("container-attribute-target", target.clone());
            }
            meta("physical-host", self.node(host).name.clone());
        }
    }

    /// Ids of the nodes that are down once this is done.
    fn downed_by(&self, id: ActionId, node: NodeId) -> Vec<String> {
        let action = &self.actions[id];
        match action.task {
            Task::SHUTDOWN => vec![self.node(node).id.clone()],
            Task::STONITH if matches!(action.meta("stonith_action"), Some("off" | "reboot")) => {
                let running = self.node(node).running.iter().map(|r| self.resource(*r));
                let guests = running
                    .filter(|r| r.is_connection && r.container.is_some())
                    .filter_map(|r| self.node_named(&r.id))
                    .map(|n| self.node(n).id.clone());
                std::iter::once(self.node(node).id.clone()).chain(guests).collect()
            }
            Task::STOP => {
                let Some(resource) = action.resource.filter(|r| self.resource(*r).is_connection) else {
                    return Vec::new();
                };
                let migrates = action.before.iter().any(|e| {
                    let input = &self.actions[e.other];
                    input.resource == Some(resource) && input.task == Task::MIGRATE_FROM
                });
                if migrates { Vec::new() } else { vec![self.resource(resource).id.clone()] }
            }
            _ => Vec::new(),
        }
    }
}

/// The version of agents' interface that operations are carried out by.
const FEATURE_SET: &str = "3.16.1";
