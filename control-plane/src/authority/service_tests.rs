use rcgen::KeyPair;
use tonic::Code;

use super::*;
use crate::authority::connection::ConnectionInfo;
use crate::authority::testing::{TurnedClock, authority_at, csr, directory, workload};
use crate::authority::{JoinToken, JoinTokens};

const REVIEWS: &str = "spiffe://cluster.local/ns/bookshop/sa/reviews";
const RATINGS: &str = "spiffe://cluster.local/ns/bookshop/sa/ratings";

struct Fixture {
    service: CertificateService,
    tokens: Arc<JoinTokens>,
    authority: Arc<CertificateAuthority>,
    clock: TurnedClock,
    _directory: tempfile::TempDir,
}

fn fixture(limit: RateLimit) -> Fixture {
    let (directory, clock) = (directory(), TurnedClock::new());
    let authority = authority_at(&directory, clock.clock());
    let tokens = JoinTokens::open(directory.path(), clock.clock()).unwrap();
    let attestor = Attestor::JoinTokens(Arc::clone(&tokens));
    let service = CertificateService::new(Arc::clone(&authority), attestor, limit);
    Fixture { service, tokens, authority, clock, _directory: directory }
}

impl Fixture {
    fn token(&self, account: &str) -> JoinToken {
        self.tokens.issue(&workload(account), Duration::from_secs(600)).unwrap().token
    }

    async fn ask(
        &self,
        csr: &str,
        bearer: Option<&str>,
        certificate: Option<&str>,
    ) -> Result<Vec<String>, Status> {
        let mut request = Request::new(IstioCertificateRequest { csr: csr.to_owned(), ..Default::default() });
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        }
        let chain = certificate.map(|identity| {
            let key = KeyPair::generate().unwrap();
            self.authority.issue(&identity.parse().unwrap(), &key, None).unwrap().chain
        });
        let now = self.clock.clock().now();
        let address = "127.0.0.1:4711".parse().unwrap();
        request.extensions_mut().insert(ConnectionInfo::of(address, chain.as_deref(), now));
        let response = IstioCertificateService::create_certificate(&self.service, request).await?;
        Ok(response.into_inner().cert_chain)
    }

    async fn code(&self, csr: &str, bearer: Option<&str>, certificate: Option<&str>) -> Code {
        self.ask(csr, bearer, certificate).await.unwrap_err().code()
    }
}

fn request(identity: &str) -> String {
    csr(&KeyPair::generate().unwrap(), &[identity])
}

#[tokio::test]
async fn a_token_buys_one_certificate() {
    let fixture = fixture(RateLimit::default());
    let token = fixture.token("reviews");
    assert_eq!(fixture.ask(&request(REVIEWS), Some(token.reveal()), None).await.unwrap().len(), 2);
    assert_eq!(fixture.code(&request(REVIEWS), Some(token.reveal()), None).await, Code::PermissionDenied);
}

#[tokio::test]
async fn wrong_and_expired_tokens_and_no_proof_at_all_are_refused() {
    let fixture = fixture(RateLimit::default());
    assert_eq!(fixture.code(&request(REVIEWS), None, None).await, Code::Unauthenticated);
    assert_eq!(fixture.code(&request(REVIEWS), Some("wjt_guess"), None).await, Code::Unauthenticated);
    let token = fixture.token("reviews");
    fixture.clock.advance(Duration::from_secs(600));
    assert_eq!(fixture.code(&request(REVIEWS), Some(token.reveal()), None).await, Code::Unauthenticated);
}

#[tokio::test]
async fn a_request_for_another_identity_is_refused_and_uses_up_no_token() {
    let fixture = fixture(RateLimit::default());
    let token = fixture.token("reviews");
    assert_eq!(fixture.code(&request(RATINGS), Some(token.reveal()), None).await, Code::PermissionDenied);
    assert_eq!(fixture.code("garbage", Some(token.reveal()), None).await, Code::InvalidArgument);
    fixture.ask(&request(REVIEWS), Some(token.reveal()), None).await.unwrap();
}

#[tokio::test]
async fn renewal_keeps_the_identity_and_can_have_no_other() {
    let fixture = fixture(RateLimit::default());
    fixture.ask(&request(REVIEWS), None, Some(REVIEWS)).await.unwrap();
    fixture.ask(&csr(&KeyPair::generate().unwrap(), &[]), None, Some(REVIEWS)).await.unwrap();
    assert_eq!(fixture.code(&request(RATINGS), None, Some(REVIEWS)).await, Code::PermissionDenied);
    // A bad token is not made good by a certificate.
    assert_eq!(fixture.code(&request(REVIEWS), Some("wjt_x"), Some(REVIEWS)).await, Code::Unauthenticated);
    let foreign = "spiffe://elsewhere/ns/bookshop/sa/reviews";
    assert_eq!(fixture.code(&request(foreign), None, Some(foreign)).await, Code::PermissionDenied);
}

#[tokio::test]
async fn guessing_tokens_runs_into_the_limit() {
    let fixture = fixture(RateLimit { burst: 10, per_second: 0.001 });
    assert_eq!(fixture.code(&request(REVIEWS), Some("wjt_a"), None).await, Code::Unauthenticated);
    assert_eq!(fixture.code(&request(REVIEWS), Some("wjt_b"), None).await, Code::Unauthenticated);
    assert_eq!(fixture.code(&request(REVIEWS), Some("wjt_c"), None).await, Code::ResourceExhausted);
}
