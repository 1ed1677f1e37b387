//! Arbitrary resources, as far as they round-trip.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use proptest::collection::{hash_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::Names;
use crate::cluster::*;
use crate::endpoint::*;
use crate::filter::cors::CorsPolicy;
use crate::filter::ext_authz::{AuthzService, BodySettings, CheckSettings, ExtAuthz, GrpcCall, HttpAuthz};
use crate::filter::local_rate_limit::{BucketState, LocalRateLimit, TokenBucket};
use crate::filter::rbac::{Condition, Deed, Doer, Policy, Rbac, RbacAction, Rules};
use crate::filter::*;
use crate::format::Template;
use crate::hash::HashFunction;
use crate::hash_policy::*;
use crate::health_check::*;
use crate::listener::*;
use crate::load_balancing::*;
use crate::matcher::*;
use crate::policy::*;
use crate::provenance::{ObjectRef, Provenance};
use crate::route::*;
use crate::subset::*;

fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9|._-]{0,20}".prop_map(Into::into)
}

fn path() -> impl Strategy<Value = Arc<str>> {
    r"(/[a-zA-Z0-9.\\+(_-]{1,6}){1,3}".prop_map(Into::into)
}

fn duration() -> impl Strategy<Value = Duration> {
    (0_u64..100_000, 1_u32..1_000).prop_map(|(s, ms)| Duration::new(s, ms * 1_000_000))
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn fraction() -> impl Strategy<Value = Fraction> {
    (0_u32..=1_000_000).prop_map(Fraction::from_millionths)
}

fn provenance() -> impl Strategy<Value = Vec<Provenance>> {
    let one = ("[a-z.]{1,9}/v1|v1", name(), name(), any::<u64>(), "[a-z.\\[\\]0-9]{0,12}").prop_map(
        |(version, namespace, name, generation, field)| Provenance {
            object: ObjectRef::new(&version, "HTTPRoute", &namespace, &name),
            generation,
            field: field.into(),
        },
    );
    vec(one, 0..3)
}

fn header() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    ("x-[a-z]{1,8}", prop_oneof!["[ -~]{0,12}".prop_map(String::into_bytes), Just(vec![b'a', 0xfe])])
        .prop_map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(&value).unwrap())
        })
}

fn mutations() -> BoxedStrategy<HeaderMutations> {
    let action = prop_oneof![
        Just(AppendAction::AppendIfExistsOrAdd),
        Just(AppendAction::AddIfAbsent),
        Just(AppendAction::OverwriteIfExistsOrAdd),
        Just(AppendAction::OverwriteIfExists),
    ];
    let literal = header().prop_map(|(name, value)| (name, HeaderText::Literal(value)));
    let text = prop_oneof![Just("%PROTOCOL%"), Just("a%%b %REQ(x-a?:path):9%"), Just("%START_TIME(%s)%")];
    let template = (header(), text, any::<bool>()).prop_map(|((name, _), text, keep_empty)| {
        (name, HeaderText::Template { template: Box::new(Template::parse(text).unwrap()), keep_empty })
    });
    let change = (prop_oneof![2 => literal, 1 => template], action)
        .prop_map(|((name, value), action)| HeaderChange { name, value, action });
    (vec(header(), 0..2), vec(change, 0..4))
        .prop_map(|(remove, add)| HeaderMutations {
            remove: remove.into_iter().map(|(name, _)| name).collect(),
            add,
        })
        .boxed()
}

fn regex() -> impl Strategy<Value = FullRegex> {
    prop_oneof![Just("a.*b"), Just("[0-9]+"), Just("/v[12]/.*")]
        .prop_map(|text| FullRegex::new(text).unwrap())
}

fn string() -> impl Strategy<Value = StringMatch> {
    let text = || "[ -~]{1,8}".prop_map(Arc::<str>::from);
    let pattern = prop_oneof![
        text().prop_map(StringPattern::Exact),
        text().prop_map(StringPattern::Prefix),
        text().prop_map(StringPattern::Suffix),
        text().prop_map(StringPattern::Contains),
        regex().prop_map(StringPattern::Regex),
    ];
    (pattern, any::<bool>()).prop_map(|(pattern, ignore_case)| StringMatch { pattern, ignore_case })
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![Just(ValueMatch::Present), string().prop_map(ValueMatch::Value)]
}

fn matches() -> BoxedStrategy<RouteMatch> {
    let path_match = prop_oneof![
        (path(), any::<bool>()).prop_map(|(prefix, ignore_case)| PathMatch::Prefix { prefix, ignore_case }),
        path().prop_map(PathMatch::SeparatedPrefix),
        (path(), any::<bool>()).prop_map(|(path, ignore_case)| PathMatch::Exact { path, ignore_case }),
        regex().prop_map(PathMatch::Regex),
    ];
    let header = header_match();
    let query = (name(), value()).prop_map(|(name, value)| QueryMatch { name, value });
    let cookie = (name(), string(), any::<bool>()).prop_map(|(name, value, invert)| CookieMatch {
        name,
        value,
        invert,
    });
    let more = (vec(cookie, 0..2), any::<bool>(), of(fraction()))
        .prop_map(|(cookies, grpc, fraction)| MoreConditions { cookies, grpc, fraction })
        .prop_map(|more| (more != MoreConditions::default()).then(|| Box::new(more)));
    (path_match, vec(header, 0..3), vec(query, 0..2), more)
        .prop_map(|(path, headers, query, more)| RouteMatch { path, headers, query, more })
        .boxed()
}

