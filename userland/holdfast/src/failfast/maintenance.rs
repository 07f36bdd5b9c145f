//! `holdfast failfast maintenance`: trouble of units is only told for a while. It cannot be forgotten: it ends by itself.

use clap::Subcommand;
use failfast::core::UnitName;
use failfast::core::limits::MAINTENANCE_MAX;
use holdfast_types::Span;

use super::units::name;
use super::{connect, fail, span, words};
use crate::exit::Exit;
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Begin it, or give it another end
    On(On),
    /// End it now
    Off(Off),
}

#[derive(clap::Args)]
struct On {
    /// How long, at most 4h
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    length: Span,
    #[command(flatten)]
    whose: Whose,
}

#[derive(clap::Args)]
struct Off {
    #[command(flatten)]
    whose: Whose,
}

#[derive(clap::Args)]
struct Whose {
    /// The unit
    #[arg(value_name = "UNIT", value_parser = name, required_unless_present = "all", conflicts_with = "all")]
    unit: Option<UnitName>,
    /// All units, those that arm meanwhile included
    #[arg(long)]
    all: bool,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

fn length(text: &str) -> Result<Span, String> {
    match span(text)? {
        Span::ZERO => {
            Err("a maintenance of no length is none; to end one: holdfast failfast maintenance off".into())
        }
        length if length > MAINTENANCE_MAX => {
            Err(format!("at most {}; begin another one when it ends", words(MAINTENANCE_MAX)))
        }
        length => Ok(length),
    }
}

pub(super) fn run(args: &Args, io: &mut Io) -> Exit {
    let (whose, length) = match &args.what {
        What::On(on) => (&on.whose, on.length),
        What::Off(off) => (&off.whose, Span::ZERO),
    };
    if let Err(e) = connect().and_then(|mut client| client.maintain(whose.unit.as_ref(), length)) {
        return fail(&e, io);
    }
    let name = whose.unit.as_ref().map(UnitName::as_str);
    if whose.json {
        let json = serde_json::json!({"unit": name, "maintenance_ms": length.as_millis()});
        io.say(format_args!("{json:#}\n"));
        return Exit::Ok;
    }
    let subject = name.map_or("All units are".to_owned(), |name| format!("Unit {name} is"));
    if length == Span::ZERO {
        io.say(format_args!(
            "{subject} no longer under maintenance. Whichever is dead has its delay from now on.\n"
        ));
    } else {
        io.say(format_args!(
            "{subject} under maintenance for {}: trouble is only logged. Then whichever is dead has its delay.\n",
            words(length)
        ));
    }
    Exit::Ok
}
