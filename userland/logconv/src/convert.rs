//! The converter: raw lines in, lines of the operator's log out.

use crate::event::{Event, Level};
use crate::failover::{Cause, Planned};
use crate::find::{self, Signal};
use crate::line::{Date, Line, Raw};
use crate::rules::Rules;
use crate::settings::Settings;
use crate::state::State;

/// Most characters of a line that are looked at: nobody's log has longer ones, and rules are tried on each.
const LINE_MAX: usize = 16 << 10;

/// See the module.
#[derive(Clone, Debug)]
pub struct Converter {
    settings: Settings,
    rules: Rules,
    host: String,
    state: State,
}

impl Converter {
    /// One that knows nothing yet. `host` stands in lines whose own log does not name one.
    #[must_use]
    pub fn new(settings: Settings, rules: Rules, host: &str) -> Self {
        Self { settings, rules, host: host.to_owned(), state: State::default() }
    }

    /// What it remembers.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Goes on where another one stopped.
    pub fn resume(&mut self, state: State) {
        self.state = state;
    }

    /// What a raw line is to an operator: mostly nothing. `today` tells the year of dates that have none.
    pub fn line(&mut self, line: &str, today: Date) -> Vec<Line> {
        let end = line.char_indices().nth(LINE_MAX).map_or(line.len(), |(at, _)| at);
        let Some(raw) = Raw::parse(&line[..end]) else { return Vec::new() };
        let Some(rule) = self.rules.first(&raw) else { return Vec::new() };
        let (level, trigger, handler) = (rule.level, rule.trigger, rule.handler.clone());
        let signal = match handler.as_str() {
            find::STATIC => {
                let level = level.unwrap_or(Level::Info);
                Some(Signal::Say(Event::Text { level, text: rule.name.clone() }))
            }
            find::ORIGINAL => {
                let own = Level::parse(&raw.level).unwrap_or(Level::Info);
                Some(Signal::Say(Event::Text { level: level.unwrap_or(own), text: raw.text.clone() }))
            }
            name => find::handler(name).and_then(|handler| handler(&raw)),
        };
        let Some(signal) = signal else { return Vec::new() };
        self.state.trigger = self.state.trigger.max(trigger);
        let events = self.take(signal, &raw);
        let date = raw.stamp.format(self.settings.syslogformat, today);
        let host = raw.host.as_deref().unwrap_or(&self.host);
        let mut lines = Vec::new();
        for event in events {
            let Some(message) = event.message(self.settings.suffix) else { continue };
            // A rule's level is for what its line says; what follows from it has its own.
            let follows = matches!(
                event,
                Event::FailOverBegins
                    | Event::Placed { .. }
                    | Event::Unmanaged
                    | Event::FailOverSucceeded
                    | Event::FailOverFailed
            );
            let level = level.filter(|_| !follows).unwrap_or(message.level);
            let (number, text) = (message.number, message.text);
            lines.push(Line { date: date.clone(), host: host.to_owned(), number, level, text });
        }
        lines
    }

    fn take(&mut self, signal: Signal, raw: &Raw) -> Vec<Event> {
        let ours = raw.process == "rgmd";
        match signal {
            Signal::Nothing => Vec::new(),
            Signal::Say(event) => self.say(event, raw),
            Signal::Member { node, member } => {
                // Several functions of one daemon say the same.
                if self.state.members.insert(node.clone(), member) == Some(member) {
                    return Vec::new();
                }
                vec![if member { Event::NodeMember { node } } else { Event::NodeLost { node } }]
            }
            Signal::Online { node, online } => {
                self.state.online.insert(node, online);
                Vec::new()
            }
            Signal::Controller { node } => {
                let old = std::mem::replace(&mut self.state.controller, node.clone());
                match (old.is_empty(), node.is_empty()) {
                    (_, false) => vec![Event::ControllerSet { node }],
                    (false, true) => vec![Event::ControllerUnset { node: old }],
                    (true, true) => Vec::new(),
                }
            }
            Signal::Calculates => {
                self.state.failover.calculation_begins();
                Vec::new()
            }
            Signal::Plans { resource, planned } => {
                let does = !matches!(planned, Planned::StaysDown | Planned::Unmanaged);
                self.state.failover.plan(&resource, planned);
                if !ours {
                    return Vec::new();
                }
                // Ours says what it is going to do in the same breath, and of nothing else.
                let begins = self.acts();
                if does {
                    self.state.failover.operates(&resource);
                }
                begins.into_iter().collect()
            }
            Signal::Acts => self.acts().into_iter().collect(),
            Signal::Operates { resource } => {
                let begins = self.acts();
                self.state.failover.operates(&resource);
                begins.into_iter().collect()
            }
            Signal::Settled => self.settled(),
            Signal::DeviceEnded { device, node, ok } => {
                let node = node.or_else(|| self.state.victims.get(&device).cloned()).unwrap_or_default();
                vec![Event::DeviceEnded { device, node, ok }]
            }
            Signal::Forget(event) => {
                self.state = State::default();
                vec![event]
            }
        }
    }

    fn say(&mut self, event: Event, raw: &Raw) -> Vec<Event> {
        let mut said = Vec::new();
        match &event {
            Event::AttributeSet { name, value, node } => self.attribute(node, name, Some(value.clone())),
            Event::AttributeDeleted { name, node } => self.attribute(node, name, None),
            Event::DeviceBegins { device, node, .. } => {
                self.state.victims.insert(device.clone(), node.clone());
            }
            Event::ControllerUnset { .. } => self.state.controller.clear(),
            // Before the first thing that is done about it.
            Event::FenceBegins { .. } => said.extend(self.acts()),
            // Ours says it on every node.
            Event::NodeLeaves { .. } if raw.process == "rgmd" => {
                let me = raw.host.as_deref().unwrap_or(&self.host);
                if !self.state.controller.is_empty() && self.state.controller != me {
                    return said;
                }
            }
            _ => {}
        }
        said.push(event);
        said
    }

    fn attribute(&mut self, node: &str, name: &str, value: Option<String>) {
        self.state.attributes.entry(node.to_owned()).or_default().insert(name.to_owned(), value);
    }

    fn watched(&self) -> impl Fn(&str) -> bool + use<'_> {
        |resource| self.settings.act_rsc.iter().any(|r| r == resource)
    }

    /// Where a fail-over begins.
    fn acts(&mut self) -> Option<Event> {
        if self.state.trigger == Cause::None
            && self.state.failover.takes_away(self.watched())
            && self.is_refused()
        {
            self.state.trigger = Cause::Score;
        }
        let watched = &self.settings.act_rsc;
        self.state.failover.acts(self.state.trigger, |resource| watched.iter().any(|r| r == resource))
    }

    /// Whether an attribute of a node that is online says that it can run nothing.
    fn is_refused(&self) -> bool {
        let online = |node: &str| {
            let lost = self.state.members.get(node) == Some(&false);
            self.state.online.get(node).copied().unwrap_or(!lost)
        };
        self.state.attributes.iter().filter(|(node, _)| online(node)).any(|(_, known)| {
            let value = |name: &str| known.get(name).map(Option::as_deref);
            self.settings.attributes.iter().any(|(_, condition)| condition.holds(value))
        })
    }

    fn settled(&mut self) -> Vec<Event> {
        // What was planned and needs no action, as a resource that stays down.
        let mut said: Vec<Event> = self.acts().into_iter().collect();
        said.extend(self.state.failover.settled(&self.settings.act_rsc));
        self.state.settle();
        said
    }
}
