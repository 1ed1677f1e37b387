//! `trafficPolicy`, of a host, a subset or a port.

use std::time::Duration;

use super::{
    ConnectionPool, H2UpgradePolicy, LoadBalancerAlgorithm, LoadBalancerPolicy, OutlierDetection, PortPolicy,
    TlsMode, TrafficPolicy,
};
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Fields};
use crate::source::kinds::istio;
use crate::source::words::Percentage;

/// What a host, a subset and a port have alike.
pub(super) struct Settings {
    load_balancer: Option<LoadBalancerPolicy>,
    connection_pool: Option<ConnectionPool>,
    outlier_detection: Option<OutlierDetection>,
    tls: Option<TlsMode>,
}

pub(super) fn settings(f: &Fields<'_>) -> Option<Settings> {
    Some(Settings {
        load_balancer: f.optional("loadBalancer").and_then(|field| load_balancer(&field)),
        connection_pool: f.optional("connectionPool").and_then(|field| connection_pool(&field)),
        outlier_detection: f.optional("outlierDetection").and_then(|field| outlier_detection(&field)),
        tls: f.optional("tls").and_then(|field| tls(&field)),
    })
}

pub(super) fn traffic_policy(
    f: &Fields<'_>,
    own: Settings,
    port_level: Vec<PortPolicy>,
) -> Option<TrafficPolicy> {
    f.unsupported(&["tunnel", "proxyProtocol", "retryBudget"]);
    let Settings { load_balancer, connection_pool, outlier_detection, tls } = own;
    Some(TrafficPolicy {
        field: f.path(),
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
        port_level,
    })
}

pub(super) fn port_policies(f: &Fields<'_>) -> Vec<PortPolicy> {
    let Some(field) = f.optional("portLevelSettings") else { return Vec::new() };
    let policies: Vec<PortPolicy> = field.each(|item| {
        item.message(|f| {
            let port = f.required("port").and_then(|field| istio::port_selector(&field));
            let Settings { load_balancer, connection_pool, outlier_detection, tls } = settings(f)?;
            Some(PortPolicy {
                field: f.path(),
                port: port?,
                load_balancer,
                connection_pool,
                outlier_detection,
                tls,
            })
        })
    });
    for (index, one) in policies.iter().enumerate() {
        if policies[..index].iter().any(|other| other.port == one.port) {
            field.invalid(format!("the port {} stands twice", one.port), "keep one");
        }
    }
    policies
}

fn load_balancer(field: &Field<'_>) -> Option<LoadBalancerPolicy> {
    field.message(|f| {
        f.unsupported(&["consistentHash", "localityLbSetting", "warmupDurationSecs", "warmup"]);
        let simple = f.optional("simple");
        let algorithm = simple.as_ref().map_or(Some(LoadBalancerAlgorithm::default()), |field| {
            field.choice(&[
                ("UNSPECIFIED", LoadBalancerAlgorithm::LeastRequest),
                ("LEAST_CONN", LoadBalancerAlgorithm::LeastRequest),
                ("LEAST_REQUEST", LoadBalancerAlgorithm::LeastRequest),
                ("ROUND_ROBIN", LoadBalancerAlgorithm::RoundRobin),
                ("RANDOM", LoadBalancerAlgorithm::Random),
                ("PASSTHROUGH", LoadBalancerAlgorithm::Passthrough),
            ])
        });
        if let Some(field) = &simple
            && field.node().as_str() == Some("LEAST_CONN")
        {
            field.warn(
                code::DEPRECATED,
                "`LEAST_CONN` is the old name of `LEAST_REQUEST`",
                "write `LEAST_REQUEST`",
            );
        }
        Some(LoadBalancerPolicy { algorithm: algorithm? })
    })
}

fn connection_pool(field: &Field<'_>) -> Option<ConnectionPool> {
    field.message(|f| {
        let mut pool = ConnectionPool { field: f.path(), ..ConnectionPool::default() };
        let tcp = f.optional("tcp").map(|field| {
            field.message(|f| {
                tcp_settings(f, &mut pool);
                Some(())
            })
        });
        let http = f.optional("http").map(|field| {
            field.message(|f| {
                http_settings(f, &mut pool);
                Some(())
            })
        });
        (tcp != Some(None) && http != Some(None)).then_some(pool)
    })
}

