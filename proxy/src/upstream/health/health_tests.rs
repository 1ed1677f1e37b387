use std::cell::Cell;

use bytes::Bytes;
use http::Method;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use weft_model::cluster::{Cluster, UpstreamHttp};
use weft_model::health_check::{HealthQuestion, HttpQuestion};
use weft_model::policy::HeaderMutations;

use super::question::Answer;
use super::*;
use crate::upstream::UpstreamSettings;
use crate::upstream::test_support::{cluster, snapshot};

fn check(question: HealthQuestion) -> HealthCheck {
    HealthCheck {
        timeout: Duration::from_secs(1),
        interval: Duration::from_millis(20),
        no_traffic_interval: Duration::from_millis(20),
        no_traffic_healthy_interval: None,
        unhealthy_interval: None,
        unhealthy_edge_interval: None,
        healthy_edge_interval: None,
        initial_jitter: Duration::ZERO,
        interval_jitter: Duration::ZERO,
        interval_jitter_percent: 0,
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        alt_port: None,
        reuse_connection: true,
        question,
    }
}

fn http() -> HealthQuestion {
    HealthQuestion::Http(HttpQuestion {
        host: "".into(),
        path: "/health".into(),
        method: Method::GET,
        headers: HeaderMutations::default(),
        expected_statuses: vec![(200, 201)],
        retriable_statuses: vec![],
        http2: false,
    })
}

fn tcp(send: Option<&'static [u8]>, receive: &[&'static [u8]]) -> HealthQuestion {
    HealthQuestion::Tcp {
        send: send.map(Bytes::from_static),
        receive: receive.iter().map(|part| Bytes::from_static(part)).collect(),
    }
}

#[test]
fn the_first_answer_decides_and_then_rows_do() {
    let check = check(tcp(None, &[]));
    let mut state = CheckState::default();
    assert!(!state.is_healthy(), "who was not asked is not healthy");
    assert!(state.learn(Answer::Good, &check) && state.is_healthy());
    assert!(!state.learn(Answer::Broken, &check) && state.is_healthy());
    assert!(!state.learn(Answer::Good, &check), "a good answer ends the row");
    assert!(!state.learn(Answer::Broken, &check));
    assert!(state.learn(Answer::Broken, &check) && !state.is_healthy());
    assert!(!state.learn(Answer::Good, &check) && !state.is_healthy());
    assert!(state.learn(Answer::Good, &check) && state.is_healthy());
    assert!(state.learn(Answer::Bad, &check) && !state.is_healthy(), "a wrong answer counts at once");
}

#[test]
fn the_next_question_comes_when_the_configuration_says() {
    let seconds = Duration::from_secs;
    let check = HealthCheck {
        interval: seconds(1),
        no_traffic_interval: seconds(60),
        no_traffic_healthy_interval: Some(seconds(90)),
        unhealthy_interval: Some(seconds(3)),
        unhealthy_edge_interval: Some(seconds(4)),
        healthy_edge_interval: Some(seconds(5)),
        interval_jitter: seconds(2),
        interval_jitter_percent: 100,
        ..check(tcp(None, &[]))
    };
    let mut state = CheckState::default();
    state.learn(Answer::Bad, &check);
    assert_eq!(state.wait(&check, true, true), seconds(4));
    assert_eq!(state.wait(&check, false, true), seconds(3));
    assert_eq!(state.wait(&check, false, false), seconds(60));
    state.learn(Answer::Good, &check);
    state.learn(Answer::Good, &check);
    assert_eq!(state.wait(&check, true, true), seconds(5));
    assert_eq!(state.wait(&check, false, true), seconds(1));
    assert_eq!(state.wait(&check, false, false), seconds(90));
    assert_eq!(state::with_jitter(seconds(1), &check, 0.0), seconds(1));
    assert_eq!(state::with_jitter(seconds(1), &check, 1.0), seconds(4));
}

