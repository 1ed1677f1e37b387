use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use weft_model::clock::Clock;
use weft_model::identity::WorkloadIdentity;

use super::*;
use crate::authority::{AuthoritySettings, CertificateAuthority, RootSource};

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn open(pem: &RootPem) -> Result<std::sync::Arc<CertificateAuthority>, AuthorityError> {
    let settings = AuthoritySettings {
        root: RootSource::Text(pem.clone()),
        ..AuthoritySettings::new("/nowhere", TrustDomain::default())
    };
    CertificateAuthority::open(settings, Clock::system())
}

fn generated() -> RootPem {
    RootPem::generate("Secret `weft-ca`", &TrustDomain::default(), SystemTime::now()).unwrap()
}

fn issued(authority: &CertificateAuthority) -> crate::authority::Issued {
    let key = KeyPair::generate().unwrap();
    let identity = WorkloadIdentity::new(TrustDomain::default(), "shop", "web").unwrap();
    authority.issue(&identity, &key, None).unwrap()
}

#[test]
fn a_generated_root_is_one_that_signs_and_its_key_is_not_shown() {
    let pem = generated();
    let authority = open(&pem).unwrap();
    assert_eq!(issued(&authority).roots.len(), 1);
    assert_eq!(authority.trust_bundle_pem().into_bytes(), pem.roots);
    let shown = format!("{pem:?} {authority:?}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn an_intermediate_is_chained_up_in_whichever_file_the_rest_stands() {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = params("root").self_signed(&root_key).unwrap();
    let issuer = Issuer::new(params("root"), root_key);
    let signing = params("signing").signed_by(&key, &issuer).unwrap();
    let pem = RootPem {
        place: "Secret `cacerts`".into(),
        certificate: signing.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        chain: format!("{}{}", signing.pem(), root.pem()).into_bytes(),
        roots: root.pem().into_bytes(),
    };
    for chain in [pem.chain.clone(), Vec::new(), root.pem().into_bytes()] {
        let authority = open(&RootPem { chain, ..pem.clone() }).unwrap();
        let issued = issued(&authority);
        assert_eq!((issued.chain.len(), issued.roots.len()), (2, 1));
    }
    let error =
        open(&RootPem { roots: generated().roots, ..RootPem { chain: Vec::new(), ..pem } }).unwrap_err();
    assert!(error.to_string().contains("cacerts") && error.to_string().contains("self-signed"), "{error}");
}

#[test]
fn a_new_root_signs_from_now_on_and_the_old_one_stays_trusted() {
    let (first, second) = (generated(), generated());
    let authority = open(&first).unwrap();
    let generation = authority.generation();
    assert!(!authority.replace_root(&first).unwrap(), "the same is no change");
    assert!(authority.replace_root(&second).unwrap());
    assert!(authority.generation() > generation);
    let issued = issued(&authority);
    assert_eq!(issued.roots.len(), 2);
    let bundle = authority.trust_bundle_pem().into_bytes();
    assert!(bundle.starts_with(&first.roots) && bundle.ends_with(&second.roots));
    let broken = RootPem { key: first.key.clone(), ..second };
    assert!(authority.replace_root(&broken).is_err());
    assert_eq!(authority.trust_bundle_pem().into_bytes(), bundle, "what is no root changes nothing");
}
