use super::*;

fn candidate(identity: &str) -> Candidate {
    Candidate::new(LeaseSettings::new("weft-system", "weft-control-plane", identity))
}

fn held_by(identity: &str, second: i64) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(jiff::Timestamp::from_second(second).unwrap())),
        ..LeaseSpec::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_runs_out_when_nobody_was_seen_to_renew_it_whatever_the_holders_clock_says() {
    let mut me = candidate("me");
    let start = Instant::now();
    // Its time stamp is of long ago: that says nothing here.
    assert_eq!(me.judge(Some(&held_by("other", 1)), start), Move::Wait);
    assert_eq!(me.judge(Some(&held_by("other", 1)), start + Duration::from_secs(14)), Move::Wait);
    assert_eq!(me.judge(Some(&held_by("other", 2)), start + Duration::from_secs(14)), Move::Wait);
    assert_eq!(me.judge(Some(&held_by("other", 2)), start + Duration::from_secs(28)), Move::Wait);
    assert_eq!(me.judge(Some(&held_by("other", 2)), start + Duration::from_secs(29)), Move::Take);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_is_anybodys_and_ones_own_is_renewed() {
    let mut me = candidate("me");
    assert_eq!(me.judge(Some(&held_by("", 1)), Instant::now()), Move::Take);
    assert_eq!(me.judge(Some(&held_by("me", 1)), Instant::now()), Move::Renew);
    let (taken, renewed) = (me.spec(&held_by("other", 1), false), me.spec(&held_by("me", 1), true));
    assert_eq!((taken.lease_transitions, renewed.lease_transitions), (Some(1), Some(0)));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_before_others_may_begin() {
    let mut me = candidate("me");
    let start = Instant::now();
    assert!(!me.leads(start));
    me.renewed = Some(start);
    assert!(me.leads(start + Duration::from_secs(9)));
    assert!(!me.leads(start + me.settings.renew_deadline));
    assert!(me.settings.renew_deadline < me.settings.duration);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_lead_is_told_in_time_and_after_it_the_lease_is_looked_at_no_more_often() {
    let mut me = candidate("me");
    let start = Instant::now();
    me.renewed = Some(start);
    let shortly_before = start + me.settings.renew_deadline - Duration::from_millis(10);
    assert_eq!(me.wait(shortly_before), Duration::from_millis(10));
    for later in [me.settings.renew_deadline, Duration::from_secs(600)] {
        assert!(me.wait(start + later) >= me.settings.retry / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn work_of_the_leader_ends_with_the_lead() {
    let (sender, leading) = watch::channel(false);
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let work = tokio::spawn(while_leading(leading, move || {
        let began = began.clone();
        async move {
            let _ = began.send(());
            std::future::pending::<()>().await;
        }
    }));
    for _ in 0..2 {
        sender.send(true).unwrap();
        begun.recv().await.unwrap();
        sender.send(false).unwrap();
        tokio::task::yield_now().await;
    }
    drop(sender);
    work.await.unwrap();
}
