//! `holdfast link DIR`: symbolic links under the names people know, so that `DIR/crm_mon` is this program.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::STAND_INS;

/// Options of `holdfast link`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Folder to put the links into
    dir: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// 0: done; 1: something else is in the way of a link, or the folder cannot be written.
pub(crate) fn run(args: &Args) -> ExitCode {
    match link_all(args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("holdfast link: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn link_all(args: &Args) -> Result<ExitCode> {
    let me = std::env::current_exe().context("cannot find this program")?;
    let mut done = Vec::new();
    for name in STAND_INS {
        let path = args.dir.join(name);
        done.push((path.clone(), link_one(&me, &path, args.dry_run)));
    }
    let failed = done.iter().any(|(_, r)| r.is_err());
    for (path, result) in &done {
        match result {
            Ok(word) if !args.json => println!("{word:9} {}", path.display()),
            Ok(_) => {}
            Err(e) => eprintln!("holdfast link: {e:#}"),
        }
    }
    if args.json {
        let rows: Vec<_> = done
            .iter()
            .map(|(path, r)| match r {
                Ok(word) => serde_json::json!({ "path": path, "result": word }),
                Err(e) => serde_json::json!({ "path": path, "result": "failed", "error": format!("{e:#}") }),
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was done: `linked`, `would link`, or `there` for a link that is right already. Never replaces what is not a link
/// to this program.
fn link_one(me: &Path, path: &Path, dry_run: bool) -> Result<&'static str> {
    if std::fs::read_link(path).is_ok_and(|target| target == me) {
        return Ok("there");
    }
    if path.symlink_metadata().is_ok() {
        anyhow::bail!(
            "{} exists and is not a link to {}; move it away first: mv {0} {0}.orig",
            path.display(),
            me.display()
        );
    }
    if dry_run {
        return Ok("would link");
    }
    std::os::unix::fs::symlink(me, path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok("linked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_file_is_never_replaced() {
        let dir = std::env::temp_dir().join(format!("holdfast-link-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("folder");
        let (me, path) = (dir.join("holdfast"), dir.join("crm_mon"));
        assert_eq!(link_one(&me, &path, true).expect("dry run"), "would link");
        assert!(path.symlink_metadata().is_err(), "a dry run does nothing");
        assert_eq!(link_one(&me, &path, false).expect("link"), "linked");
        assert_eq!(link_one(&me, &path, false).expect("again"), "there");
        std::fs::remove_file(&path).expect("remove");
        std::fs::write(&path, "original").expect("file");
        let error = link_one(&me, &path, false).expect_err("refused").to_string();
        assert!(error.contains("mv "), "names the next command: {error}");
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "original");
        std::fs::remove_dir_all(&dir).expect("clean");
    }
}