fn lb_value() -> impl Strategy<Value = MetadataValue> {
    prop_oneof![
        name().prop_map(MetadataValue::Text),
        any::<bool>().prop_map(MetadataValue::Flag),
        any::<i32>().prop_map(|number| MetadataValue::Number(f64::from(number).to_bits())),
    ]
}

fn lb_metadata(most: usize) -> impl Strategy<Value = LbMetadata> {
    vec((name(), lb_value()), 0..=most).prop_map(LbMetadata::new)
}

fn header_match() -> BoxedStrategy<HeaderMatch> {
    let key = prop_oneof![
        header().prop_map(|(name, _)| HeaderKey::Header(name)),
        Just(HeaderKey::Pseudo(PseudoHeader::Method)),
        Just(HeaderKey::Pseudo(PseudoHeader::Authority)),
    ];
    let range = (-9_i64..9, 10_i64..99).prop_map(|(from, to)| ValueMatch::Range(from, to));
    (key, prop_oneof![3 => value(), 1 => range], any::<bool>(), any::<bool>())
        .prop_map(|(name, value, invert, absent_as_empty)| HeaderMatch {
            name,
            value,
            invert,
            absent_as_empty,
        })
        .boxed()
}

fn retry() -> BoxedStrategy<RetryPolicy> {
    let conditions = vec(
        prop_oneof![
            Just(RetryConditions::CONNECT_FAILURE),
            Just(RetryConditions::GRPC_UNAVAILABLE),
            Just(RetryConditions::STATUS_CODES),
            Just(RetryConditions::RATE_LIMITED),
            Just(RetryConditions::RETRIABLE_HEADERS),
        ],
        0..3,
    );
    let format = prop_oneof![Just(ResetFormat::Seconds), Just(ResetFormat::UnixTimestamp)];
    let reset = (vec((header().prop_map(|(name, _)| name), format), 1..3), duration())
        .prop_map(|(reset_headers, max_interval)| RateLimitedBackOff { reset_headers, max_interval });
    let first = (0_u32..9, conditions, vec(400_u16..600, 0..3), of(duration()), duration(), duration());
    let second = (any::<(bool, bool, bool)>(), of(reset), lb_metadata(1), of(1_u32..9), of(duration()));
    let headers = (vec(header_match(), 0..3), vec(header_match(), 0..3));
    (first, second, headers)
        .prop_map(|(first, second, (retriable_headers, requests))| {
            let (retries, conditions, codes, per_try_timeout, base, more) = first;
            let (flags, rate_limited, omit_host_metadata, previous_priorities, per_try_idle_timeout) = second;
            let (idempotent_only, avoid_tried_endpoints, omit_canary_hosts) = flags;
            RetryPolicy {
                retries,
                conditions: conditions.into_iter().fold(RetryConditions::default(), RetryConditions::and),
                status_codes: codes.into(),
                per_try_timeout,
                per_try_idle_timeout,
                backoff_base: base,
                backoff_max: base + more,
                idempotent_only,
                avoid_tried_endpoints,
                retriable_headers,
                retriable_request_headers: if idempotent_only { vec![] } else { requests },
                rate_limited,
                omit_canary_hosts,
                omit_host_metadata,
                previous_priorities,
            }
        })
        .boxed()
}

fn hash_policy() -> impl Strategy<Value = HashPolicy> {
    let rewrite = prop_oneof![Just(("a(.)", r"\1")), Just(("^x+", ""))]
        .prop_map(|(pattern, substitution)| RegexRewrite::new(pattern, substitution).unwrap());
    let attribute = ("[A-Z][a-z]{1,5}", "[a-z]{0,5}").prop_map(|(a, b)| (a.into(), b.into()));
    let cookie = (name(), of(prop_oneof![Just(Duration::ZERO), duration()]), path(), vec(attribute, 0..2))
        .prop_map(|(name, ttl, path, attributes)| CookieHash { name, ttl, path, attributes });
    let source = prop_oneof![
        (header(), of(rewrite)).prop_map(|((name, _), rewrite)| HashSource::Header { name, rewrite }),
        cookie.prop_map(HashSource::Cookie),
        Just(HashSource::SourceIp),
        name().prop_map(HashSource::QueryParameter),
    ];
    (source, any::<bool>()).prop_map(|(source, terminal)| HashPolicy { source, terminal })
}

fn weighted() -> BoxedStrategy<WeightedCluster> {
    let host = of(Just(HeaderValue::from_static("its.own")));
    (name(), 1_u32..100, mutations(), mutations(), overrides(), host, lb_metadata(1))
        .prop_map(
            |(cluster, weight, request_headers, response_headers, filters, host_rewrite, metadata_match)| {
                WeightedCluster {
                    cluster,
                    weight,
                    request_headers,
                    response_headers,
                    filters,
                    host_rewrite,
                    metadata_match,
                }
            },
        )
        .boxed()
}

fn substitution() -> impl Strategy<Value = Substitution> {
    prop_oneof![Just(("^/a/(.*)$", r"/b/\1$")), Just(("x", "\\\\"))]
        .prop_map(|(pattern, text)| Substitution::new(pattern, text).unwrap())
}

