//! Collects what is wrong with a message, each mistake with the path of its field.

use std::fmt::{self, Write};
use std::time::Duration;

use prost::{Message, Name};
use weft_proto::xds::protobuf::{self, Any};

use super::tls_context::Secrets;
use crate::bootstrap::AccessLog;

/// All that is wrong with one resource; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeErrors(Vec<Mistake>);

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Path of the field, such as `filter_chains[0].filters[0].typed_config.stat_prefix`; empty for the whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl DecodeErrors {
    /// A single mistake.
    #[must_use]
    pub fn one(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![Mistake { field: field.into(), message: message.into() }])
    }

    /// All, in the order in which they stand in the message's definition.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl std::error::Error for DecodeErrors {}

/// Mistakes joined by `; `.
impl fmt::Display for DecodeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

/// `field: message`.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// Where reading stands, and what was wrong so far.
///
/// Functions that read return `None` only after having noted a mistake, so that their callers go on with the rest.
#[derive(Default)]
pub(super) struct Reader {
    path: String,
    mistakes: Vec<Mistake>,
    // What is set and has no effect; none: nobody asks.
    notes: Option<Vec<Mistake>>,
    // Those of a bootstrap.
    secrets: Secrets,
    logs: Vec<AccessLog>,
    // It asks no control plane.
    without_ads: bool,
}

impl Reader {
    /// Reads one resource: parses `bytes`, then hands the message to `read`.
    pub(super) fn resource<M: Message + Default, T>(
        bytes: &[u8],
        read: impl FnOnce(&mut Self, M) -> Option<T>,
    ) -> Result<T, DecodeErrors> {
        let mut reader = Self::default();
        let value = match M::decode(bytes) {
            Ok(message) => read(&mut reader, message),
            Err(error) => reader.refuse(format!("is no such message: {error}")),
        };
        match value {
            Some(value) if reader.mistakes.is_empty() => Ok(value),
            _ if reader.mistakes.is_empty() => Err(DecodeErrors::one("", "could not be read")),
            _ => Err(DecodeErrors(reader.mistakes)),
        }
    }

    /// As [`Reader::resource`], of a message that was read already; tells also what is set and has no effect.
    pub(super) fn with_notes<M, T>(
        message: M,
        read: impl FnOnce(&mut Self, M) -> Option<T>,
    ) -> Result<(T, Vec<Mistake>), DecodeErrors> {
        let mut reader = Self { notes: Some(Vec::new()), ..Self::default() };
        match read(&mut reader, message) {
            Some(value) if reader.mistakes.is_empty() => Ok((value, reader.notes.unwrap_or_default())),
            _ if reader.mistakes.is_empty() => Err(DecodeErrors::one("", "could not be read")),
            _ => Err(DecodeErrors(reader.mistakes)),
        }
    }

    /// From now on these can be referred to.
    pub(super) fn know(&mut self, secrets: Secrets) {
        self.secrets = secrets;
    }

    /// From now on nothing may be left to a control plane: none is asked.
    pub(super) fn go_without_ads(&mut self) {
        self.without_ads = true;
    }

    /// Whether no control plane is asked.
    pub(super) fn is_without_ads(&self) -> bool {
        self.without_ads
    }

    /// Whether it is a bootstrap that is read, and not what a control plane sends.
    pub(super) fn is_of_bootstrap(&self) -> bool {
        self.notes.is_some()
    }

    /// Takes in logs of a listener.
    pub(super) fn know_logs(&mut self, logs: Vec<AccessLog>) {
        for log in logs {
            if !self.logs.contains(&log) {
                self.logs.push(log);
            }
        }
    }

    /// All logs that differ.
    pub(super) fn logs(&mut self) -> Vec<AccessLog> {
        std::mem::take(&mut self.logs)
    }

    /// A secret of the bootstrap.
    pub(super) fn secret(&self, name: &str) -> Option<weft_proto::xds::tls::secret::Type> {
        self.secrets.get(name).cloned()
    }

    /// Notes what has no effect, and does no harm.
    pub(super) fn note(&mut self, message: impl Into<String>) {
        if let Some(notes) = &mut self.notes {
            notes.push(Mistake { field: self.path.clone(), message: message.into() });
        }
    }

    /// Notes that a field is set which has no effect.
    pub(super) fn has_no_effect(&mut self, field: &str) {
        if self.notes.is_some() {
            self.within(field, |reader| reader.note("has no effect here"));
        }
    }

    /// Notes a mistake of the value that is being read.
    pub(super) fn refuse<T>(&mut self, message: impl Into<String>) -> Option<T> {
        self.mistakes.push(Mistake { field: self.path.clone(), message: message.into() });
        None
    }

