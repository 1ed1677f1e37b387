use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::authority::attest::Claim;
use crate::authority::testing::{TurnedClock, directory, workload};

const HOUR: Duration = Duration::from_secs(3600);

fn open(directory: &tempfile::TempDir) -> Arc<JoinTokens> {
    JoinTokens::open(directory.path(), Clock::system()).unwrap()
}

fn redeem(tokens: &JoinTokens, token: &JoinToken) -> Result<Workload, TokenRefusal> {
    tokens.redeem(token.reveal(), &Claim::default())
}

#[test]
fn a_token_stands_for_its_workload_once() {
    let directory = directory();
    let tokens = open(&directory);
    let token = tokens.issue(&workload("reviews"), HOUR).unwrap().token;
    assert_eq!(redeem(&tokens, &token), Ok(workload("reviews")));
    assert_eq!(redeem(&tokens, &token), Err(TokenRefusal::Used));
}

#[test]
fn wrong_expired_and_foreign_tokens_are_told_apart() {
    let (directory, clock) = (directory(), TurnedClock::new());
    let tokens = JoinTokens::open(directory.path(), clock.clock()).unwrap();
    let token = tokens.issue(&workload("reviews"), HOUR).unwrap().token;
    assert_eq!(redeem(&tokens, &JoinToken::draw().unwrap()), Err(TokenRefusal::Unknown));
    assert_eq!(tokens.redeem("eyJhbGciOi", &Claim::default()), Err(TokenRefusal::Foreign));
    assert_eq!(tokens.redeem("wjt_", &Claim::default()), Err(TokenRefusal::Unknown));
    clock.advance(HOUR);
    assert_eq!(redeem(&tokens, &token), Err(TokenRefusal::Expired));
}

#[test]
fn a_token_survives_a_restart_and_so_does_its_use() {
    let directory = directory();
    let tokens = open(&directory);
    let used = tokens.issue(&workload("reviews"), HOUR).unwrap().token;
    let fresh = tokens.issue(&workload("ratings"), HOUR).unwrap().token;
    redeem(&tokens, &used).unwrap();
    drop(tokens);
    for _ in 0..2 {
        assert_eq!(redeem(&open(&directory), &used), Err(TokenRefusal::Used));
    }
    assert_eq!(redeem(&open(&directory), &fresh), Ok(workload("ratings")));
    assert_eq!(redeem(&open(&directory), &fresh), Err(TokenRefusal::Used));
}

#[test]
fn a_crash_at_any_byte_of_the_journal_forgets_nothing_that_was_acknowledged() {
    let directory = directory();
    let path = directory.path().join("authority/join-tokens.jsonl");
    let tokens = open(&directory);
    let first = tokens.issue(&workload("reviews"), HOUR).unwrap().token;
    let issued = std::fs::metadata(&path).unwrap().len() as usize;
    redeem(&tokens, &first).unwrap();
    let used = std::fs::metadata(&path).unwrap().len() as usize;
    let second = tokens.issue(&workload("ratings"), HOUR).unwrap().token;
    let whole = std::fs::read(&path).unwrap();
    drop(tokens);
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let tokens = open(&directory);
        let expected = match length {
            _ if length >= used => Err(TokenRefusal::Used),
            _ if length >= issued => Ok(workload("reviews")),
            _ => Err(TokenRefusal::Unknown),
        };
        assert_eq!(redeem(&tokens, &first), expected, "cut at {length}");
        let expected =
            if length == whole.len() { Ok(workload("ratings")) } else { Err(TokenRefusal::Unknown) };
        assert_eq!(redeem(&tokens, &second), expected, "cut at {length}");
        // What is appended after the recovery is readable again.
        let third = tokens.issue(&workload("details"), HOUR).unwrap().token;
        assert_eq!(redeem(&open(&directory), &third), Ok(workload("details")), "cut at {length}");
    }
}

#[test]
fn a_journal_damaged_in_the_middle_is_not_skipped() {
    let directory = directory();
    let tokens = open(&directory);
    let token = tokens.issue(&workload("reviews"), HOUR).unwrap().token;
    redeem(&tokens, &token).unwrap();
    let path = directory.path().join("authority/join-tokens.jsonl");
    let text = std::fs::read_to_string(&path).unwrap().replacen("\"used\"", "\"us", 1);
    std::fs::write(&path, text).unwrap();
    let error = JoinTokens::open(directory.path(), Clock::system()).unwrap_err();
    assert!(matches!(error, AuthorityError::Journal { line: 2, .. }), "{error}");
}

#[test]
fn a_token_shown_by_another_workload_is_refused_and_stays_good() {
    let directory = directory();
    let tokens = open(&directory);
    let bound = Workload { name: Some("reviews-v2".into()), ..workload("reviews") };
    let token = tokens.issue(&bound, HOUR).unwrap().token;
    let claim = |identity: &str, name: Option<&str>| Claim {
        identity: Some(identity.parse().unwrap()),
        name: name.map(str::to_owned),
    };
    let (right, wrong) =
        ("spiffe://cluster.local/ns/bookshop/sa/reviews", "spiffe://cluster.local/ns/bookshop/sa/ratings");
    for claim in [claim(wrong, Some("reviews-v2")), claim(right, Some("reviews-v1")), claim(right, None)] {
        assert_eq!(tokens.redeem(token.reveal(), &claim), Err(TokenRefusal::OtherWorkload));
    }
    assert_eq!(tokens.redeem(token.reveal(), &claim(right, Some("reviews-v2"))), Ok(bound));
}

#[test]
fn only_one_of_many_at_once_gets_through() {
    let directory = directory();
    let tokens = open(&directory);
    let token = tokens.issue(&workload("reviews"), HOUR).unwrap().token;
    let won = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(|| redeem(&tokens, &token).is_ok())).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn the_journal_does_not_grow_with_what_has_expired_and_holds_no_secret() {
    let (directory, clock) = (directory(), TurnedClock::new());
    let path = directory.path().join("authority/join-tokens.jsonl");
    let tokens = JoinTokens::open(directory.path(), clock.clock()).unwrap();
    let token = tokens.issue(&workload("reviews"), HOUR).unwrap().token;
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(token.reveal()) && !text.contains(&token.reveal()[4..]));
    clock.advance(HOUR);
    drop(tokens);
    JoinTokens::open(directory.path(), clock.clock()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn neither_debug_nor_fingerprint_shows_a_token() {
    let directory = directory();
    let issued = open(&directory).issue(&workload("reviews"), HOUR).unwrap();
    let secret = issued.token.reveal();
    assert_eq!(secret.len(), PREFIX.len() + 43);
    for shown in [format!("{issued:?}"), token_fingerprint(secret)] {
        assert!(!shown.contains(&secret[PREFIX.len()..PREFIX.len() + 8]), "{shown}");
    }
}
