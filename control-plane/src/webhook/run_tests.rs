use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::follow_values;
use crate::inject::{InjectionValues, Injector};

async fn until(what: &str, holds: impl Fn() -> bool) {
    let reached = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect(what);
}

#[tokio::test]
async fn the_newest_values_without_a_mistake_are_in_use() {
    let injector = Arc::new(Injector::new(InjectionValues::default()).unwrap());
    let mesh = || injector.configuration().values().mesh.clone();
    let (sender, values) = watch::channel(None);
    let following = tokio::spawn(follow_values(injector.clone(), values));
    sender.send(Some("mesh: one".to_owned())).unwrap();
    until("the first values", || mesh() == "one").await;
    sender.send(Some("mesh: [".to_owned())).unwrap();
    sender.send(Some("image: {tga: 1}".to_owned())).unwrap();
    sender.send(None).unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(mesh(), "one");
    sender.send(Some("mesh: two".to_owned())).unwrap();
    until("the next values", || mesh() == "two").await;
    drop(sender);
    following.abort();
}
