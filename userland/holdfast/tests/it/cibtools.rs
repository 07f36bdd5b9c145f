//! `cibadmin`, `crm_diff` and `crm_shadow` beside those of Pacemaker: the same commands on copies of the same document give the same
//! output, exit status and document.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cib::Element;

use crate::{Temp, holdfast, run};

/// A document with something of everything that the commands touch.
const DOCUMENT: &str = r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="5" num_updates="3" admin_epoch="0" cib-last-written="Mon Nov 23 10:00:00 2026">
<configuration>
  <crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
  <nodes><node id="1" uname="n1"/><node id="2" uname="n2"><instance_attributes id="n2-a"><nvpair id="n2-s" name="standby" value="on"/></instance_attributes></node></nodes>
  <resources>
    <primitive id="a" class="ocf" provider="heartbeat" type="Dummy"><operations><op id="a-m" name="monitor" interval="10"/><op id="a-s" name="start" interval="0" timeout="20"/></operations></primitive>
    <group id="g"><primitive id="b" class="ocf" provider="heartbeat" type="Dummy"/><primitive id="c" class="ocf" provider="heartbeat" type="Stateful"><meta_attributes id="c-m"><nvpair id="c-m-r" name="target-role" value="Stopped"/></meta_attributes></primitive></group>
  </resources>
  <constraints><rsc_location id="l1" rsc="g" node="n1" score="100"/><rsc_order id="o-1" first="a" then="g"/></constraints>
  <rsc_defaults><meta_attributes id="rd"><nvpair id="rd-s" name="resource-stickiness" value="100"/></meta_attributes></rsc_defaults>
</configuration>
<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources/></lrm></node_state></status>
</cib>"#;

/// What is run, one after the other, on one document. A blank in a word is written `_`.
const CIBADMIN: &[&str] = &[
    "-Q",
    "-Ql -o resources",
    "-Q -o nonsense",
    "-Q -o status -n",
    "-Q -A //primitive",
    "-Q -A //primitive[@id='b']",
    "-Q -A //nvpair[@name='target-role'_or_@name='standby']/@value",
    "-Q -e -A //op|//group",
    "-Q -n -A //group",
    "-Q -A /",
    "-Q -A //nosuch",
    "-Q -A count(//op)",
    "-Q -A cib",
    "-Q -A //primitive[last()]",
    "-Q -A //*[contains(@id,'-m')_and_not(@interval)]",
    "-Q -o alerts",
    "--query --scope=constraints",
    "-C -o resources -X <primitive_id='d'_class='ocf'_provider='heartbeat'_type='Dummy'/>",
    "-C -o resources -X <primitive_id='a'_class='ocf'_provider='heartbeat'_type='Stateful'/>",
    "-C -o resources -X <resources><primitive_id='e'_class='ocf'_type='Dummy'_provider='heartbeat'/><primitive_id='f'_class='ocf'_type='Dummy'_provider='heartbeat'/></resources>",
    "-C -o tags -X <tag_id='t'><obj_ref_id='a'/></tag>",
    "-C -X <primitive_id='nosection'_class='ocf'_provider='heartbeat'_type='Dummy'/>",
    "-C -o constraints -X <rsc_location_id='l2'_rsc='nosuch'_node='n1'_score='1'/>",
    "-C -o constraints -X <rsc_location_id='l2'_rsc='a'_node='n1'_score='seven'/>",
    "-C -o constraints -X <rsc_location_id='l2'_rsc='a'_node='n1'_score='1'/>",
    "-C",
    "-M -X <nvpair_id='c-m-r'_value='Started'/>",
    "-M -o resources -X <primitive_id='a'><meta_attributes_id='a-ma'><nvpair_id='a-ma-1'_name='is-managed'_value='false'/></meta_attributes></primitive>",
    "-M -o resources -X <primitive_id='zz'_class='ocf'_provider='heartbeat'_type='Dummy'/>",
    "-M -A //op[@id='a-m'] -X <op_id='a-m'_interval='30s'/>",
    "-M -A //nosuch -X <op_id='a-m'_interval='30s'/>",
    "-M -o resources -X <primitive_id='a'><bogus_id='q'/></primitive>",
    "-M -o acls -X <acls><acl_role_id='r'><acl_permission_id='p'_kind='read'_xpath='/cib'/></acl_role></acls>",
    "-M -c -o status -X <node_state_id='2'_uname='n2'/>",
    "-M -X <cib_admin_epoch='admin_epoch++'/>",
    "-M -X <cib_epoch='epoch+=5'_num_updates='0'/>",
    "-M -X <cib_epoch='0'/>",
    "-M -X <cib_crm_feature_set='99.9.9'/>",
    "-M -X <cib_foo='bar'/>",
    "-M -X <cib><configuration><nodes><node_id='2'_uname='n2'><instance_attributes_id='n2-a'><nvpair_id='n2-s'_value='off'/></instance_attributes></node></nodes></configuration></cib>",
    "-B",
    "-R -X <op_id='a-m'_name='monitor'_interval='60'/>",
    "-R -X <op_id='nosuch'_name='monitor'_interval='60'/>",
    "-R -o constraints -X <constraints/>",
    "-R -X <rsc_defaults/>",
    "-R -A //primitive[@id='b'] -X <primitive_id='b2'_class='ocf'_provider='heartbeat'_type='Dummy'/>",
    "-R -X <cib_epoch='1'_admin_epoch='0'_num_updates='0'_validate-with='pacemaker-3.9'><configuration/></cib>",
    "-R",
    "-D -X <op_id='a-s'_name='start'/>",
    "-D -X <op_id='a-m'_name='other'/>",
    "-D -X <primitive_id='nosuch'/>",
    "-D -o nodes -X <node_uname='n2'/>",
    "-D -A //node_state",
    "-D -A /cib",
    "-D -A /cib/configuration",
    "-D",
    "-d -A //primitive",
    "-d -f -A //group/primitive|//group",
    "-E",
    "-u",
    "-u -f",
    "-P",
    "-R -X junk",
    "-R -x nosuchfile",
    "-E -f",
    "-Q",
];