fn rewrite() -> BoxedStrategy<PathRewrite> {
    prop_oneof![
        substitution().prop_map(|regex| PathRewrite::Regex(Box::new(regex))),
        Just(PathRewrite::Prefix("/".into())),
        path().prop_map(PathRewrite::Prefix),
        path().prop_map(PathRewrite::Full),
    ]
    .boxed()
}

fn action() -> BoxedStrategy<RouteAction> {
    let clusters =
        prop_oneof![name().prop_map(|name| vec![WeightedCluster::new(&name, 1)]), vec(weighted(), 1..4),];
    let mirror = (name(), fraction()).prop_map(|(cluster, fraction)| Mirror { cluster, fraction });
    let name_of_header = || header().prop_map(|(name, _)| name);
    let grpc = (of(duration()), duration()).prop_map(|(most, offset)| GrpcTimeout { most, offset });
    let more = (
        of(name_of_header()),
        of(name_of_header()),
        any::<bool>(),
        of(prop_oneof![Just(404_u16), Just(500)]),
        of(duration()),
        of(grpc),
        vec((name(), any::<bool>()), 0..2),
    )
        .prop_map(
            |(cluster_header, random, append_x_forwarded_host, missing, most, grpc_timeout, upgrades)| {
                MoreForward {
                    random_value_header: random.filter(|_| cluster_header.is_none()),
                    cluster_header,
                    append_x_forwarded_host,
                    cluster_not_found: missing,
                    max_stream_duration: most,
                    grpc_timeout,
                    upgrades,
                }
            },
        )
        .prop_map(|more| (more != MoreForward::default()).then(|| Box::new(more)));
    let host = prop_oneof![
        Just(HostRewrite::Literal(HeaderValue::from_static("other"))),
        name_of_header().prop_map(HostRewrite::Header),
        substitution().prop_map(|regex| HostRewrite::PathRegex(Box::new(regex))),
    ];
    let priority = prop_oneof![Just(RoutingPriority::Default), Just(RoutingPriority::High)];
    let balancing = (vec(hash_policy(), 0..3), lb_metadata(1), priority);
    let forward = (
        clusters,
        of(duration()),
        of(duration()),
        of(retry()),
        of(rewrite()),
        of(host),
        vec(mirror, 0..2),
        (more, balancing),
    )
        .prop_map(
            |(
                clusters,
                timeout,
                idle_timeout,
                retry,
                path_rewrite,
                host_rewrite,
                mirrors,
                (more, balancing),
            )| {
                let (hash_policy, metadata_match, priority) = balancing;
                Forward {
                    clusters: match &more {
                        Some(more) if more.cluster_header.is_some() => Vec::new(),
                        _ => clusters,
                    },
                    more,
                    timeout,
                    idle_timeout,
                    retry,
                    path_rewrite,
                    host_rewrite,
                    mirrors,
                    hash_policy,
                    metadata_match,
                    priority,
                }
            },
        );
    let status = prop_oneof![Just(301), Just(302), Just(303), Just(307), Just(308)];
    let redirect = (status, of(Just("https".into())), of(name()), of(1_u16..), of(rewrite()), any::<bool>())
        .prop_map(|(status, scheme, host, port, path, strip_query)| Redirect {
            status,
            scheme,
            host,
            port,
            path,
            strip_query,
        });
    let respond = (200_u16..600, prop_oneof!["[ -~]{0,30}", Just("long ".repeat(1_000))])
        .prop_map(|(status, body)| DirectResponse { status, body: body.into() });
    prop_oneof![
        3 => forward.prop_map(RouteAction::Forward),
        1 => redirect.prop_map(RouteAction::Redirect),
        1 => respond.prop_map(RouteAction::Respond),
    ]
    .boxed()
}

fn fault() -> BoxedStrategy<Fault> {
    let abort = prop_oneof![(200_u16..600).prop_map(Abort::Http), (0_u32..17).prop_map(Abort::Grpc)];
    let by_header = (of(fraction()), of(fraction()));
    (of((duration(), fraction())), of((abort, fraction())), by_header, of(name()), of(0_u32..9), matches())
        .prop_map(
            |(delay, abort, (delay_by_header, abort_by_header), upstream_cluster, max_active, matches)| {
                Fault {
                    delay_by_header: delay_by_header.filter(|_| delay.is_none()),
                    abort_by_header: abort_by_header.filter(|_| abort.is_none()),
                    delay,
                    abort,
                    upstream_cluster,
                    headers: matches.headers,
                    max_active,
                }
            },
        )
        .boxed()
}

fn cors() -> BoxedStrategy<CorsPolicy> {
    let text = || prop_oneof![Just(HeaderValue::from_static("")), Just(HeaderValue::from_static("GET, x-a"))];
    (vec(string(), 0..3), [text(), text(), text(), text()], any::<(bool, bool, bool)>(), fraction())
        .prop_map(
            |(origins, [methods, headers, expose, max_age], (credentials, private, forward), enabled)| {
                CorsPolicy {
                    origins,
                    methods,
                    headers,
                    expose,
                    max_age,
                    credentials,
                    private_network: private,
                    enabled,
                    forward_not_matching_preflights: forward,
                }
            },
        )
        .boxed()
}

