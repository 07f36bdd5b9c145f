//! `holdfast qdisk import`: what an old disk of qdiskd says, as configuration, and a new disk with the same label.

use std::path::PathBuf;

use cmm_qdisk::format::legacy::{LegacyHeader, LegacyState, LegacyStatus};

use super::device::{self, Content};
use super::{Create, create, date, fail, find};
use crate::exit::Exit;
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Import {
    /// The disk of qdiskd, or an image of it: it is only read
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Make this a quorum disk with the same label
    #[arg(value_name = "NEW")]
    new: Option<PathBuf>,
    /// Name of the cluster that may use the new one (totem.cluster_name); empty: any
    #[arg(short, long, value_name = "NAME", default_value = "")]
    cluster: String,
    /// Do not ask before NEW is made
    #[arg(short, long)]
    yes: bool,
    /// Even if something else uses NEW, or data are on it
    #[arg(long)]
    force: bool,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Import, io: &mut Io) -> Exit {
    let found = find::disk(&args.old).and_then(|path| Ok((device::read(&path)?, path)));
    let (header, status) = match found {
        Ok((Content::Legacy(header, status), _)) => (header, status),
        Ok((_, path)) => return fail(&format!("{} is no disk of qdiskd (format V2)", path.display()), io),
        Err(why) => return fail(&why, io),
    };
    let nodes: Vec<u32> =
        status.iter().filter(|s| s.state != LegacyState::None || s.timestamp > 0).map(|s| s.node).collect();
    if args.json {
        let json = serde_json::json!({
            "label": header.label.to_string(), "host": header.host.to_string(), "created": header.created, "sector": header.sector,
            "nodes": nodes, "configuration": configuration(&header, &status),
        });
        io.say(format_args!("{json:#}\n"));
    } else {
        io.say(format_args!(
            "# Quorum disk \"{}\" of qdiskd, made on {} by {}; nodes that have written there: {nodes:?}\n{}",
            header.label,
            date(header.created),
            header.host,
            configuration(&header, &status)
        ));
    }
    let Some(new) = &args.new else { return Exit::Ok };
    if std::fs::canonicalize(new).ok() == std::fs::canonicalize(&args.old).ok() {
        return fail("the new disk is the old one: qdiskd's nodes would lose it; name another device", io);
    }
    let create_args = Create {
        device: new.clone(),
        label: header.label.to_string(),
        cluster: args.cluster.clone(),
        slots: 64,
        sector: None,
        yes: args.yes,
        force: args.force,
        dry_run: false,
        json: args.json,
    };
    create(&create_args, io)
}

/// What stands in cluster.conf and not on the disk is qdiskd's default.
fn configuration(header: &LegacyHeader, status: &[LegacyStatus]) -> String {
    let nodes = status.iter().filter(|s| s.state != LegacyState::None).count();
    let votes = match nodes {
        0 | 1 => "        # votes: by default those of all nodes less one, as with qdiskd\n".to_owned(),
        n => format!("        votes: {}\n", n - 1),
    };
    format!(
        "quorum {{\n    provider: corosync_votequorum\n    device {{\n        model: disk\n{votes}        disk {{\n            label: {}\n\
         \x20           # interval=\"1\" tko=\"10\" of <quorumd/> are 1000 and 10 here; a lease of ten seconds\n\
         \x20           interval: 1000\n            tko: 10\n\
         \x20           # <heuristic program=\"…\" score=\"1\" interval=\"2\" tko=\"3\"/> becomes\n\
         \x20           # heuristic {{\n            #     program: …\n            #     score: 1\n            #     interval: 2000\n\
         \x20           #     tko: 3\n            # }}\n        }}\n    }}\n}}\n",
        header.label
    )
}
