//! Manual pages: one for each command and subcommand, from the parser's definition.
//!
//! Names, options and descriptions are `clap_mangen`'s; what stands behind a command's help is set here, heading by heading and line by
//! line, since examples are nothing without their lines.

use std::fmt::Write;

/// One page, of section 8.
pub(crate) struct Page {
    /// E.g. `holdfast-qdisk-create`.
    pub(crate) name: String,
    /// In roff.
    pub(crate) text: String,
}

/// The pages of a command, which was built, and of those below it. `above`: the names of those above.
pub(crate) fn pages(command: &clap::Command, above: &[&str], out: &mut Vec<Page>) {
    let names = [above, &[command.get_name()]].concat();
    let (name, called) = (names.join("-"), names.join(" "));
    let subcommands = || command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
    let described = command.clone().name(name.clone()).display_name(name.clone()).bin_name(called.clone());
    let man = clap_mangen::Man::new(described);
    // Without a date: the same program makes the same page.
    let version = env!("CARGO_PKG_VERSION");
    let mut text =
        format!(".TH \"{}\" \"8\" \"\" \"Holdfast {version}\" \"Holdfast\"\n", escaped(&name)).into_bytes();
    let set = |text: &mut Vec<u8>| -> std::io::Result<()> {
        man.render_name_section(text)?;
        man.render_synopsis_section(text)?;
        man.render_description_section(text)?;
        if command.get_arguments().any(|a| !a.is_hide_set()) {
            man.render_options_section(text)?;
        }
        Ok(())
    };
    // Nothing is written but memory.
    let _ = set(&mut text);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if subcommands().next().is_some() {
        text.push_str(".SH COMMANDS\n");
        for sub in subcommands() {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let page = escaped(&format!("{name}-{}", sub.get_name()));
            let _ = writeln!(text, ".TP\n\\fB{page}\\fR(8)\n{}", escaped(&about));
        }
    }
    if let Some(after) = command.get_after_help() {
        text.push_str(&sections(&after.to_string()));
    }
    if let Some((parent, _)) = name.rsplit_once('-').filter(|_| !above.is_empty()) {
        let _ = writeln!(text, ".SH \"SEE ALSO\"\n\\fB{}\\fR(8)", escaped(parent));
    }
    out.push(Page { name, text });
    for sub in subcommands() {
        pages(sub, &names, out);
    }
}

/// `Heading:` and the indented lines below it, each as it is; other lines are text.
fn sections(help: &str) -> String {
    let mut out = String::new();
    let mut literal = false;
    let fill = |out: &mut String, literal: &mut bool, wanted: bool| {
        if *literal != wanted {
            out.push_str(if wanted { ".nf\n" } else { ".fi\n" });
            *literal = wanted;
        }
    };
    for line in help.lines() {
        let indented = line.starts_with(' ');
        match line.split_once(':') {
            _ if line.is_empty() => fill(&mut out, &mut literal, false),
            Some((heading, rest)) if !indented => {
                fill(&mut out, &mut literal, false);
                let _ = writeln!(out, ".SH \"{}\"", escaped(&heading.to_uppercase()));
                if !rest.trim().is_empty() {
                    let _ = writeln!(out, "{}", escaped(rest.trim()));
                }
            }
            _ => {
                fill(&mut out, &mut literal, indented);
                let _ = writeln!(out, "{}", escaped(line.strip_prefix("  ").unwrap_or(line)));
            }
        }
    }
    fill(&mut out, &mut literal, false);
    out
}

/// As it is to be read: no control line, no escape.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_and_nothing_is_taken_for_roff() {
        let help = "Examples:\n  a --b\n  .c\n\nExit status: 0 done; 1 not\nmore \\ of it";
        let want = ".SH \"EXAMPLES\"\n.nf\na \\-\\-b\n\\&.c\n.fi\n.SH \"EXIT STATUS\"\n0 done; 1 not\nmore \\e of it\n";
        assert_eq!(sections(help), want);
    }
}
