//! Writes values so that nobody outside can forge a line or a field: in text, what is no printable ASCII, quotation
//! marks and backslashes become `\xNN`, as nginx writes them; in JSON, as JSON wants it and no control character raw.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::entry::Value;
use weft_model::format::Part;

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    Text,
    /// As it is: whoever takes it looks at it.
    Raw,
    /// Within quotation marks.
    Json,
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// At most `max` characters of it.
pub(super) fn write_value(value: Value<'_>, max: Option<usize>, style: Style, out: &mut Vec<u8>) {
    let start = out.len();
    // Writing into a vector never fails.
    match value {
        Value::None | Value::Time(_) => out.push(b'-'),
        Value::Bytes(bytes) => return write_bytes(bytes, max, style, out),
        Value::Number(number) => write_number(number, out),
        Value::Address(address, part) => write_address(address, part, out),
        Value::Flags(flags) if flags.is_empty() => out.push(b'-'),
        Value::Flags(flags) => drop(write!(out, "{flags}")),
        Value::Identity(identity) => drop(write!(out, "{identity}")),
        Value::Trace(trace) => drop(write!(out, "{trace:032x}")),
        Value::Provenance(provenance) => {
            let mut text = String::new();
            for (place, one) in provenance.iter().enumerate() {
                let separator = if place == 0 { "" } else { "; " };
                text.push_str(separator);
                text.push_str(&one.to_string());
            }
            return write_bytes(text.as_bytes(), max, style, out);
        }
    }
    if let Some(max) = max {
        // All of these are ASCII.
        out.truncate(start + max);
    }
}

pub(super) fn write_bytes(bytes: &[u8], max: Option<usize>, style: Style, out: &mut Vec<u8>) {
    let bytes = &bytes[..bytes.len().min(max.unwrap_or(usize::MAX))];
    match style {
        Style::Text => write_text(bytes, out),
        Style::Raw => out.extend_from_slice(bytes),
        Style::Json => write_json(bytes, out),
    }
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// Without a way out in the middle, so that the compiler compares many bytes at once.
fn all_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & is_plain(*byte))
}

fn write_text(mut bytes: &[u8], out: &mut Vec<u8>) {
    if all_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    while let Some(place) = bytes.iter().position(|byte| !is_plain(*byte)) {
        let byte = bytes[place];
        out.extend_from_slice(&bytes[..place]);
        out.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        bytes = &bytes[place + 1..];
    }
    out.extend_from_slice(bytes);
}

fn write_json(bytes: &[u8], out: &mut Vec<u8>) {
    if all_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    for char in String::from_utf8_lossy(bytes).chars() {
        match char {
            '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
            // Line separators end a line for some readers, and so do some C1 controls.
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                drop(write!(out, "\\u{:04x}", char as u32));
            }
            char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = vec![b'"'];
    write_json(text.as_bytes(), &mut out);
    out.push(b'"');
    String::from_utf8_lossy(&out).into_owned()
}

/// Several times as fast as the standard library's, of which a line needs ten; most have up to three digits.
pub(super) fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let digit = |number: u64| b'0' + (number % 10) as u8;
    match number {
        0..10 => return out.push(digit(number)),
        10..100 => return out.extend_from_slice(&[digit(number / 10), digit(number)]),
        100..1_000 => {
            return out.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]);
        }
        _ => {}
    }
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

fn write_address(address: SocketAddr, part: Part, out: &mut Vec<u8>) {
    match (part, address.ip().to_canonical()) {
        (Part::Port, _) => return write_number(u64::from(address.port()), out),
        (_, IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            write_number(u64::from(a), out);
            for part in [b, c, d] {
                out.push(b'.');
                write_number(u64::from(part), out);
            }
        }
        (Part::Host, IpAddr::V6(ip)) => drop(write!(out, "{ip}")),
        (Part::Whole, IpAddr::V6(ip)) => drop(write!(out, "[{ip}]")),
    }
    if part == Part::Whole {
        out.push(b':');
        write_number(u64::from(address.port()), out);
    }
}