fn edits() -> BoxedStrategy<HeaderEdits> {
    let edits = || {
        vec(mutations(), 0..3).prop_map(|all| {
            // On the wire each edit is one change.
            let removals = all
                .iter()
                .flat_map(|one| &one.remove)
                .map(|name| HeaderMutations { remove: vec![name.clone()], add: Vec::new() });
            let additions = all
                .iter()
                .flat_map(|one| &one.add)
                .map(|change| HeaderMutations { remove: Vec::new(), add: vec![change.clone()] });
            removals.chain(additions).map(HeaderEdit).collect()
        })
    };
    (edits(), edits())
        .prop_map(|(request, response)| HeaderEdits { request, response, most_specific_wins: false })
        .boxed()
}

fn local_rate_limit() -> BoxedStrategy<LocalRateLimit> {
    let bucket = (1_u32..9, 1_u32..9, duration()).prop_map(|(max_tokens, tokens_per_fill, more)| {
        let fill_interval = Duration::from_millis(50) + more;
        TokenBucket { max_tokens, tokens_per_fill, fill_interval }
    });
    let only_add = || mutations().prop_map(|all| HeaderMutations { remove: Vec::new(), ..all });
    let shares = (fraction(), fraction());
    (name(), of(bucket), shares, 400_u16..600, (only_add(), only_add()), any::<(bool, bool, bool)>())
        .prop_map(|(stat_prefix, bucket, (enabled, enforced), status, (request, response), flags)| {
            LocalRateLimit {
                stat_prefix,
                bucket,
                enabled,
                enforced,
                status,
                request_headers: request,
                response_headers: response,
                per_connection: flags.0,
                x_ratelimit_headers: flags.1,
                as_resource_exhausted: flags.2,
                state: BucketState::default(),
            }
        })
        .boxed()
}

fn condition<T: Clone + std::fmt::Debug + 'static>(special: BoxedStrategy<T>) -> BoxedStrategy<Condition<T>> {
    let leaf = prop_oneof![
        Just(Condition::Any),
        matches().prop_map(|matches| matches
            .headers
            .into_iter()
            .next()
            .map_or(Condition::Any, Condition::Header)),
        string().prop_map(Condition::UrlPath),
        special.prop_map(Condition::Special),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Condition::And),
            vec(inner.clone(), 1..3).prop_map(Condition::Or),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
    .boxed()
}

fn prefix() -> BoxedStrategy<IpPrefix> {
    any::<IpAddr>()
        .prop_flat_map(|address| {
            (0..=if address.is_ipv4() { 32_u8 } else { 128 })
                .prop_map(move |length| IpPrefix { address, length })
        })
        .boxed()
}

fn rules() -> BoxedStrategy<Rules> {
    let deed = prop_oneof![
        prefix().prop_map(Deed::DestinationIp),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Deed::DestinationPort(a.min(b)..=a.max(b))),
        string().prop_map(Deed::ServerName),
    ];
    let doer = prop_oneof![
        of(string()).prop_map(Doer::Authenticated),
        prefix().prop_map(Doer::SourceIp),
        prefix().prop_map(Doer::DirectRemoteIp),
    ];
    let action = prop_oneof![Just(RbacAction::Allow), Just(RbacAction::Deny), Just(RbacAction::Log)];
    let policy = (vec(condition(deed.boxed()), 1..3), vec(condition(doer.boxed()), 1..3));
    (action, proptest::collection::btree_map(name(), policy, 0..2))
        .prop_map(|(action, policies)| {
            let policy = |(name, (permissions, principals))| Policy { name, permissions, principals };
            Rules { action, policies: policies.into_iter().map(policy).collect() }
        })
        .boxed()
}

fn rbac() -> BoxedStrategy<Rbac> {
    (of(rules()), of(rules())).prop_map(|(rules, shadow_rules)| Rbac { rules, shadow_rules }).boxed()
}

fn body() -> BoxedStrategy<BodySettings> {
    (1_u32..9, any::<bool>(), any::<bool>())
        .prop_map(|(max_request_bytes, allow_partial_message, pack_as_bytes)| BodySettings {
            max_request_bytes,
            allow_partial_message,
            pack_as_bytes,
        })
        .boxed()
}

fn ext_authz() -> BoxedStrategy<ExtAuthz> {
    let pair = || {
        ("x-[a-z]{1,8}", "[a-z]{0,5}").prop_map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::try_from(value).unwrap())
        })
    };
    let grpc = (name(), name(), duration(), vec(pair(), 0..2))
        .prop_map(|(cluster, authority, timeout, metadata)| GrpcCall {
            cluster,
            authority,
            timeout,
            metadata,
        })
        .prop_map(AuthzService::Grpc);
    let lists = [vec(string(), 0..2), vec(string(), 0..2), vec(string(), 0..2), vec(string(), 0..2)];
    let http = (name(), duration(), path(), vec(pair(), 0..2), lists)
        .prop_map(|(cluster, timeout, path_prefix, headers_to_add, [a, b, c, d])| HttpAuthz {
            cluster,
            authority: HeaderValue::from_static("authz.example:8080"),
            uri: "http://authz.example:8080/".into(),
            timeout,
            path_prefix,
            headers_to_add,
            upstream_headers: a,
            upstream_headers_to_append: b,
            client_headers: c,
            client_headers_on_success: d,
        })
        .prop_map(|http| AuthzService::Http(Box::new(http)));
    let lists = (of(vec(string(), 0..2)), vec(string(), 0..2));
    (prop_oneof![grpc, http], any::<(bool, bool)>(), of(body()), 400_u16..600, lists, fraction())
        .prop_map(|(service, (allow, tell), body, status_on_error, (allowed, disallowed), enabled)| {
            ExtAuthz {
                service,
                failure_mode_allow: allow,
                failure_mode_allow_header_add: tell,
                body,
                status_on_error,
                allowed_headers: allowed,
                disallowed_headers: disallowed,
                enabled,
            }
        })
        .boxed()
}

