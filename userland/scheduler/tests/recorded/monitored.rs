//! What the monitor shows is what the peer's monitor shows, byte for byte: own documents always, the recorded ones where they lie
//! beside the checkout. Only the date of the moment is masked, which both print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cib::{Element, Moment};
use scheduler::{Clock, Details, Monitor, Sections, WorkingSet, page, result_document, simple_monitor};

use super::cases;

/// `CASE DIGEST`, and the variants over which the peer breaks down, of what the peer showed in UTC.
const FLOOR: &str = include_str!("monitored.txt");
/// When it did.
const RECORDED_AT: Moment = Moment(1_795_440_450);

/// How it is asked for: a name, options of the command, and the same for the library.
struct Variant {
    name: &'static str,
    options: &'static [&'static str],
    form: Form,
    sections: Sections,
    details: Details,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    Simple,
    Html,
    Xml,
}

const PLAIN: Sections =
    Sections::SUMMARY.with(Sections::NODES).with(Sections::RESOURCES).with(Sections::FAILURES);
const EXTRA: Sections =
    PLAIN.with(Sections::ATTRIBUTES).with(Sections::FAILCOUNTS).with(Sections::TICKETS).with(Sections::BANS);
const NONE: Details =
    Details { brief: false, detail: false, timing: false, inactive: false, by_node: false, pending: true };

/// Each option at least once, each form at least twice.
fn variants() -> Vec<Variant> {
    let all = Sections::ALL.without(Sections::FENCING);
    let of = |name, options, form, sections, details| Variant { name, options, form, sections, details };
    vec![
        of("plain", &["-1"], Form::Text, PLAIN, NONE),
        of(
            "extra",
            &["-1", "-r", "-f", "-A", "-c", "-L"],
            Form::Text,
            EXTRA,
            Details { inactive: true, ..NONE },
        ),
        of(
            "nodes",
            &["-1", "-n", "-r", "-R", "-t"],
            Form::Text,
            PLAIN.with(Sections::OPERATIONS),
            Details { inactive: true, by_node: true, detail: true, timing: true, ..NONE },
        ),
        of(
            "detail",
            &["-1", "-R", "-o", "-D"],
            Form::Text,
            PLAIN.without(Sections::SUMMARY).with(Sections::OPERATIONS).with(Sections::FAILCOUNTS),
            Details { detail: true, ..NONE },
        ),
        of(
            "brief",
            &["-1", "-b", "-r", "-I", "options"],
            Form::Text,
            PLAIN.with(Sections::OPTIONS),
            Details { brief: true, inactive: true, ..NONE },
        ),
        of(
            "brief-nodes",
            &["-1", "-b", "-n"],
            Form::Text,
            PLAIN,
            Details { brief: true, by_node: true, ..NONE },
        ),
        of("simple", &["-s"], Form::Simple, PLAIN, NONE),
        of("xml", &["--output-as=xml"], Form::Xml, all, Details { inactive: true, timing: true, ..NONE }),
        of(
            "xml-nodes",
            &["--output-as=xml", "-n", "-U", "bans,tickets,operations"],
            Form::Xml,
            all.without(Sections::BANS.with(Sections::TICKETS).with(Sections::OPERATIONS)),
            Details { inactive: true, timing: true, by_node: true, ..NONE },
        ),
        of(
            "html",
            &["--output-as=html", "-r", "-f", "-A", "-c", "-L", "-R"],
            Form::Html,
            EXTRA,
            Details { inactive: true, detail: true, ..NONE },
        ),
        of(
            "html-nodes",
            &["--output-as=html", "-n", "-b", "-t", "-I", "options"],
            Form::Html,
            PLAIN.with(Sections::OPERATIONS).with(Sections::OPTIONS),
            Details { by_node: true, brief: true, timing: true, ..NONE },
        ),
    ]
}

fn interval(ms: u64) -> String {
    status_words::interval(ms)
}

/// Dates of both sides, so that the crate needs no other for its tests: in UTC.
mod status_words {
    use cib::Moment;