fn words(line: &str) -> Vec<String> {
    line.split(' ')
        .map(|word| word.replace('_', " ").replace("num updates", "num_updates"))
        .map(names)
        .collect()
}

/// Names that have an underscore of their own.
fn names(word: String) -> String {
    [
        "admin epoch",
        "crm feature set",
        "meta attributes",
        "instance attributes",
        "obj ref",
        "rsc location",
        "node state",
        "rsc defaults",
        "acl role",
        "acl permission",
    ]
    .iter()
    .fold(word, |word, name| word.replace(name, &name.replace(' ', "_")))
}

/// The installed command. Where it is missing the test fails, unless skipping is allowed.
fn peer(name: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/sbin").join(name);
    if fs::canonicalize(&path).is_ok_and(|p| p.file_name().is_some_and(|n| n != "holdfast")) {
        return Some(path);
    }
    let skip = std::env::var_os("HOLDFAST_ALLOW_SKIP").is_some();
    assert!(
        skip,
        "cannot compare: {name} of Pacemaker is not installed (pacemaker-cli-utils); set HOLDFAST_ALLOW_SKIP=1 to skip this"
    );
    eprintln!("skipped: {name} of Pacemaker is not installed");
    None
}

fn on(mut command: Command, dir: &Path, document: &Path) -> Command {
    command.current_dir(dir).stdin(Stdio::null()).env("CIB_file", document).env("CIB_shadow_dir", dir);
    command.env_remove("CIB_shadow").env_remove("CIB_user").env_remove("SHELL");
    command
}

fn tree(path: &Path) -> Element {
    let text = fs::read_to_string(path).unwrap();
    Element::parse(&text, &path.display().to_string()).unwrap()
}

