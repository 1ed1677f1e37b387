use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

#[tokio::test]
async fn bytes_go_both_ways_and_a_half_closed_side_still_gets_the_answer() {
    let (mut client, mut downstream) = duplex(64);
    let (mut server, mut upstream) = duplex(64);
    let copying = copy_bidirectional(&mut downstream, &mut upstream, None);
    let question = vec![b'q'; 200_000];
    let talking = async {
        let ask = async {
            client.write_all(&question).await.expect("written");
            client.shutdown().await.expect("half closed");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("read");
            answer
        };
        let answer = async {
            let mut asked = Vec::new();
            server.read_to_end(&mut asked).await.expect("the end arrives");
            server.write_all(b"answer").await.expect("written");
            server.shutdown().await.expect("closed");
            asked.len()
        };
        tokio::join!(ask, answer)
    };
    let (end, (answer, asked)) = tokio::join!(copying, talking);
    assert_eq!((answer.as_slice(), asked), (&b"answer"[..], question.len()));
    assert!(end.result.is_ok());
    assert_eq!((end.from_downstream, end.from_upstream), (question.len() as u64, 6));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it_but_a_slow_talker_does_not() {
    let (mut client, mut downstream) = duplex(64);
    let (_server, mut upstream) = duplex(64);
    let bound = Duration::from_secs(10);
    let began = Instant::now();
    let talking = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            client.write_all(b"x").await.expect("written");
        }
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = copy_bidirectional(&mut downstream, &mut upstream, Some(bound)) => end,
        () = talking => unreachable!(),
    };
    assert!(matches!(end.result, Err(CopyError::Idle(_))));
    assert_eq!(end.from_downstream, 3);
    assert_eq!(began.elapsed().as_secs(), 3 * 8 + 10);
}

#[tokio::test]
async fn idle_connections_hold_no_buffer() {
    let (mut client, mut downstream) = duplex(64);
    let (mut server, mut upstream) = duplex(64);
    let mut copying = pin!(copy_bidirectional(&mut downstream, &mut upstream, None));
    client.write_all(b"hello").await.expect("written");
    let mut got = [0; 5];
    tokio::select! {
        _ = &mut copying => panic!("still open"),
        read = server.read_exact(&mut got) => { read.expect("read"); }
    }
    let spare = SPARES.with_borrow(Vec::len);
    assert_eq!(spare, 1, "one buffer served both directions and was given back");
}

#[tokio::test]
async fn an_answer_is_delivered_even_if_the_server_takes_no_more() {
    let (mut client, mut downstream) = duplex(64);
    let (mut server, mut upstream) = duplex(64);
    server.write_all(b"enough").await.expect("written");
    drop(server);
    client.write_all(b"a long question").await.expect("written");
    let end = copy_bidirectional(&mut downstream, &mut upstream, None).await;
    assert!(matches!(end.result, Err(CopyError::Io { side: ErrorSource::Upstream, .. })), "{end:?}");
    assert!(end.told_downstream && !end.told_upstream, "{end:?}");
    drop(downstream);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("read");
    assert_eq!(answer, "enough");
}