/// A server that gives every connection the same answer after its first bytes, if it is to wait for some.
async fn server(waits: bool, answer: Rc<Cell<&'static [u8]>>) -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::task::spawn_local(async move {
                let mut buffer = [0; 1024];
                loop {
                    if waits && !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                        return;
                    }
                    if stream.write_all(answer.get()).await.is_err() || !waits {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn upstreams(checks: &HealthChecks, question: HealthQuestion, addresses: &[SocketAddr]) -> Rc<Upstreams> {
    let settings = UpstreamSettings { health: checks.clone(), ..UpstreamSettings::default() };
    let upstreams = Upstreams::new(settings);
    let checked = Cluster { health_check: Some(check(question)), ..cluster(UpstreamHttp::Http1, addresses) };
    upstreams.update(&snapshot(vec![checked]));
    upstreams
}

/// The endpoints that take requests.
fn taking(upstreams: &Upstreams) -> Vec<SocketAddr> {
    let state = upstreams.all().pop().expect("the cluster");
    let mut taking: Vec<_> =
        state.endpoints().iter().filter(|e| e.takes_requests()).map(|e| e.address()).collect();
    taking.sort();
    taking
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BAD: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn an_endpoint_takes_requests_while_its_answers_are_good_and_all_workers_know() {
    LocalSet::new()
        .run_until(async {
            let answer = Rc::new(Cell::new(OK));
            let good = server(true, answer.clone()).await;
            let bad = server(true, Rc::new(Cell::new(BAD))).await;
            let checks = HealthChecks::default();
            let one = upstreams(&checks, http(), &[good, bad]);
            let other = upstreams(&checks, http(), &[good, bad]);
            assert!(taking(&one).is_empty() && taking(&other).is_empty(), "nobody was asked yet");
            until("the good one is known", || taking(&one) == [good] && taking(&other) == [good]).await;
            answer.set(BAD);
            until("it is known to be bad", || taking(&one).is_empty() && taking(&other).is_empty()).await;
            answer.set(OK);
            until("it is well again", || taking(&one) == [good] && taking(&other) == [good]).await;
        })
        .await;
}

#[tokio::test]
async fn bytes_are_sent_and_waited_for() {
    LocalSet::new()
        .run_until(async {
            let pong = server(true, Rc::new(Cell::new(b"+PONG and more"))).await;
            let silent = server(true, Rc::new(Cell::new(b"-ERR"))).await;
            let closed = {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                listener.local_addr().expect("bound")
            };
            let question = tcp(Some(b"PING"), &[b"PONG", b"more"]);
            let one = upstreams(&HealthChecks::default(), question, &[pong, silent, closed]);
            until("the one that answers is known", || taking(&one) == [pong]).await;
        })
        .await;
}

#[tokio::test]
async fn grpc_is_asked_by_its_health_protocol() {
    use http_body_util::{BodyExt, StreamBody};
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            tokio::task::spawn_local(async move {
                let (stream, _) = listener.accept().await.expect("a connection");
                let service =
                    hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                        let path = request.uri().path().to_owned();
                        let asked = request.into_body().collect().await?.to_bytes();
                        let serving = path == "/grpc.health.v1.Health/Check" && asked.ends_with(b"reviews");
                        let status = if serving { 1 } else { 2 };
                        let frames = [
                            Ok::<_, hyper::Error>(hyper::body::Frame::data(Bytes::from(vec![
                                0, 0, 0, 0, 2, 8, status,
                            ]))),
                            Ok(hyper::body::Frame::trailers(
                                [(
                                    http::HeaderName::from_static("grpc-status"),
                                    http::HeaderValue::from_static("0"),
                                )]
                                .into_iter()
                                .collect(),
                            )),
                        ];
                        Ok::<_, hyper::Error>(http::Response::new(StreamBody::new(tokio_stream::iter(
                            frames,
                        ))))
                    });
                let io = hyper_util::rt::TokioIo::new(stream);
                let server =
                    hyper::server::conn::http2::Builder::new(crate::upstream::test_support::LocalExecutor);
                let _ = server.serve_connection(io, service).await;
            });
            let question = HealthQuestion::Grpc { service: "reviews".into(), authority: "".into() };
            let one = upstreams(&HealthChecks::default(), question, &[address]);
            until("it serves", || taking(&one) == [address]).await;
        })
        .await;
}
