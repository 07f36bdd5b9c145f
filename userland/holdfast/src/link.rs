//! `holdfast link`: symlinks under the names of the commands that this one stands in for.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::exit::Exit;
use crate::io::Io;
use crate::pacemaker;

/// Make symlinks, so that the commands people know are found by their own names.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder for the symlinks, e.g. /usr/local/sbin.
    dir: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Commands with an applet under their own name.
const NAMES: [&str; 9] = [
    "cibadmin",
    "crm_diff",
    "crm_mon",
    "crm_shadow",
    "crm_simulate",
    "crm_verify",
    "corosync-keygen",
    "mkqdisk",
    "pm_logconv",
];

/// The same with those of Pacemaker.
fn names() -> Vec<&'static str> {
    let stand_ins = pacemaker::STAND_INS.iter().map(pacemaker::StandIn::name);
    NAMES.iter().copied().chain(stand_ins).chain(pacemaker::metadata::NAMES).collect()
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match link_all(args, io) {
        Ok(()) => Exit::Ok,
        Err(e) => {
            io.complain(format_args!("holdfast link: {e:#}\n"));
            Exit::CannotCreate
        }
    }
}

fn link_all(args: &Args, io: &mut Io) -> Result<()> {
    let target = std::env::current_exe().context("finding this program")?;
    if !args.dir.is_dir() {
        bail!("{} is no folder; make it first: mkdir -p {0}", args.dir.display());
    }
    // All are checked before the first is made.
    let names = names();
    let plan: Vec<_> = names.iter().map(|n| plan(&args.dir.join(n), &target)).collect::<Result<_>>()?;
    for step in plan {
        match step {
            Step::Present(link) => io.say(format_args!("{} is there already\n", link.display())),
            Step::Make(link) => {
                if !args.dry_run {
                    symlink(&target, &link).with_context(|| format!("making {}", link.display()))?;
                }
                let verb = if args.dry_run { "would make" } else { "made" };
                io.say(format_args!("{verb} {} -> {}\n", link.display(), target.display()));
            }
        }
    }
    Ok(())
}

enum Step {
    Present(PathBuf),
    Make(PathBuf),
}

fn plan(link: &Path, target: &Path) -> Result<Step> {
    match fs::read_link(link) {
        Ok(old) if old == target => Ok(Step::Present(link.to_owned())),
        Ok(old) => bail!(
            "{} is a symlink to {}; if that is not wanted any more: rm {0}",
            link.display(),
            old.display()
        ),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Step::Make(link.to_owned())),
        Err(e) if e.kind() == ErrorKind::InvalidInput => bail!(
            "{} is a command of its own, perhaps Pacemaker's; choose a folder that comes before it in PATH",
            link.display()
        ),
        Err(e) => Err(e).with_context(|| format!("looking at {}", link.display())),
    }
}

const EXAMPLES: &str = "\
Examples:
  holdfast link --dry-run /usr/local/sbin
  holdfast link /usr/local/sbin

Exit status: 0 done; 73 a link cannot be made, none was";