    pub(super) fn ctime(at: i64) -> String {
        // Weekday and month by name; the rest stands in the ISO form.
        let iso = Moment(at).display();
        let number = |from: usize, to: usize| iso[from..to].parse::<usize>().unwrap();
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        let day = days[at.div_euclid(86_400).rem_euclid(7) as usize];
        let (month, date) = (months[number(5, 7) - 1], number(8, 10));
        format!("{day} {month} {date:2} {} {}", &iso[11..19], &iso[..4])
    }

    pub(super) fn iso(at: i64) -> String {
        Moment(at).display()
    }

    pub(super) fn interval(ms: u64) -> String {
        let (mut out, mut rest) = (String::new(), ms);
        for (unit, name) in [(86_400_000, 'd'), (3_600_000, 'h'), (60_000, 'm')] {
            if rest > unit {
                out += &format!("{}{name}", rest / unit);
                rest %= unit;
            }
        }
        match rest {
            0 if out.is_empty() => out + "0s",
            0 => out,
            1..=1000 => out + &format!("{rest}ms"),
            _ if rest.is_multiple_of(1000) => out + &format!("{}s", rest / 1000),
            _ => out + &format!("{}.{:03}s", rest / 1000, rest % 1000),
        }
    }
}

/// How dates are written in tests.
pub(super) fn words(now: Moment) -> Clock {
    Clock { now: now.0, ctime: status_words::ctime, iso: status_words::iso, interval }
}

fn read(file: &Path) -> Element {
    cib::upgrade(Element::parse(&fs::read_to_string(file).unwrap(), "test").unwrap()).root
}

fn ours(variant: &Variant, root: &Element, now: Moment) -> String {
    let mut set = WorkingSet::new(root, now).unwrap();
    let asked = Monitor {
        sections: variant.sections,
        details: variant.details,
        only_node: None,
        only_resource: None,
        ban_prefix: None,
        fencing: None,
        clock: words(now),
    };
    match variant.form {
        Form::Text => asked.text(&mut set),
        Form::Simple => simple_monitor(&set),
        Form::Html => page("Cluster Status", None, None, asked.html(&mut set)).to_html(),
        Form::Xml => {
            let request = format!("{PEER} {}", variant.options.join(" "));
            result_document(&request, asked.xml(&mut set), (0, "OK"), &[]).to_xml()
        }
    }
}

/// `None`: the peer breaks down over it.
fn theirs(variant: &Variant, file: &Path) -> Option<String> {
    let done = Command::new(PEER)
        .args(variant.options)
        .envs([("CIB_file", file.to_str().unwrap()), ("TZ", "UTC"), ("PCMK_logfile", "none")])
        .output()
        .unwrap();
    done.status.success().then(|| String::from_utf8(done.stdout).unwrap())
}

const PEER: &str = "/usr/sbin/crm_mon";

/// Whether the peer is there, and is what was recorded.
pub(super) fn peer() -> bool {
    let said = Command::new(PEER).arg("--version").output().map(|o| o.stdout).unwrap_or_default();
    let there = String::from_utf8_lossy(&said).starts_with("Pacemaker 2.1.5");
    if !there {
        eprintln!("SKIPPED: no {PEER} of Pacemaker 2.1.5; install pacemaker-cli-utils");
    }
    there
}

/// Lines without the date of the moment.
fn masked(text: &str) -> Vec<&str> {
    let moment = ["Last updated: ", "<last_update time="];
    text.lines().filter(|line| !moment.iter().any(|m| line.contains(m))).collect()
}

/// All variants of a document: a digest of what is shown, and those over which the peer breaks down.
fn digest(shown: &[(&str, Option<String>)]) -> String {
    let mut all = String::new();
    let mut broken = String::new();
    for (variant, text) in shown {
        match text {
            Some(text) => all += &format!("{variant}\n{}\n", masked(text).join("\n")),
            None => broken += &format!(" {variant}"),
        }
    }
    cib::md5_hex(all.as_bytes()) + &broken
}

fn documents(cases: &Path) -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> =
        fs::read_dir(cases.join("xml")).unwrap().map(|e| e.unwrap().path()).collect();
    documents.sort();
    documents
}

fn stem(file: &Path) -> &str {
    file.file_stem().unwrap().to_str().unwrap()
}