/// A limit; 0 is "not set", as protobuf's default is in Istio.
fn limit(f: &Fields<'_>, name: &'static str) -> Option<u32> {
    f.optional(name).and_then(|field| field.count()).filter(|limit| *limit > 0)
}

fn tcp_settings(f: &Fields<'_>, pool: &mut ConnectionPool) {
    f.unsupported(&["maxConnectionDuration", "idleTimeout", "tcpKeepalive"]);
    pool.max_connections = limit(f, "maxConnections");
    pool.connect_timeout = f.optional("connectTimeout").and_then(|field| istio::duration(&field));
}

fn http_settings(f: &Fields<'_>, pool: &mut ConnectionPool) {
    f.unsupported(&["maxConcurrentStreams"]);
    pool.max_pending_requests = limit(f, "http1MaxPendingRequests");
    pool.max_requests = limit(f, "http2MaxRequests");
    pool.max_requests_per_connection = f
        .optional("maxRequestsPerConnection")
        .and_then(|field| field.integer::<u32>(0..=1 << 29))
        .filter(|limit| *limit > 0);
    pool.max_retries = limit(f, "maxRetries");
    pool.idle_timeout = f.optional("idleTimeout").and_then(|field| istio::duration_or_zero(&field));
    pool.h2_upgrade = f
        .optional("h2UpgradePolicy")
        .and_then(|field| {
            field.choice(&[
                ("DEFAULT", H2UpgradePolicy::Default),
                ("DO_NOT_UPGRADE", H2UpgradePolicy::DoNotUpgrade),
                ("UPGRADE", H2UpgradePolicy::Upgrade),
            ])
        })
        .unwrap_or_default();
    pool.use_client_protocol = f.flag("useClientProtocol");
    if pool.use_client_protocol && pool.h2_upgrade == H2UpgradePolicy::Upgrade {
        f.here().warn(
            code::NO_EFFECT,
            "with `useClientProtocol` the `h2UpgradePolicy` has no effect",
            "remove one",
        );
    }
}

fn outlier_detection(field: &Field<'_>) -> Option<OutlierDetection> {
    field.message(|f| {
        let count = |name: &'static str, default: u32| {
            f.optional(name).and_then(|field| field.count()).unwrap_or(default)
        };
        let time = |name: &'static str, default: u64| {
            f.optional(name).and_then(|field| istio::duration(&field)).unwrap_or(Duration::from_secs(default))
        };
        let percent = |name: &'static str, default: f64| {
            let given = f.optional(name).and_then(|field| field.integer::<i32>(0..=100)).map(f64::from);
            Percentage::new(given.unwrap_or(default)).unwrap_or_default()
        };
        f.unsupported(&["splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures"]);
        f.exclusive(&["consecutive5xxErrors", "consecutiveErrors"]);
        let old = f.optional("consecutiveErrors").and_then(|field| {
            field.warn(
                code::DEPRECATED,
                "`consecutiveErrors` is the old name of `consecutive5xxErrors`",
                "write `consecutive5xxErrors`",
            );
            field.count()
        });
        Some(OutlierDetection {
            field: f.path(),
            consecutive_gateway_errors: count("consecutiveGatewayErrors", 0),
            consecutive_5xx_errors: count("consecutive5xxErrors", old.unwrap_or(5)),
            interval: time("interval", 10),
            base_ejection_time: time("baseEjectionTime", 30),
            max_ejection_percent: percent("maxEjectionPercent", 10.0),
            min_health_percent: percent("minHealthPercent", 0.0),
        })
    })
}

fn tls(field: &Field<'_>) -> Option<TlsMode> {
    field.message(|f| {
        f.unsupported(&[
            "clientCertificate",
            "privateKey",
            "caCertificates",
            "credentialName",
            "subjectAltNames",
            "sni",
            "insecureSkipVerify",
            "caCrl",
        ]);
        let Some(mode) = f.optional("mode") else { return Some(TlsMode::Disable) };
        match mode.text() {
            Some(word @ ("SIMPLE" | "MUTUAL")) => {
                mode.unsupported(
                    format_args!("the TLS mode {word}"),
                    "DISABLE and ISTIO_MUTUAL are supported",
                );
                None
            }
            _ => mode.choice(&[("DISABLE", TlsMode::Disable), ("ISTIO_MUTUAL", TlsMode::IstioMutual)]),
        }
    })
}
