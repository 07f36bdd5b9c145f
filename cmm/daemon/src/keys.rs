//! Where the cluster key comes from: the key file, checked; and the thread that reads it again when the key is changed.

use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use cmm_conf::{Config, KeySource};
use cmm_proto::wire::ClusterKey;
use crossbeam_queue::ArrayQueue;
use holdfast_sys::host;
use zeroize::Zeroizing;

/// What the configuration says of the key.
#[derive(Clone)]
pub(crate) struct KeyPlace {
    source: KeySource,
    cluster_name: String,
    config: PathBuf,
}

/// The cluster key with what is to be said about where it came from.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: ClusterKey,
    /// A path, or what else it was made from.
    pub(crate) source: String,
    pub(crate) warnings: Vec<String>,
}

impl KeyPlace {
    pub(crate) fn of(config: &Config, config_path: &Path) -> Self {
        Self {
            source: config.totem.key.clone(),
            cluster_name: config.totem.cluster_name.clone(),
            config: config_path.to_owned(),
        }
    }

    /// Finds the cluster key: `totem.keyfile`, `totem.key`, the default files, else the cluster name.
    ///
    /// # Errors
    /// In words with a remedy: a named file is missing or no key file, or cryptography is asked for and there is no key.
    pub(crate) fn find(&self) -> Result<Key, String> {
        let mut warnings = Vec::new();
        if let Some(path) = &self.source.file {
            let key = read_key_file(Path::new(path), &mut warnings)
                .map_err(|why| format!("totem.keyfile {path}: {why}"))?;
            return Ok(Key { key, source: path.clone(), warnings });
        }
        if let Some(secret) = &self.source.inline {
            if secret.len() < INLINE_BYTES_SAFE {
                warnings.push(format!(
                    "totem.key has fewer than {INLINE_BYTES_SAFE} characters and can be guessed; use a key file: {GENERATE}"
                ));
            }
            let key = ClusterKey::from_secret(FROM_FILE, secret.as_bytes());
            return Ok(Key { key, source: "totem.key".into(), warnings });
        }
        for path in KEY_FILES {
            if Path::new(path).exists() {
                let key =
                    read_key_file(Path::new(path), &mut warnings).map_err(|why| format!("{path}: {why}"))?;
                return Ok(Key { key, source: path.into(), warnings });
            }
        }
        if let Some((line, setting)) = &self.source.required_by {
            return Err(format!(
                "{}:{line}: {setting} asks for a key, and there is no {}; create one with \"{GENERATE}\" and copy it to all nodes",
                self.config.display(),
                KEY_FILES.join(" nor "),
            ));
        }
        warnings.push(format!(
            "no key file: packets are sealed with a key made from the cluster name, which keeps other clusters apart but not \
             attackers out; create one with \"{GENERATE}\" and copy it to all nodes"
        ));
        let key = ClusterKey::from_secret("cluster name", self.cluster_name.as_bytes());
        Ok(Key { key, source: "made from the cluster name".into(), warnings })
    }
}

/// Reads and checks a key file. What others can read is warned about; what others can write is no secret and no key.
fn read_key_file(path: &Path, warnings: &mut Vec<String>) -> Result<ClusterKey, String> {
    let name = path.display();
    let failed = |e: io::Error| format!("{e}; create one with \"{GENERATE}\", or copy it from another node");
    // Non-blocking: a pipe in its place must not hold the start up for ever.
    let file = host::open_without_waiting(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err("is not a regular file; name the key file itself in totem.keyfile".into());
    }
    let mode = meta.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(format!(
            "can be written by others (mode {:04o}), who may have put their own key in; run \"chmod 400 {name}\" and \
             compare it with the other nodes'",
            mode & 0o7777
        ));
    }
    if mode & 0o044 != 0 {
        warnings.push(format!("{name} can be read by others; run \"chmod 400 {name}\""));
    }
    let me = host::effective_uid();
    if ![0, me].contains(&meta.uid()) {
        warnings.push(format!(
            "{name} belongs to user {}, who can replace it; run \"chown root {name}\"",
            meta.uid()
        ));
    }
    let mut secret = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX as usize + 1));
    file.take(KEY_BYTES_MAX + 1).read_to_end(&mut secret).map_err(failed)?;
    let len = secret.len() as u64;
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&len) {
        let has = if len > KEY_BYTES_MAX { format!("more than {KEY_BYTES_MAX}") } else { len.to_string() };
        return Err(format!(
            "has {has} bytes, not {KEY_BYTES_MIN} to {KEY_BYTES_MAX}; create one with \"{GENERATE}\""
        ));
    }
    if secret.iter().all(|byte| *byte == secret[0]) {
        return Err(format!("holds nothing but one byte over and over; create a key with \"{GENERATE}\""));
    }
    Ok(ClusterKey::from_secret(FROM_FILE, &secret))
}

