use super::*;

#[test]
fn xx_hash_is_the_published_function() {
    assert_eq!(xx_hash(b"", 0), 0xef46_db37_51d8_e999);
    assert_eq!(xx_hash(b"abc", 0), 0x44bc_2cf5_ad77_0999);
    assert_eq!(HashFunction::XxHash.hash(b"abc"), 0x44bc_2cf5_ad77_0999);
}

#[test]
fn murmur_hash2_mixes_whole_words_and_the_rest() {
    // Every length has its own hash, also where words and rest differ only by where they end.
    let hashes: std::collections::HashSet<u64> =
        (0..40).map(|length| HashFunction::MurmurHash2.hash(&vec![7; length])).collect();
    assert_eq!(hashes.len(), 40);
    // What `std::hash` of libstdc++ gives, whose function it is.
    assert_eq!(HashFunction::MurmurHash2.hash(b"a"), 4_993_892_634_952_068_459);
    assert_eq!(HashFunction::MurmurHash2.hash(b"abcdefgh"), 8_664_279_048_047_335_611);
    assert_eq!(HashFunction::MurmurHash2.hash(b"foo"), 9_631_199_822_919_835_226);
    assert_eq!(HashFunction::MurmurHash2.hash(b""), 6_142_509_188_972_423_790);
}
