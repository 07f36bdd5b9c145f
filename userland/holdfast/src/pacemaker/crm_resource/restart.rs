//! `--restart` and `--wait`: what takes as long as the cluster needs.

use std::time::{Duration, Instant};

use cib::Element;
use scheduler::simulate::carry_out;
use scheduler::transition::Kind;
use scheduler::{Flags, ResourceId, Variant, WorkingSet};

use super::super::crm_node::Nodes;
use super::super::options::Given;
use super::super::output::Out;
use super::super::results::Code;
use super::super::session::{Session, clock};
use super::change::{delete_pair_of, set_pair_of, without_number, written_meta};
use super::{DONE, Done, Found, NO_SUCH, Stop, Task, USAGE, place};

/// How often is looked. The cluster reacts within this.
const PAUSE: Duration = Duration::from_millis(500);
/// How long is waited if nobody says.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// What the cluster itself may need for a step, beside the agents.
const SLACK: Duration = Duration::from_secs(5);

fn read(document: &Element) -> Result<WorkingSet<'_>, Stop> {
    WorkingSet::new(document, clock()).map_err(|e| Stop::new(78, e))
}

fn timeout(given: &Given) -> Result<Option<Duration>, Stop> {
    let Some(text) = given.get("timeout") else { return Ok(None) };
    let ms = cib::parse_duration_ms(text);
    let ms = ms.ok_or_else(|| Stop::new(USAGE, format!("--timeout {text}: write a time such as 60s")))?;
    Ok(Some(Duration::from_millis(ms)).filter(|t| !t.is_zero()))
}

/// Waits until the scheduler finds nothing to do, and the running cluster does nothing.
pub(super) fn wait(given: &Given, session: &mut Session, out: &mut Out<'_>) -> Result<Done, Stop> {
    let deadline = Instant::now() + timeout(given)?.unwrap_or(WAIT_MAX);
    loop {
        let document = session.upgraded()?;
        let pending = pending(&document)?;
        let idle = !session.is_live() || Nodes::ask_controller(session)?.state == "S_IDLE";
        if pending.is_empty() && idle {
            return DONE;
        }
        if Instant::now() >= deadline {
            out.info(format_args!("Pending actions:"));
            for line in pending {
                out.info(format_args!("\t{line}"));
            }
            return Err(Code::TIME.into());
        }
        std::thread::sleep(PAUSE);
    }
}

/// What there is to do.
fn pending(document: &Element) -> Result<Vec<String>, Stop> {
    let mut set = read(document)?;
    set.without_secrets = true;
    set.place();
    set.schedule();
    let graph = set.graph();
    let actions = graph.synapses.iter().filter_map(|s| graph.actions.get(s.action));
    let real = actions.filter(|a| a.kind != Kind::PseudoEvent && a.operation != "notify");
    let line = |a: &scheduler::transition::Action| match &a.node {
        Some(node) => format!("Action {}: {}\ton {}", a.id, a.key, node.name),
        None => format!("Action {}: {}", a.id, a.key),
    };
    Ok(real.map(line).collect())
}

/// Ids of what runs: members instead of groups, of one node or all.
fn active(set: &WorkingSet<'_>, node: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |id: ResourceId| {
        if runs(set, id, node) {
            found.push(set.resource_at(id).id.clone());
        }
    };
    for id in &set.top {
        match &set.resource_at(*id).variant {
            Variant::Group => set.resource_at(*id).children.iter().copied().for_each(&mut add),
            _ => add(*id),
        }
    }
    found
}

fn runs(set: &WorkingSet<'_>, id: ResourceId, node: Option<&str>) -> bool {
    let on = set.runs_on(id);
    match node {
        Some(name) => on.iter().any(|n| set.node_at(*n).name.eq_ignore_ascii_case(name)),
        None => !on.is_empty(),
    }
}

/// How a resource is stopped, and let run again.
enum Hold {
    /// By its `target-role`; what that was before.
    Role(Option<String>),
    /// By a ban from the node, of this resource.
    Ban(String),
}

pub(super) fn restart(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    found: Found,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let Some(mut id) = found.resource else { return DONE };
    let limit = timeout(task.given)?;
    let top = set.outermost(id);
    if set.is_in_bundle(id) {
        id = set.resource_at(top).parent.unwrap_or(id);
    }
    let is_clone = |id: ResourceId| matches!(set.resource_at(id).variant, Variant::Clone(_));
    if is_clone(top) && !runs(set, id, task.node_name) {
        // Another instance may run there.
        let same = |c: &&ResourceId| {
            without_number(&set.resource_at(**c).id) == without_number(&set.resource_at(id).id)
        };
        let there =
            set.resource_at(top).children.iter().filter(same).find(|c| runs(set, **c, task.node_name));
        id = there.copied().unwrap_or(id);
    }
    if !runs(set, id, task.node_name) {
        let place = task.node_name.map_or("anywhere".to_owned(), |n| format!("on {n}"));
        out.error(format_args!("{} is not running {place} and so cannot be restarted", task.name));
        return Ok(Done::Status(NO_SUCH));
    }
    let resource = set.resource_at(id);
    let name = if is_clone(top) && set.resource_at(top).is(Flags::UNIQUE) {
        resource.id.clone()
    } else {
        without_number(&resource.id).to_owned()
    };
    let several = is_clone(id) || matches!(resource.variant, Variant::Bundle(_));
    let by_ban = task.node_name.is_some() && (several || is_clone(top));
    let before = active(set, task.node_name);
    let hold = match task.node_name.filter(|_| by_ban) {
        Some(node) => {
            let banned = if several { name.clone() } else { set.resource_at(top).id.clone() };
            let quiet = std::mem::replace(&mut out.quiet, true);
            let done = place::ban(task, &banned, node, task.promoted, None, session, out);
            out.quiet = quiet;
            done?;
            Hold::Ban(banned)
        }
        None => {
            let role = written_meta(&session.document()?, &name, "target-role", out);
            set_pair_of(&resource.id, set, id, "target-role", "Stopped", task.force, session, out)?;
            Hold::Role(role)
        }
    };
    let held = Held { task, set, id, hold };
    let stopped = match held.wait_for_stop(&before, limit, session, out) {
        Ok(stopped) => stopped,
        Err(stop) => {
            // Whatever the reason is: nothing stays held.
            held.release(session, out)?;
            return Err(stop);
        }
    };
    held.release(session, out)?;
    held.wait_for_start(&before, stopped, limit, session, out)?;
    DONE
}

