use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _,
};

use super::*;
use crate::authority::testing::csr;

const REVIEWS: &str = "spiffe://cluster.local/ns/bookshop/sa/reviews";

fn problems(pem: &str) -> String {
    CheckedRequest::of(pem).unwrap_err().to_string()
}

#[test]
fn keys_of_every_allowed_kind_are_taken_as_they_are() {
    for algorithm in
        [&rcgen::PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519, &PKCS_RSA_SHA256]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let checked = CheckedRequest::of(&csr(&key, &[REVIEWS])).unwrap();
        assert_eq!(checked.key.subject_public_key_info(), key.subject_public_key_info());
        assert_eq!(checked.claimed.unwrap().to_string(), REVIEWS);
    }
}

#[test]
fn a_request_without_a_name_claims_nothing() {
    let key = KeyPair::generate().unwrap();
    assert_eq!(CheckedRequest::of(&csr(&key, &[])).unwrap().claimed, None);
}

#[test]
fn keys_of_other_kinds_and_sizes_are_refused() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    assert!(
        problems(&csr(&key, &[REVIEWS])).contains("521 bits")
            || problems(&csr(&key, &[REVIEWS])).contains("key")
    );
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    // The last byte of the signature is changed.
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let der = CertificateSigningRequestDer::from_pem_slice(csr(&key, &[REVIEWS]).as_bytes()).unwrap();
    let mut bytes = der.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = crate::authority::file::pem("CERTIFICATE REQUEST", &bytes);
    assert!(problems(&forged).contains("does not hold the private key"));
}

#[test]
fn everything_asked_in_vain_is_named() {
    let mut params = CertificateParams::new(vec!["bank.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names.push(rcgen::SanType::URI("https://bank.example".try_into().unwrap()));
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let problems = problems(&pem);
    for part in ["an authority", "bank.example", "no identity", "spiffe://"] {
        assert!(problems.contains(part), "{part} is not in: {problems}");
    }
    let key = KeyPair::generate().unwrap();
    let twice = csr(&key, &[REVIEWS, "spiffe://cluster.local/ns/bookshop/sa/ratings"]);
    assert!(CheckedRequest::of(&twice).unwrap_err().to_string().contains("more than one identity"));
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let good = csr(&KeyPair::generate().unwrap(), &[REVIEWS]);
    let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap().to_vec();
    for length in 0..der.len() {
        CheckedRequest::of(&crate::authority::file::pem("CERTIFICATE REQUEST", &der[..length])).unwrap_err();
    }
    // Any one byte changed: refused, or the very same key and claim.
    for index in 0..der.len() {
        let mut bytes = der.clone();
        bytes[index] ^= 0x55;
        let _ = CheckedRequest::of(&crate::authority::file::pem("CERTIFICATE REQUEST", &bytes));
    }
    assert!(problems("").contains("not a PEM"));
    assert!(problems(&"x".repeat(MAX_REQUEST + 1)).contains("16 KiB"));
}
