//! This node's configuration file: which one it is, what it says, and how another text takes its place without any instant at
//! which half of it is there.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use cmm_conf::{Config, Diagnostics, Host, Severity};
use holdfast_sys::clock::{local_time, wall_nanos};
use holdfast_sys::host;

/// The file that counts: what is given, else `$HOLDFAST_CONF`, else the one that the running `cmmd` was started with, else
/// where `cmmd` looks.
pub(crate) fn find(given: Option<&Path>, run_dir: &Path) -> PathBuf {
    let named = given.map(Path::to_owned);
    let named =
        named.or_else(|| std::env::var_os("HOLDFAST_CONF").filter(|v| !v.is_empty()).map(PathBuf::from));
    named.or_else(|| of_running(run_dir)).unwrap_or_else(|| {
        let ours = PathBuf::from("/etc/holdfast/holdfast.conf");
        if ours.exists() { ours } else { "/etc/corosync/corosync.conf".into() }
    })
}

/// What the running `cmmd` was told by its arguments or its environment.
fn of_running(run_dir: &Path) -> Option<PathBuf> {
    let pid: u32 = fs::read_to_string(run_dir.join("cmmd.pid")).ok()?.trim().parse().ok()?;
    let of = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
    let path = told_by(&of("cmdline")?, &of("environ")?)?;
    // It may have been named from where the daemon was started; that folder is gone for one in the background.
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    Some(folder.join(path)).filter(|path| path.is_file())
}

/// The configuration that a command line (words end with a zero byte) or an environment names.
fn told_by(words: &[u8], environment: &[u8]) -> Option<PathBuf> {
    let path =
        |bytes: &[u8]| Some(PathBuf::from(OsStr::from_bytes(bytes))).filter(|p| !p.as_os_str().is_empty());
    let mut words = words.split(|b| *b == 0);
    while let Some(word) = words.next() {
        if word == b"-c" || word == b"--config" {
            return path(words.next()?);
        }
    }
    environment.split(|b| *b == 0).find_map(|pair| path(pair.strip_prefix(b"HOLDFAST_CONF=")?))
}

/// A configuration file as it was read.
pub(crate) struct Conf {
    /// What was named: it may be a link.
    pub(crate) name: PathBuf,
    /// Where it is.
    path: PathBuf,
    pub(crate) text: String,
    found: Diagnostics,
}

impl Conf {
    /// Reads it.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn read(name: &Path) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| {
            format!(
                "{}:1: cannot be read: {e}; name the file that cmmd reads with -c or HOLDFAST_CONF",
                name.display()
            )
        };
        let path = name.canonicalize().map_err(|e| failed(&e))?;
        let bytes = fs::read(&path).map_err(|e| failed(&e))?;
        let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8 text"))?;
        let (_, found) = parse(name, &text);
        Ok(Self { name: name.to_owned(), path, text, found })
    }

    /// What another text in its place would be, if it brings no error that was not there before.
    ///
    /// # Errors
    /// The findings as `cmmd -t` shows them.
    pub(crate) fn check(&self, text: &str) -> Result<Config, String> {
        let (config, found) = parse(&self.name, text);
        let before = |text: &str| self.found.iter().any(|d| d.severity >= Severity::Error && d.text == text);
        let new: Vec<String> = found
            .iter()
            .filter(|d| d.severity >= Severity::Error && (d.severity == Severity::Fatal || !before(&d.text)))
            .map(|d| found.line(d))
            .collect();
        if !new.is_empty() {
            return Err(new.join("\n"));
        }
        config.ok_or_else(|| format!("{}:1: the configuration cannot be run", self.name.display()))
    }

    /// Puts a text in its place; the old one is kept beside it, under the name that is returned.
    ///
    /// # Errors
    /// In words; then the file is as it was.
    pub(crate) fn replace(&self, text: &str) -> Result<PathBuf, String> {
        let failed =
            |what: &str, e: io::Error| format!("{what} {}: {e}; nothing was changed", self.path.display());
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temporary = folder.join(format!(".{name}.{}.new", std::process::id()));
        let write = || -> io::Result<()> {
            let like = fs::metadata(&self.path)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
                fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            if fs::read(&self.path)? != self.text.as_bytes() {
                return Err(io::Error::other(
                    "somebody else has changed it meanwhile; look at it and type the same again",
                ));
            }
            Ok(())
        };
        let kept = write().and_then(|()| keep(&self.path, folder, &name));
        let kept = kept.inspect_err(|_| {
            let _ = fs::remove_file(&temporary); // it may not have come to that
        });
        let kept = kept.map_err(|e| failed("writing", e))?;
        fs::rename(&temporary, &self.path).map_err(|e| {
            let _ = fs::remove_file(&temporary);
            failed("replacing", e)
        })?;
        let synced = File::open(folder).and_then(|f| f.sync_all());
        synced.map_err(|e| {
            format!("{}: {e}; the file is changed, but may not be durable yet", folder.display())
        })?;
        Ok(kept)
    }

    /// Puts back what was kept.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn restore(&self, kept: &Path) -> Result<(), String> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::rename(kept, &self.path).and_then(|()| File::open(folder)?.sync_all()).map_err(|e| {
            format!(
                "{} could not be put back from {}: {e}; do that by hand",
                self.path.display(),
                kept.display()
            )
        })
    }
}