/// The last line: what is wrong, in the peer's words.
fn last(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

#[test]
fn cibadmin_does_what_pacemakers_does() {
    let Some(peer) = peer("cibadmin") else { return };
    let temp = Temp::new();
    let (theirs, ours) = (temp.0.join("theirs.xml"), temp.0.join("ours.xml"));
    for path in [&theirs, &ours] {
        fs::write(path, DOCUMENT).unwrap();
    }
    for line in CIBADMIN {
        let words = words(line);
        let (want, want_out, want_err) = run(on(Command::new(&peer), &temp.0, &theirs).args(&words));
        let (code, out, err) = run(on(holdfast(&temp.0), &temp.0, &ours).arg("cibadmin").args(&words));
        assert_eq!(code, want, "cibadmin {line}\n{err}\npeer: {want_err}");
        assert_eq!(out, want_out, "cibadmin {line}");
        if last(&want_err).starts_with("Call failed") || last(&want_err).starts_with("The supplied") {
            assert_eq!(last(&err), last(&want_err), "cibadmin {line}");
        }
        assert_eq!(tree(&ours), tree(&theirs), "the document after cibadmin {line}");
    }
}

#[test]
fn what_is_wrong_is_said_with_the_remedy() {
    let temp = Temp::new();
    let document = temp.0.join("cib.xml");
    fs::write(&document, DOCUMENT).unwrap();
    let call = |words: &[&str]| run(on(holdfast(&temp.0), &temp.0, &document).arg("cibadmin").args(words));
    let (code, _, err) =
        call(&["-M", "-o", "resources", "-X", "<primitive id='a'><bogus id='q'/></primitive>"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("bogus") && err.contains("primitive[@id=\"a\"]"), "{err}");
    let (code, _, err) = call(&["-C", "-o", "resources", "-X", "<half"]);
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("Couldn't parse input from input string"), "{err}");
    let (code, _, err) = call(&["--nosuch"]);
    assert_eq!(code, Some(64));
    assert!(err.starts_with("cibadmin: unrecognized option '--nosuch'"), "{err}");
    assert_eq!(fs::read_to_string(&document).unwrap(), DOCUMENT, "nothing was changed");
    // Without a cluster it says what to start.
    let (code, out, err) =
        run(on(holdfast(&temp.0), &temp.0, &document).env_remove("CIB_file").args(["cibadmin", "-Q"]));
    assert_eq!((code, out.as_str()), (Some(102), ""));
    assert!(
        err.contains("start it:")
            && err.contains("Could not connect to the CIB: Transport endpoint is not connected"),
        "{err}"
    );
}

#[test]
fn crm_diff_gives_what_pacemakers_gives_and_each_applies_the_others() {
    let Some(peer) = peer("crm_diff") else { return };
    let temp = Temp::new();
    let changed = DOCUMENT
        .replace(r#"epoch="5""#, r#"epoch="6""#)
        .replace(r#"<node id="1" uname="n1"/>"#, "")
        .replace(r#"<nvpair id="c-m-r" name="target-role" value="Stopped"/>"#, r#"<nvpair id="c-m-r" name="target-role"/><nvpair id="c-m-x" name="x" value="a &amp; b"/>"#)
        .replace(r#"<op id="a-m" name="monitor" interval="10"/><op id="a-s" name="start" interval="0" timeout="20"/>"#, r#"<op id="a-s" name="start" interval="0" timeout="20"/><op id="a-m" name="monitor" interval="10"/>"#);
    for (name, text) in [("old.xml", DOCUMENT), ("new.xml", &changed)] {
        fs::write(temp.0.join(name), text).unwrap();
    }
    let call = |ours: bool, words: &[&str]| {
        let command = if ours { holdfast(&temp.0) } else { Command::new(&peer) };
        let mut command = on(command, &temp.0, Path::new("unused"));
        run(if ours { command.arg("crm_diff") } else { &mut command }.args(words))
    };
    for words in [
        &["-o", "old.xml", "-n", "new.xml"][..],
        &["-c", "-o", "old.xml", "-n", "new.xml"],
        &["-u", "-o", "old.xml", "-n", "new.xml"],
        &["--no-version", "-o", "new.xml", "-n", "old.xml"],
        &["-o", "old.xml", "-n", "old.xml"],
        &["-o", "old.xml"],
        &["-o", "nosuch", "-n", "old.xml"],
    ] {
        let (want, want_out, _) = call(false, words);
        let (code, out, err) = call(true, words);
        assert_eq!((code, out.as_str()), (want, want_out.as_str()), "crm_diff {words:?}: {err}");
        if out.is_empty() {
            continue;
        }
        fs::write(temp.0.join("patch.xml"), &out).unwrap();
        let original = words[words.iter().position(|w| *w == "-o").unwrap() + 1];
        let (want, want_out, _) = call(false, &["-o", original, "-p", "patch.xml"]);
        let (code, out, err) = call(true, &["-o", original, "-p", "patch.xml"]);
        assert_eq!((code, want), (Some(0), Some(0)), "{err}");
        assert_eq!(Element::parse(&out, "ours"), Element::parse(&want_out, "theirs"), "applied: {words:?}");
    }
    // The wrong document.
    let (_, patch, _) = call(true, &["-c", "-o", "old.xml", "-n", "new.xml"]);
    fs::write(temp.0.join("patch.xml"), patch).unwrap();
    let (want, ..) = call(false, &["-c", "-o", "new.xml", "-p", "patch.xml"]);
    assert_eq!(call(true, &["-c", "-o", "new.xml", "-p", "patch.xml"]).0, want);
}

#[test]
fn cibadmin_applies_a_patch_as_pacemakers_does() {
    let Some(peer) = peer("cibadmin") else { return };
    let temp = Temp::new();
    let changed =
        DOCUMENT.replace(r#"epoch="5""#, r#"epoch="6""#).replace(r#"interval="10""#, r#"interval="11""#);
    let (old, new) = (temp.0.join("old.xml"), temp.0.join("new.xml"));
    fs::write(&old, DOCUMENT).unwrap();
    fs::write(&new, changed).unwrap();
    let diff = |options: &[&str]| {
        let mut command = on(holdfast(&temp.0), &temp.0, &old);
        run(command.arg("crm_diff").args(options).args(["-o", "old.xml", "-n", "new.xml"])).1
    };
    for (name, patch) in [("c.xml", diff(&["-c"])), ("plain.xml", diff(&[])), ("u.xml", diff(&["-u"]))] {
        fs::write(temp.0.join(name), patch).unwrap();
        let (theirs, ours) = (temp.0.join("theirs.xml"), temp.0.join("ours.xml"));
        fs::copy(&old, &theirs).unwrap();
        fs::copy(&old, &ours).unwrap();
        for words in [["-P", "-x", name], ["-P", "-x", name]] {
            let (want, _, want_err) = run(on(Command::new(&peer), &temp.0, &theirs).args(words));
            let (code, _, err) = run(on(holdfast(&temp.0), &temp.0, &ours).arg("cibadmin").args(words));
            assert_eq!(code, want, "{words:?}: {err}\npeer: {want_err}");
            assert_eq!(last(&err), last(&want_err), "{words:?}");
            assert_eq!(tree(&ours), tree(&theirs), "{words:?}");
        }
    }
}

#[test]
fn crm_shadow_does_what_pacemakers_does() {
    let Some(peer) = peer("crm_shadow") else { return };
    // What is run, and which copy is in use then.
    let steps: &[(&str, &[&str], &str)] = &[
        ("crm_shadow", &["-w"], ""),
        ("crm_shadow", &["-b", "-c", "foo"], ""),
        ("crm_shadow", &["-b", "-c", "foo"], ""),
        ("crm_shadow", &["-w"], "foo"),
        ("crm_shadow", &["-p"], "foo"),
        ("crm_shadow", &["-d"], "foo"),
        ("cibadmin", &["-M", "-X", "<nvpair id='c-m-r' value='Started'/>"], "foo"),
        ("cibadmin", &["-D", "-X", "<op id='a-s'/>"], "foo"),
        (
            "cibadmin",
            &[
                "-C",
                "-o",
                "resources",
                "-X",
                "<primitive id='x' class='ocf' provider='heartbeat' type='Dummy'/>",
            ],
            "foo",
        ),
        ("crm_shadow", &["-d"], "foo"),
        ("crm_shadow", &["-b", "-e", "bar"], "foo"),
        ("crm_shadow", &["-b", "-s", "nosuch"], "foo"),
        ("crm_shadow", &["-C", "foo"], "foo"),
        ("crm_shadow", &["-C", "foo", "--force"], "foo"),
        ("cibadmin", &["-Q"], ""),
        ("crm_shadow", &["-b", "-r", "foo"], "foo"),
        ("crm_shadow", &["-p"], "foo"),
        ("crm_shadow", &["-D", "foo"], "foo"),
        ("crm_shadow", &["-D", "foo", "-f"], "foo"),
        ("crm_shadow", &["-p"], "foo"),
        ("crm_shadow", &["-b", "-e", "baz", "-v", "pacemaker-1.2"], ""),
        ("crm_shadow", &["-p"], "baz"),
        ("crm_shadow", &["-b", "-s", "baz"], ""),
        ("crm_shadow", &["-C", "nosuch", "-f"], ""),
        ("crm_shadow", &["-d"], ""),
    ];
    let (a, b) = (Temp::new(), Temp::new());
    for dir in [&a.0, &b.0] {
        fs::write(dir.join("cib.xml"), DOCUMENT).unwrap();
    }
    for (name, words, shadow) in steps {
        let set = |command: Command, dir: &Path| {
            let mut command = on(command, dir, &dir.join("cib.xml"));
            if !shadow.is_empty() {
                command.env("CIB_shadow", shadow);
            }
            command
        };
        let theirs = Command::new(peer.with_file_name(name));
        let (want, want_out, want_err) = run(set(theirs, &a.0).args(*words));
        let (code, out, err) = run(set(holdfast(&b.0), &b.0).arg(name).args(*words));
        assert_eq!(code, want, "{name} {words:?}: {err}\npeer: {want_err}");
        assert_eq!(out, want_out, "{name} {words:?}");
        assert_eq!(err, want_err, "{name} {words:?}");
        if want == Some(0) && words[0] == "-C" && *name == "crm_shadow" {
            // The peer does not write what it commits where a file stands for the cluster.
            let committed = tree(&b.0.join("cib.xml"));
            assert_eq!(committed.get("epoch"), Some("6"));
            assert!(committed.find_id("x").is_some() && committed.find_id("a-s").is_none());
            fs::copy(b.0.join("cib.xml"), a.0.join("cib.xml")).unwrap();
        }
        assert_eq!(tree(&b.0.join("cib.xml")), tree(&a.0.join("cib.xml")), "{name} {words:?}");
    }
}

/// Access lists of every form, and a user for each.
const ACLS: &str = r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="5" num_updates="3" admin_epoch="0">
<configuration>
  <crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="o1" name="enable-acl" value="true"/></cluster_property_set></crm_config>
  <nodes><node id="1" uname="n1"/></nodes>
  <resources>
    <primitive id="a" class="ocf" provider="heartbeat" type="Dummy"><instance_attributes id="a-i"><nvpair id="a-i-p" name="password" value="secret"/><nvpair id="a-i-s" name="state" value="x"/></instance_attributes><meta_attributes id="a-m"><nvpair id="a-m-t" name="target-role" value="Started"/></meta_attributes></primitive>
    <primitive id="b" class="ocf" provider="heartbeat" type="Dummy"/>
  </resources>
  <constraints/>
  <acls>
    <acl_role id="monitor"><acl_permission id="m1" kind="read" xpath="/cib"/></acl_role>
    <acl_role id="nopass"><acl_permission id="np1" kind="deny" xpath="//nvpair[@name='password']"/><acl_permission id="np2" kind="read" xpath="/cib"/></acl_role>
    <acl_role id="oper"><acl_permission id="p1" kind="write" xpath="//nvpair[@name='target-role']"/><acl_permission id="p2" kind="read" xpath="/cib"/></acl_role>
    <acl_role id="bystatus"><acl_permission id="s1" kind="read" object-type="status"/><acl_permission id="s2" kind="write" reference="b"/></acl_role>
    <acl_role id="typ"><acl_permission id="t1" kind="write" object-type="primitive" attribute="type"/><acl_permission id="t2" kind="read" xpath="//resources"/></acl_role>
    <acl_role id="allw"><acl_permission id="w1" kind="write" xpath="/cib"/></acl_role>
    <acl_role id="resw"><acl_permission id="rw1" kind="write" xpath="//resources"/><acl_permission id="rw2" kind="deny" xpath="//primitive[@id='b']"/></acl_role>
    <acl_target id="u_mon"><role id="monitor"/></acl_target>
    <acl_target id="u_nopass"><role id="nopass"/></acl_target>
    <acl_target id="u_oper"><role id="oper"/></acl_target>
    <acl_target id="u_st"><role id="bystatus"/></acl_target>
    <acl_target id="u_typ"><role id="typ"/></acl_target>
    <acl_target id="u_all"><role id="allw"/></acl_target>
    <acl_target id="u_res"><role id="resw"/></acl_target>
    <acl_target id="u_none"/>
  </acls>
</configuration>
<status><node_state id="1" uname="n1"/></status>
</cib>"#;

#[test]
fn access_lists_let_and_refuse_what_pacemakers_do() {
    let Some(peer) = peer("cibadmin") else { return };
    let temp = Temp::new();
    let (theirs, ours) = (temp.0.join("theirs.xml"), temp.0.join("ours.xml"));
    let lines = [
        "-Q",
        "-Q -A //nvpair",
        "-Q -o status",
        "-M -X <nvpair_id='a-m-t'_value='Stopped'/>",
        "-M -X <primitive_id='b'_type='Stateful'/>",
        "-M -X <primitive_id='b'_description='x'/>",
        "-D -X <nvpair_id='a-i-p'/>",
        "-D -X <primitive_id='a'/>",
        "-C -o resources -X <primitive_id='n'_class='ocf'_provider='heartbeat'_type='Dummy'/>",
        "-R -X <primitive_id='a'_class='ocf'_provider='heartbeat'_type='Stateful'/>",
        "-M -c -o status -X <node_state_id='2'_uname='n2'/>",
        "-M -X <acl_role_id='monitor'><acl_permission_id='m1'_kind='write'/></acl_role>",
        "-B",
        "-E -f",
    ];
    let users = [
        "u_mon",
        "u_nopass",
        "u_oper",
        "u_st",
        "u_typ",
        "u_all",
        "u_res",
        "u_none",
        "stranger",
        "root",
        "hacluster",
    ];
    for user in users {
        for line in lines {
            for path in [&theirs, &ours] {
                fs::write(path, ACLS).unwrap();
            }
            let words = words(line);
            let (want, want_out, want_err) =
                run(on(Command::new(&peer), &temp.0, &theirs).env("CIB_user", user).args(&words));
            let (code, out, err) =
                run(on(holdfast(&temp.0), &temp.0, &ours).env("CIB_user", user).arg("cibadmin").args(&words));
            assert_eq!(code, want, "{user}: cibadmin {line}\n{err}\npeer: {want_err}");
            if want == Some(0) && !out.is_empty() {
                let read = |text: &str| Element::parse(text, "out").unwrap();
                // The peer writes some quotes as references.
                assert_eq!(read(&out), read(&want_out), "{user}: cibadmin {line}");
            }
            assert_eq!(tree(&ours), tree(&theirs), "{user}: the document after cibadmin {line}");
        }
    }
}
