//! Waiting for what must come to hold, with an end.

use std::time::{Duration, Instant};

/// How long a scenario waits for what must come: long, because machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer, and gives it. Fails with the last reason when [`PATIENCE`] ends.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(why) => assert!(Instant::now() < end, "never: {what}; at last: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// As [`eventually`], of something that holds or does not.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, async || if holds() { Ok(()) } else { Err("it does not hold".to_owned()) }).await;
}