/// Does something for each document, on all processors; the results in the order of the documents.
pub(super) fn each<T: Send>(documents: &[PathBuf], work: impl Fn(&Path) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = documents.get(at) else { return };
                    let result = work(file);
                    done.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The first line that the peer has otherwise, of each variant.
pub(super) fn unlike(file: &Path, now: Moment) -> (usize, Vec<String>) {
    let document = read(file);
    let (mut compared, mut found) = (0, Vec::new());
    for variant in &variants() {
        let Some(theirs) = theirs(variant, file) else { continue };
        compared += 1;
        let ours = ours(variant, &document, now);
        let (have, want) = (masked(&ours), masked(&theirs));
        if have != want {
            let at = have.iter().zip(&want).position(|(a, b)| a != b).unwrap_or(have.len().min(want.len()));
            let line = |all: &[&str]| all.get(at).map_or("(the end)".to_owned(), |l| (*l).to_owned());
            let (name, case) = (variant.name, stem(file));
            found.push(format!(
                "{name} {case} line {}: want {:?}, have {:?}",
                at + 1,
                line(&want),
                line(&have)
            ));
        }
    }
    (compared, found)
}

pub(super) fn clock() -> Moment {
    Moment(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed())
}

/// The floor: what was shown as the peer shows it once is so for ever.
#[test]
fn every_recorded_case_is_shown_as_the_peer_has_shown_it() {
    let Some(cases) = cases() else { return };
    let documents = documents(&cases);
    let have = each(&documents, |file| {
        let known = FLOOR.lines().find_map(|l| l.strip_prefix(stem(file))?.strip_prefix(' '));
        let known = known.unwrap_or_else(|| panic!("{} is not recorded: see recorded_anew", stem(file)));
        let broken: Vec<&str> = known.split(' ').skip(1).collect();
        let document = read(file);
        let variants = variants();
        let shown: Vec<_> = variants
            .iter()
            .map(|v| (v.name, (!broken.contains(&v.name)).then(|| ours(v, &document, RECORDED_AT))))
            .collect();
        (known == digest(&shown)).then_some(())
    });
    let wrong: Vec<&str> =
        documents.iter().zip(&have).filter(|(_, same)| same.is_none()).map(|(d, _)| stem(d)).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), documents.len());
    assert!(documents.len() > 500, "only {} cases", documents.len());
}

/// A sample against the peer itself, so that what is recorded stays true.
#[test]
fn some_recorded_cases_are_shown_as_the_peer_shows_them_now() {
    let Some(cases) = cases().filter(|_| peer()) else { return };
    let sample: Vec<PathBuf> = documents(&cases).into_iter().step_by(40).collect();
    let done = each(&sample, |file| unlike(file, clock()));
    let wrong: Vec<&String> = done.iter().flat_map(|(_, found)| found).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let compared: usize = done.iter().map(|(compared, _)| compared).sum();
    assert!(compared > sample.len() * 9, "only {compared}");
}

/// Writes the floor: `cargo nextest run -p scheduler --run-ignored only recorded_anew`, then set [`RECORDED_AT`]. Says what is
/// shown otherwise, which must not be recorded.
#[test]
#[ignore = "writes the floor anew from the installed crm_mon: cargo test -p scheduler --test recorded recorded_anew -- --ignored"]
fn recorded_anew() {
    let Some(cases) = cases().filter(|_| peer()) else { return };
    let documents = documents(&cases);
    let now = clock();
    let done = each(&documents, |file| {
        let variants = variants();
        let shown: Vec<_> = variants.iter().map(|v| (v.name, theirs(v, file))).collect();
        let document = read(file);
        for (variant, (name, theirs)) in variants.iter().zip(&shown) {
            let Some(theirs) = theirs else { continue };
            let ours = ours(variant, &document, now);
            let (have, want) = (masked(&ours), masked(theirs));
            if have != want {
                let at =
                    have.iter().zip(&want).position(|(a, b)| a != b).unwrap_or(have.len().min(want.len()));
                println!(
                    "UNLIKE {name} {} {}: want {:?}, have {:?}",
                    stem(file),
                    at + 1,
                    want.get(at),
                    have.get(at)
                );
            }
        }
        format!("{} {}\n", stem(file), digest(&shown))
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/monitored.txt");
    fs::write(file, done.concat()).unwrap();
    println!("recorded at {}", now.0);
}