fn route_filter() -> BoxedStrategy<RouteFilter> {
    let check =
        (proptest::collection::btree_map("[a-z]{1,5}", "[a-z]{0,5}", 0..2), any::<bool>(), of(body()))
            .prop_map(|(context_extensions, disable_request_body_buffering, body)| CheckSettings {
                context_extensions,
                disable_request_body_buffering,
                body,
            });
    prop_oneof![
        Just(RouteFilter::Disabled),
        Just(RouteFilter::Enabled),
        fault().prop_map(RouteFilter::Fault),
        cors().prop_map(|policy| RouteFilter::Cors(policy.into())),
        (1_u32..99).prop_map(RouteFilter::Buffer),
        edits().prop_map(|edits| RouteFilter::HeaderMutation(edits.into())),
        local_rate_limit().prop_map(|limit| RouteFilter::LocalRateLimit(limit.into())),
        rbac().prop_map(|rbac| RouteFilter::Rbac(rbac.into())),
        check.prop_map(|settings| RouteFilter::ExtAuthz(settings.into())),
    ]
    .boxed()
}

fn filter_config() -> BoxedStrategy<FilterConfig> {
    let edits = (edits(), any::<bool>())
        .prop_map(|(edits, most_specific_wins)| HeaderEdits { most_specific_wins, ..edits });
    prop_oneof![
        fault().prop_map(FilterConfig::Fault),
        Just(FilterConfig::Cors),
        (1_u32..99).prop_map(FilterConfig::Buffer),
        edits.prop_map(|edits| FilterConfig::HeaderMutation(edits.into())),
        local_rate_limit().prop_map(|limit| FilterConfig::LocalRateLimit(limit.into())),
        rbac().prop_map(|rbac| FilterConfig::Rbac(rbac.into())),
        matches().prop_map(|matches| FilterConfig::HealthCheck(matches.headers)),
        ext_authz().prop_map(|authz| FilterConfig::ExtAuthz(authz.into())),
    ]
    .boxed()
}

/// One at most: the bytes of several come in any order.
fn overrides() -> BoxedStrategy<FilterOverrides> {
    of((name(), route_filter())).prop_map(FilterOverrides::new).boxed()
}

fn http_filter() -> BoxedStrategy<HttpFilter> {
    (name(), any::<bool>(), filter_config())
        .prop_map(|(name, disabled, config)| HttpFilter { name, disabled, config })
        .boxed()
}

fn level() -> BoxedStrategy<LevelSettings> {
    (mutations(), mutations(), overrides())
        .prop_map(|(request_headers, response_headers, filters)| LevelSettings {
            request_headers,
            response_headers,
            filters,
        })
        .boxed()
}

fn route() -> BoxedStrategy<Route> {
    (name(), matches(), action(), mutations(), mutations(), overrides(), provenance())
        .prop_map(|(name, matches, action, request_headers, response_headers, filters, provenance)| Route {
            name,
            matches,
            action,
            request_headers,
            response_headers,
            filters,
            provenance,
        })
        .boxed()
}

pub(crate) fn routes() -> BoxedStrategy<RouteTable> {
    let domain = prop_oneof![name(), Just("*".into()), name().prop_map(|name| format!("*.{name}").into())];
    let host = (name(), vec(domain, 1..3), vec(route(), 0..3), level(), any::<(bool, bool)>()).prop_map(
        |(name, domains, routes, settings, (require_tls, attempt_count_in_response))| VirtualHost {
            name,
            domains,
            routes,
            settings,
            require_tls,
            attempt_count_in_response,
        },
    );
    (name(), vec(host, 0..3), level(), any::<bool>())
        .prop_map(|(name, hosts, settings, most_specific)| {
            let mut table = RouteTable::new(&name, hosts);
            table.settings = settings;
            table.most_specific_header_mutations_wins = most_specific;
            table
        })
        .boxed()
}

