//! Options as Pacemaker's commands read them, which is GLib's way with getopt's freedoms: short options in one word, values with
//! or without a blank, the same option several times, negative numbers as values, and an order that counts.

use clap::builder::{Arg, ArgAction, Command};

/// What comes behind an option; the name is the help's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    No,
    /// A value.
    Value(&'static str),
    /// A value, unless an option follows.
    Maybe(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opt {
    /// Its long name, by which it is known afterwards. Several may have the same.
    pub(super) long: &'static str,
    /// Its letter; a blank: none.
    pub(super) short: char,
    /// What comes behind it.
    pub(super) takes: Takes,
    /// What it does; empty: it is not shown.
    pub(super) help: &'static str,
}

/// An option without a value.
pub(super) const fn flag(long: &'static str, short: char, help: &'static str) -> Opt {
    Opt { long, short, takes: Takes::No, help }
}

/// An option with a value.
pub(super) const fn value(long: &'static str, short: char, name: &'static str, help: &'static str) -> Opt {
    Opt { long, short, takes: Takes::Value(name), help }
}

/// An option whose value may be missing.
pub(super) const fn maybe(long: &'static str, short: char, name: &'static str, help: &'static str) -> Opt {
    Opt { long, short, takes: Takes::Maybe(name), help }
}

/// Options that are shown together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// `--help-NAME` shows it.
    pub(super) name: &'static str,
    /// Its heading.
    pub(super) title: &'static str,
    /// What `--help-NAME` is for.
    pub(super) about: &'static str,
    pub(super) options: &'static [Opt],
}

/// All that a command understands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grammar {
    /// The name that it is called by.
    pub(super) name: &'static str,
    /// What it is for, in a line.
    pub(super) about: &'static str,
    /// Words behind the options, as the help names them.
    pub(super) rest: &'static str,
    /// Whether `--output-as` chooses between text and XML.
    pub(super) output: bool,
    /// The letter that asks for help.
    pub(super) help: char,
    /// Options besides those that every command has.
    pub(super) main: &'static [Opt],
    pub(super) groups: &'static [Group],
    /// What the help ends with.
    pub(super) examples: &'static str,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Long names with their values, in order.
    pub(super) options: Vec<(&'static str, Option<String>)>,
    /// Words that are no options.
    pub(super) rest: Vec<String>,
}

/// Why there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Help was asked for: this.
    Help(String),
    /// It makes no sense.
    Wrong(String),
}

impl Given {
    /// Whether an option was given.
    pub(super) fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// How often an option was given.
    pub(super) fn count(&self, long: &str) -> usize {
        self.options.iter().filter(|(name, _)| *name == long).count()
    }

    /// The last value of an option.
    pub(super) fn get(&self, long: &str) -> Option<&str> {
        self.options.iter().rev().find(|(name, _)| *name == long).and_then(|(_, value)| value.as_deref())
    }

