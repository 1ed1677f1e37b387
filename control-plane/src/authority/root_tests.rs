use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rcgen::Issuer;

use super::*;
use crate::authority::testing::directory;
use crate::authority::{AuthoritySettings, CertificateAuthority};
use weft_model::clock::Clock;

fn open(directory: &Path) -> Result<std::sync::Arc<CertificateAuthority>, AuthorityError> {
    CertificateAuthority::open(AuthoritySettings::new(directory, TrustDomain::default()), Clock::system())
}

#[test]
fn the_root_is_made_once_and_kept_private() {
    let directory = directory();
    let first = open(directory.path()).unwrap().trust_bundle_pem();
    assert_eq!(open(directory.path()).unwrap().trust_bundle_pem(), first);
    let mode = |path: &str| std::fs::metadata(directory.path().join(path)).unwrap().mode() & 0o777;
    assert_eq!(mode("authority"), 0o700);
    assert_eq!(mode("authority/root.pem"), 0o600);
    assert!(!first.contains("PRIVATE"));
    let left: Vec<_> = std::fs::read_dir(directory.path().join("authority")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing half-written stays: {left:?}");
}

#[test]
fn a_key_that_others_can_read_is_refused_by_name() {
    let directory = directory();
    open(directory.path()).unwrap();
    let path = directory.path().join("authority/root.pem");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, AuthorityError::Exposed { mode: 0o640, .. }));
    assert!(error.to_string().contains("root.pem"), "{error}");
}

#[test]
fn two_control_planes_that_start_together_agree_on_one_root() {
    let directory = directory();
    let bundles: Vec<_> = std::thread::scope(|scope| {
        let starting: Vec<_> =
            (0..4).map(|_| scope.spawn(|| open(directory.path()).unwrap().trust_bundle_pem())).collect();
        starting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(bundles.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_root_lives_ten_years() {
    let directory = directory();
    let authority = open(directory.path()).unwrap();
    let left = authority.root_expires_at().duration_since(SystemTime::now()).unwrap();
    assert!(left > ROOT_LIFETIME - Duration::from_secs(60) && left <= ROOT_LIFETIME, "{left:?}");
}

fn ca(name: &str, now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    set_validity(&mut params, now, now + life).unwrap();
    params
}

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn open(&self, certificate: &str, key: &str) -> Result<Root, AuthorityError> {
        let path = |name: &str, text: &str| {
            let path = self.directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let source = RootSource::Given {
            certificate: path("ca.pem", certificate),
            key: path("ca-key.pem", key),
            roots: None,
        };
        Root::open(&source, self.directory.path(), &TrustDomain::default(), SystemTime::now())
    }
}

#[test]
fn a_given_intermediate_signs_and_its_root_is_what_is_trusted() {
    let (files, now) = (Files { directory: directory() }, SystemTime::now() - CLOCK_SKEW);
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root_params = ca("Corporate root", now, ROOT_LIFETIME);
    let root = root_params.self_signed(&root_key).unwrap();
    let issuer = Issuer::from_params(&root_params, &root_key);
    let intermediate = ca("Mesh", now, ROOT_LIFETIME / 2).signed_by(&key, &issuer).unwrap();

    let opened = files.open(&(intermediate.pem() + &root.pem()), &key.serialize_pem()).unwrap();
    assert_eq!(opened.roots().collect::<Vec<_>>(), [root.der()]);
    assert!(opened.not_after < SystemTime::now() + ROOT_LIFETIME / 2);

    let error = files.open(&intermediate.pem(), &key.serialize_pem()).unwrap_err().to_string();
    assert!(error.contains("append the certificates up to the root, CN=Corporate root"), "{error}");
}

#[test]
fn everything_wrong_with_a_given_root_is_said_at_once() {
    let files = Files { directory: directory() };
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = ca("Old", SystemTime::UNIX_EPOCH, Duration::from_secs(1000));
    params.is_ca = IsCa::ExplicitNoCa;
    let error = files.open(&params.self_signed(&key).unwrap().pem(), &other.serialize_pem()).unwrap_err();
    let error = error.to_string();
    for part in ["ca.pem", "belongs to another certificate", "no authority's", "expired at"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let error = files.open("nothing", "nothing").unwrap_err().to_string();
    assert!(error.contains("holds no certificate") && error.contains("its key"), "{error}");
}
