//! `mkqdisk`, with the options, the output and the exit statuses of the Red Hat Cluster Suite.
//!
//! It is more careful than the original: a disk that nodes write to, or that something else uses, is left alone, and a label is not given
//! twice. `holdfast qdisk create --force` is for those who know better.

use std::path::PathBuf;

use clap::Parser;
use holdfast_sys::block;

use super::device::{self, Content, Plan};
use super::{confirmed, entry, in_use, same_label};
use crate::exit::Exit;
use crate::io::Io;

/// Cluster quorum disk utility.
#[derive(Parser)]
#[command(name = "mkqdisk", disable_version_flag = true, after_help = EXAMPLES)]
pub(crate) struct Mkqdisk {
    /// Initialise a new quorum disk
    #[arg(short, value_name = "device")]
    create: Option<PathBuf>,
    /// Use this label
    #[arg(short, value_name = "label")]
    label: Option<String>,
    /// Find the disk with this label
    #[arg(short, value_name = "label")]
    find: Option<String>,
    /// List all quorum disks
    #[arg(short = 'L')]
    list: bool,
    /// Show details of each node
    #[arg(short, action = clap::ArgAction::Count)]
    debug: u8,
}

/// Runs it.
pub(crate) fn mkqdisk(args: &Mkqdisk, io: &mut Io) -> Exit {
    io.say(format_args!("{BANNER}\n\n"));
    if args.list || args.find.is_some() {
        let devices = block::all().into_iter().map(|path| (path.clone(), block::names_of(&path)));
        return search(args, &devices.collect::<Vec<_>>(), io);
    }
    let (path, label) = match (&args.create, &args.label) {
        (Some(path), Some(label)) => (path, label),
        (None, None) => {
            io.say(format_args!("{USAGE}\n"));
            return Exit::Of(1);
        }
        _ => {
            io.say(format_args!("Both a device and a label are required\n"));
            return Exit::Of(1);
        }
    };
    if let Some(why) = in_use(path).or_else(|| same_label(path, label)) {
        io.complain(format_args!("{} {why}; nothing was changed\n", path.display()));
        return Exit::Of(1);
    }
    io.say(format_args!("Writing new quorum disk label '{label}' to {}.\n", path.display()));
    if !confirmed(path, io) {
        return Exit::Ok;
    }
    let plan = Plan { path, label, cluster: "", slots: LEGACY_SLOTS, sector: None };
    match plan.carry_out() {
        Ok(_) => {
            (1..=LEGACY_SLOTS)
                .for_each(|n| io.say(format_args!("Initializing status block for node {n}...\n")));
            Exit::Ok
        }
        Err(why) => {
            io.complain(format_args!("{why}\n"));
            Exit::Of(1)
        }
    }
}

/// All quorum disks, or those with a label.
fn search(args: &Mkqdisk, devices: &[(PathBuf, Vec<PathBuf>)], io: &mut Io) -> Exit {
    let mut found = 0;
    for (path, names) in devices {
        let Ok(content) = device::read(path) else { continue };
        let label = match &content {
            Content::Ours(header, _) => header.label.to_string(),
            Content::Legacy(header, _) => header.label.to_string(),
            Content::Other(_) | Content::Empty => continue,
        };
        if args.find.as_ref().is_none_or(|wanted| *wanted == label) {
            io.say(format_args!("{}\n", entry(names, &content, args.debug > 0).trim_end_matches('\n')));
            io.say(format_args!("\n"));
            found += 1;
        }
    }
    if let Some(label) = args.find.as_ref().filter(|_| found > 1) {
        io.complain(format_args!(
            "{found} matches found for label '{label}'; please use 'device=' instead!\n"
        ));
    }
    if found > 0 { Exit::Ok } else { NOT_FOUND }
}

const BANNER: &str = "mkqdisk v3.1.8";
const USAGE: &str = "usage: mkqdisk -L | -f <label> | -c <device> -l <label> [-d]";
/// The original returns -1.
const NOT_FOUND: Exit = Exit::Of(255);
/// qdiskd has room for so many nodes.
const LEGACY_SLOTS: u8 = 16;
const EXAMPLES: &str = "\
Examples:
  mkqdisk -c /dev/sdb1 -l web    makes it a quorum disk, after a question
  mkqdisk -L                     all quorum disks of this machine
  mkqdisk -d -f web              the one labelled web, and what each node has written there