/// A resource that is held down for its restart.
struct Held<'a, 'c> {
    task: &'a Task<'a>,
    set: &'a WorkingSet<'c>,
    id: ResourceId,
    hold: Hold,
}

impl Held<'_, '_> {
    fn release(&self, session: &mut Session, out: &mut Out<'_>) -> Result<(), Stop> {
        let name = &self.set.resource_at(self.id).id;
        let (force, role) = (self.task.force, "target-role");
        match &self.hold {
            Hold::Ban(banned) => {
                place::clear(banned, self.task.node_name.unwrap_or_default(), true, force, session)
            }
            Hold::Role(Some(before)) => {
                set_pair_of(name, self.set, self.id, role, before, force, session, out)
            }
            Hold::Role(None) => delete_pair_of(name, self.set, self.id, role, force, session, out),
        }
    }

    /// Waits until everything has stopped that the scheduler stops for this. What still runs then.
    fn wait_for_stop(
        &self,
        before: &[String],
        limit: Option<Duration>,
        session: &mut Session,
        out: &mut Out<'_>,
    ) -> Result<Vec<String>, Stop> {
        let node = self.task.node_name;
        let document = session.upgraded()?;
        let mut planned = read(&document)?;
        planned.without_secrets = true;
        planned.place();
        planned.schedule();
        let graph = planned.graph();
        let after = carry_out(&graph, &planned, &[], clock()).cib;
        let target = active(&read(&after)?, node);
        let to_stop: Vec<String> = before.iter().filter(|id| !target.contains(id)).cloned().collect();
        out.info(format_args!("Waiting for {} resources to stop:", to_stop.len()));
        list(&to_stop, out);
        let all = |now: &[String]| -> Vec<String> {
            now.iter().filter(|id| !target.contains(id)).cloned().collect()
        };
        let (now, left) = self.wait(to_stop, "stop", limit, session, &mut |set| all(&active(set, node)))?;
        if !left.is_empty() {
            out.error(format_args!(
                "Could not complete shutdown of {}, {} resources remaining",
                self.task.name,
                left.len()
            ));
            list(&left, out);
            return Err(Code::TIME.into());
        }
        Ok(now)
    }

    fn wait_for_start(
        &self,
        before: &[String],
        now: Vec<String>,
        limit: Option<Duration>,
        session: &mut Session,
        out: &mut Out<'_>,
    ) -> Result<(), Stop> {
        let missing = |now: &[String]| -> Vec<String> {
            before.iter().filter(|id| !now.contains(id)).cloned().collect()
        };
        let to_start = missing(&now);
        out.info(format_args!("Waiting for {} resources to start again:", to_start.len()));
        list(&to_start, out);
        // What depends on it may have gone to another node.
        let (_, left) =
            self.wait(to_start, "start", limit, session, &mut |set| missing(&active(set, None)))?;
        if left.is_empty() {
            return Ok(());
        }
        let (name, left_count) = (self.task.name, left.len());
        out.error(format_args!("Could not complete restart of {name}, {left_count} resources remaining"));
        list(&left, out);
        Err(Code::TIME.into())
    }

    /// Looks until nothing is left, or nothing has changed for as long as the agents may take. What runs, and what is left.
    fn wait(
        &self,
        mut left: Vec<String>,
        operation: &str,
        limit: Option<Duration>,
        session: &mut Session,
        look: &mut dyn FnMut(&WorkingSet<'_>) -> Vec<String>,
    ) -> Result<(Vec<String>, Vec<String>), Stop> {
        let end = limit.map(|l| Instant::now() + l);
        loop {
            let step = Instant::now() + self.longest(&left, operation);
            let count = left.len();
            let now = loop {
                let document = session.upgraded()?;
                let set = read(&document)?;
                left = look(&set);
                if left.is_empty() || left.len() < count || Instant::now() >= end.unwrap_or(step) {
                    break active(&set, self.task.node_name);
                }
                std::thread::sleep(PAUSE);
            };
            if left.is_empty() || left.len() >= count {
                return Ok((now, left));
            }
        }
    }

    /// How long the slowest of these may take.
    fn longest(&self, ids: &[String], operation: &str) -> Duration {
        let of = |id: &String| {
            let resource = self.set.look_up(id, true)?;
            let node = *self.set.by_name.first()?;
            let mut leaves = vec![resource];
            let mut longest = 0;
            while let Some(at) = leaves.pop() {
                let one = self.set.resource_at(at);
                leaves.extend(&one.children);
                if one.children.is_empty() {
                    longest = longest.max(self.set.timeout_on(at, node, operation));
                }
            }
            Some(longest)
        };
        SLACK + Duration::from_millis(ids.iter().filter_map(of).max().unwrap_or(0))
    }
}

fn list(ids: &[String], out: &mut Out<'_>) {
    for id in ids {
        out.info(format_args!(" * {id}"));
    }
}
