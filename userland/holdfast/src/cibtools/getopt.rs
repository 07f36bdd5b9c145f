//! Options as getopt reads them: letters in one word, values with or without a blank, long names shortened as long as they are
//! unmistakable, in any order. Pacemaker's commands on the document read theirs so, and the last of several commands counts.

use clap::builder::{Arg, ArgAction, Command};

/// What comes behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    No,
    Value(&'static str),
    /// Bound to it, or not there: `-Stext`, `--show-access=text`.
    Bound(&'static str),
}

/// One option: its letter, long name, and what the help says; nothing: it is not shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opt(pub(super) char, pub(super) &'static str, pub(super) Takes, pub(super) &'static str);

/// A command's options, in groups with headings, and the words of its help.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grammar {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) groups: &'static [(&'static str, &'static [Opt])],
    pub(super) after: &'static str,
}

/// What was asked for: letters with their values, in order, and words that are no options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) options: Vec<(char, Option<String>)>,
    pub(super) rest: Vec<String>,
}

impl Given {
    pub(super) fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(l, _)| *l == letter)
    }

    pub(super) fn get(&self, letter: char) -> Option<&str> {
        self.options.iter().rev().find(|(l, _)| *l == letter).and_then(|(_, value)| value.as_deref())
    }

    /// The last one given of these.
    pub(super) fn last(&self, letters: &str) -> Option<(char, Option<&str>)> {
        let found = self.options.iter().rev().find(|(l, _)| letters.contains(*l));
        found.map(|(letter, value)| (*letter, value.as_deref()))
    }
}

impl Grammar {
    fn options(&self) -> impl Iterator<Item = &Opt> {
        self.groups.iter().flat_map(|(_, options)| options.iter())
    }

    pub(super) fn read(&self, args: &[String]) -> Result<Given, String> {
        let mut given = Given::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                given.rest.extend(words.by_ref().cloned());
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, bound) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let Opt(letter, full, takes, _) = self.long(name)?;
                let value = match (takes, bound) {
                    (Takes::No, Some(_)) => {
                        return Err(format!("option '--{full}' doesn't allow an argument"));
                    }
                    (Takes::No, None) => None,
                    (_, Some(value)) => Some(value),
                    (Takes::Bound(_), None) => None,
                    (Takes::Value(_), None) => {
                        let needed = || format!("option '--{full}' requires an argument");
                        Some(words.next().cloned().ok_or_else(needed)?)
                    }
                };
                given.options.push((*letter, value));
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                for (at, letter) in letters.char_indices() {
                    let known = self.options().find(|o| o.0 == letter);
                    let Some(Opt(_, _, takes, _)) = known else {
                        return Err(format!("invalid option -- '{letter}'"));
                    };
                    if *takes == Takes::No {
                        given.options.push((letter, None));
                        continue;
                    }
                    let behind = &letters[at + letter.len_utf8()..];
                    let value = match takes {
                        _ if !behind.is_empty() => Some(behind.to_owned()),
                        Takes::Value(_) => {
                            let needed = || format!("option requires an argument -- '{letter}'");
                            Some(words.next().cloned().ok_or_else(needed)?)
                        }
                        _ => None,
                    };
                    given.options.push((letter, value));
                    break;
                }
            } else {
                given.rest.push(word.clone());
            }
        }
        Ok(given)
    }

    fn long(&self, name: &str) -> Result<&Opt, String> {
        if let Some(exact) = self.options().find(|o| o.1 == name) {
            return Ok(exact);
        }
        let mut near = self.options().filter(|o| o.1.starts_with(name));
        match (near.next(), near.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(format!("option '--{name}' is ambiguous")),
            _ => Err(format!("unrecognized option '--{name}'")),
        }
    }

    /// The help.
    pub(super) fn usage(&self) -> String {
        let mut text = format!("{} - {}\nUsage: {0} <command> [options]\n", self.name, self.about);
        for (title, options) in self.groups {
            text += &format!("\n{title}:\n");
            for Opt(letter, long, takes, help) in options.iter().filter(|o| !o.3.is_empty()) {
                let value = match takes {
                    Takes::No => String::new(),
                    Takes::Value(name) => format!("={name}"),
                    Takes::Bound(name) => format!("[={name}]"),
                };
                text += &format!(" {:<30} {help}\n", format!("-{letter}, --{long}{value}"));
            }
        }
        format!("{text}\n{}\n", self.after)
    }

    /// The same for whoever makes manual pages and completions.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.name)
            .about(self.about)
            .after_help(self.after)
            .disable_version_flag(true)
            .disable_help_flag(true);
        for Opt(letter, long, takes, help) in self.options().filter(|o| !o.3.is_empty()) {
            let mut arg = Arg::new(*long).long(*long).help(*help);
            // Shells take it for a pattern.
            if *letter != '?' {
                arg = arg.short(*letter);
            }
            command = command.arg(match takes {
                Takes::No => arg.action(ArgAction::Count),
                Takes::Value(name) => arg.value_name(*name),
                Takes::Bound(name) => arg.value_name(*name).num_args(0..=1).require_equals(true),
            });
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar {
        name: "x",
        about: "for a test",
        groups: &[(
            "All",
            &[
                Opt('Q', "query", Takes::No, "q"),
                Opt('o', "scope", Takes::Value("S"), "o"),
                Opt('S', "show-access", Takes::Bound("HOW"), "s"),
                Opt('5', "md5-sum", Takes::No, "5"),
                Opt('6', "md5-sum-versioned", Takes::No, "6"),
            ],
        )],
        after: "",
    };

    fn read(line: &str) -> Result<Given, String> {
        GRAMMAR.read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_as_getopt_reads_them() {
        let scope = |value: &str| ('o', Some(value.to_owned()));
        for line in
            ["-Qo nodes", "-Qonodes", "--query --scope nodes", "--que --sco=nodes", "-Q -o x -o nodes"]
        {
            let given = read(line).unwrap();
            assert!(given.has('Q') && given.options.last() == Some(&scope("nodes")), "{line}: {given:?}");
        }
        assert_eq!(read("-5").unwrap().options, [('5', None)]);
        assert_eq!(read("--md5-sum").unwrap().options, [('5', None)]);
        assert_eq!(read("-Stext").unwrap().get('S'), Some("text"));
        assert_eq!(read("-S text").unwrap().rest, ["text"]);
        assert_eq!(read("-Q -- -o").unwrap().rest, ["-o"]);
    }

    #[test]
    fn what_is_wrong_is_said_as_getopt_says_it() {
        assert_eq!(read("--nosuch").unwrap_err(), "unrecognized option '--nosuch'");
        assert_eq!(read("-x").unwrap_err(), "invalid option -- 'x'");
        assert_eq!(read("-o").unwrap_err(), "option requires an argument -- 'o'");
        assert_eq!(read("--query=1").unwrap_err(), "option '--query' doesn't allow an argument");
        assert_eq!(read("--md").unwrap_err(), "option '--md' is ambiguous");
    }
}
