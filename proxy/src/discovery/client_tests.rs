use std::sync::Mutex;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tonic::transport::Endpoint;

use super::*;
use crate::discovery::Node;

/// Nobody is there; remembers when it was tried.
#[derive(Clone, Default)]
struct Nobody(Arc<Mutex<Vec<Instant>>>);

impl tower_service::Service<http::Uri> for Nobody {
    type Response = TokioIo<DuplexStream>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        self.0.lock().unwrap().push(Instant::now());
        std::future::ready(Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)))
    }
}

fn settings() -> DiscoverySettings {
    let node = Node {
        id: "sidecar~10.0.0.1~a.default~default.svc.cluster.local".parse().unwrap(),
        cluster: "a.default".to_owned(),
        labels: std::collections::BTreeMap::new(),
        service_account: "a".to_owned(),
        metadata: std::collections::BTreeMap::new(),
        ports: Vec::new(),
        interception_mode: "REDIRECT".to_owned(),
        explicit: None,
    };
    DiscoverySettings::new(node, None)
}

#[test]
fn waits_double_up_to_the_longest_and_use_all_of_the_room_below() {
    let settings = settings();
    let (base, longest) = (settings.backoff_base, settings.backoff_max);
    let (_, client) = Client::new(settings);
    for failures in [0, 1, 2, 3, 40] {
        let ceiling = (base * 2_u32.pow(failures.min(16))).min(longest);
        let waits: Vec<Duration> = (0..2000).map(|_| client.backoff(failures)).collect();
        assert!(waits.iter().all(|wait| *wait <= ceiling), "{failures}");
        // Full jitter: as many proxies come back in each part of the time, so that they do not come together.
        for quarter in 0..4_u32 {
            let part = (ceiling * quarter / 4)..=(ceiling * (quarter + 1) / 4);
            let share = waits.iter().filter(|wait| part.contains(*wait)).count();
            assert!((350..=650).contains(&share), "{failures} failures, quarter {quarter}: {share} of 2000");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_tries_for_ever_less_and_less_often_and_says_what_is_the_matter() {
    let nobody = Nobody::default();
    let (discovery, client) = Client::new(settings());
    let channel = Endpoint::from_static("http://control-plane").connect_with_connector_lazy(nobody.clone());
    let running = tokio::spawn(client.run(channel));
    tokio::time::sleep(Duration::from_secs(600)).await;
    running.abort();
    let tries = nobody.0.lock().unwrap().clone();
    // 600 s at up to 10 s each, 5 s on average: not one hundred in a row at once, and never a pause beyond the bound.
    assert!((75..=250).contains(&tries.len()), "{} attempts", tries.len());
    let pauses = tries.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.max().unwrap() <= Duration::from_secs(10) + Duration::from_millis(100));
    let stream = discovery.status.stream();
    assert!(!stream.connected && stream.trouble.is_some(), "{stream:?}");
    assert!(!discovery.is_configured());
}
