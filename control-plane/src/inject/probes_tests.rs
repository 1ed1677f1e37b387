use serde_json::{Value, json};

use super::rewrite;

#[test]
fn each_kind_of_check_is_sent_to_the_sidecar() {
    let mut pod = json!({"spec": {
        "initContainers": [
            {"name": "once", "readinessProbe": {"tcpSocket": {"port": 1}}},
            {"name": "beside", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 2}}},
        ],
        "containers": [{
            "name": "app",
            "ports": [{"name": "web", "containerPort": 8080}],
            "livenessProbe": {
                "httpGet": {"path": "/live?a=1", "port": "web", "scheme": "HTTPS", "httpHeaders": [{"name": "Host", "value": "x"}]},
                "periodSeconds": 3, "timeoutSeconds": 7,
            },
            "readinessProbe": {"grpc": {"port": 9090, "service": "books"}},
            "startupProbe": {"exec": {"command": ["true"]}},
            "lifecycle": {
                "preStop": {"httpGet": {"path": "/stop", "port": "8081"}},
                "postStart": {"exec": {"command": ["true"]}},
            },
        }],
    }});
    let told = Value::Object(rewrite(&mut pod));
    assert_eq!(
        told,
        json!({
            "/app-health/beside/startupz": {"tcpSocket": {"port": 2}},
            "/app-health/app/livez": {
                "httpGet": {"path": "/live?a=1", "port": 8080, "scheme": "HTTPS", "httpHeaders": [{"name": "Host", "value": "x"}]},
                "timeoutSeconds": 7,
            },
            "/app-health/app/readyz": {"grpc": {"port": 9090, "service": "books"}},
            "/app-lifecycle/app/prestopz": {"httpGet": {"path": "/stop", "port": 8081}},
        })
    );
    let app = &pod["spec"]["containers"][0];
    assert_eq!(
        app["livenessProbe"],
        json!({"httpGet": {"path": "/app-health/app/livez", "port": 15020}, "periodSeconds": 3, "timeoutSeconds": 7})
    );
    assert_eq!(app["readinessProbe"], json!({"httpGet": {"path": "/app-health/app/readyz", "port": 15020}}));
    assert_eq!(app["startupProbe"], json!({"exec": {"command": ["true"]}}));
    assert_eq!(
        app["lifecycle"]["preStop"],
        json!({"httpGet": {"path": "/app-lifecycle/app/prestopz", "port": 15020}})
    );
    assert_eq!(pod["spec"]["initContainers"][0]["readinessProbe"], json!({"tcpSocket": {"port": 1}}));
}

#[test]
fn what_the_sidecar_cannot_ask_stays() {
    let spec = json!({"spec": {"containers": [
        {"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}}},
        {"name": "b", "livenessProbe": {"httpGet": {"port": "nobody"}}},
        {"name": "c", "livenessProbe": {"httpGet": {"port": 70000}}},
        {"name": "d", "livenessProbe": {"tcpSocket": "odd"}},
        {"name": "weft-proxy", "livenessProbe": {"httpGet": {"port": 1}}},
    ]}});
    let mut pod = spec.clone();
    assert!(rewrite(&mut pod).is_empty());
    assert_eq!(pod, spec);
}
