//! The webhooks called by a real API server: `WEFT_TEST_KUBECONFIG` names its kubeconfig.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weft_control_plane::authority::{AuthoritySettings, CertificateAuthority};
use weft_control_plane::inject::{InjectionValues, Injector, STATUS_ANNOTATION};
use weft_control_plane::webhook::{ConfigurationNames, Events, Webhook, keep_ca_bundles, serve};
use weft_model::clock::Clock;
use weft_model::identity::TrustDomain;

const LIMIT: Duration = Duration::from_secs(30);

async fn client() -> Client {
    let path = std::env::var("WEFT_TEST_KUBECONFIG").expect("WEFT_TEST_KUBECONFIG names a kubeconfig");
    let kubeconfig = Kubeconfig::read_from(Path::new(&path)).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Asks until there is an answer.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let end = Instant::now() + LIMIT;
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "{what} did not happen in {LIMIT:?}");
    }
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A namespace of its own and the webhooks for it, taken away at the end.
struct Mesh {
    client: Client,
    name: String,
    /// Keeps the authority's files.
    _directory: tempfile::TempDir,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    port: u16,
}

impl Mesh {
    async fn start() -> Self {
        let client = client().await;
        let name = format!("inject-{:x}", fastrand::u32(..));
        let directory = tempfile::tempdir().unwrap();
        let settings = AuthoritySettings::new(directory.path(), TrustDomain::default());
        let authority = CertificateAuthority::open(settings, Clock::system()).unwrap();
        let injector = Arc::new(Injector::new(InjectionValues::default()).unwrap());
        let webhook = Arc::new(Webhook::new(injector).with_events(Events::to(client.clone())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = ConfigurationNames { mutating: name.clone(), validating: name.clone() };
        let serving = {
            let authority = authority.clone();
            async move {
                serve(listener, authority, vec!["localhost".to_owned()], webhook, std::future::pending())
                    .await
                    .unwrap();
            }
        };
        let tasks =
            vec![tokio::spawn(serving), tokio::spawn(keep_ca_bundles(client.clone(), names, authority))];
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace =
            json!({"metadata": {"name": name, "labels": {"istio-injection": "enabled", "weft-test": name}}});
        namespaces.create(&PostParams::default(), &object(namespace)).await.unwrap();
        // Made by the controller manager, a moment after the namespace.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        until("the service account", || async { accounts.get_opt("default").await.unwrap() }).await;
        let mesh = Self { client, name, _directory: directory, tasks, port };
        mesh.configure().await;
        mesh
    }

    /// Makes the webhook's configuration, without a bundle, and waits for that.
    async fn configure(&self) {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let configuration = json!({
            "metadata": {"name": self.name},
            "webhooks": [{
                "name": "namespace.inject.weft.mesh",
                "clientConfig": {"url": format!("https://localhost:{}/inject", self.port)},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"weft-test": self.name}},
                "sideEffects": "NoneOnDryRun",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "timeoutSeconds": 10,
            }],
        });
        configurations.create(&PostParams::default(), &object(configuration)).await.unwrap();
        until("the bundle", || async {
            let configuration = configurations.get(&self.name).await.unwrap();
            configuration.webhooks?.remove(0).client_config.ca_bundle
        })
        .await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates a pod; again while the API server has not heard of the bundle yet.
    async fn create(&self, pod: Value) -> Result<Value, String> {
        let pods = self.pods();
        until("an answer of the webhook", || async {
            match pods.create(&PostParams::default(), &object(pod.clone())).await {
                Ok(pod) => Some(Ok(serde_json::to_value(pod).unwrap())),
                Err(error) if error.to_string().contains("failed calling webhook") => None,
                Err(error) => Some(Err(error.to_string())),
            }
        })
        .await
    }

    async fn end(self) {
        let background = DeleteParams::background();
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        told(configurations.delete(&self.name, &background).await);
        told(
            self.pods()
                .delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
                .await,
        );
        told(namespaces.delete(&self.name, &background).await);
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn told<T: Debug, E: Debug>(result: Result<T, E>) {
    if let Err(error) = result {
        eprintln!("cleaning up: {error:?}");
    }
}

/// Runs a test and cleans up, also when it fails.
async fn in_mesh<F: Future<Output = ()>>(test: impl FnOnce(Arc<Mesh>) -> F) {
    let mesh = Arc::new(Mesh::start().await);
    let result =
        futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(test(mesh.clone()))).await;
    if let Some(mesh) = Arc::into_inner(mesh) {
        mesh.end().await;
    }
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn a_pod_is_created_with_a_native_sidecar() {
    in_mesh(|mesh| async move {
        let pod = mesh
            .create(json!({
                "metadata": {"name": "reviews", "labels": {"app": "reviews"}},
                "spec": {"containers": [{
                    "name": "reviews", "image": "shop/reviews:1",
                    "ports": [{"name": "http", "containerPort": 9080}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                    "lifecycle": {"preStop": {"httpGet": {"path": "/bye", "port": "http"}}},
                }]},
            }))
            .await
            .unwrap();
        let names: Vec<_> =
            pod["spec"]["initContainers"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        assert_eq!(names, ["weft-init", "weft-proxy"]);
        assert_eq!(pod["spec"]["initContainers"][1]["restartPolicy"], "Always");
        assert_eq!(
            pod["spec"]["containers"][0]["readinessProbe"]["httpGet"],
            json!({"path": "/app-health/reviews/readyz", "port": 15020, "scheme": "HTTP"})
        );
        assert!(pod["metadata"]["annotations"][STATUS_ANNOTATION].as_str().unwrap().contains("weft-token"));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn a_mistake_denies_a_pod_and_is_told_by_an_event() {
    in_mesh(|mesh| async move {
        let denial = mesh
            .create(json!({
                "metadata": {"name": "wrong", "annotations": {
                    "sidecar.istio.io/proxyCPU": "much",
                    "traffic.sidecar.istio.io/excludeInboundPorts": "http",
                }},
                "spec": {"containers": [{"name": "a", "image": "a"}]},
            }))
            .await
            .unwrap_err();
        assert!(denial.contains("proxyCPU") && denial.contains("excludeInboundPorts"), "{denial}");
        let skipped = mesh
            .create(json!({
                "metadata": {"name": "host"},
                "spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "a"}]},
            }))
            .await
            .unwrap();
        let status = skipped["metadata"]["annotations"][STATUS_ANNOTATION].as_str().unwrap();
        assert!(status.contains("HostNetwork"), "{status}");
        let events: Api<Event> = Api::namespaced(mesh.client.clone(), &mesh.name);
        for (reason, name) in [("SidecarInjectionFailed", "wrong"), ("SidecarSkipped", "host")] {
            until("the event", || async {
                let all = events.list(&ListParams::default()).await.unwrap();
                let of = |event: &Event| {
                    event.reason.as_deref() == Some(reason)
                        && event.involved_object.name.as_deref() == Some(name)
                };
                all.items.into_iter().find(of)
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn a_configuration_that_is_made_anew_is_trusted_again() {
    in_mesh(|mesh| async move {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(mesh.client.clone());
        configurations.delete(&mesh.name, &DeleteParams::default()).await.unwrap();
        mesh.configure().await;
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
        let pod = mesh.create(pod).await.unwrap();
        assert_eq!(pod["spec"]["initContainers"][1]["name"], "weft-proxy");
    })
    .await;
}