fn chain() -> BoxedStrategy<FilterChain> {
    let prefix = any::<IpAddr>().prop_flat_map(|address| {
        (0..=if address.is_ipv4() { 32_u8 } else { 128 }).prop_map(move |length| IpPrefix { address, length })
    });
    let transport = of(prop_oneof![Just(Transport::Raw), Just(Transport::Tls)]);
    let matches = (of(any::<u16>()), vec(prefix, 0..3), transport, vec(name(), 0..3), vec(name(), 0..3))
        .prop_map(
            |(destination_port, destination_prefixes, transport, application_protocols, server_names)| {
                FilterChainMatch {
                    destination_port,
                    destination_prefixes,
                    transport,
                    application_protocols,
                    server_names,
                }
            },
        );
    let tls = (any::<bool>(), vec(name(), 0..3)).prop_map(|(require_client_certificate, protocols)| {
        DownstreamTls::Mesh(MeshTls { require_client_certificate, application_protocols: protocols })
    });
    let source = prop_oneof![
        3 => name().prop_map(RouteSource::Named),
        1 => routes().prop_map(|table| RouteSource::Inline(table.into())),
    ];
    let codec = prop_oneof![Just(Codec::Auto), Just(Codec::Http1), Just(Codec::Http2)];
    let http = (
        name(),
        codec,
        source,
        any::<bool>(),
        of(duration()),
        vec(name(), 0..2),
        any::<bool>(),
        vec(http_filter(), 0..3),
    )
        .prop_map(
            |(
                stat_prefix,
                codec,
                routes,
                forward_client_certificate,
                stream_idle_timeout,
                upgrades,
                forward_proxy,
                filters,
            )| {
                NetworkFilter::Http(HttpConnection {
                    stat_prefix,
                    codec,
                    routes,
                    forward_client_certificate,
                    stream_idle_timeout,
                    upgrades,
                    forward_proxy,
                    filters: filters.into(),
                })
            },
        );
    let weighted = (name(), 1_u32..9, lb_metadata(1)).prop_map(|(name, weight, metadata_match)| {
        WeightedCluster { metadata_match, ..WeightedCluster::new(&name, weight) }
    });
    let tcp = (name(), vec(weighted, 1..3), of(duration()), any::<bool>(), lb_metadata(1)).prop_map(
        |(stat_prefix, clusters, idle_timeout, hash_source_ip, metadata_match)| {
            NetworkFilter::Tcp(TcpProxy {
                stat_prefix,
                clusters,
                idle_timeout,
                hash_source_ip,
                metadata_match,
            })
        },
    );
    (name(), matches, of(tls), vec(rbac(), 0..2), prop_oneof![http, tcp])
        .prop_map(|(name, matches, tls, rbac, filter)| FilterChain { name, matches, tls, rbac, filter })
        .boxed()
}

pub(crate) fn listener() -> impl Strategy<Value = Listener> {
    let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let proxy_protocol = of(prop_oneof![Just(ProxyProtocol::Required), Just(ProxyProtocol::Allowed)]);
    let inspection =
        (proxy_protocol, any::<bool>(), any::<bool>(), prop_oneof![Just(Duration::ZERO), duration()])
            .prop_map(|(proxy_protocol, tls, http, timeout)| Inspection {
                proxy_protocol,
                tls,
                http,
                timeout,
            });
    (
        name(),
        vec(address(), 1..4),
        any::<(bool, bool, bool)>(),
        direction,
        inspection,
        vec(chain(), 0..3),
        of(chain()),
        provenance(),
    )
        .prop_map(
            |(
                name,
                addresses,
                (bind, use_original_dst, headless),
                direction,
                inspection,
                chains,
                default,
                provenance,
            )| {
                Listener {
                    name,
                    addresses,
                    bind,
                    use_original_dst,
                    headless,
                    direction,
                    inspection,
                    filter_chains: chains,
                    default_filter_chain: default,
                    provenance,
                }
            },
        )
}

pub(crate) fn endpoints() -> impl Strategy<Value = EndpointSet> {
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Draining), Just(Health::Unhealthy)];
    let workload =
        (name(), name(), name(), name(), name()).prop_map(|(name, namespace, service, version, cluster)| {
            WorkloadInfo { name, namespace, service, version, cluster }
        });
    let workload = prop_oneof![Just(WorkloadInfo::default()), workload];
    let check = (of(1_u16..), prop_oneof![Just("".into()), name()], any::<bool>())
        .prop_map(|(port, hostname, disabled)| EndpointHealthCheck { port, hostname, disabled });
    let more = (prop_oneof![Just("".into()), name()], lb_metadata(3), check);
    let endpoint = (address(), health, 0_u32..9, any::<bool>(), workload, more).prop_map(
        |(address, health, weight, mutual_tls, workload, (hostname, metadata, health_check))| {
            Arc::new(Endpoint {
                address,
                health,
                weight,
                mutual_tls,
                workload,
                hostname,
                metadata,
                health_check,
            })
        },
    );
    let place = prop_oneof![
        Just(Locality::default()),
        (name(), name(), name()).prop_map(|(region, zone, sub_zone)| Locality { region, zone, sub_zone }),
    ];
    let group = (place, 0_u32..4, 0_u32..9, vec(endpoint, 0..4)).prop_map(
        |(locality, priority, weight, endpoints)| LocalityEndpoints { locality, priority, weight, endpoints },
    );
    let policy = (1_u32..300, vec((name(), fraction()), 0..2)).prop_map(
        |(overprovisioning_factor, drop_overloads)| AssignmentPolicy {
            overprovisioning_factor,
            drop_overloads,
        },
    );
    (name(), vec(group, 0..3), policy).prop_map(|(cluster, localities, policy)| EndpointSet {
        cluster,
        localities,
        policy,
    })
}