/// Gives what is there a second name, with the time of now, that nobody has.
fn keep(path: &Path, folder: &Path, name: &str) -> io::Result<PathBuf> {
    let t = local_time(wall_nanos());
    let stamp =
        format!("{:04}{:02}{:02}-{:02}{:02}{:02}", t.year, t.month, t.day, t.hour, t.minute, t.second);
    for n in 1..100 {
        let again = if n == 1 { String::new() } else { format!("-{n}") };
        let kept = folder.join(format!("{name}.bak-{stamp}{again}"));
        match fs::hard_link(path, &kept) {
            Ok(()) => return Ok(kept),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("there are too many old ones beside it; remove some"))
}

/// As `cmmd` reads it on this machine.
fn parse(name: &Path, text: &str) -> (Option<Config>, Diagnostics) {
    let hostname = host::hostname().unwrap_or_default();
    let resolve = |name: &str| -> Vec<IpAddr> {
        (name, 0).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default()
    };
    let host = Host { hostname: &hostname, resolve: &resolve, is_local: &host::is_local };
    cmm_conf::parse(&name.display().to_string(), text.as_bytes(), &host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "totem {\n  version: 2\n  cluster_name: web\n  nodeid: 1\n}\nnodelist {\n  node {\n    nodeid: 1\n    ring0_addr: 127.0.0.1\n  }\n  node {\n    nodeid: 2\n    ring0_addr: 127.0.0.2\n  }\n}\nquorum {\n  provider: corosync_votequorum\n}\n";

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("holdfast-quorum-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn the_running_daemons_words_name_the_file() {
        let told = |words: &[u8], environment: &[u8]| told_by(words, environment);
        assert_eq!(told(b"/sbin/cmmd\0-f\0-c\0/x/a.conf\0", b"HOLDFAST_CONF=/b\0"), Some("/x/a.conf".into()));
        assert_eq!(told(b"cmmd\0--config\0rel\0", b""), Some("rel".into()));
        assert_eq!(told(b"cmmd\0-f\0", b"A=1\0HOLDFAST_CONF=/b\0"), Some("/b".into()));
        assert_eq!(told(b"cmmd\0-f\0", b"HOLDFAST_CONF=\0XHOLDFAST_CONF=/c\0"), None);
        assert_eq!(told(b"cmmd\0-c\0", b""), None);
    }

    #[test]
    fn a_text_takes_the_place_of_another_and_the_old_one_stays_beside_it() {
        let dir = folder("replace");
        let path = dir.join("holdfast.conf");
        fs::write(&path, TEXT).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = dir.join("link.conf");
        std::os::unix::fs::symlink("holdfast.conf", &link).unwrap();
        let conf = Conf::read(&link).unwrap();
        let kept = conf.replace("other\n").unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), fs::read_to_string(&kept).unwrap().as_str()),
            ("other\n", TEXT)
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert!(
            link.is_symlink()
                && kept.file_name().unwrap().to_string_lossy().starts_with("holdfast.conf.bak-2")
        );
        // What was read is not what is there any more: it stays.
        let why = conf.replace("mine\n").unwrap_err();
        assert!(why.contains("somebody else has changed it"), "{why}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "other\n");
        let conf = Conf::read(&path).unwrap();
        let again = conf.replace("third\n").unwrap();
        conf.restore(&again).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "other\n");
        let again = conf.replace("third\n").unwrap();
        assert_ne!(again, kept, "within the same second");
        let names: Vec<_> = fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(names.len(), 4, "no temporary file is left: {names:?}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_text_with_new_errors_is_refused_with_its_lines_and_one_with_old_ones_is_not() {
        let dir = folder("check");
        let path = dir.join("c.conf");
        fs::write(&path, TEXT.replace("provider", "two_node: 1\n  provider")).unwrap();
        let conf = Conf::read(&path).unwrap();
        let with = conf.text.replace(
            "  provider",
            "  device {\n    model: net\n    net {\n      host: q\n    }\n  }\n  provider",
        );
        let why = conf.check(&with).err().unwrap();
        assert!(
            why.contains("c.conf:18: a quorum device and two_node void each other; remove two_node"),
            "{why}"
        );
        // An error of before does not stand in the way of a change beside it.
        fs::write(&path, TEXT.replace("provider", "last_man_standing: 1\n  provider")).unwrap();
        let conf = Conf::read(&path).unwrap();
        assert!(conf.found.worst() == Some(Severity::Error), "{}", conf.found);
        assert!(conf.check(&conf.text).is_ok());
        assert!(Conf::read(&dir.join("none.conf")).err().unwrap().contains("HOLDFAST_CONF"));
        fs::remove_dir_all(dir).unwrap();
    }
}
