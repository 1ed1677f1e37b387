//! Checked words of policies in the model's form.

use std::sync::Arc;

use weft_model::matcher::{FullRegex, PathMatch, StringMatch, StringPattern};
use weft_model::policy::{Fraction, HeaderMutations};

use crate::source::words;

/// The same changes; removals come first, as everywhere.
pub(super) fn headers(changes: &words::HeaderChanges) -> HeaderMutations {
    HeaderMutations::of(changes.remove.clone(), changes.set.iter().cloned(), changes.add.iter().cloned())
}

/// Both, one after the other.
pub(super) fn joined(first: &HeaderMutations, second: &HeaderMutations) -> HeaderMutations {
    let mut all = first.clone();
    all.remove.extend(second.remove.iter().cloned());
    all.add.extend(second.add.iter().cloned());
    all
}

/// A text comparison.
pub(super) fn string(matches: &words::StringMatch, ignore_case: bool) -> StringMatch {
    let pattern = match matches {
        words::StringMatch::Exact(text) => StringPattern::Exact(text.clone()),
        words::StringMatch::Prefix(text) => StringPattern::Prefix(text.clone()),
        words::StringMatch::Regex(pattern) => regex(pattern).map_or_else(nothing, StringPattern::Regex),
    };
    StringMatch { pattern, ignore_case }
}

/// A path comparison of Istio's `uri`.
pub(super) fn path(matches: &words::StringMatch, ignore_case: bool) -> PathMatch {
    match matches {
        words::StringMatch::Exact(path) => PathMatch::Exact { path: path.clone(), ignore_case },
        words::StringMatch::Prefix(prefix) => PathMatch::Prefix { prefix: prefix.clone(), ignore_case },
        words::StringMatch::Regex(pattern) => match regex(pattern) {
            Some(regex) => PathMatch::Regex(regex),
            None => PathMatch::Exact { path: Arc::from(""), ignore_case: false },
        },
    }
}

/// The expression again. The parser compiled it before, under the same bound, so that none never comes.
pub(super) fn regex(pattern: &words::Pattern) -> Option<FullRegex> {
    FullRegex::new(pattern.as_str()).ok()
}

/// A pattern that no text of a request fulfils.
pub(super) fn nothing() -> StringPattern {
    StringPattern::Exact("\0".into())
}

/// The same share.
pub(super) fn fraction(percentage: words::Percentage) -> Fraction {
    Fraction::from_millionths(percentage.millionths())
}
