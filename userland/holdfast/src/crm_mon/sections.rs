//! Which sections are shown: a set for each form, then what options add and take away, in the order in which they were given.

use clap::ArgMatches;
use scheduler::Sections;

use super::Form;

/// One option that adds or takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Include(String),
    Exclude(String),
}

/// The steps among the options, in their order.
pub(crate) fn steps(matches: &ArgMatches) -> Vec<Step> {
    let mut steps: Vec<(usize, Step)> = Vec::new();
    for (name, make) in [("include", Step::Include as fn(String) -> Step), ("exclude", Step::Exclude)] {
        let values = matches.get_many::<String>(name).into_iter().flatten();
        let places = matches.indices_of(name).into_iter().flatten();
        steps.extend(places.zip(values).map(|(at, value)| (at, make(value.clone()))));
    }
    let flags = [
        ("failcounts", "failcounts"),
        ("operations", "failcounts,operations"),
        ("timing_details", "operations"),
        ("tickets", "tickets"),
        ("show_node_attributes", "attributes"),
    ];
    for (flag, sections) in flags {
        if matches.get_flag(flag) {
            steps.extend(matches.index_of(flag).map(|at| (at, Step::Include(sections.to_owned()))));
        }
    }
    if matches.get_flag("hide_headers") {
        steps.extend(matches.index_of("hide_headers").map(|at| (at, Step::Exclude("summary".to_owned()))));
    }
    if let Some(prefix) = matches.get_one::<String>("neg_locations") {
        let bans = if prefix.is_empty() { "bans".to_owned() } else { format!("bans:{prefix}") };
        steps.extend(matches.index_of("neg_locations").map(|at| (at, Step::Include(bans))));
    }
    steps.sort_by_key(|(at, _)| *at);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// What is wanted.
pub(super) struct Wanted {
    pub(super) sections: Sections,
    pub(super) ban_prefix: Option<String>,
}

/// All that this form ever shows.
fn all(form: Form) -> Sections {
    match form {
        Form::Console | Form::Text | Form::Simple => Sections::ALL.without(Sections::OPTIONS),
        _ => Sections::ALL,
    }
}

fn default(form: Form) -> Sections {
    match form {
        Form::Xml | Form::LegacyXml => all(form),
        _ => Sections::SUMMARY.with(Sections::NODES).with(Sections::RESOURCES).with(Sections::FAILURES),
    }
}

impl Wanted {
    /// `level`: how much of fencing.
    pub(super) fn new(form: Form, level: u8, quiet: bool, steps: &[Step]) -> Result<Self, String> {
        let mut wanted = Self { sections: default(form), ban_prefix: None };
        wanted.set_fence_level(level);
        if quiet {
            wanted.sections = wanted.sections.without(Sections::TIMES);
        }
        for step in steps {
            match step {
                Step::Include(list) => list.split(',').try_for_each(|name| wanted.include(form, name))?,
                Step::Exclude(list) => list.split(',').try_for_each(|name| wanted.exclude(form, name))?,
            }
        }
        Ok(wanted)
    }

    fn include(&mut self, form: Form, name: &str) -> Result<(), String> {
        match name {
            "all" => self.sections = all(form),
            "none" => self.sections = Sections::NONE,
            "default" | "defaults" => self.sections = self.sections.with(default(form)),
            name if name.starts_with("bans") => {
                self.sections = self.sections.with(Sections::BANS);
                self.ban_prefix = name.strip_prefix("bans:").map(str::to_owned);
            }
            name => {
                let section = Sections::named(name).ok_or_else(|| {
                    "--include options: all, attributes, bans[:PREFIX], counts, dc, default, failcounts, failures, \
                     fencing, fencing-failed, fencing-pending, fencing-succeeded, maint-mode, nodes, none, \
                     operations, options, resources, stack, summary, tickets, times"
                        .to_owned()
                })?;
                self.sections = self.sections.with(section);
            }
        }
        Ok(())
    }

    fn exclude(&mut self, form: Form, name: &str) -> Result<(), String> {
        match name {
            "all" => self.sections = Sections::NONE,
            "none" => self.sections = all(form),
            name => {
                let section = Sections::named(name).ok_or_else(|| {
                    "--exclude options: all, attributes, bans, counts, dc, failcounts, failures, fencing, \
                     fencing-failed, fencing-pending, fencing-succeeded, maint-mode, nodes, none, operations, \
                     options, resources, stack, summary, tickets, times"
                        .to_owned()
                })?;
                self.sections = self.sections.without(section);
            }
        }
        Ok(())
    }

    pub(super) fn set_fence_level(&mut self, level: u8) {
        self.sections = match level {
            0 => self.sections.without(Sections::FENCING),
            1 => self.sections.with(Sections::FENCE_FAILED).with(Sections::FENCE_PENDING),
            _ => self.sections.with(Sections::FENCING),
        };
    }

    /// How much of fencing is shown, as a level.
    pub(super) fn fence_level(&self) -> u8 {
        match self.sections {
            s if s.has(Sections::FENCING) => 3,
            s if s.has(Sections::FENCE_WORKED) => 2,
            s if s.has_any(Sections::FENCING) => 1,
            _ => 0,
        }
    }

    pub(super) fn has_fencing(&self) -> bool {
        self.sections.has_any(Sections::FENCING)
    }

    pub(super) fn all_fencing(&self) -> bool {
        self.sections.has(Sections::FENCING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(form: Form, steps: &[Step]) -> Sections {
        Wanted::new(form, 1, false, steps).map(|w| w.sections).unwrap()
    }

    #[test]
    fn what_is_given_last_counts() {
        let include = |s: &str| Step::Include(s.into());
        let exclude = |s: &str| Step::Exclude(s.into());
        let plain = sections(Form::Text, &[]);
        assert!(plain.has(Sections::NODES) && !plain.has(Sections::OPTIONS) && !plain.has(Sections::BANS));
        assert_eq!(sections(Form::Text, &[include("none"), include("nodes")]), Sections::NODES);
        assert_eq!(sections(Form::Text, &[include("nodes"), include("none")]), Sections::NONE);
        assert!(
            !sections(Form::Text, &[include("all")]).has(Sections::OPTIONS),
            "text shows them to who asks"
        );
        assert!(sections(Form::Text, &[include("all,options")]).has(Sections::OPTIONS));
        assert!(sections(Form::Xml, &[]).has(Sections::ALL));
        assert_eq!(sections(Form::Html, &[exclude("none")]), Sections::ALL);
        assert!(!sections(Form::Text, &[exclude("summary")]).has_any(Sections::SUMMARY));
        let bans = Wanted::new(Form::Text, 0, true, &[include("bans:cli-"), include("Tickets")]).unwrap();
        assert_eq!((bans.ban_prefix.as_deref(), bans.fence_level()), (Some("cli-"), 0));
        assert!(bans.sections.has(Sections::TICKETS) && !bans.sections.has(Sections::TIMES));
        for wrong in [include("list"), exclude("bans:x"), include("")] {
            let refused = Wanted::new(Form::Text, 1, false, &[wrong]);
            assert!(refused.is_err_and(|e| e.contains("fencing-succeeded")));
        }
    }
}
