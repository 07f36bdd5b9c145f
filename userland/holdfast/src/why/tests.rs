//! The two commands on documents and logs.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Why {
    #[command(flatten)]
    args: Args,
}

#[derive(Parser)]
struct Doctor {
    #[command(flatten)]
    args: DoctorArgs,
}

/// db was moved from n1 to n2 after a failure; a ban is left.
const DOCUMENT: &str = r#"<cib validate-with="pacemaker-3.7" have-quorum="1" dc-uuid="1" execution-date="1464165000" cib-last-written="Wed May 25 06:30:00 2016"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
<resources><primitive id="db" class="ocf" provider="pacemaker" type="Dummy"><meta_attributes id="m"><nvpair id="m1" name="migration-threshold" value="1"/></meta_attributes></primitive></resources>
<constraints><rsc_location id="cli-ban-db-on-n1" rsc="db" role="Started" node="n1" score="-INFINITY"/></constraints>
</configuration><status>
<node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources><lrm_resource id="db" class="ocf" provider="pacemaker" type="Dummy">
<lrm_rsc_op id="db_last_0" operation="stop" operation_key="db_stop_0" transition-key="1:2:0:x" transition-magic="0:0;1:2:0:x" call-id="9" rc-code="0" op-status="0" interval="0" last-rc-change="1464161405"/>
<lrm_rsc_op id="db_last_failure_0" operation="monitor" operation_key="db_monitor_10000" transition-key="1:1:0:x" transition-magic="0:7;1:1:0:x" call-id="8" rc-code="7" op-status="0" interval="10000" last-rc-change="1464161405" exit-reason="killed"/>
</lrm_resource></lrm_resources></lrm><transient_attributes id="1"><instance_attributes id="t1"><nvpair id="t11" name="fail-count-db#monitor_10000" value="1"/><nvpair id="t12" name="last-failure-db#monitor_10000" value="1464161405"/></instance_attributes></transient_attributes></node_state>
<node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="2"><lrm_resources><lrm_resource id="db" class="ocf" provider="pacemaker" type="Dummy">
<lrm_rsc_op id="db_last_0" operation="start" operation_key="db_start_0" transition-key="2:2:0:x" transition-magic="0:0;2:2:0:x" call-id="3" rc-code="0" op-status="0" interval="0" last-rc-change="1464161407"/>
</lrm_resource></lrm_resources></lrm></node_state></status></cib>"#;

fn why(args: &[&str], input: &str) -> (Exit, String) {
    let (mut io, said) = Io::captured(input);
    let called = Why::try_parse_from([&["why"], args].concat()).unwrap();
    let exit = run(&called.args, &mut io);
    let text = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    (exit, text)
}

fn doctor(args: &[&str], input: &str) -> (Exit, String) {
    let (mut io, said) = Io::captured(input);
    let called = Doctor::try_parse_from([&["doctor"], args].concat()).unwrap();
    let exit = run_doctor(&called.args, &mut io);
    let text = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    (exit, text)
}

#[test]
fn why_says_one_sentence_and_then_the_evidence() {
    let (exit, text) = why(&["-p", "db"], DOCUMENT);
    assert_eq!(exit, Exit::Ok, "{text}");
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "db moved from n1 to n2 at 2016-05-25 07:30:07Z because it failed on n1: its monitor found it not running (7): killed."
    );
    assert!(text.contains("fail counts  db has fail count 1 on n1, migration-threshold 1"), "{text}");
    assert!(text.contains("To lift what is in the way: crm_resource -C -r db -N n1"), "{text}");
    let (_, text) = why(&["-p", "db", "--json"], DOCUMENT);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["cause"], &value["from"], &value["to"]),
        (&"resource".into(), &"n1".into(), &"n2".into())
    );
    let (exit, text) = why(&["-p", "web"], DOCUMENT);
    assert!(exit == Exit::Usage && text.contains("there are db, n1, n2"), "{text}");
    let (exit, text) = why(&["-p", "db"], "<cib><configuration/><status/></cib>");
    assert!(exit == Exit::CannotCreate && text.contains("cibadmin -Q"), "{text}");
}

#[test]
fn why_reads_the_operators_log() {
    let path = std::env::temp_dir().join(format!("why-{}.log", std::process::id()));
    let log = "\
May 25 16:30:05 n1   error: Start to fail-over.
May 25 16:30:05 n1    info: Reason: db failed on n1
May 25 16:30:05 n1    info: Resource db tries to stop.
May 25 16:30:05 n1    info: Resource other tries to stop.
May 25 16:30:08 n1    info: fail-over succeeded.
May 25 17:00:00 n1   error: Start to fail-over.
May 25 17:00:00 n1    info: Resource other : Stopped
May 25 17:00:00 n1   error: fail-over failed.
";
    std::fs::write(&path, log).unwrap();
    let (exit, text) = why(&["-p", "db", "--log", path.to_str().unwrap()], DOCUMENT);
    let _ = std::fs::remove_file(&path);
    assert_eq!(exit, Exit::Ok);
    let log: Vec<&str> = text.lines().filter(|l| l.trim_start().starts_with("log ")).collect();
    assert_eq!(log.len(), 4, "{text}");
    assert!(log[1].ends_with("Reason: db failed on n1") && !text.contains("other"), "{text}");
    let (exit, _) = why(&["-p", "db", "--log", "/nowhere/at.all"], DOCUMENT);
    assert_eq!(exit, Exit::CannotCreate);
}

#[test]
fn doctor_says_what_to_type_next_and_its_status_says_whether() {
    let (exit, text) = doctor(&["-p"], DOCUMENT);
    assert_eq!(exit, Exit::Of(1), "{text}");
    assert!(text.starts_with("Next: crm_standby -U n1 -v on\n"), "{text}");
    assert!(text.contains("Recovery pattern 1' "), "{text}");
    // The last change of the configuration is the least that a ban is old: here by the local zone, an hour or more.
    assert!(text.contains("cli-ban-db-on-n1 keeps db from n1") && text.contains("at least"), "{text}");
    let (exit, text) = doctor(&["-p", "--json"], DOCUMENT);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (exit, &value["to_do"], &value["recovery"]["pattern"]),
        (Exit::Of(1), &true.into(), &"1'".into())
    );
    let kinds: Vec<&str> =
        value["findings"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["fencing", "ban", "failures"]);
}

#[test]
fn what_is_known_of_fencing_can_be_given_as_json() {
    let path = std::env::temp_dir().join(format!("why-{}.json", std::process::id()));
    let history = r#"{"events":[{"target":"n1","action":"reboot","state":"success","origin":"n2","delegate":"n2","client":"rgmd","completed_us":1464161406000000,"exit_reason":null}]}"#;
    std::fs::write(&path, history).unwrap();
    let (exit, text) = why(&["-p", "db", "--fence-history", path.to_str().unwrap()], DOCUMENT);
    let _ = std::fs::remove_file(&path);
    assert_eq!(exit, Exit::Ok);
    assert!(text.contains("n1 was fenced (reboot) by n2"), "{text}");
}
