use super::*;

fn facts<'a>(path: &'a str, headers: &'a HeaderMap) -> RequestFacts<'a> {
    RequestFacts {
        method: "GET",
        scheme: "http",
        authority: "reviews:9080",
        path_and_query: path,
        headers,
        random: 0,
    }
}

fn header(name: &str, value: ValueMatch) -> HeaderMatch {
    HeaderMatch {
        name: HeaderKey::Header(name.parse().unwrap()),
        value,
        invert: false,
        absent_as_empty: false,
    }
}

#[test]
fn a_regular_expression_matches_the_whole_text() {
    let regex = FullRegex::new("a|bc").unwrap();
    assert!(regex.is_match("a") && regex.is_match("bc"));
    assert!(!regex.is_match("ab") && !regex.is_match("abc"));
}

#[test]
fn a_separated_prefix_ends_at_a_slash() {
    let path = PathMatch::SeparatedPrefix("/foo".into());
    assert!(path.matches("/foo") && path.matches("/foo/") && path.matches("/foo/bar"));
    assert!(!path.matches("/foobar") && !path.matches("/fo"));
    assert!(PathMatch::SeparatedPrefix("".into()).matches("/anything"));
}

#[test]
fn case_is_ignored_where_asked() {
    let ignoring = |pattern| StringMatch { pattern, ignore_case: true };
    assert!(ignoring(StringPattern::Exact("Jason".into())).matches("jASON"));
    assert!(ignoring(StringPattern::Prefix("ja".into())).matches("JAson"));
    assert!(ignoring(StringPattern::Suffix("ON".into())).matches("jason"));
    assert!(ignoring(StringPattern::Contains("AS".into())).matches("jason"));
    assert!(!StringMatch::exact("Jason").matches("jason"));
}

#[test]
fn several_values_of_a_header_are_joined() {
    let mut headers = HeaderMap::new();
    headers.append("x-tag", "a".parse().unwrap());
    headers.append("x-tag", "b".parse().unwrap());
    assert!(header("x-tag", ValueMatch::Value(StringMatch::exact("a,b"))).matches(&facts("/", &headers)));
}

#[test]
fn a_missing_header_fulfils_neither_a_value_nor_its_inverse() {
    let headers = HeaderMap::new();
    let mut condition = header("user", ValueMatch::Value(StringMatch::exact("jason")));
    assert!(!condition.matches(&facts("/", &headers)));
    condition.invert = true;
    assert!(!condition.matches(&facts("/", &headers)));
    let absent = HeaderMatch { invert: true, ..header("user", ValueMatch::Present) };
    assert!(absent.matches(&facts("/", &headers)));
}

#[test]
fn the_first_query_parameter_of_a_name_counts_decoded() {
    let headers = HeaderMap::new();
    let query = QueryMatch { name: "q x".into(), value: ValueMatch::Value(StringMatch::exact("a b")) };
    assert!(query.matches(&facts("/?z=1&q%20x=a+b&q+x=c", &headers)));
    assert!(!query.matches(&facts("/?q+x=c&q+x=a+b", &headers)));
    assert!(!query.matches(&facts("/", &headers)));
}