    /// All values of an option.
    pub(super) fn all<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(name, _)| *name == long).filter_map(|(_, value)| value.as_deref())
    }

    /// The last of these options that was given.
    pub(super) fn last_of(&self, longs: &[&'static str]) -> Option<&'static str> {
        self.options.iter().rev().map(|(name, _)| *name).find(|name| longs.contains(name))
    }
}

/// What every command has.
const COMMON: [Opt; 2] =
    [flag("version", '$', "Say which version this is"), flag("verbose", 'V', "Say more; can be repeated")];

/// What those have that write text or XML.
const OUTPUT: [Opt; 3] = [
    value("output-as", ' ', "FORMAT", "Write it as text (default) or xml"),
    value("output-to", ' ', "DEST", "Write it to this file; \"-\" is standard output"),
    flag("text-fancy", ' ', "Write text with headings and indented lists"),
];

impl Grammar {
    fn all(&self) -> impl Iterator<Item = &Opt> {
        let output = if self.output { OUTPUT.iter() } else { [].iter() };
        COMMON.iter().chain(output).chain(self.main).chain(self.groups.iter().flat_map(|g| g.options))
    }

    /// Reads what stands behind the command's name.
    pub(super) fn read(&self, args: &[String]) -> Result<Given, Unread> {
        let mut given = Given::default();
        let mut words = args.iter().peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                given.rest.extend(words.cloned());
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                self.help_asked(long)?;
                let (name, bound) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let known =
                    self.all().find(|o| o.long == name).filter(|o| bound.is_none() || o.takes != Takes::No);
                let Some(option) = known else {
                    return Err(Unread::Wrong(format!("Unknown option {word}")));
                };
                let value = match option.takes {
                    Takes::No => None,
                    _ if bound.is_some() => bound,
                    Takes::Value(_) => Some(
                        words
                            .next()
                            .cloned()
                            .ok_or_else(|| Unread::Wrong(format!("Missing argument for {word}")))?,
                    ),
                    Takes::Maybe(_) => words.next_if(|next| !next.starts_with('-')).cloned(),
                };
                given.options.push((option.long, value));
                continue;
            }
            let number = word.strip_prefix('-').is_some_and(|n| {
                n.starts_with(|c: char| ('1'..='9').contains(&c)) && n.bytes().all(|b| b.is_ascii_digit())
            });
            let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty() && !number);
            let Some(letters) = letters else {
                given.rest.push(word.clone());
                continue;
            };
            for (at, letter) in letters.char_indices() {
                let known = self.all().find(|o| o.short == letter);
                if known.is_none() && (letter == self.help || letter == '?') {
                    return Err(Unread::Help(self.usage(&[])));
                }
                let Some(option) = known else {
                    return Err(Unread::Wrong(format!("Unknown option -{letter}")));
                };
                if option.takes == Takes::No {
                    given.options.push((option.long, None));
                    continue;
                }
                let behind = &letters[at + letter.len_utf8()..];
                let value = match option.takes {
                    _ if !behind.is_empty() => Some(behind.to_owned()),
                    Takes::Maybe(_) => words.next_if(|next| !next.starts_with('-')).cloned(),
                    _ => Some(
                        words
                            .next()
                            .cloned()
                            .ok_or_else(|| Unread::Wrong(format!("Missing argument for -{letter}")))?,
                    ),
                };
                given.options.push((option.long, value));
                break;
            }
        }
        Ok(given)
    }

    fn help_asked(&self, long: &str) -> Result<(), Unread> {
        let every: Vec<Group> = self.shown_groups();
        if long == "help" {
            return Err(Unread::Help(self.usage(&[])));
        }
        let Some(name) = long.strip_prefix("help-") else { return Ok(()) };
        if name == "all" {
            return Err(Unread::Help(self.usage(&every)));
        }
        match every.iter().find(|g| g.name == name) {
            Some(group) => Err(Unread::Help(self.group(group))),
            None => Ok(()),
        }
    }

    fn shown_groups(&self) -> Vec<Group> {
        let output =
            Group { name: "output", title: "Output Options:", about: "Show output help", options: &OUTPUT };
        let output = self.output.then_some(output);
        let shown = self.groups.iter().filter(|g| g.options.iter().any(|o| !o.help.is_empty()));
        output.into_iter().chain(shown.copied()).collect()
    }

    /// The help with these groups in full.
    pub(super) fn usage(&self, groups: &[Group]) -> String {
        let rest = if self.rest.is_empty() { String::new() } else { format!(" {}", self.rest) };
        let mut rows = vec![
            (format!("  -{}, --help", self.help), "Show help options".to_owned()),
            ("  --help-all".to_owned(), "Show all help options".to_owned()),
        ];
        rows.extend(self.shown_groups().iter().map(|g| (format!("  --help-{}", g.name), g.about.to_owned())));
        let main = COMMON.iter().chain(self.main).filter(|o| !o.help.is_empty());
        let main: Vec<_> = main.map(row).collect();
        let mut text = format!(
            "Usage:\n  {}{} [OPTION?]{rest}\n\n{}\n\nHelp Options:\n{}\n",
            self.name,
            "",
            self.about,
            table(&rows)
        );
        for group in groups {
            text += &self.group(group);
        }
        text += &format!("Application Options:\n{}\n{}\n", table(&main), self.examples);
        text
    }

    fn group(&self, group: &Group) -> String {
        let rows: Vec<_> = group.options.iter().filter(|o| !o.help.is_empty()).map(row).collect();
        format!("{}\n{}\n", group.title, table(&rows))
    }

    /// The same for whoever makes manual pages and completions.
    pub(super) fn command(&self) -> Command {
        let mut command =
            Command::new(self.name).about(self.about).after_help(self.examples).disable_version_flag(true);
        let mut seen: Vec<&str> = Vec::new();
        for option in self.all().filter(|o| !o.help.is_empty()) {
            if seen.contains(&option.long) {
                continue;
            }
            seen.push(option.long);
            let mut arg = Arg::new(option.long).long(option.long).help(option.help);
            // A letter that means something else here must not be taken for help.
            if option.short != ' ' {
                arg = arg.short(option.short);
            }
            arg = match option.takes {
                Takes::No => arg.action(ArgAction::Count),
                Takes::Value(name) => arg.value_name(name).action(ArgAction::Append),
                Takes::Maybe(name) => arg.value_name(name).num_args(0..=1).action(ArgAction::Append),
            };
            command = command.arg(arg);
        }
        if self.all().any(|o| o.short == 'h') {
            command = command
                .disable_help_flag(true)
                .arg(Arg::new("help").long("help").help("Show help options").action(ArgAction::Help));
        }
        if !self.rest.is_empty() {
            command = command.arg(Arg::new("rest").value_name(self.rest).num_args(0..));
        }
        command
    }
}

