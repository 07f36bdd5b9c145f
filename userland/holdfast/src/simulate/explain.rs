//! `holdfast explain`: why a resource is, or is not, placed on a node.

use std::path::PathBuf;

use scheduler::{Explanation, WorkingSet};

use super::{At, Stop, clock, moment, read};
use crate::exit::Exit;
use crate::io::Io;

/// Says why a resource is placed where it is: what its scores are made of.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
What is listed adds up, from top to bottom, to the score that `holdfast simulate -s` shows. The node with the highest score of
those that can be used is taken; -INFINITY is a ban that nothing lifts.

Examples:
  holdfast explain -x cib.xml db            why db has the scores that it has, on every node
  holdfast explain -x cib.xml db n1         on n1
  cibadmin -Q | holdfast explain -p web:0   an instance of a clone, of a running cluster
  holdfast explain -x cib.xml db --json     for programs

Exit status:
  0   done
  64  wrong usage, or there is no such resource or node
  73  the document cannot be read")]
pub(crate) struct Args {
    /// Which resource; its parts are shown, too
    resource: String,
    /// On which node [default: all]
    node: Option<String>,
    /// The document to read
    #[arg(short = 'x', long, value_name = "FILE")]
    xml_file: Option<PathBuf>,
    /// Read it from standard input
    #[arg(short = 'p', long, conflicts_with = "xml_file", required_unless_present = "xml_file")]
    xml_pipe: bool,
    /// The time to judge dates and expiries by [default: the one that the document was recorded at, or now]
    #[arg(short = 't', long, value_name = "DATETIME", value_parser = moment)]
    set_datetime: Option<At>,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    whole(args, io).unwrap_or_else(|stop| {
        io.complain(format_args!("holdfast explain: {}\n", stop.text));
        stop.exit
    })
}

fn whole(args: &Args, io: &mut Io) -> Result<Exit, Stop> {
    let (name, text) = match &args.xml_file {
        Some(path) => (path.display().to_string(), std::fs::read_to_string(path)),
        None => ("standard input".to_owned(), io.read_document()),
    };
    let root = read(&text.map_err(|e| Stop::file(format!("{name}: {e}")))?, &name)?;
    let recorded = WorkingSet::recorded_time(&root);
    let now = args.set_datetime.as_ref().map(|at| at.moment).or(recorded).unwrap_or_else(clock);
    let mut set = WorkingSet::new_explained(&root, now).map_err(|e| Stop::file(format!("{name}: {e}")))?;
    set.place();
    let found = set.explain(Some(&args.resource), args.node.as_deref());
    if found.is_empty() {
        let on = args.node.as_ref().map_or(String::new(), |n| format!(" on {n}"));
        let text = format!(
            "{name} has no scores of {}{on}; `holdfast simulate -s` lists all resources and nodes that have some",
            args.resource
        );
        return Err(Stop { text, exit: Exit::Usage });
    }
    if args.json {
        let text = serde_json::to_string_pretty(&found)
            .map_err(|e| Stop { text: e.to_string(), exit: Exit::Software })?;
        io.say(format_args!("{text}\n"));
    } else {
        found.iter().for_each(|one| io.say(format_args!("{}", words(one))));
    }
    Ok(Exit::Ok)
}

/// A line of scores with what it is made of below.
fn words(one: &Explanation) -> String {
    let mut text = format!("{} on {}: {}   ({})\n", one.resource, one.node, one.score, one.label);
    match &one.start {
        Some(start) => text += &format!("  {start:>12}              to begin with\n"),
        None => text += "             -              not allowed to begin with\n",
    }
    for step in &one.steps {
        let change = match &step.added {
            Some(added) if added.starts_with('-') => added.clone(),
            Some(added) => format!("+{added}"),
            None => "set".to_owned(),
        };
        text += &format!("  {change:>12} = {:<10} {}\n", step.score, step.why);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Called {
        #[command(flatten)]
        args: Args,
    }

    const DOCUMENT: &str = r#"<cib validate-with="pacemaker-3.7" have-quorum="1" dc-uuid="1"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
<resources><primitive id="a" class="ocf" provider="pacemaker" type="Dummy"/><primitive id="b" class="ocf" provider="pacemaker" type="Dummy"/></resources>
<constraints><rsc_location id="likes" rsc="a" node="n2" score="50"/><rsc_colocation id="apart" rsc="b" with-rsc="a" score="-INFINITY"/></constraints>
</configuration><status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/>
<node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>"#;

    fn say(args: &[&str]) -> (Exit, String) {
        let (mut io, said) = Io::captured(DOCUMENT);
        let called = Called::try_parse_from([&["explain", "-p"], args].concat()).unwrap();
        let exit = run(&called.args, &mut io);
        (exit, String::from_utf8(said.lock().unwrap().clone()).unwrap())
    }

    #[test]
    fn a_ban_is_named_with_the_constraint_that_it_comes_from() {
        let (exit, text) = say(&["b", "n2"]);
        assert_eq!(exit, Exit::Ok);
        assert!(text.starts_with("b on n2: -INFINITY"), "{text}");
        assert!(text.contains("b is placed away from a (colocation apart, score -INFINITY)"), "{text}");
        let (_, text) = say(&["a"]);
        assert!(text.contains("+50 = 50") && text.contains("location constraint likes"), "{text}");
    }

    #[test]
    fn programs_get_the_same_and_what_is_not_there_is_said() {
        let (exit, text) = say(&["a", "n2", "--json"]);
        assert_eq!(exit, Exit::Ok);
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(all[0]["score"], "50");
        assert_eq!(all[0]["steps"][0]["added"], "50");
        let (exit, text) = say(&["c"]);
        assert_eq!(exit, Exit::Usage);
        assert!(text.contains("simulate -s"), "{text}");
    }
}
