//! The distribution's kernel, downloaded and unpacked once, never installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::initramfs::Initramfs;

/// A kernel with its modules, and busybox.
pub(crate) struct Kernel {
    dir: PathBuf,
    version: String,
}

const META_PACKAGE: &str = "linux-image-amd64";
const BUSYBOX_PACKAGE: &str = "busybox-static";

impl Kernel {
    /// From `cache`, downloaded into it before if need be.
    ///
    /// # Errors
    /// When a package cannot be downloaded or is not what it used to be.
    pub(crate) fn get(cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache)?;
        let lock = File::create(cache.join("kernel.lock"))?;
        lock.lock().context("waiting for the kernel")?;
        let dir = cache.join("kernel");
        if !dir.is_dir() {
            let part = cache.join("kernel.part");
            // apt may know nothing yet, or what is gone by now.
            let fetched = fetch(&part).or_else(|_| {
                output(Command::new("apt-get").args(["-qq", "update"]))?;
                fetch(&part)
            });
            fetched.context("fetching the distribution's kernel")?;
            fs::rename(&part, &dir)?;
        }
        let version = only_entry(&dir.join("root/lib/modules"))?;
        Ok(Self { dir, version })
    }

    /// What QEMU boots.
    pub(crate) fn image(&self) -> PathBuf {
        let elf = self.dir.join("vmlinux");
        if elf.exists() { elf } else { self.packed() }
    }

    /// Statically linked.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.dir.join("root/bin/busybox")
    }

    fn packed(&self) -> PathBuf {
        self.dir.join(format!("root/boot/vmlinuz-{}", self.version))
    }

    /// Adds modules with all they depend on, so that modprobe finds them.
    pub(crate) fn add_modules(&self, to: &mut Initramfs, wanted: &[&str]) -> Result<()> {
        let dir = self.dir.join("root/lib/modules").join(&self.version);
        let text = fs::read_to_string(dir.join("modules.dep")).context("modules.dep")?;
        let depends: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once(':')).collect();
        let mut files = BTreeSet::new();
        for module in wanted {
            let file = depends.keys().find(|path| module_name(path) == module.replace('-', "_"));
            let file = file.with_context(|| format!("the kernel has no module {module}"))?;
            files.insert(*file);
            // The list of depmod is complete: it names what the dependencies depend on as well.
            files.extend(depends[file].split_whitespace());
        }
        let inside = format!("lib/modules/{}", self.version);
        let mut table = String::new();
        for file in files {
            to.file(&format!("{inside}/{file}"), 0o644, &fs::read(dir.join(file))?);
            table += &format!("{file}:{}\n", depends.get(file).copied().unwrap_or_default());
        }
        to.file(&format!("{inside}/modules.dep"), 0o644, table.as_bytes());
        Ok(())
    }
}

/// `kernel/fs/dlm/dlm.ko` → `dlm`; dashes and underscores are the same to modprobe.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

/// Downloads and unpacks into a new folder.
fn fetch(dir: &Path) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "virtual machines are made for x86-64 only");
    let _ = fs::remove_dir_all(dir);
    fs::create_dir(dir)?;
    let depends = output(Command::new("apt-cache").args(["depends", "--important", META_PACKAGE]))?;
    let mut names = depends.lines().filter_map(|l| l.trim().strip_prefix("Depends: "));
    let package = names.next().with_context(|| format!("apt knows no {META_PACKAGE}: run apt-get update"))?;
    output(Command::new("apt-get").args(["-qq", "download", package, BUSYBOX_PACKAGE]).current_dir(dir))?;
    let root = dir.join("root");
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            output(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(&root))?;
            fs::remove_file(path)?;
        }
    }
    let version = only_entry(&root.join("lib/modules"))?;
    output(Command::new("depmod").arg("--basedir").arg(&root).arg(&version))?;
    let bytes = fs::read(root.join(format!("boot/vmlinuz-{version}")))?;
    // Booting the uncompressed kernel saves seconds of emulated decompression; any other compression is left to the guest.
    if let Some(payload) = payload(&bytes).filter(|p| p.starts_with(b"\xfd7zXZ\0")) {
        let packed = dir.join("vmlinux.xz");
        fs::write(&packed, payload)?;
        let out = File::create(dir.join("vmlinux"))?;
        let mut xz = Command::new("xz");
        xz.args(["--decompress", "--stdout", "--single-stream"]).arg(&packed).stdout(out);
        ensure!(xz.status().context("running xz")?.success(), "xz cannot unpack the kernel");
        fs::remove_file(packed)?;
    }
    Ok(())
}

/// The compressed kernel in a bzImage, see the kernel's Documentation/x86/boot.rst.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup_sectors = usize::from(*image.get(0x1f1)?);
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    image.get(start..start + word(0x24c)?)
}

fn only_entry(dir: &Path) -> Result<String> {
    let mut entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let entry = entries.next().with_context(|| format!("{} is empty", dir.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("running {name}"))?;
    if !out.status.success() {
        bail!("{command:?}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_of_an_image_is_found_and_strangers_have_none() {
        let mut image = vec![0; 4096];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 16;
        image[0x24c] = 3;
        image[1040..1043].copy_from_slice(b"abc");
        assert_eq!(payload(&image), Some(&b"abc"[..]));
        image[0x24f] = 1; // longer than the file
        assert_eq!(payload(&image), None);
        assert_eq!(payload(b"no kernel"), None);
    }

    #[test]
    fn modules_go_by_either_spelling() {
        assert_eq!(module_name("kernel/drivers/misc/pvpanic/pvpanic-pci.ko"), "pvpanic_pci");
        assert_eq!(module_name("kernel/fs/dlm/dlm.ko.xz"), "dlm");
    }
}
