use super::*;

#[test]
fn a_bucket_is_filled_at_intervals_up_to_its_brim() {
    let bucket = TokenBucket { max_tokens: 2, tokens_per_fill: 1, fill_interval: Duration::from_secs(10) };
    let (state, start) = (BucketState::default(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(
        state.take(&bucket, at(0)),
        Taken { granted: true, remaining: 1, reset: Duration::from_secs(10) }
    );
    assert!(state.take(&bucket, at(1)).granted);
    let refused = state.take(&bucket, at(4));
    assert_eq!(refused, Taken { granted: false, remaining: 0, reset: Duration::from_secs(6) });
    assert!(state.take(&bucket, at(10)).granted && !state.take(&bucket, at(19)).granted);
    assert!(state.take(&bucket, at(20)).granted, "intervals are not shifted by requests");
    let drawn = (0..5).filter(|_| state.take(&bucket, at(9_999)).granted).count();
    assert_eq!(drawn, 2, "no more than the brim");
}
