//! Changes where a request goes: its path, its host.

use http::Uri;
use http::uri::{InvalidUri, PathAndQuery};
use weft_model::matcher::PathMatch;
use weft_model::route::PathRewrite;

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;

/// The path and query after a rewrite; the query stays.
///
/// A prefix is replaced as Gateway API defines it (`HTTPPathModifier`, `ReplacePrefixMatch`) and Istio since 1.17: a
/// slash at the seam is never doubled.
#[must_use]
pub fn rewritten(rewrite: &PathRewrite, matches: &PathMatch, path_and_query: &str) -> String {
    let (path, query) = match path_and_query.find('?') {
        Some(at) => path_and_query.split_at(at),
        None => (path_and_query, ""),
    };
    let path = match rewrite {
        PathRewrite::Full(path) => path.to_string(),
        PathRewrite::Regex(regex) => regex.replace(path).into_owned(),
        PathRewrite::Prefix(replacement) => {
            let matched = match matches {
                PathMatch::Prefix { prefix, .. } | PathMatch::SeparatedPrefix(prefix) => prefix.len(),
                // The whole path has matched.
                PathMatch::Exact { .. } | PathMatch::Regex(_) => path.len(),
            };
            let rest = path.get(matched..).unwrap_or_default();
            let separated = matches!(matches, PathMatch::SeparatedPrefix(_));
            match replacement.strip_suffix('/') {
                Some(bare) if rest.starts_with('/') || (separated && rest.is_empty() && !bare.is_empty()) => {
                    format!("{bare}{rest}")
                }
                _ => format!("{replacement}{rest}"),
            }
        }
    };
    let root = if path.starts_with('/') { "" } else { "/" };
    format!("{root}{path}{query}")
}

/// The same request target with another path and query.
///
/// # Errors
/// The text is no path.
pub fn with_path(uri: &Uri, path_and_query: &str) -> Result<Uri, InvalidUri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query)?);
    // Parts that made a target still do with another path.
    Ok(Uri::from_parts(parts).unwrap_or_else(|_| uri.clone()))
}
