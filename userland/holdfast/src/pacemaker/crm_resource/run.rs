//! Calling a resource's agent behind the cluster's back: `--validate` and `--force-*`.

use std::time::Duration;

use scheduler::{ResourceId, Variant, WorkingSet};

use super::super::agents::{self, Call, Ended};
use super::super::options::Given;
use super::super::output::{Node, Out};
use super::query::places;
use super::{Done, Found, Stop, Task, USAGE};

/// How long an agent may take if nobody says.
const TIMEOUT: Duration = Duration::from_secs(20);

fn action_of(command: &str) -> &str {
    match command {
        "validate" => "validate-all",
        "force-check" => "monitor",
        other => other.strip_prefix("force-").unwrap_or(other),
    }
}

fn level(given: &Given, command: &str) -> Result<Option<u32>, Stop> {
    let Some(text) = given.get(command) else { return Ok(None) };
    let level = text.trim().parse();
    level.map(Some).map_err(|_| Stop::new(USAGE, format!("Invalid check level setting: {text}")))
}

fn timeout(given: &Given) -> Option<Duration> {
    let ms = given.get("timeout").and_then(cib::parse_duration_ms)?;
    Some(Duration::from_millis(ms)).filter(|t| !t.is_zero())
}

pub(super) fn of_resource(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    found: Found,
    overrides: &[(String, String)],
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let Some(mut id) = found.resource else { return super::DONE };
    let command = task.command;
    let is_clone = |id: ResourceId| matches!(set.resource_at(id).variant, Variant::Clone(_));
    let starts = matches!(command, "force-start" | "force-demote" | "force-promote");
    if is_clone(id) && starts && !task.force && !places(set, id, task.name).is_empty() {
        out.error(format_args!(
            "It is not safe to {command} {} here: the cluster claims it is already active",
            set.resource_at(id).id
        ));
        out.error(format_args!("Try setting target-role=Stopped first or specifying the force option"));
        return Ok(Done::Status(107));
    }
    if is_clone(id) {
        id = set.resource_at(id).children.first().copied().unwrap_or(id);
    }
    let resource = set.resource_at(id);
    let what = match resource.variant {
        Variant::Group => Some("group"),
        Variant::Bundle(_) => Some("bundled"),
        _ if set.is_in_bundle(id) => Some("bundled"),
        _ => None,
    };
    if let Some(what) = what {
        out.error(format_args!("Sorry, the {command} option doesn't support {what} resources"));
        return Ok(Done::Status(3));
    }
    let mut params: Vec<(String, String)> = set.parameters_on(id, None).into_iter().collect();
    params
        .extend(resource.meta.iter().map(|(n, v)| (format!("CRM_meta_{}", n.replace('-', "_")), v.clone())));
    let action = action_of(command);
    let node = set.by_name.first().copied();
    let configured = node.map(|n| Duration::from_millis(set.timeout_on(id, n, action)));
    let in_clone = resource.parent.is_some_and(is_clone);
    let name = if in_clone { task.name } else { &resource.id };
    let call = Call {
        class: &resource.class,
        provider: resource.provider.as_deref(),
        kind: &resource.kind,
        name,
        action,
        params,
        level: level(task.given, command)?,
        timeout: timeout(task.given).or(configured).unwrap_or(TIMEOUT),
        verbose: task.given.count("verbose"),
    };
    Ok(execute(call, Some(name), command, overrides, out))
}

