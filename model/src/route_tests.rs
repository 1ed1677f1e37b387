use http::HeaderMap;

use super::*;

fn route(name: &str, path: &str) -> Route {
    Route {
        name: name.into(),
        matches: RouteMatch {
            path: PathMatch::Prefix { prefix: path.into(), ignore_case: false },
            ..RouteMatch::any()
        },
        action: RouteAction::Forward(Forward::to(name)),
        ..Route::new(RouteMatch::any(), RouteAction::Forward(Forward::to(name)))
    }
}

fn host(name: &str, domains: &[&str]) -> VirtualHost {
    VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|d| (*d).into()).collect(),
        routes: vec![route(name, "/")],
        ..VirtualHost::default()
    }
}

#[test]
fn the_most_specific_domain_wins() {
    let table = RouteTable::new(
        "t",
        vec![
            host("any", &["*"]),
            host("suffix", &["*.com"]),
            host("longer", &["*.foo.com"]),
            host("prefix", &["bar.*"]),
            host("exact", &["bar.foo.com"]),
        ],
    );
    for (authority, expected) in [
        ("bar.foo.com", "exact"),
        ("BAR.foo.COM", "exact"),
        ("x.foo.com", "longer"),
        ("x.com", "suffix"),
        ("bar.org", "prefix"),
        ("org", "any"),
        (".com", "any"),
    ] {
        assert_eq!(&*table.virtual_host(authority).unwrap().name, expected, "{authority}");
    }
}

#[test]
fn the_first_route_that_matches_is_taken() {
    let mut hosts = vec![host("h", &["*"])];
    hosts[0].routes = vec![route("a", "/a"), route("all", "/"), route("never", "/a/b")];
    let table = RouteTable::new("t", hosts);
    let headers = HeaderMap::new();
    let facts = |path| RequestFacts {
        method: "GET",
        scheme: "http",
        authority: "x",
        path_and_query: path,
        headers: &headers,
        random: 0,
    };
    assert_eq!(&*table.route(&facts("/a/b?q")).unwrap().name, "a");
    assert_eq!(&*table.route(&facts("/b")).unwrap().name, "all");
}

#[test]
fn weights_divide_requests_as_they_say() {
    let forward = Forward {
        clusters: vec![
            WeightedCluster::new("a", 90),
            WeightedCluster::new("none", 0),
            WeightedCluster::new("b", 10),
        ],
        ..Forward::to("x")
    };
    let count = |name: &str| (0..100).filter(|n| *forward.draw(*n).unwrap().cluster == *name).count();
    assert_eq!((count("a"), count("none"), count("b")), (90, 0, 10));
    let nothing = Forward {
        clusters: vec![WeightedCluster::new("a", 0), WeightedCluster::new("b", 0)],
        ..Forward::to("x")
    };
    assert!(nothing.draw(7).is_none());
}
