//! HTTP/1.1 by the letter of RFC 9112: what is ambiguous is refused.
