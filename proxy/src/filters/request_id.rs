//! Gives every request an id that all hops share: `x-request-id`, a random UUID (RFC 9562, version 4). One that the
//! client sent stays, so that it can be followed from where it began.

use http::{HeaderMap, HeaderName, HeaderValue};

/// `x-request-id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Adds an id where there is none.
pub fn ensure(headers: &mut HeaderMap) {
    if headers.contains_key(&X_REQUEST_ID) {
        return;
    }
    if let Ok(mut value) = HeaderValue::from_bytes(&uuid(fastrand::u128(..))) {
        // To HPACK (RFC 7541, section 6.2.3): not into the table. It never comes again, and would drive out what does.
        value.set_sensitive(true);
        headers.insert(X_REQUEST_ID, value);
    }
}

fn uuid(random: u128) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    /// Where each byte's two digits stand, between the hyphens.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let version_4 = random & !(0xf << 76) | 4 << 76;
    let bits = version_4 & !(0b11 << 62) | 0b10 << 62;
    let mut text = [b'-'; 36];
    for (byte, place) in bits.to_be_bytes().into_iter().zip(PLACES) {
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_4_uuids() {
        let text = |random| String::from_utf8(uuid(random).to_vec()).unwrap();
        assert_eq!(text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(text(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn an_id_that_is_there_stays() {
        let mut headers = HeaderMap::new();
        ensure(&mut headers);
        let first = headers[X_REQUEST_ID].clone();
        ensure(&mut headers);
        assert_eq!(headers[X_REQUEST_ID], first);
    }
}