fn load_balancing() -> impl Strategy<Value = LoadBalancing> {
    let function = prop_oneof![Just(HashFunction::XxHash), Just(HashFunction::MurmurHash2)];
    prop_oneof![
        Just(LoadBalancing::RoundRobin),
        Just(LoadBalancing::Random),
        Just(LoadBalancing::LEAST_REQUEST),
        (2_u32..9, 0_u32..30, any::<bool>()).prop_map(|(choice_count, bias, full_scan)| {
            let active_request_bias = f64::from(bias) / 10.0;
            LoadBalancing::LeastRequest(LeastRequest { choice_count, active_request_bias, full_scan })
        }),
        (function, 1_u64..2_000, 2_000_u64..9_000).prop_map(|(function, minimum_size, maximum_size)| {
            LoadBalancing::RingHash(RingHash { function, minimum_size, maximum_size })
        }),
        prop_oneof![Just(2_u64), Just(251), Just(65_537), Just(Maglev::MOST)]
            .prop_map(|table_size| LoadBalancing::Maglev(Maglev { table_size })),
        (duration(), duration()).prop_map(|(decay_time, default_rtt)| {
            LoadBalancing::PeakEwma(PeakEwma { decay_time, default_rtt })
        }),
    ]
}

fn subsets() -> impl Strategy<Value = Subsets> {
    let fallback = || {
        prop_oneof![
            Just(SubsetFallback::None),
            Just(SubsetFallback::Any),
            Just(SubsetFallback::DefaultSubset)
        ]
    };
    let selector = (0_usize..3, of(fallback()), any::<bool>()).prop_map(|(more, fallback, fewer)| {
        let keys: Vec<Arc<str>> = ["a", "b", "c"].into_iter().take(more + 1).map(Arc::from).collect();
        let keys_fallback = SelectorFallback::Keys(Arc::from([keys[more].clone()]));
        let fallback = fallback.map(SelectorFallback::As);
        SubsetSelector {
            fallback: if fewer && more > 0 { Some(keys_fallback) } else { fallback },
            keys: keys.into(),
        }
    });
    (fallback(), lb_metadata(3), vec(selector, 1..3))
        .prop_map(|(fallback, default_subset, selectors)| Subsets { fallback, default_subset, selectors })
}

fn balancing() -> impl Strategy<Value = Balancing> {
    let slow_start = (duration(), 1_u32..30, 0_u32..=100).prop_map(|(window, aggression, least)| SlowStart {
        window,
        aggression: f64::from(aggression) / 10.0,
        min_weight_percent: f64::from(least),
    });
    let locality = prop_oneof![
        Just(LocalityBalancing::Unweighted),
        Just(LocalityBalancing::Weighted),
        any::<bool>()
            .prop_map(|fail_traffic_on_panic| LocalityBalancing::ZoneAware { fail_traffic_on_panic }),
    ];
    (of(slow_start), locality, 0_u32..=100, any::<bool>(), of(100_u32..300), of(subsets())).prop_map(
        |(slow_start, locality, panic, hash_by_hostname, hash_balance_factor, subsets)| Balancing {
            slow_start,
            locality,
            panic_threshold: f64::from(panic),
            hash_by_hostname,
            hash_balance_factor,
            subsets,
        },
    )
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let range = || (100_u16..599).prop_flat_map(|start| (Just(start), start + 1..=600));
    let method = prop_oneof![Just(http::Method::GET), Just(http::Method::HEAD), Just(http::Method::POST)];
    let http = (
        (prop_oneof![Just("".into()), name()], "/[a-z]{0,9}", method),
        (mutations(), vec(range(), 1..3), vec(range(), 0..2), any::<bool>()),
    )
        .prop_map(|((host, path, method), (headers, expected_statuses, retriable_statuses, http2))| {
            HealthQuestion::Http(HttpQuestion {
                host,
                path: path.into(),
                method,
                headers,
                expected_statuses,
                retriable_statuses,
                http2,
            })
        });
    let bytes = || vec(any::<u8>(), 1..5).prop_map(bytes::Bytes::from);
    let question = prop_oneof![
        http,
        (name(), name()).prop_map(|(service, authority)| HealthQuestion::Grpc { service, authority }),
        (of(bytes()), vec(bytes(), 0..3)).prop_map(|(send, receive)| HealthQuestion::Tcp { send, receive }),
    ];
    let jitter = || prop_oneof![Just(Duration::ZERO), duration()];
    let times = (duration(), duration(), duration(), jitter(), jitter(), 0_u32..100);
    let edges = (of(duration()), of(duration()), of(duration()), of(duration()));
    (times, edges, (1_u32..9, 1_u32..9), (of(1_u16..), any::<bool>()), question).prop_map(
        |(times, edges, (unhealthy_threshold, healthy_threshold), (alt_port, reuse_connection), question)| {
            HealthCheck {
                timeout: times.0,
                interval: times.1,
                no_traffic_interval: times.2,
                no_traffic_healthy_interval: edges.0,
                unhealthy_interval: edges.1,
                unhealthy_edge_interval: edges.2,
                healthy_edge_interval: edges.3,
                initial_jitter: times.3,
                interval_jitter: times.4,
                interval_jitter_percent: times.5,
                unhealthy_threshold,
                healthy_threshold,
                alt_port,
                reuse_connection,
                question,
            }
        },
    )
}

