//! The full screen: what the cluster is like, drawn again when something changes; keys show and hide parts of it.

use scheduler::Sections;

use super::args::Args;
use super::source::{Found, Source};
use super::{ERROR, Plan, Stop};
use crate::exit::Exit;
use crate::live;

/// Shows it until the operator has seen enough.
pub(super) fn run(args: &Args, plan: &mut Plan, source: &mut Source) -> Result<Exit, Stop> {
    // What cannot be shown at all is said on the ordinary screen.
    let mut found = source.read(args, plan.wanted.fence_level())?;
    let mut help = false;
    let mut lost = None;
    let interval = args.interval.min(super::POLL);
    live::live(interval, false, |key| {
        match key {
            Some(key) => help = plan.press(key) || (help && is_toggle(key)),
            None if !help => match source.read(args, plan.wanted.fence_level().max(1)) {
                Ok(now) => (found, lost) = (now, None),
                Err(stop) => lost = Some(stop.lines),
            },
            None => {}
        }
        if help { plan.help() } else { plan.draw(args, &found, lost.as_deref()) }
    })
    .map_err(|e| Stop::new(ERROR, format!("crm_mon: the terminal cannot be used: {e}; try: crm_mon -1")))?;
    Ok(Exit::Ok)
}

fn is_toggle(key: u8) -> bool {
    KEYS.iter().any(|(k, _)| *k == key)
}

/// Keys, and what they show and hide.
const KEYS: [(u8, &str); 13] = [
    (b'c', "Display cluster tickets"),
    (b'f', "Display resource fail counts"),
    (b'n', "Group resources by node"),
    (b'o', "Display resource operation history"),
    (b'r', "Display inactive resources"),
    (b't', "Display resource operation history with timing details"),
    (b'A', "Display node attributes"),
    (b'L', "Display negative location constraints"),
    (b'D', "Hide all headers"),
    (b'R', "Show more details (node IDs, individual clone instances)"),
    (b'b', "Brief output"),
    (b'j', "Display pending state"),
    (b'm', "Show fence history: 0=off, 1=failures and pending, 2=successes too, 3=all of it"),
];

impl Plan {
    /// What a key does; whether the keys are to be shown.
    fn press(&mut self, key: u8) -> bool {
        let details = &mut self.details;
        let flip = |sections: &mut Sections, which| {
            *sections = if sections.has(which) { sections.without(which) } else { sections.with(which) };
        };
        let sections = &mut self.wanted.sections;
        match key {
            b'c' => flip(sections, Sections::TICKETS),
            b'f' => flip(sections, Sections::FAILCOUNTS),
            b'n' => details.by_node = !details.by_node,
            b'o' => {
                flip(sections, Sections::OPERATIONS);
                details.timing &= sections.has(Sections::OPERATIONS);
            }
            b'r' => details.inactive = !details.inactive,
            b'R' => details.detail = !details.detail,
            b't' => {
                details.timing = !details.timing;
                if details.timing {
                    *sections = sections.with(Sections::OPERATIONS);
                }
            }
            b'A' => flip(sections, Sections::ATTRIBUTES),
            b'L' => flip(sections, Sections::BANS),
            b'D' => {
                // Whatever is shown of it goes at once.
                *sections = if sections.has_any(Sections::SUMMARY) {
                    sections.without(Sections::SUMMARY)
                } else {
                    sections.with(Sections::SUMMARY)
                };
                *sections = sections.without(Sections::OPTIONS);
            }
            b'b' => details.brief = !details.brief,
            b'j' => details.pending = !details.pending,
            b'm' => {
                let level = self.wanted.fence_level();
                self.wanted.sections = self.wanted.sections.without(Sections::FENCING);
                self.wanted.set_fence_level(if level >= 3 { 0 } else { level + 1 });
                if level == 1 {
                    // Successes too, but not all that there ever was.
                    self.wanted.sections = self.wanted.sections.without(Sections::FENCE_PENDING);
                }
            }
            b'?' => return true,
            _ => {}
        }
        false
    }

    fn is_on(&self, key: u8) -> bool {
        let has = |section| self.wanted.sections.has(section);
        match key {
            b'c' => has(Sections::TICKETS),
            b'f' => has(Sections::FAILCOUNTS),
            b'n' => self.details.by_node,
            b'o' => has(Sections::OPERATIONS),
            b'r' => self.details.inactive,
            b't' => self.details.timing,
            b'A' => has(Sections::ATTRIBUTES),
            b'L' => has(Sections::BANS),
            b'D' => !has(Sections::SUMMARY),
            b'R' => self.details.detail,
            b'b' => self.details.brief,
            b'j' => self.details.pending,
            _ => false,
        }
    }

    /// The keys, with what is on.
    fn help(&self) -> String {
        let mut text = String::from("Display option change mode\n");
        for (key, what) in KEYS {
            let mark = match (key, self.is_on(key)) {
                (b'm', _) => char::from(b'0' + self.wanted.fence_level()),
                (_, true) => '*',
                (_, false) => ' ',
            };
            text += &format!("{mark} {}:  {what}\n", char::from(key));
        }
        text + "\nToggle fields via field letter, type any other key to return; Ctrl-C or q ends\n"
    }

    /// What was found, and that nothing newer is to be had, if so.
    fn draw(&self, args: &Args, found: &Found, lost: Option<&[String]>) -> String {
        let warning = lost.map_or(String::new(), |lines| {
            let why = lines.last().map_or("", String::as_str);
            format!("--- Stale data: {why} ---\n\n")
        });
        match self.render(args, &[], found, false) {
            Ok(text) => warning + &text.replace('\t', "  "),
            Err(stop) => stop.lines.join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use scheduler::Details;

    use super::*;
    use crate::crm_mon::Form;
    use crate::crm_mon::sections::Wanted;

    fn plan() -> Plan {
        let wanted = Wanted::new(Form::Console, 1, false, &[]).unwrap();
        Plan { form: Form::Console, wanted, details: Details { pending: true, ..Details::default() } }
    }

    #[test]
    fn every_key_turns_on_what_it_turns_off_again() {
        for (key, _) in KEYS.iter().filter(|(key, _)| *key != b'm') {
            let mut plan = plan();
            let before = plan.is_on(*key);
            assert!(!plan.press(*key) && plan.is_on(*key) != before, "{}", char::from(*key));
            assert!(!plan.press(*key) && plan.is_on(*key) == before, "{}", char::from(*key));
        }
    }

    #[test]
    fn times_are_those_of_operations_and_fencing_has_four_levels() {
        let mut plan = plan();
        plan.press(b't');
        assert!(plan.is_on(b'o') && plan.is_on(b't'));
        plan.press(b'o');
        assert!(!plan.is_on(b'o') && !plan.is_on(b't'));
        let levels: Vec<u8> = (0..5)
            .map(|_| {
                plan.press(b'm');
                plan.wanted.fence_level()
            })
            .collect();
        assert_eq!(levels, [2, 3, 0, 1, 2]);
        assert!(plan.press(b'?') && plan.help().contains("2 m:") && plan.help().contains("* j:"));
        assert!(!plan.press(b'x'), "any other key draws the screen");
    }
}
