use tokio::time::sleep;

use super::*;

const DEBOUNCE: Debounce = Debounce { quiet: Duration::from_millis(50), ceiling: Duration::from_millis(200) };

/// Changes the watched value at the given milliseconds; gives what came out of the debounce, and when.
async fn run(script: &[(u64, (u64, u64))]) -> (Option<(u64, u64)>, u64) {
    let (sender, mut receiver) = watch::channel((0, 0));
    let start = Instant::now();
    let changes = async {
        for (at, value) in script {
            sleep_until(start + Duration::from_millis(*at)).await;
            sender.send_replace(*value);
        }
        sleep(Duration::from_secs(10)).await;
    };
    let settled = async {
        let settled = DEBOUNCE.settled(&mut receiver, |value| value.0, 0).await;
        (settled, start.elapsed().as_millis() as u64)
    };
    tokio::select! {
        result = settled => result,
        () = changes => (None, start.elapsed().as_millis() as u64),
    }
}

#[tokio::test(start_paused = true)]
async fn one_change_is_pushed_after_the_quiet_time() {
    assert_eq!(run(&[(100, (1, 0))]).await, (Some((1, 0)), 150));
}

#[tokio::test(start_paused = true)]
async fn changes_in_quick_succession_become_one() {
    assert_eq!(run(&[(0, (1, 0)), (30, (2, 0)), (60, (3, 0)), (500, (4, 0))]).await, (Some((3, 0)), 110));
}

#[tokio::test(start_paused = true)]
async fn changes_that_never_pause_are_pushed_at_the_ceiling() {
    let script: Vec<_> = (0..100).map(|n| (n * 20, (n + 1, 0))).collect();
    let (settled, at) = run(&script).await;
    assert_eq!(at, 200);
    assert!(matches!(settled, Some((10 | 11, 0))), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn changes_of_another_lane_neither_start_nor_prolong_the_wait() {
    assert_eq!(run(&[(0, (0, 1)), (10, (0, 2))]).await.0, None);
    assert_eq!(run(&[(0, (1, 0)), (40, (1, 1)), (45, (1, 2))]).await, (Some((1, 2)), 50));
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_can_change_anything_any_more() {
    let (sender, mut receiver) = watch::channel((0_u64, 0_u64));
    drop(sender);
    assert_eq!(DEBOUNCE.settled(&mut receiver, |value| value.0, 0).await, None);
}
