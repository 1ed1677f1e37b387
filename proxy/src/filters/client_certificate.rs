//! Tells the workload who called: `x-forwarded-client-cert`, in Envoy's form
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>).

use http::{HeaderMap, HeaderName, HeaderValue};
use weft_model::identity::WorkloadIdentity;

/// `x-forwarded-client-cert`.
pub const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// The header for a connection, made once: who terminates it, and who the client has proven to be.
#[must_use]
pub fn element(own: Option<&WorkloadIdentity>, peer: &WorkloadIdentity) -> Option<HeaderValue> {
    let by = own.map(|own| format!("By={own};")).unwrap_or_default();
    HeaderValue::try_from(format!("{by}URI={peer}")).ok()
}

/// Removes what the client said of itself, and says what is proven.
pub fn forward(headers: &mut HeaderMap, proven: Option<&HeaderValue>) {
    match proven {
        Some(element) => headers.insert(X_FORWARDED_CLIENT_CERT, element.clone()),
        None => headers.remove(X_FORWARDED_CLIENT_CERT),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_proven_is_told() {
        let own: WorkloadIdentity = "spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap();
        let peer: WorkloadIdentity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(
            X_FORWARDED_CLIENT_CERT,
            HeaderValue::from_static("URI=spiffe://cluster.local/ns/a/sa/admin"),
        );
        headers.append(X_FORWARDED_CLIENT_CERT, HeaderValue::from_static("URI=another"));
        forward(&mut headers, element(Some(&own), &peer).as_ref());
        let told: Vec<_> = headers.get_all(X_FORWARDED_CLIENT_CERT).iter().collect();
        assert_eq!(
            told,
            ["By=spiffe://cluster.local/ns/shop/sa/reviews;URI=spiffe://cluster.local/ns/shop/sa/web"]
        );
        forward(&mut headers, None);
        assert!(headers.is_empty());
    }
}
