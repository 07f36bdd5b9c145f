//! What the installed predecessor's checker calls valid is what ours calls valid, for documents with one thing changed.

use std::path::Path;

use conformance::{document, is_installed, mutate, peer_accepts, we_accept};

/// Seeds that the test command asks about.
const SEEDS: std::ops::Range<u64> = 0..150;

/// Of so many documents the two may judge so many otherwise: see docs/limits.md.
const TOLERANCE_PERCENT: usize = 4;

#[test]
fn changed_documents_are_judged_as_by_the_peer() {
    if !is_installed() {
        println!("skipped: crm_verify 2.1.5 is not installed (package pacemaker-cli-utils)");
        return;
    }
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for seed in SEEDS {
        let (text, what) = mutate(&base(seed), seed).unwrap();
        let Some(theirs) = peer_accepts(&text).unwrap() else { continue };
        if theirs {
            accepted += 1;
        } else {
            refused += 1;
        }
        let ours = we_accept(&text);
        if ours != theirs {
            wrong.push(format!("seed {seed}: {what}: the peer says {theirs}, we say {ours}"));
        }
    }
    println!("{accepted} valid, {refused} not, {} differ:\n{}", wrong.len(), wrong.join("\n"));
    // Few of the drawn clusters are valid before they are changed; of the recorded ones most are.
    assert!(accepted > 3 && refused > 50, "the changes are of one kind: {accepted} valid, {refused} not");
    assert!(wrong.len() * 100 <= (accepted + refused) * TOLERANCE_PERCENT, "{}", wrong.join("\n"));
}

#[test]
fn recorded_documents_are_judged_as_by_the_peer() {
    let folder = recorded();
    if !is_installed() || !folder.is_dir() {
        println!("skipped: needs crm_verify 2.1.5 (package pacemaker-cli-utils) and the recorded cases");
        return;
    }
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (ours, theirs) = (we_accept(&text), peer_accepts(&text).unwrap());
        if theirs.is_some_and(|theirs| theirs != ours) {
            wrong.push(format!("{}: the peer says {theirs:?}, we say {ours}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A recorded document where there are some, else a drawn one.
fn base(seed: u64) -> String {
    let mut files: Vec<_> =
        std::fs::read_dir(recorded()).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    let index = usize::try_from(seed.wrapping_mul(7)).unwrap() % files.len().max(1);
    match files.get(index) {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => document(seed),
    }
}

fn recorded() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/scheduler/cases/xml")
}