fn row(option: &Opt) -> (String, String) {
    let short = if option.short == ' ' { String::new() } else { format!("-{}, ", option.short) };
    let value = match option.takes {
        Takes::No => String::new(),
        Takes::Value(name) => format!("={name}"),
        Takes::Maybe(name) => format!("[={name}]"),
    };
    (format!("  {short}--{}{value}", option.long), option.help.to_owned())
}

fn table(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(left, _)| left.len() + 4).max().unwrap_or(0);
    rows.iter().map(|(left, right)| format!("{left:width$}{right}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar {
        name: "crm_test",
        about: "For a test",
        rest: "",
        output: true,
        help: 'h',
        main: &[flag("quiet", 'Q', "Say less"), flag("quiet", 'q', "")],
        groups: &[Group {
            name: "things",
            title: "Things:",
            about: "Show things",
            options: &[value("node", 'N', "NODE", "A node"), maybe("promotion", 'p', "ID", "A score")],
        }],
        examples: "",
    };

    fn read(words: &[&str]) -> Result<Given, Unread> {
        GRAMMAR.read(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_stand_where_getopt_takes_them() {
        for words in [&["-QN", "n1"][..], &["-q", "-Nn1"], &["-Q", "--node=n1"], &["-q", "--node", "n1"]] {
            let given = read(words).unwrap();
            assert!(given.has("quiet") && given.get("node") == Some("n1"), "{words:?}");
        }
        assert_eq!(read(&["-N", "-5"]).unwrap().get("node"), Some("-5"));
        assert_eq!(read(&["-N", "-INFINITY"]).unwrap().get("node"), Some("-INFINITY"));
        assert_eq!(read(&["-N", "a", "-N", "b"]).unwrap().get("node"), Some("b"));
        let given = read(&["-p", "-Q", "x", "--", "-N"]).unwrap();
        assert!(given.has("promotion") && given.get("promotion").is_none());
        assert_eq!(given.rest, ["x", "-N"]);
        assert_eq!(read(&["-p", "db"]).unwrap().get("promotion"), Some("db"));
    }

    #[test]
    fn what_is_unknown_or_not_complete_is_refused() {
        for (words, text) in [
            (&["-Z"][..], "Unknown option -Z"),
            (&["--zebra"], "Unknown option --zebra"),
            (&["--quiet=1"], "Unknown option --quiet=1"),
            (&["--node"], "Missing argument for --node"),
            (&["-QN"], "Missing argument for -N"),
        ] {
            assert_eq!(read(words), Err(Unread::Wrong(text.into())));
        }
    }

    #[test]
    fn help_shows_what_is_asked_for() {
        let Err(Unread::Help(short)) = read(&["-Q", "--help"]) else { panic!("no help") };
        let Err(Unread::Help(all)) = read(&["--help-all"]) else { panic!("no help") };
        let Err(Unread::Help(things)) = read(&["--help-things"]) else { panic!("no help") };
        assert!(short.contains("--help-things") && !short.contains("--node"), "{short}");
        assert!(all.contains("-N, --node=NODE") && all.contains("--output-as=FORMAT"), "{all}");
        assert!(things.starts_with("Things:\n  -N, --node=NODE"), "{things}");
        GRAMMAR.command().debug_assert();
    }
}
