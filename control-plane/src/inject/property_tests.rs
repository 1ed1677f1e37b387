//! What holds of every pod.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::diff::diff;
use super::merge::merge;
use super::{InjectionValues, Injector, Outcome, Request, Scope, restore};

/// Anything that JSON can say.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z-]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z]{1,5}", inner), 0..3).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    let present = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

fn probe() -> impl Strategy<Value = Value> {
    let port = prop_oneof![Just(json!("http")), (1_u16..9000).prop_map(Value::from), Just(json!("none"))];
    (port, 0..4_u8, of(1..9_u8)).prop_map(|(port, kind, seconds)| {
        let handler = match kind {
            0 => ("httpGet", json!({"port": port, "path": "/x"})),
            1 => ("tcpSocket", json!({"port": port})),
            2 => ("grpc", json!({"port": 9000})),
            _ => ("exec", json!({"command": ["true"]})),
        };
        object(vec![(handler.0, Some(handler.1)), ("timeoutSeconds", seconds.map(Value::from))])
    })
}

fn container(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let name = proptest::sample::select(names);
    let ports = vec((1_u16..9000).prop_map(|port| json!({"containerPort": port, "name": "http"})), 1..2);
    let env = vec("[A-C]", 1..3).prop_map(|names| {
        Value::from(names.into_iter().map(|name| json!({"name": name, "value": "1"})).collect::<Vec<_>>())
    });
    (name, of(ports), of(probe()), of(probe()), of(env), of(Just(json!("Always")))).prop_map(
        |(name, ports, live, ready, env, restart)| {
            object(vec![
                ("name", Some(json!(name))),
                ("image", Some(json!("image:1"))),
                ("restartPolicy", restart),
                ("ports", ports.map(Value::from)),
                ("livenessProbe", live),
                ("readinessProbe", ready),
                ("env", env),
            ])
        },
    )
}

fn unique(mut containers: Vec<Value>) -> Value {
    let mut seen = Vec::new();
    containers.retain(|container| {
        let name = container["name"].clone();
        let new = !seen.contains(&name);
        seen.push(name);
        new
    });
    Value::from(containers)
}

/// Pods as users write them, with a few that are odd.
fn pods() -> impl Strategy<Value = Value> {
    let annotations = vec(
        proptest::sample::select(
            &[
                ("sidecar.istio.io/proxyCPULimit", "3"),
                ("prometheus.io/port", "80"),
                ("traffic.sidecar.istio.io/excludeOutboundPorts", "1,2"),
                ("inject.istio.io/templates", "sidecar,extra"),
                ("proxy.istio.io/config", "concurrency: 1"),
                ("other", "x"),
            ][..],
        ),
        1..4,
    )
    .prop_map(|entries| {
        entries.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect::<Map<_, _>>()
    });
    let labels = proptest::sample::select(&["app", "version", "security.istio.io/tlsMode"][..])
        .prop_map(|key| json!({key: "x"}));
    (
        of(annotations),
        of(labels),
        vec(container(&["app", "web", "weft-proxy", "istio-proxy"]), 1..4).prop_map(unique),
        of(vec(container(&["migrate", "beside", "weft-init"]), 1..3).prop_map(unique)),
        of(Just(json!([{"name": "data", "emptyDir": {}}]))),
        of(Just(json!([{"name": "secret"}]))),
    )
        .prop_map(|(annotations, labels, containers, init, volumes, secrets)| {
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": object(vec![
                    ("name", Some(json!("a"))),
                    ("annotations", annotations.map(Value::Object)),
                    ("labels", labels),
                ]),
                "spec": object(vec![
                    ("containers", Some(containers)),
                    ("initContainers", init),
                    ("volumes", volumes),
                    ("imagePullSecrets", secrets),
                ]),
            })
        })
}

fn injector() -> &'static Injector {
    static INJECTOR: LazyLock<Injector> = LazyLock::new(|| {
        let values = "image: {pullSecrets: [fetch]}\n\
                      templates: {extra: {spec: {containers: [{name: extra, image: e}], tolerations: [{key: t}]}}}\n";
        Injector::new(InjectionValues::parse("v", values).unwrap()).unwrap()
    });
    &INJECTOR
}

fn by_file(injector: &Injector, pod: &Value) -> Outcome {
    injector.inject(&Request { scope: Scope::File { namespace: "shop" }, pod, workload: None, claims: &[] })
}

fn by_webhook(injector: &Injector, pod: &Value) -> Outcome {
    let scope = Scope::Namespace { name: "shop", labels: None };
    injector.inject(&Request { scope, pod, workload: None, claims: &[] })
}

/// Without the order of what was taken out and put back.
fn sorted(mut pod: Value) -> Value {
    for list in ["containers", "initContainers", "volumes", "imagePullSecrets"] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.sort_by_key(|item| item["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    pod
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn twice_is_once_and_there_is_a_way_back(pod in pods()) {
        let injector = injector();
        if let Outcome::Injected(once) = by_file(injector, &pod) {
            prop_assert_eq!(sorted(restore(&once.pod).unwrap()), sorted(pod));
            let Outcome::Injected(twice) = by_file(injector, &once.pod) else { panic!("refused the second time") };
            prop_assert_eq!(twice.pod, once.pod);
        }
    }

    #[test]
    fn the_webhooks_patch_makes_the_same_pod_as_a_file(pod in pods()) {
        let injector = injector();
        if let (Outcome::Injected(file), Outcome::Injected(webhook)) =
            (by_file(injector, &pod), by_webhook(injector, &pod))
        {
            let mut patched = pod.clone();
            json_patch::patch(&mut patched, &json_patch::diff(&pod, &webhook.pod)).unwrap();
            prop_assert_eq!(patched, file.pod);
        } else {
            prop_assert_eq!(by_file(injector, &pod), by_webhook(injector, &pod));
        }
    }

    #[test]
    fn no_pod_makes_it_panic(pod in anything(), metadata in anything(), spec in anything(), list in vec(anything(), 0..3)) {
        let injector = injector();
        let mut shaped = json!({"metadata": metadata, "spec": spec});
        for pod in [&pod, &shaped] {
            let _ = by_file(injector, pod);
            let _ = by_webhook(injector, pod);
        }
        for field in ["containers", "initContainers", "volumes", "imagePullSecrets"] {
            if shaped["spec"].is_object() {
                shaped["spec"][field] = Value::from(list.clone());
                let _ = by_file(injector, &shaped);
            }
        }
    }

    #[test]
    fn a_difference_leads_from_any_pod_to_any_other(from in pods(), to in pods()) {
        let mut reached = from.clone();
        if let Some(patch) = diff(&from, &to) {
            merge(&mut reached, &patch, "");
        }
        prop_assert_eq!(without_empty(reached), without_empty(to));
    }
}

fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, without_empty(value)));
            let empty = |value: &Value| {
                value.is_null()
                    || value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty)
            };
            Value::Object(kept.filter(|(_, value)| !empty(value)).collect())
        }
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        other => other,
    }
}
