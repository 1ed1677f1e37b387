//! Why a message was refused.

use http::StatusCode;

/// Why a head or a body's framing was refused. After it nothing more is read from the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Refusal {
    /// A line ends in LF without CR, or holds a CR without LF. RFC 9112 section 2.2.
    #[error("a line does not end in CR LF")]
    BareLineEnd,
    /// A header is continued on a line that starts with white space. RFC 9112 section 5.2.
    #[error("a header is folded over several lines")]
    ObsoleteFold,
    /// The first line is not `method SP target SP version`.
    #[error("the request line is malformed")]
    RequestLine,
    /// The first line is not `version SP status SP [reason]`.
    #[error("the status line is malformed")]
    StatusLine,
    /// A method that is not a token. RFC 9110 section 9.1.
    #[error("the method is not a token")]
    Method,
    /// A target with characters that RFC 3986 does not allow, or in a form the method does not allow.
    #[error("the request target is malformed")]
    Target,
    /// An absolute target with a scheme other than http or https.
    #[error("the request target's scheme is not http or https")]
    Scheme,
    /// A version that is not HTTP/1.0 or HTTP/1.1.
    #[error("the HTTP version is not supported")]
    Version,
    /// A field name that is not a token, or white space before the colon. RFC 9112 section 5.1.
    #[error("a header name is malformed")]
    HeaderName,
    /// A field value with NUL, CR, LF or another control character. RFC 9110 section 5.5.
    #[error("a header value holds a control character")]
    HeaderValue,
    /// HTTP/1.1 without `Host`. RFC 9112 section 3.2.
    #[error("the Host header is missing")]
    HostMissing,
    /// More than one `Host`.
    #[error("there is more than one Host header")]
    HostRepeated,
    /// A `Host` that is not `host[:port]`.
    #[error("the Host header is malformed")]
    Host,
    /// Several lengths, equal or not.
    #[error("there is more than one Content-Length")]
    ContentLengthRepeated,
    /// A length that is not all digits, or does not fit.
    #[error("the Content-Length is malformed")]
    ContentLength,
    /// Both ways to frame at once. RFC 9112 section 6.1.
    #[error("both Content-Length and Transfer-Encoding are there")]
    AmbiguousLength,
    /// A coding other than exactly `chunked`.
    #[error("the Transfer-Encoding is not supported")]
    TransferEncoding,
    /// `chunked` is not the last coding. RFC 9112 section 6.3.
    #[error("chunked is not the last Transfer-Encoding")]
    TransferEncodingOrder,
    /// A coding in an HTTP/1.0 message. RFC 9112 section 6.1.
    #[error("a Transfer-Encoding in HTTP/1.0")]
    TransferEncodingOld,
    /// A body where none has a meaning (`CONNECT`).
    #[error("a body is not allowed with this method")]
    BodyNotAllowed,
    /// The first line alone is over the limit.
    #[error("the request line is too long")]
    RequestLineTooLong,
    /// The head is over the limit in bytes.
    #[error("the headers are too large")]
    HeadersTooLarge,
    /// There are more header fields than allowed.
    #[error("there are too many headers")]
    TooManyHeaders,
    /// A chunk size that is not hexadecimal digits, or does not fit.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// Chunk extensions beyond the bound, or with control characters.
    #[error("a chunk extension is malformed or too long")]
    ChunkExtension,
    /// No CR LF after a chunk.
    #[error("a chunk is longer than its size")]
    ChunkEnd,
    /// Trailers that are malformed.
    #[error("the trailers are malformed")]
    Trailers,
    /// Trailers over the limit.
    #[error("the trailers are too large")]
    TrailersTooLarge,
    /// `101` to a request that asked for no upgrade.
    #[error("an upgrade that was not asked for")]
    UnexpectedUpgrade,
    /// Endless interim responses.
    #[error("too many interim responses")]
    TooManyInterim,
    /// Bytes on a connection on which nothing was asked.
    #[error("a response to no request")]
    UnexpectedResponse,
}

impl Refusal {
    /// The status that answers a request that is refused so.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge | Self::TooManyHeaders | Self::TrailersTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// `%RESPONSE_CODE_DETAILS%`: Envoy's word where it has one, else one of ours in its manner.
    #[must_use]
    pub fn details(self) -> &'static str {
        match self {
            Self::BareLineEnd => "http1.bare_line_end",
            Self::ObsoleteFold => "http1.obsolete_fold",
            Self::RequestLine | Self::StatusLine | Self::Method => "http1.codec_error",
            Self::Target => "http1.invalid_url",
            Self::Scheme => "http1.invalid_scheme",
            Self::Version => "http1.unsupported_version",
            Self::HeaderName | Self::HeaderValue => "http1.invalid_characters",
            Self::HostMissing => "missing_host_header",
            Self::HostRepeated => "http1.repeated_host",
            Self::Host => "http1.invalid_host",
            Self::ContentLengthRepeated => "http1.repeated_content_length",
            Self::ContentLength => "http1.content_length_not_allowed",
            Self::AmbiguousLength => "http1.content_length_and_chunked_not_allowed",
            Self::TransferEncoding | Self::TransferEncodingOrder => "http1.invalid_transfer_encoding",
            Self::TransferEncodingOld => "http1.transfer_encoding_not_allowed",
            Self::BodyNotAllowed => "http1.body_disallowed",
            Self::RequestLineTooLong => "http1.request_line_too_long",
            Self::HeadersTooLarge => "http1.headers_too_large",
            Self::TooManyHeaders => "http1.too_many_headers",
            Self::ChunkSize => "http1.invalid_chunk_size",
            Self::ChunkExtension => "http1.invalid_chunk_extension",
            Self::ChunkEnd => "http1.invalid_chunk_end",
            Self::Trailers => "http1.invalid_trailers",
            Self::TrailersTooLarge => "http1.trailers_too_large",
            Self::UnexpectedUpgrade => "http1.unexpected_upgrade",
            Self::TooManyInterim => "http1.too_many_interim_responses",
            Self::UnexpectedResponse => "http1.unexpected_response",
        }
    }
}
