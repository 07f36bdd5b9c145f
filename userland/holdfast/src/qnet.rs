//! `holdfast qnet`: takes the certificates for the quorum server over from the NSS database that corosync-qdevice-net-certutil has made, as the
//! PEM files that `cmmd` reads. The distribution's own programs read the database and the key; this one only says what goes where.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::exit::Exit;
use crate::io::Io;

/// Bring the certificates for the quorum server.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write the certificates of an NSS database as PEM files
    ///
    /// The database is the one that corosync-qdevice-net-certutil makes: with the certificate of the server's authority, and this cluster's
    /// certificate and key. Copy the three files to every node of the cluster. It needs certutil and pk12util (package libnss3-tools) and openssl.
    ImportCertificates(Import),
}

#[derive(clap::Args)]
struct Import {
    /// Folder of the database
    #[arg(long, value_name = "DIR", default_value = "/etc/corosync/qdevice/net/nssdb")]
    db: PathBuf,
    /// Folder for ca.pem, cert.pem and key.pem
    #[arg(long, value_name = "DIR", default_value = "/etc/holdfast/qnet")]
    to: PathBuf,
    /// Name of this cluster's certificate in the database
    #[arg(long, value_name = "NAME", default_value = "Cluster Cert")]
    cert: String,
    /// Name of the authority's certificate in the database
    #[arg(long, value_name = "NAME", default_value = "QNet CA")]
    ca: String,
    /// Replace files that are there
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let What::ImportCertificates(import) = &args.what;
    match take_over(import, io) {
        Ok(()) => Exit::Ok,
        Err(e) => {
            io.complain(format_args!("holdfast qnet import-certificates: {e:#}\n"));
            Exit::CannotCreate
        }
    }
}

fn take_over(import: &Import, io: &mut Io) -> Result<()> {
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| import.to.join(name));
    if !import.db.join("cert9.db").is_file() && !import.db.join("cert8.db").is_file() {
        bail!(
            "{} holds no NSS database; make it with corosync-qdevice-net-certutil, or name it: --db DIR",
            import.db.display()
        );
    }
    if let Some(file) = [&ca, &cert, &key].into_iter().find(|f| f.exists() && !import.force) {
        bail!("{} is there already; --force replaces it", file.display());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&import.to)
        .with_context(|| format!("making {}", import.to.display()))?;
    let db = import.db.as_os_str();
    let read =
        |name: &str| output(Command::new("certutil").arg("-L").arg("-d").arg(db).args(["-a", "-n", name]));
    let authority = read(&import.ca)?;
    let certificate = read(&import.cert)?;
    let secret = read_key(import)?;
    for (file, text) in [(&ca, &authority), (&cert, &certificate), (&key, &secret)] {
        write(file, text)?;
        io.say(format_args!("wrote {}\n", file.display()));
    }
    io.say(format_args!("copy them to every node of the cluster\n"));
    Ok(())
}

/// The key, by way of a file of pk12util's own format, which is removed again.
fn read_key(import: &Import) -> Result<Vec<u8>> {
    let (bag, password) = (import.to.join(".import.p12"), import.to.join(".import.password"));
    let of_database = import.db.join("pwdfile.txt");
    let result = (|| {
        // Only its owner gets at either of them.
        write(&password, b"holdfast\n")?;
        write(&bag, b"")?;
        let mut export = Command::new("pk12util");
        export
            .arg("-o")
            .arg(&bag)
            .arg("-d")
            .arg(&import.db)
            .args(["-n", &import.cert])
            .arg("-w")
            .arg(&password);
        if of_database.is_file() {
            export.arg("-k").arg(&of_database);
        }
        output(&mut export)?;
        let mut convert = Command::new("openssl");
        convert.args(["pkcs12", "-nocerts", "-nodes", "-in"]).arg(&bag);
        let mut from = std::ffi::OsString::from("file:");
        from.push(&password);
        output(convert.arg("-passin").arg(from))
    })();
    let _ = fs::remove_file(&bag);
    let _ = fs::remove_file(&password);
    result
}

/// Standard output of a program; what it complains about is the error.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| {
        format!("running {program}; install it (packages libnss3-tools and openssl) and try again")
    })?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr);
        bail!("{program} says: {} ({})", text.trim(), out.status);
    }
    Ok(out.stdout)
}

/// Replaces a file by one that only its owner reads.
fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let _ = fs::remove_file(path);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.with_context(|| format!("making {}", path.display()))?;
    file.write_all(contents).with_context(|| format!("writing {}", path.display()))
}

const EXAMPLES: &str = "\
Examples:
  holdfast qnet import-certificates                the certificates of corosync-qdevice on this node
  holdfast qnet import-certificates --db DIR --to /etc/holdfast/qnet
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_database_is_named_with_a_remedy() {
        let dir = std::env::temp_dir().join(format!("holdfast-qnet-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let import = Import {
            db: dir.clone(),
            to: dir.join("to"),
            cert: "Cluster Cert".to_owned(),
            ca: "QNet CA".to_owned(),
            force: false,
        };
        let error = take_over(&import, &mut Io::standard()).unwrap_err().to_string();
        assert!(error.contains("holds no NSS database; make it with"), "{error}");
        assert!(!dir.join("to").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
