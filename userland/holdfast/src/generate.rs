//! `holdfast completion` and `holdfast man`: what shells and manuals know of these commands, made from the parser's own definition, so
//! that it is never behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::exit::Exit;
use crate::io::Io;
use crate::manual;

/// Print what makes a shell complete commands and options of holdfast, and of the commands that it stands in for.
#[derive(clap::Args)]
#[command(after_help = COMPLETION_EXAMPLES)]
pub(crate) struct Completion {
    /// Which shell.
    shell: Shell,
    /// Make a file for each command in this folder instead, named as the shell looks for it.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => Self::Bash,
            Shell::Zsh => Self::Zsh,
            Shell::Fish => Self::Fish,
        }
    }
}

/// Show the manual page of a command, or make those of all commands.
#[derive(clap::Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct Man {
    /// Which, e.g. "qdisk create", or the name of a command that holdfast stands in for; without it the page of holdfast.
    #[arg(conflicts_with = "dir")]
    command: Vec<String>,
    /// Make a file for each command in this folder instead.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs `holdfast completion`.
pub(crate) fn completion(args: &Completion, io: &mut Io) -> Exit {
    let shell = clap_complete::Shell::from(args.shell);
    let script = |mut command: clap::Command| {
        let (name, mut script) = (command.get_name().to_owned(), Vec::new());
        clap_complete::generate(shell, &mut command, &name, &mut script);
        let file = clap_complete::Generator::file_name(&shell, &name);
        (file, String::from_utf8_lossy(&script).into_owned())
    };
    let scripts: Vec<_> = commands().into_iter().map(script).collect();
    let done = match &args.dir {
        Some(dir) => write_all(dir, &scripts, io),
        None => {
            scripts.iter().for_each(|(_, script)| io.say(format_args!("{script}")));
            Ok(())
        }
    };
    end(done, "completion", io)
}

/// Runs `holdfast man`.
pub(crate) fn man(args: &Man, io: &mut Io) -> Exit {
    let mut pages = Vec::new();
    for mut command in commands() {
        // Fills in names and options of its subcommands.
        command.build();
        manual::pages(&command, &[], &mut pages);
    }
    let done = match &args.dir {
        Some(dir) => {
            let files: Vec<_> = pages.into_iter().map(|p| (format!("{}.8", p.name), p.text)).collect();
            write_all(dir, &files, io)
        }
        None => show(&args.command, &pages, io),
    };
    end(done, "man", io)
}

fn show(command: &[String], pages: &[manual::Page], io: &mut Io) -> Result<()> {
    let name = command.join("-");
    let names =
        if name.is_empty() { vec!["holdfast".to_owned()] } else { vec![format!("holdfast-{name}"), name] };
    let Some(page) = pages.iter().find(|p| names.contains(&p.name)) else {
        bail!("there is no command {:?}; see them all: holdfast --help", command.join(" "));
    };
    io.say(format_args!("{}", page.text));
    Ok(())
}

/// All commands, without what is nobody's business.
fn commands() -> Vec<clap::Command> {
    crate::commands().into_iter().map(visible).collect()
}

fn visible(command: clap::Command) -> clap::Command {
    let hidden: Vec<String> =
        command.get_subcommands().filter(|c| c.is_hide_set()).map(|c| c.get_name().to_owned()).collect();
    if hidden.is_empty() {
        return command;
    }
    // A command cannot be taken away: all others are put into one like it.
    let others: Vec<clap::Command> =
        command.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
    let like = clap::Command::new(command.get_name().to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        .after_help(command.get_after_help().cloned().unwrap_or_default())
        .args(command.get_arguments().cloned().collect::<Vec<_>>());
    like.subcommands(others)
}

/// Files of these names; those of an earlier release are replaced.
fn write_all(dir: &Path, files: &[(String, String)], io: &mut Io) -> Result<()> {
    if !dir.is_dir() {
        bail!("{} is no folder; make it first: mkdir -p {0}", dir.display());
    }
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        io.say(format_args!("made {}\n", path.display()));
    }
    Ok(())
}

fn end(done: Result<()>, command: &str, io: &mut Io) -> Exit {
    match done {
        Ok(()) => Exit::Ok,
        Err(e) => {
            io.complain(format_args!("holdfast {command}: {e:#}\n"));
            Exit::CannotCreate
        }
    }
}

const COMPLETION_EXAMPLES: &str = "\
Examples:
  eval \"$(holdfast completion bash)\"                                           this shell only
  holdfast completion bash --dir /usr/local/share/bash-completion/completions  from the next shell on
  holdfast completion zsh --dir /usr/local/share/zsh/site-functions
  holdfast completion fish --dir /etc/fish/completions

Exit status: 0 done; 73 a file cannot be made";

const MAN_EXAMPLES: &str = "\
Examples:
  holdfast man | man -l -
  holdfast man qdisk create | man -l -
  holdfast man --dir /usr/local/share/man/man8    from now on: man holdfast-qdisk-create

Exit status: 0 done; 73 a file cannot be made, or there is no such command";