    /// Notes a mistake of a field.
    pub(super) fn refuse_at<T>(&mut self, field: &str, message: impl Into<String>) -> Option<T> {
        self.within(field, |reader| reader.refuse(message))
    }

    /// Notes that a field is set that would change what happens, and is not supported.
    pub(super) fn unsupported<T>(&mut self, field: &str) -> Option<T> {
        self.refuse_at(field, "is not supported")
    }

    /// Notes that a field which must be there is not.
    pub(super) fn missing<T>(&mut self, field: &str) -> Option<T> {
        self.refuse_at(field, "is missing")
    }

    /// Reads a field.
    pub(super) fn within<T>(&mut self, field: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(field.trim_start_matches("r#"));
        let value = read(self);
        self.path.truncate(before);
        value
    }

    /// Reads each item of a repeated field; those that are wrong are left out and noted.
    pub(super) fn each<I, T>(
        &mut self,
        field: &str,
        items: impl IntoIterator<Item = I>,
        mut read: impl FnMut(&mut Self, I) -> Option<T>,
    ) -> Vec<T> {
        self.within(field, |reader| {
            let before = reader.path.len();
            let mut values = Vec::new();
            for (index, item) in items.into_iter().enumerate() {
                // Writing to a String cannot fail.
                let _ = write!(reader.path, "[{index}]");
                values.extend(read(reader, item));
                reader.path.truncate(before);
            }
            values
        })
    }

    /// Reads an optional message.
    pub(super) fn optional<I, T>(
        &mut self,
        field: &str,
        item: Option<I>,
        read: impl FnOnce(&mut Self, I) -> Option<T>,
    ) -> Option<T> {
        item.and_then(|item| self.within(field, |reader| read(reader, item)))
    }

    /// Reads a message that must be there.
    pub(super) fn required<I, T>(
        &mut self,
        field: &str,
        item: Option<I>,
        read: impl FnOnce(&mut Self, I) -> Option<T>,
    ) -> Option<T> {
        match item {
            Some(item) => self.within(field, |reader| read(reader, item)),
            None => self.missing(field),
        }
    }

    /// A text that must not be empty.
    pub(super) fn text(&mut self, field: &str, text: String) -> Option<std::sync::Arc<str>> {
        if text.is_empty() { self.refuse_at(field, "is empty") } else { Some(text.into()) }
    }

    /// Unpacks a message of a known type.
    pub(super) fn unpack<M: Message + Default + Name>(&mut self, any: &Any) -> Option<M> {
        if any.type_url.rsplit('/').next() != Some(M::full_name().as_str()) {
            return self.refuse(format!("is of type `{}`, not `{}`", any.type_url, M::type_url()));
        }
        match M::decode(any.value.as_slice()) {
            Ok(message) => Some(message),
            Err(error) => self.refuse(format!("is no {}: {error}", M::full_name())),
        }
    }

    /// A duration that is not negative; absent ones are none.
    pub(super) fn duration(&mut self, field: &str, duration: Option<protobuf::Duration>) -> Option<Duration> {
        let protobuf::Duration { seconds, nanos } = duration?;
        match (u64::try_from(seconds), u32::try_from(nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 && seconds <= MOST_SECONDS => {
                Some(Duration::new(seconds, nanos))
            }
            _ => self.refuse_at(
                field,
                format!("{seconds} s and {nanos} ns is no duration from 0 to 10,000 years"),
            ),
        }
    }

    /// A duration of which 0 means that there is no bound.
    pub(super) fn bound(&mut self, field: &str, duration: Option<protobuf::Duration>) -> Option<Duration> {
        self.duration(field, duration).filter(|duration| !duration.is_zero())
    }
}

/// Whether a field has another value than it has when it is absent.
pub(super) fn is_set<T: Default + PartialEq>(field: &T) -> bool {
    *field != T::default()
}

/// What protobuf's `Duration` may hold.
const MOST_SECONDS: u64 = 315_576_000_000;

/// Takes a message apart into the fields that are read, those that are ignored and those that are refused by name
/// when they are set. The compiler checks that none is forgotten.
macro_rules! fields {
    ($reader:ident, $message:expr => $($type:ident)::+ {
        $($read:ident),* $(,)?
        $(; ignored: $($ignored:ident),* $(,)?)?
        $(; refused: $($refused:ident),* $(,)?)?
    }) => {
        let $($type)::+ { $($read,)* $($($ignored,)*)? $($($refused,)*)? } = $message;
        $($(
            if $crate::xds::reader::is_set(&$ignored) {
                $reader.has_no_effect(stringify!($ignored));
            }
        )*)?
        $($(
            if crate::xds::reader::is_set(&$refused) {
                let _: Option<()> = $reader.unsupported(stringify!($refused));
            }
        )*)?
    };
}
pub(super) use fields;