fn limits() -> impl Strategy<Value = CircuitBreakers> {
    let budget = (fraction(), any::<u32>())
        .prop_map(|(budget, min_retry_concurrency)| RetryBudget { budget, min_retry_concurrency });
    (any::<(u32, u32, u32, u32)>(), of(budget)).prop_map(
        |((max_connections, max_pending_requests, max_requests, max_retries), retry_budget)| {
            CircuitBreakers { max_connections, max_pending_requests, max_requests, max_retries, retry_budget }
        },
    )
}

fn outlier() -> impl Strategy<Value = OutlierDetection> {
    let row = || prop_oneof![Just((0, 100)), (1_u32..9, 1_u32..=100)];
    let rate = (1_u32..=100, 0_u32..=100, 0_u32..9, 0_u32..99, 0_u32..3_000).prop_map(
        |(enforcing, enforcing_local_origin, minimum_hosts, request_volume, stdev_factor)| SuccessRate {
            enforcing,
            enforcing_local_origin,
            minimum_hosts,
            request_volume,
            stdev_factor,
        },
    );
    let failures = (1_u32..=100, 0_u32..=100, 0_u32..=100, 0_u32..9, 0_u32..99).prop_map(
        |(enforcing, enforcing_local_origin, threshold, minimum_hosts, request_volume)| FailurePercentage {
            enforcing,
            enforcing_local_origin,
            threshold,
            minimum_hosts,
            request_volume,
        },
    );
    let jitter = prop_oneof![Just(Duration::ZERO), duration()];
    let times = (duration(), duration(), duration(), jitter);
    ((row(), row(), row()), (any::<(bool, bool)>(), 0_u32..=100), of(rate), of(failures), times).prop_map(
        |((a, b, c), ((split, always_eject_one), most), success_rate, failure_percentage, times)| {
            let c = if split { c } else { (0, 100) };
            OutlierDetection {
                consecutive_5xx: a.0,
                enforcing_consecutive_5xx: a.1,
                consecutive_gateway_errors: b.0,
                enforcing_consecutive_gateway_errors: b.1,
                split_local_origin_errors: split,
                consecutive_local_origin_failures: c.0,
                enforcing_consecutive_local_origin_failures: c.1,
                success_rate,
                failure_percentage,
                interval: times.0,
                base_ejection_time: times.1,
                max_ejection_time: times.2,
                max_ejection_time_jitter: times.3,
                max_ejection_percent: most,
                always_eject_one,
            }
        },
    )
}

pub(crate) fn cluster() -> impl Strategy<Value = Cluster> {
    let discovery = prop_oneof![
        name().prop_map(Discovery::Endpoints),
        endpoints().prop_map(Discovery::Static),
        vec((name(), 1_u16..), 0..3).prop_map(Discovery::Dns),
        Just(Discovery::OriginalDst),
        name().prop_map(Discovery::Dialled),
    ];
    let http = prop_oneof![
        Just(UpstreamHttp::SameAsDownstream),
        Just(UpstreamHttp::Http1),
        Just(UpstreamHttp::Http2),
    ];
    let tls = (vec(name(), 0..3), name()).prop_map(|(names, sni)| UpstreamTls {
        identities: names.into_iter().map(|name| format!("spiffe://td/ns/{name}/sa/a").into()).collect(),
        sni,
    });
    let transport = (0..3, tls).prop_map(|(kind, tls)| match kind {
        0 => UpstreamTransport::Plain,
        1 => UpstreamTransport::ByEndpoint(tls),
        _ => UpstreamTransport::MutualTls(tls),
    });
    let proxy_protocol = of(prop_oneof![Just(ProxyProtocolVersion::V1), Just(ProxyProtocolVersion::V2)]);
    let service =
        (name(), name(), name()).prop_map(|(host, name, namespace)| ServiceInfo { host, name, namespace });
    (
        (name(), discovery, (load_balancing(), balancing()), duration(), http, (transport, proxy_protocol)),
        (
            (limits(), limits(), of(health_check())),
            of(outlier()),
            of(1_u32..9),
            duration(),
            of(service),
            provenance(),
        ),
    )
        .prop_map(|((name, discovery, policy, connect_timeout, http, transport), rest)| {
            let (limits, outlier_detection, requests, idle_timeout, service, provenance) = rest;
            let (limits, high_priority_limits, health_check) = limits;
            let (transport, proxy_protocol) = transport;
            let by_endpoint = matches!(transport, UpstreamTransport::ByEndpoint(_));
            let (load_balancing, mut balancing) = policy;
            let original = matches!(discovery, Discovery::OriginalDst | Discovery::Dialled(_));
            let load_balancing = if original { LoadBalancing::RoundRobin } else { load_balancing };
            let starts = matches!(load_balancing, LoadBalancing::RoundRobin | LoadBalancing::LeastRequest(_));
            if original || !starts {
                balancing.slow_start = None;
            }
            Cluster {
                name,
                discovery,
                load_balancing,
                balancing,
                connect_timeout,
                http,
                proxy_protocol: if by_endpoint { None } else { proxy_protocol },
                transport,
                limits,
                high_priority_limits,
                outlier_detection,
                health_check,
                max_requests_per_connection: requests,
                idle_timeout,
                service,
                provenance,
            }
        })
}

pub(crate) fn names() -> impl Strategy<Value = Names> {
    hash_map("[a-z]{1,5}\\.[a-z]{1,5}".prop_map(Into::into), vec(any::<IpAddr>(), 0..3), 0..9)
}
