//! Matchers of texts, and shares of requests.

use weft_proto::xds::core;
use weft_proto::xds::kind::{self, fractional_percent::DenominatorType};
use weft_proto::xds::matcher::{self, string_matcher::MatchPattern};

use super::reader::{Reader, fields};
use crate::matcher::{FullRegex, StringMatch, StringPattern};
use crate::policy::Fraction;

pub(super) fn encode_regex(regex: &FullRegex) -> matcher::RegexMatcher {
    encode_expression(regex.as_str())
}

pub(super) fn encode_expression(expression: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: expression.to_owned(), ..Default::default() }
}

pub(super) fn decode_regex(reader: &mut Reader, regex: matcher::RegexMatcher) -> Option<FullRegex> {
    fields!(reader, regex => matcher::RegexMatcher { regex; ignored: engine_type });
    match FullRegex::new(&regex) {
        Ok(regex) => Some(regex),
        Err(error) => reader.refuse_at("regex", format!("`{regex}` is no regular expression: {error}")),
    }
}

pub(super) fn encode(string: &StringMatch) -> matcher::StringMatcher {
    let pattern = match &string.pattern {
        StringPattern::Exact(text) => MatchPattern::Exact(text.to_string()),
        // Envoy refuses an empty one, which matches everything.
        StringPattern::Prefix(text) | StringPattern::Suffix(text) | StringPattern::Contains(text)
            if text.is_empty() =>
        {
            MatchPattern::SafeRegex(encode_expression(".*"))
        }
        StringPattern::Prefix(text) => MatchPattern::Prefix(text.to_string()),
        StringPattern::Suffix(text) => MatchPattern::Suffix(text.to_string()),
        StringPattern::Contains(text) => MatchPattern::Contains(text.to_string()),
        StringPattern::Regex(regex) => MatchPattern::SafeRegex(encode_regex(regex)),
    };
    matcher::StringMatcher { ignore_case: string.ignore_case, match_pattern: Some(pattern) }
}

pub(super) fn decode(reader: &mut Reader, string: matcher::StringMatcher) -> Option<StringMatch> {
    let matcher::StringMatcher { ignore_case, match_pattern } = string;
    let pattern = match match_pattern {
        Some(MatchPattern::Exact(text)) => StringPattern::Exact(text.into()),
        Some(MatchPattern::Prefix(text)) => StringPattern::Prefix(text.into()),
        Some(MatchPattern::Suffix(text)) => StringPattern::Suffix(text.into()),
        Some(MatchPattern::Contains(text)) => StringPattern::Contains(text.into()),
        Some(MatchPattern::SafeRegex(regex)) => {
            StringPattern::Regex(reader.within("safe_regex", |reader| decode_regex(reader, regex))?)
        }
        Some(MatchPattern::Custom(_)) => return reader.unsupported("custom"),
        None => return reader.missing("match_pattern"),
    };
    Some(StringMatch { pattern, ignore_case })
}

pub(super) fn encode_fraction(fraction: Fraction) -> kind::FractionalPercent {
    kind::FractionalPercent { numerator: fraction.millionths(), denominator: DenominatorType::Million as i32 }
}

pub(super) fn decode_fraction(reader: &mut Reader, percent: kind::FractionalPercent) -> Option<Fraction> {
    let factor = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => return reader.refuse_at("denominator", format!("{} is not known", percent.denominator)),
    };
    Some(Fraction::from_millionths(percent.numerator.saturating_mul(factor)))
}

/// A share that could be changed at run time; the default holds.
pub(super) fn decode_runtime_fraction(
    reader: &mut Reader,
    fraction: core::RuntimeFractionalPercent,
) -> Option<Fraction> {
    fields!(reader, fraction => core::RuntimeFractionalPercent { default_value; ignored: runtime_key });
    reader.required("default_value", default_value, decode_fraction)
}

pub(super) fn encode_runtime_fraction(fraction: Fraction) -> Option<core::RuntimeFractionalPercent> {
    Some(core::RuntimeFractionalPercent {
        default_value: Some(encode_fraction(fraction)),
        runtime_key: String::new(),
    })
}