/// With the agent and its parameters from the options.
pub(super) fn from_options(
    given: &Given,
    command: &str,
    overrides: &[(String, String)],
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let usage = |text: String| Err(Stop::new(USAGE, text));
    if given.has("resource") {
        return usage("--resource cannot be used with --class, --agent, and --provider".into());
    }
    if command != "validate" && !command.starts_with("force-") {
        return usage(
            "--class, --agent, and --provider can only be used with --validate and --force-*".into(),
        );
    }
    let (class, agent) = (given.get("class").unwrap_or_default(), given.get("agent").unwrap_or_default());
    let provider = given.get("provider");
    if class == "stonith" && provider.is_some() {
        return usage("stonith does not support providers".into());
    }
    if !agents::exists(class, provider, agent) {
        return usage(match class {
            "stonith" => format!("{agent} is not a known stonith agent"),
            _ => format!("{class}:{}:{agent} is not a known resource", provider.unwrap_or_default()),
        });
    }
    let mut params = Vec::new();
    for option in given.all("option") {
        let Some((name, value)) = option.split_once('=') else {
            return usage(format!("--option {option}: write NAME=VALUE"));
        };
        params.push((name.to_owned(), value.to_owned()));
    }
    let call = Call {
        class,
        provider,
        kind: agent,
        name: "test",
        action: action_of(command),
        params,
        level: level(given, command)?,
        timeout: timeout(given).unwrap_or(TIMEOUT),
        verbose: given.count("verbose"),
    };
    Ok(execute(call, None, command, overrides, out))
}

fn execute(
    mut call: Call<'_>,
    name: Option<&str>,
    command: &str,
    overrides: &[(String, String)],
    out: &mut Out<'_>,
) -> Done {
    for (key, value) in overrides {
        call.params.retain(|(k, _)| k != key);
        call.params.push((key.clone(), value.clone()));
    }
    let ended = call.run();
    let Ended { status, code, reason, stdout, stderr } = &ended;
    let provider = call.provider.map_or(String::new(), |p| format!(":{p}"));
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let word = ocf_word(*code);
    if out.is_xml() {
        let mut node = Node::new("resource-agent-action")
            .with("action", command)
            .with("class", call.class)
            .with("type", call.kind)
            .maybe("rsc", name)
            .maybe("provider", call.provider);
        let mut list = Node::new("overrides");
        for (key, value) in overrides {
            list.push(
                Node::new("override")
                    .with("name", key.as_str())
                    .with("value", value.as_str())
                    .maybe("rsc", name),
            );
        }
        node.push(list);
        node.push(
            Node::new("agent-status")
                .with("code", code.to_string())
                .with("message", word)
                .with("execution_code", status.to_string())
                .with("execution_message", super::query::status_word(*status))
                .maybe("reason", Some(reason.as_str()).filter(|r| !r.is_empty())),
        );
        if !stdout.is_empty() || !stderr.is_empty() {
            let mut said = Node::new("command").with("code", code.to_string());
            for (source, text) in [("stdout", stdout), ("stderr", stderr)] {
                if !text.is_empty() {
                    said.push(Node::new("output").with("source", source).text(text));
                }
            }
            node.push(said);
        }
        out.add(node);
    } else {
        for (key, value) in overrides {
            let of = name.map_or(String::new(), |n| format!(" for '{n}'"));
            out.print(format_args!("Overriding the cluster configuration{of} with '{key}' = '{value}'\n"));
        }
        let of = name.map_or(String::new(), |n| format!(" for {n}"));
        let head = format!("Operation {command}{of} ({}{provider}:{})", call.class, call.kind);
        if *status == 0 {
            out.info(format_args!("{head} returned {code} ({word}{because})"));
        } else {
            let how = super::query::status_word(*status);
            out.error(format_args!("{head} could not be executed ({how}{because})"));
        }
        let hidden = call.verbose == 0 && call.action == "validate-all" && command == "validate-all";
        for text in [stdout, stderr].into_iter().filter(|t| !t.is_empty() && !hidden) {
            out.print(format_args!("{text}\n"));
        }
    }
    Done::Status(u8::try_from(*code).unwrap_or(1))
}

/// What an agent means by its exit status.
fn ocf_word(code: i32) -> &'static str {
    match code {
        0 => "ok",
        1 => "error",
        2 => "invalid parameter",
        3 => "unimplemented feature",
        4 => "insufficient privileges",
        5 => "not installed",
        6 => "not configured",
        7 => "not running",
        8 => "promoted",
        9 => "promoted (failed)",
        190 => "degraded",
        191 => "degraded promoted",
        193 => "unknown",
        _ => "unknown",
    }
}
