//! What stands beside an Envoy and hands it its certificate: a secret discovery service on a Unix socket, as Istio's
//! agent is one (<https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret>).

use std::convert::Infallible;
use std::path::Path;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weft_proto::type_url;
use weft_proto::xds::core::{DataSource, data_source::Specifier};
use weft_proto::xds::discovery::{DiscoveryRequest, DiscoveryResponse};
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::tls::{CertificateValidationContext, Secret, TlsCertificate, secret};

/// Serves until the runtime ends. `default` is a certificate, `ROOTCA` what vouches for others.
pub fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let own = rcgen::generate_simple_self_signed(["envoy.test".to_owned()]).expect("a certificate");
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (certificate, key) = (certificate.clone(), key.clone());
            let service = service_fn(move |request| {
                let (certificate, key) = (certificate.clone(), key.clone());
                async move { Ok::<_, Infallible>(answer(request, certificate, key)) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
}

type Frames = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

fn answer(request: Request<Incoming>, certificate: String, key: String) -> Response<Frames> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let (mut body, mut bytes) = (request.into_body(), BytesMut::new());
        while let Some(Ok(frame)) = body.frame().await {
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(message) = next_message(&mut bytes) {
                let asked = DiscoveryRequest::decode(message).expect("a request");
                // The next one is its acknowledgement: nothing more is said.
                if asked.response_nonce.is_empty() {
                    let response = response(&asked.resource_names, &certificate, &key);
                    let _ = sender.send(Ok(Frame::data(framed(&response)))).await;
                }
            }
        }
    });
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(receiver)));
    let kind = hyper::header::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

fn next_message(bytes: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize;
    if bytes.len() < 5 + length {
        return None;
    }
    bytes.advance(5);
    Some(bytes.split_to(length).freeze())
}

fn framed(response: &DiscoveryResponse) -> Bytes {
    let message = response.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

fn response(names: &[String], certificate: &str, key: &str) -> DiscoveryResponse {
    let text = |text: &str| {
        Some(DataSource {
            specifier: Some(Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        })
    };
    let secret = |name: &String| {
        let kind = if name == "ROOTCA" {
            secret::Type::ValidationContext(CertificateValidationContext {
                trusted_ca: text(certificate),
                ..CertificateValidationContext::default()
            })
        } else {
            secret::Type::TlsCertificate(TlsCertificate {
                certificate_chain: text(certificate),
                private_key: text(key),
                ..TlsCertificate::default()
            })
        };
        let secret = Secret { name: name.clone(), r#type: Some(kind) };
        Any { type_url: type_url::SECRET.to_owned(), value: secret.encode_to_vec() }
    };
    DiscoveryResponse {
        version_info: "1".to_owned(),
        nonce: "1".to_owned(),
        type_url: type_url::SECRET.to_owned(),
        resources: names.iter().map(secret).collect(),
        ..DiscoveryResponse::default()
    }
}
