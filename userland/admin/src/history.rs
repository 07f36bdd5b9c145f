//! What the configuration was: the last ones, a file each, with who changed it and when.
//!
//! A file is the document as it was saved, without its status; its name holds a number that only grows and the digest of its bytes, so
//! each stands for itself: what is damaged is known, put aside, and harms no other. Each is durable before [`History::add`] returns.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cib::{Element, md5_hex};

/// How many are kept.
pub const KEPT_MAX: usize = 100;
/// The folder in the state directory.
const FOLDER: &str = "cib-history";

/// The configurations that were.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
    newest: Option<(u64, String)>,
}

/// One of them, by its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number: a later one has a higher one.
    pub number: u64,
    digest: String,
    path: PathBuf,
}

impl History {
    /// The one below a state directory, to read.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER), newest: None }
    }

    /// The one of this machine: below `HOLDFAST_STATE_DIR`.
    #[must_use]
    pub fn from_env() -> Self {
        let dir =
            std::env::var_os("HOLDFAST_STATE_DIR").map_or_else(|| "/var/lib/holdfast".into(), PathBuf::from);
        Self::of(&dir)
    }

    /// To write: makes the folder, removes what a crash left half, puts aside what is damaged (`NAME.damaged`) and says which.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(state_dir: &Path) -> io::Result<(Self, Vec<PathBuf>)> {
        let mut history = Self::of(state_dir);
        fs::create_dir_all(&history.folder)?;
        fs::File::open(state_dir)?.sync_all()?;
        for file in fs::read_dir(&history.folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|e| e == "new") {
                fs::remove_file(&path)?;
            }
        }
        let mut aside = Vec::new();
        for entry in history.entries()?.iter().rev() {
            match entry.text() {
                Ok(text) => {
                    history.newest.get_or_insert_with(|| (entry.number, configuration(&text).to_owned()));
                }
                Err(_) => {
                    let to = entry.path.with_extension("xml.damaged");
                    fs::rename(&entry.path, &to)?;
                    aside.push(to);
                }
            }
        }
        Ok((history, aside))
    }

    /// Keeps a document, if its configuration is another one than the last. It is durable then.
    ///
    /// # Errors
    /// When it cannot be written; those before stay.
    pub fn add(&mut self, document: &str) -> io::Result<()> {
        let own = configuration(document);
        if self.newest.as_ref().is_some_and(|(_, last)| last == own) {
            return Ok(());
        }
        // What is damaged keeps its number, so that no other gets it.
        let last = self.numbers()?.into_iter().max().unwrap_or(0);
        let number = last.max(self.newest.as_ref().map_or(0, |(n, _)| *n)).saturating_add(1);
        let kept = without_status(document);
        let path = self.folder.join(format!("{number:08}-{}.xml", md5_hex(kept.as_bytes())));
        let temporary = path.with_extension("new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(kept.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(&self.folder)?.sync_all()?;
        self.newest = Some((number, own.to_owned()));
        let entries = self.entries()?;
        for old in entries.iter().take(entries.len().saturating_sub(KEPT_MAX)) {
            fs::remove_file(&old.path)?;
        }
        Ok(())
    }

    /// All of them, the oldest first; none where there is no folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = self.files()?.into_iter().filter_map(Entry::named).collect();
        entries.sort_by_key(|entry| entry.number);
        Ok(entries)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.folder) {
            Ok(files) => files.map(|file| file.map(|f| f.path())).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let number = |path: &PathBuf| path.file_name()?.to_str()?.split_once('-')?.0.parse().ok();
        Ok(self.files()?.iter().filter_map(number).collect())
    }
}

