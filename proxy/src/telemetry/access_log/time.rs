//! Times of day in UTC, fast: a worker's lines are mostly of the same second.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::escape::{Style, write_bytes};

/// Writes times; remembers the last second.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Clockwork {
    second: Option<u64>,
    text: Vec<u8>,
}

impl Clockwork {
    /// By a format of strftime, or as `2026-11-23T11:52:31.123Z`, which is Envoy's default.
    pub(super) fn write(&mut self, time: SystemTime, format: Option<&str>, style: Style, out: &mut Vec<u8>) {
        if let Some(format) = format {
            let zoned = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
            let text = jiff::fmt::strtime::format(format, &zoned).unwrap_or_else(|_| "-".to_owned());
            return write_bytes(text.as_bytes(), None, style, out);
        }
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.turn(since.as_secs());
        }
        out.extend_from_slice(&self.text);
        let millis = since.subsec_millis();
        let digit = |n: u32| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    }

    fn turn(&mut self, second: u64) {
        let timestamp = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
        let time = timestamp.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC);
        self.text.clear();
        // Writing into a vector never fails.
        drop(write!(self.text, "{}.", time.strftime("%Y-%m-%dT%H:%M:%S")));
        self.second = Some(second);
    }
}
