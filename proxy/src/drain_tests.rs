use super::*;

#[tokio::test(start_paused = true)]
async fn draining_ends_as_soon_as_the_last_connection_does() {
    let drain = Drain::default();
    let (first, second) = (drain.open_connections().enter(), drain.open_connections().enter());
    let signal = drain.signal();
    let started = tokio::time::Instant::now();
    let work = async {
        signal.draining().await;
        drop(first);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(signal.phase(), Phase::Draining);
        drop(second);
    };
    let (cut, ()) = tokio::join!(drain.run(Duration::ZERO, Duration::from_secs(60)), work);
    assert_eq!((cut, started.elapsed()), (0, Duration::from_secs(2)));
    signal.ended().await;
}

/// A caller that comes while the last connection closes has a connection, and perhaps has sent its request.
#[tokio::test(start_paused = true)]
async fn who_comes_while_listening_ends_is_still_served() {
    let drain = Drain::default();
    let listening = drain.listening().enter();
    let signal = drain.signal();
    let work = async {
        signal.closing().await;
        let late = drain.open_connections().enter();
        drop(listening);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(signal.phase(), Phase::Closing);
        drop(late);
    };
    let (cut, ()) = tokio::join!(drain.run(Duration::ZERO, Duration::from_secs(60)), work);
    assert_eq!(cut, 0);
    assert!(signal.phase() == Phase::Ended && signal.is_draining());
}

#[tokio::test(start_paused = true)]
async fn draining_ends_after_its_time_whoever_is_left() {
    let drain = Drain::default();
    let _stays = drain.open_connections().enter();
    assert_eq!(drain.run(Duration::ZERO, Duration::from_secs(5)).await, 1);
    assert_eq!(drain.signal().phase(), Phase::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_ends_with_its_application_waits_for_its_last_words() {
    let drain = Drain::default();
    let started = tokio::time::Instant::now();
    assert_eq!(drain.run(Duration::from_secs(3), Duration::from_secs(5)).await, 0);
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

/// Its hooks may take longer than any fixed time: what counts is that it still calls.
#[tokio::test(start_paused = true)]
async fn a_sidecar_stays_for_as_long_as_its_application_calls() {
    let drain = Drain::default();
    let started = tokio::time::Instant::now();
    let calls = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(drain.open_connections().enter());
        }
    };
    let (cut, ()) = tokio::join!(drain.run(Duration::from_secs(3), Duration::from_secs(30)), calls);
    assert_eq!(cut, 0);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(23) && took < Duration::from_secs(27), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once() {
    let drain = Drain::default();
    let _stays = drain.open_connections().enter();
    let second = async {
        drain.signal().draining().await;
        drain.end();
    };
    let (cut, ()) = tokio::join!(drain.run(Duration::ZERO, Duration::from_secs(3600)), second);
    assert_eq!(cut, 1);
}

#[tokio::test]
async fn draining_that_has_begun_is_not_begun_again() {
    let drain = Drain::default();
    drain.end();
    drain.begin();
    assert_eq!(drain.signal().phase(), Phase::Ended);
}
