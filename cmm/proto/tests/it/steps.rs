//! Reconfiguration steps as a userland sees them.

use cmm_proto::{Event, Refusal, Request};
use holdfast_types::{Epoch, Span, StepNumber};

use crate::cluster::{Cluster, node};

fn participate(c: &mut Cluster, id: u32, on: bool) {
    c.submit(id, Request::StepParticipant(on)).unwrap();
}

fn done(c: &mut Cluster, id: u32) {
    let (epoch, step) = c.begun(id).expect("a step has begun");
    c.submit(id, Request::StepDone { epoch, step }).unwrap();
}

#[test]
fn fence_ends_everywhere_before_resources_begins_anywhere() {
    let mut c = Cluster::formed(3);
    for id in 1..=3 {
        participate(&mut c, id, true);
    }
    c.kill(3);
    c.until("fence", |c| [1, 2].iter().all(|id| c.steps(*id).last().is_some_and(|s| s == "fence Begin")));
    assert!([1, 2].iter().all(|id| c.quorum_told(*id) == [true]), "quorum is told before userland is done");
    done(&mut c, 1);
    c.run(Span::from_secs(5));
    assert_eq!(c.steps(1).last().map(String::as_str), Some("fence Begin"), "2 has not ended it");
    done(&mut c, 2);
    c.until("resources", |c| {
        [1, 2].iter().all(|id| c.steps(*id).last().is_some_and(|s| s == "resources Begin"))
    });
    done(&mut c, 2);
    done(&mut c, 1);
    c.until("end", |c| c.settled(&[1, 2]));
    assert_eq!(
        c.steps(1),
        [
            "sync Begin",
            "sync Done",
            "quorum Begin",
            "quorum Done",
            "fence Begin",
            "fence Done",
            "resources Begin",
            "resources Done",
            "end Done"
        ]
    );
}

#[test]
fn a_new_configuration_aborts_a_running_step() {
    let mut c = Cluster::formed(4);
    participate(&mut c, 1, true);
    c.kill_with_gasp(4, false);
    c.until("fence", |c| c.begun(1).is_some_and(|(_, s)| s == StepNumber::new(3)));
    let stale = c.begun(1).expect("begun");
    c.kill_with_gasp(3, false);
    c.until("again", |c| c.begun(1).is_some_and(|(e, s)| e > stale.0 && s == StepNumber::new(3)));
    assert!(c.steps(1).contains(&"fence Aborted".to_owned()));
    let request = Request::StepDone { epoch: stale.0, step: stale.1 };
    assert_eq!(c.submit(1, request), Err(Refusal::NotExist), "the word for the old one is void");
    done(&mut c, 1);
    c.until("resources", |c| c.begun(1).is_some_and(|(_, s)| s == StepNumber::new(4)));
    done(&mut c, 1);
    c.until("end", |c| c.settled(&[1, 2]));
}

#[test]
fn a_step_that_takes_too_long_is_reported_and_never_skipped() {
    let mut c = Cluster::formed(2);
    participate(&mut c, 2, true);
    c.kill(1);
    c.until("fence", |c| c.begun(2).is_some_and(|(_, s)| s == StepNumber::new(3)));
    c.start(1);
    c.until("fence again", |c| {
        c.begun(2).is_some_and(|(_, s)| s == StepNumber::new(3)) && c.node(2).members().len() == 2
    });
    let (first, _) = c.begun(2).expect("begun");
    c.forget();
    c.run(Span::from_secs(200));
    let late: Vec<_> = c.events(1).into_iter().filter(|e| matches!(e, Event::StepLate { .. })).collect();
    assert!(late.len() >= 5, "it goes on to report");
    assert!(matches!(late[0], Event::StepLate { missing, .. } if *missing == [node(2)]));
    assert!(!c.steps(1).contains(&"fence Done".to_owned()));
    let (epoch, step) = c.begun(2).expect("still the same step");
    assert!(step == StepNumber::new(3) && epoch > first);
    assert!(epoch <= Epoch::new(first.get() + 4), "restarts are bounded");
    done(&mut c, 2);
    c.until("resources", |c| c.begun(2).is_some_and(|(_, s)| s == StepNumber::new(4)));
}