/// The loop's end of the thread that reads the key.
pub(crate) struct KeyLoader {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    asked: AtomicBool,
    loaded: ArrayQueue<Result<Key, String>>,
}

impl KeyLoader {
    /// Starts the thread; `waker` wakes the loop when a key was read.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(place: KeyPlace, waker: Arc<mio::Waker>) -> io::Result<Self> {
        let shared = Arc::new(Shared { asked: AtomicBool::new(false), loaded: ArrayQueue::new(1) });
        let theirs = Arc::clone(&shared);
        let run = move || {
            loop {
                while !theirs.asked.swap(false, Ordering::AcqRel) {
                    thread::park();
                }
                theirs.loaded.force_push(place.find());
                // The loop lives as long as this thread; if its poll is gone, so is the process.
                let _ = waker.wake();
            }
        };
        let handle = thread::Builder::new().name("key".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Has the key read.
    pub(crate) fn ask(&self) {
        self.shared.asked.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// What was read, if anything was.
    pub(crate) fn done(&self) -> Option<Result<Key, String>> {
        self.shared.loaded.pop()
    }
}

const KEY_FILES: [&str; 2] = ["/etc/holdfast/authkey", "/etc/corosync/authkey"];
const GENERATE: &str = "holdfast key generate";
const FROM_FILE: &str = "key file";
/// As corosync-keygen makes them.
const KEY_BYTES_MIN: u64 = 128;
const KEY_BYTES_MAX: u64 = 4_096;
const INLINE_BYTES_SAFE: usize = 32;
const STACK_BYTES: usize = 128 * 1_024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("cmmd-key-{}-{name}", std::process::id()));
            fs::create_dir_all(&dir).expect("a folder");
            Self(dir)
        }

        fn write(&self, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join("authkey");
            fs::write(&path, content).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("is ours");
            path
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn secret(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7) as u8).collect()
    }

    fn read(path: &Path) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        read_key_file(path, &mut warnings).map(|_| warnings)
    }

    #[test]
    fn a_key_file_is_what_corosync_keygen_makes() {
        let temp = Temp::new("sizes");
        for (len, why) in [(0, "has 0 bytes"), (127, "has 127 bytes"), (4_097, "has more than 4096 bytes")] {
            let refused = read(&temp.write(&secret(len), 0o600)).expect_err("wrong size");
            assert!(refused.starts_with(why) && refused.contains("holdfast key generate"), "{refused}");
        }
        for len in [128, 256, 4_096] {
            assert_eq!(read(&temp.write(&secret(len), 0o600)), Ok(vec![]));
        }
        let refused = read(&temp.write(&[0; 256], 0o600)).expect_err("no secret");
        assert!(refused.contains("one byte over and over"), "{refused}");
    }

    #[test]
    fn what_others_can_read_is_warned_about_and_what_they_can_write_refused() {
        let temp = Temp::new("modes");
        for mode in [0o400, 0o600] {
            assert_eq!(read(&temp.write(&secret(256), mode)), Ok(vec![]));
        }
        for mode in [0o440, 0o644] {
            let warnings = read(&temp.write(&secret(256), mode)).expect("fits");
            assert!(warnings[0].contains("can be read by others; run \"chmod 400"), "{warnings:?}");
        }
        for mode in [0o620, 0o602, 0o666] {
            let refused = read(&temp.write(&secret(256), mode)).expect_err("anybody's key");
            assert!(
                refused.contains("can be written by others") && refused.contains("chmod 400"),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let temp = Temp::new("kinds");
        assert!(read(&temp.0).expect_err("a folder").contains("not a regular file"));
        assert!(read(Path::new("/dev/zero")).expect_err("a device").contains("not a regular file"));
        let refused = read(&temp.0.join("none")).expect_err("missing");
        assert!(refused.contains("No such file") && refused.contains("holdfast key generate"), "{refused}");
    }
}
