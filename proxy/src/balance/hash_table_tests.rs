use std::collections::HashMap;

use proptest::prelude::*;
use weft_model::hash::{HashFunction, xx_hash};
use weft_model::load_balancing::{LoadBalancing, Maglev, RingHash};

use super::*;

fn keys(weights: &[u64]) -> Vec<Keyed> {
    let key = |number: usize| format!("10.0.0.{number}:80");
    weights.iter().enumerate().map(|(number, weight)| Keyed { key: key(number), weight: *weight }).collect()
}

fn ring(minimum_size: u64) -> LoadBalancing {
    LoadBalancing::RingHash(RingHash { minimum_size, ..RingHash::default() })
}

fn maglev(table_size: u64) -> LoadBalancing {
    LoadBalancing::Maglev(Maglev { table_size })
}

fn table(algorithm: LoadBalancing, keys: &[Keyed]) -> HashTable {
    HashTable::new(algorithm, keys).expect("a table")
}

fn hashes() -> impl Iterator<Item = u64> {
    (0_u64..2_000).map(|number| xx_hash(&number.to_le_bytes(), 7))
}

/// Who owns places, and how many.
fn places(table: &HashTable) -> HashMap<usize, usize> {
    let mut places = HashMap::new();
    (0..table.len()).for_each(|place| *places.entry(table.owner(place)).or_default() += 1);
    places
}

#[test]
fn a_ring_has_its_smallest_size_and_shares_it_by_weight() {
    let table = table(ring(1_000), &keys(&[1, 1, 2]));
    assert_eq!(table.len(), 1_000);
    assert_eq!(places(&table), HashMap::from([(0, 250), (1, 250), (2, 500)]));
}

#[test]
fn a_ring_is_no_larger_than_it_may_be() {
    let bounded = RingHash { minimum_size: 10, maximum_size: 20, function: HashFunction::MurmurHash2 };
    let table = table(LoadBalancing::RingHash(bounded), &keys(&[1; 30]));
    assert_eq!(table.len(), 20);
}

#[test]
fn a_ring_finds_the_next_hash_and_after_the_last_the_first() {
    let table = HashTable::Ring(vec![(10, 0), (20, 1), (30, 2)]);
    let found = [0, 10, 11, 20, 30, 31, u64::MAX].map(|hash| table.find(hash));
    assert_eq!(found, [0, 0, 1, 1, 2, 0, 0]);
}

#[test]
fn a_place_on_the_ring_is_the_hash_of_key_and_number_as_in_envoy() {
    let table = table(ring(2), &keys(&[1, 1]));
    let HashTable::Ring(places) = table else { panic!("a ring") };
    assert!(places.contains(&(HashFunction::XxHash.hash(b"10.0.0.0:80_0"), 0)));
    assert!(places.contains(&(HashFunction::XxHash.hash(b"10.0.0.1:80_0"), 1)));
}

#[test]
fn a_maglev_table_is_shared_evenly_and_by_weight() {
    let even = places(&table(maglev(65_537), &keys(&[1; 10])));
    let (least, most) = (even.values().min().unwrap(), even.values().max().unwrap());
    assert!(most - least <= 1, "{even:?}");
    let weighted = places(&table(maglev(65_537), &keys(&[1, 3])));
    assert!((16_380..16_390).contains(&weighted[&0]), "{weighted:?}");
}

#[test]
fn a_maglev_table_does_not_depend_on_the_order_of_its_keys() {
    let forth = keys(&[1, 1, 1, 1]);
    let back: Vec<_> = forth.iter().rev().cloned().collect();
    let (one, other) = (table(maglev(251), &forth), table(maglev(251), &back));
    for hash in hashes() {
        assert_eq!(forth[one.find(hash)].key, back[other.find(hash)].key);
    }
}

#[test]
fn with_bounded_loads_the_next_with_room_is_found() {
    let table = table(maglev(251), &keys(&[1, 1, 1]));
    for hash in hashes() {
        let first = table.find(hash);
        assert_eq!(table.find_with_room(hash, 3, |_| false), first);
        let second = table.find_with_room(hash, 3, |owner| owner == first);
        assert_ne!(second, first);
        let last = table.find_with_room(hash, 3, |owner| owner == first || owner == second);
        assert!(last != first && last != second);
        assert_eq!(table.find_with_room(hash, 3, |_| true), first, "nobody has room");
    }
}

#[test]
fn the_smallest_tables_work() {
    let one = keys(&[5]);
    for algorithm in [ring(1), maglev(2), maglev(3)] {
        assert!(hashes().all(|hash| table(algorithm, &one).find(hash) == 0));
        assert!(HashTable::new(algorithm, &[]).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The law of consistent hashing: who does not go keeps every key.
    #[test]
    fn removing_an_endpoint_from_a_ring_moves_only_its_keys(count in 2_usize..20, gone in any::<prop::sample::Index>()) {
        let all = keys(&vec![1; count]);
        let gone = gone.index(count);
        let mut left = all.clone();
        left.remove(gone);
        // The places of those who stay are the same ones: as many for each as before.
        let sized = |size: usize| LoadBalancing::RingHash(RingHash {
            minimum_size: size as u64 * 40, maximum_size: size as u64 * 40, ..RingHash::default()
        });
        let (before, after) = (table(sized(count), &all), table(sized(count - 1), &left));
        for hash in hashes() {
            let owner = before.find(hash);
            if owner != gone {
                prop_assert_eq!(&all[owner].key, &left[after.find(hash)].key);
            }
        }
    }

    /// Maglev gives up a little of that for evenness; its paper measures a few percent.
    #[test]
    fn removing_an_endpoint_from_maglev_moves_few_other_keys(count in 3_usize..20, gone in any::<prop::sample::Index>()) {
        let all = keys(&vec![1; count]);
        let gone = gone.index(count);
        let mut left = all.clone();
        left.remove(gone);
        let (before, after) = (table(maglev(4_099), &all), table(maglev(4_099), &left));
        let moved = hashes().filter(|hash| {
            let owner = before.find(*hash);
            owner != gone && all[owner].key != left[after.find(*hash)].key
        });
        let moved = moved.count();
        prop_assert!(moved < 500, "{} of 2000 moved", moved);
    }

    #[test]
    fn shares_follow_weights(weights in proptest::collection::vec(1_u64..9, 1..8)) {
        let sum: u64 = weights.iter().sum();
        for algorithm in [ring(5_000), maglev(65_537)] {
            let table = table(algorithm, &keys(&weights));
            let places = places(&table);
            for (owner, weight) in weights.iter().enumerate() {
                let expected = table.len() as f64 * *weight as f64 / sum as f64;
                let got = places[&owner] as f64;
                prop_assert!((got - expected).abs() <= expected * 0.02 + 2.0, "{} of {}", got, expected);
            }
        }
    }
}