impl Entry {
    fn named(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".xml")?;
        let (number, digest) = name.split_once('-')?;
        Some(Self { number: number.parse().ok()?, digest: digest.to_owned(), path: path.clone() })
    }

    /// The document, without status.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn document(&self) -> io::Result<Element> {
        let name = self.path.display().to_string();
        Element::parse(&self.text()?, &name)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
    }

    fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        let limit = cib::limits::DOCUMENT.bytes as u64;
        fs::File::open(&self.path)?.take(limit).read_to_string(&mut text)?;
        if md5_hex(text.as_bytes()) == self.digest {
            return Ok(text);
        }
        let what = format!(
            "{} is damaged: its content is not what its name says; rgmd puts it aside when it starts",
            self.path.display()
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

/// The configuration in a document's text, as the writer writes it: an element of that name is nowhere else.
fn configuration(document: &str) -> &str {
    let end_tag = "</configuration>";
    match (document.find("<configuration"), document.rfind(end_tag)) {
        (Some(begin), Some(end)) if begin < end => &document[begin..end + end_tag.len()],
        (Some(begin), _) => &document[begin..],
        _ => document,
    }
}

/// A document's text without what stands in its status.
fn without_status(document: &str) -> String {
    let end_tag = "</status>";
    match (document.rfind("<status"), document.rfind(end_tag)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}<status/>{}", &document[..begin], &document[end + end_tag.len()..])
        }
        _ => document.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("admin-history-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn document(resource: &str, state: &str) -> String {
        let text = format!(
            r#"<cib epoch="1" update-user="root"><configuration><resources><primitive id="{resource}"/></resources></configuration><status><node_state id="{state}"/></status></cib>"#
        );
        Element::parse(&text, "test").unwrap().to_xml()
    }

    fn resources(history: &History) -> Vec<String> {
        let id = |e: &Entry| {
            let root = e.document().unwrap();
            assert_eq!(root.child("status").unwrap().children.len(), 0);
            root.child("configuration").unwrap().children[0].children[0].id().unwrap().to_owned()
        };
        history.entries().unwrap().iter().map(id).collect()
    }

    #[test]
    fn each_configuration_is_kept_once_and_the_status_is_not() {
        let dir = Folder::new("once");
        let (mut history, _) = History::open(&dir.0).unwrap();
        for (resource, state) in [("a", "1"), ("a", "2"), ("b", "2"), ("a", "3")] {
            history.add(&document(resource, state)).unwrap();
        }
        assert_eq!(resources(&history), ["a", "b", "a"]);
        // After a restart it goes on from there.
        let (mut again, aside) = History::open(&dir.0).unwrap();
        assert!(aside.is_empty());
        again.add(&document("a", "9")).unwrap();
        again.add(&document("c", "9")).unwrap();
        assert_eq!(resources(&again), ["a", "b", "a", "c"]);
        assert_eq!(again.entries().unwrap().iter().map(|e| e.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn the_oldest_go() {
        let dir = Folder::new("oldest");
        let (mut history, _) = History::open(&dir.0).unwrap();
        for i in 0..KEPT_MAX + 3 {
            history.add(&document(&format!("r{i}"), "1")).unwrap();
        }
        let kept = resources(&history);
        assert_eq!((kept.len(), kept[0].as_str()), (KEPT_MAX, "r3"));
    }

    /// Every state that a crash or a bad disk can leave: half a temporary file, a cut file, another byte.
    #[test]
    fn what_is_damaged_is_put_aside_and_harms_no_other() {
        let dir = Folder::new("damaged");
        let (mut history, _) = History::open(&dir.0).unwrap();
        for resource in ["a", "b", "c"] {
            history.add(&document(resource, "1")).unwrap();
        }
        let entries = history.entries().unwrap();
        fs::write(dir.0.join(FOLDER).join("00000004-half.new"), "<cib><conf").unwrap();
        let text = fs::read_to_string(&entries[1].path).unwrap();
        fs::write(&entries[1].path, &text[..text.len() / 2]).unwrap();
        assert!(entries[1].document().unwrap_err().to_string().contains("damaged"));
        fs::write(&entries[2].path, fs::read_to_string(&entries[2].path).unwrap().replace("\"c\"", "\"d\""))
            .unwrap();
        let (mut again, aside) = History::open(&dir.0).unwrap();
        assert_eq!(aside.len(), 2, "{aside:?}");
        assert!(aside.iter().all(|path| path.exists()));
        assert_eq!(resources(&again), ["a"]);
        assert!(!dir.0.join(FOLDER).join("00000004-half.new").exists());
        // Numbers are not used twice, and what is the same as the last good one is no change.
        again.add(&document("a", "1")).unwrap();
        again.add(&document("e", "1")).unwrap();
        assert_eq!(again.entries().unwrap().last().map(|e| e.number), Some(4));
    }
}