Exit status:
  0    done, or left as it was on your word
  1    wrong usage, or not done
  255  there is no such quorum disk";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::super::tests::{file, legacy};
    use super::*;

    fn run_as_mkqdisk(input: &str, args: &[&str]) -> (Exit, String) {
        let (mut io, said) = Io::captured(input);
        let words = [&["/usr/sbin/mkqdisk"], args].concat();
        let exit = crate::run(&words.iter().map(OsString::from).collect::<Vec<_>>(), &mut io);
        let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
        (exit, said)
    }

    #[test]
    fn r22_it_asks_makes_and_ends_as_the_original() {
        let path = file("mkqdisk", 1 << 20);
        let name = path.to_str().unwrap();
        let label = format!("of-this-test-{}", std::process::id());
        let asks = format!(
            "mkqdisk v3.1.8\n\nWriting new quorum disk label '{label}' to {name}.\n\
             WARNING: About to destroy all data on {name}; proceed [N/y] ? "
        );
        let create = ["-c", name, "-l", &label];
        assert_eq!(run_as_mkqdisk("n\n", &create), (Exit::Ok, format!("{asks}Good thinking.\n")));
        assert_eq!(fs::read(&path).unwrap(), vec![0; 1 << 20], "nothing was written");
        let nodes: String =
            (1..=16).map(|n| format!("Initializing status block for node {n}...\n")).collect();
        assert_eq!(run_as_mkqdisk("y\n", &create), (Exit::Ok, format!("{asks}{nodes}")));
        let Ok(Content::Ours(header, _)) = device::read(&path) else { panic!("it is one") };
        assert_eq!(header.label.to_string(), label);

        let usage = "usage: mkqdisk -L | -f <label> | -c <device> -l <label> [-d]\n";
        let both = "Both a device and a label are required\n";
        for (args, text) in [(&[][..], usage), (&["-d"], usage), (&["-c", name], both), (&["-l", "a"], both)]
        {
            assert_eq!(run_as_mkqdisk("", args), (Exit::Of(1), format!("mkqdisk v3.1.8\n\n{text}")));
        }
        let nothing = ["-f", "a label that nobody has given"];
        assert_eq!(run_as_mkqdisk("", &nothing), (Exit::Of(255), "mkqdisk v3.1.8\n\n".into()));
        for help in ["-h", "-?"] {
            let (exit, said) = run_as_mkqdisk("", &[help]);
            assert!(exit == Exit::Ok && said.contains("Find the disk with this label"), "{said}");
        }
        assert_eq!(run_as_mkqdisk("", &["-x"]).0, Exit::Of(1));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn r22_disks_are_listed_and_found_as_by_the_original() {
        let (old, new) = (file("mkqdisk-old", 1 << 20), file("mkqdisk-new", 1 << 20));
        legacy(&old);
        Plan { path: &new, label: "web", cluster: "shop", slots: 16, sector: Some(512) }.carry_out().unwrap();
        let by_id = PathBuf::from("/dev/disk/by-id/scsi-36001405");
        let devices = [(old.clone(), vec![by_id, old.clone()]), (new.clone(), vec![new.clone()])];
        let say = |args: &[&str]| {
            let (mut io, said) = Io::captured("");
            let args = Mkqdisk::try_parse_from([&["mkqdisk"], args].concat()).unwrap();
            let exit = search(&args, &devices, &mut io);
            let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
            (exit, said)
        };
        let header = format!(
            "/dev/disk/by-id/scsi-36001405:\n{}:\n\tMagic:                eb7a62c2\n\tLabel:                web_qdisk\n\
             \tCreated:              {}\n\tHost:                 web1\n\tKernel Sector Size:   512\n\tRecorded Sector Size: 512\n\n",
            old.display(),
            super::super::date(1_282_605_011)
        );
        assert_eq!(say(&["-f", "web_qdisk"]), (Exit::Ok, header.clone()));
        let node = |n: u32| {
            format!(
                "Status block for node {n}\n\tLast updated by node {n}\n\tLast updated on {}\n\tState: Running\n\tFlags: 0000\n\
                 \tScore: 0/0\n\tAverage Cycle speed: 0.000512 seconds\n\tLast Cycle speed: 1.000498 seconds\n\
                 \tIncarnation: 4c7311534c731153\n\n",
                super::super::date(1_282_605_020)
            )
        };
        assert_eq!(say(&["-d", "-f", "web_qdisk"]), (Exit::Ok, format!("{header}{}{}", node(1), node(2))));
        let (exit, all) = say(&["-L"]);
        assert!(exit == Exit::Ok && all.starts_with(&header), "{all}");
        let ours = &all[header.len()..];
        assert!(
            ours.starts_with(&format!("{}:\n\tMagic:                HOLDFSTQ\n", new.display())),
            "{ours}"
        );
        assert!(ours.ends_with("\tCluster:              shop\n\n"), "{ours}");
        assert_eq!(say(&["-f", "shop"]), (Exit::Of(255), String::new()));
        fs::remove_file(old).unwrap();
        fs::remove_file(new).unwrap();
    }
}
