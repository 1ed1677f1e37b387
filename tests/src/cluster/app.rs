//! The test's application as Kubernetes objects.

use serde_json::{Value, json};

/// What runs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet with a headless Service.
    StatefulSet,
}

/// An application that is being put together.
#[derive(Clone, Debug)]
#[must_use]
pub struct App {
    name: String,
    service: String,
    version: String,
    kind: Kind,
    replicas: u32,
    command: Option<Vec<String>>,
    http: Option<u16>,
    http_name: &'static str,
    echo: Option<u16>,
    banner: Option<u16>,
    probes: Value,
    pod: Value,
    container: Value,
    metadata: Value,
    service_account: Option<String>,
}

impl App {
    /// A Deployment with one replica and no ports.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            service: name.to_owned(),
            version: String::new(),
            kind: Kind::Deployment,
            replicas: 1,
            command: None,
            http: None,
            http_name: "http",
            echo: None,
            banner: None,
            probes: json!({}),
            pod: json!({}),
            container: json!({}),
            metadata: json!({}),
            service_account: None,
        }
    }

    /// A version of a service: `reviews`, `v2` is the Deployment `reviews-v2` behind the Service `reviews`.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self.name = format!("{}-{version}", self.service);
        self
    }

    /// What runs it.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// So many pods.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Other arguments of the program than those that serve.
    pub fn command(mut self, arguments: &[&str]) -> Self {
        self.command = Some(arguments.iter().map(|&it| it.to_owned()).collect());
        self
    }

    /// Serves HTTP/1.1, HTTP/2 and gRPC here; with an HTTP readiness probe.
    pub fn http(mut self, port: u16) -> Self {
        self.http = Some(port);
        self.probes["readinessProbe"] =
            json!({"httpGet": {"path": "/ready", "port": port}, "periodSeconds": 1});
        self
    }

    /// As [`App::http`], with a port that is declared as gRPC's, and its health check.
    pub fn grpc(mut self, port: u16) -> Self {
        (self.http, self.http_name) = (Some(port), "grpc");
        self.probes["readinessProbe"] = json!({"grpc": {"port": port}, "periodSeconds": 1});
        self
    }

    /// Sends back what comes over TCP.
    pub fn echo(mut self, port: u16) -> Self {
        self.echo = Some(port);
        self
    }

    /// Speaks first over TCP.
    pub fn banner(mut self, port: u16) -> Self {
        self.banner = Some(port);
        self
    }

    /// Other probes, as fields of the container.
    pub fn probes(mut self, probes: Value) -> Self {
        self.probes = probes;
        self
    }

    /// More fields of the pod's `spec`.
    pub fn pod(mut self, fields: Value) -> Self {
        self.pod = fields;
        self
    }

    /// More fields of the container.
    pub fn container(mut self, fields: Value) -> Self {
        self.container = fields;
        self
    }

    /// Labels and annotations of the pods: `{"labels": {…}, "annotations": {…}}`.
    pub fn metadata(mut self, fields: Value) -> Self {
        self.metadata = fields;
        self
    }

    /// Runs as a service account of its own name.
    pub fn service_account(mut self, name: &str) -> Self {
        self.service_account = Some(name.to_owned());
        self
    }

    /// As `kubectl` names it: `deployment/reviews-v2`.
    #[must_use]
    pub fn reference(&self) -> String {
        match self.kind {
            Kind::Deployment => format!("deployment/{}", self.name),
            Kind::StatefulSet => format!("statefulset/{}", self.name),
        }
    }

    fn arguments(&self) -> Vec<String> {
        if let Some(command) = &self.command {
            return command.clone();
        }
        let ports = [("--http", self.http), ("--echo", self.echo), ("--banner", self.banner)];
        let ports =
            ports.iter().filter_map(|(name, port)| Some([(*name).to_owned(), port.as_ref()?.to_string()]));
        std::iter::once("serve".to_owned()).chain(ports.flatten()).collect()
    }

    fn template(&self) -> Value {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let ports = [(self.http_name, self.http), ("tcp-echo", self.echo), ("mysql", self.banner)];
        let ports: Vec<Value> = ports
            .iter()
            .filter_map(|(name, port)| Some(json!({"name": name, "containerPort": (*port)?})))
            .collect();
        let mut container = json!({
            "name": "app",
            "image": image(),
            "imagePullPolicy": "IfNotPresent",
            "args": self.arguments(),
            "env": [
                {"name": "INSTANCE", "valueFrom": field("metadata.name")},
                {"name": "VERSION", "value": self.version},
            ],
            "ports": ports,
        });
        merge(&mut container, &self.probes);
        merge(&mut container, &self.container);
        let mut spec = json!({"containers": [container], "terminationGracePeriodSeconds": 20});
        if let Some(account) = &self.service_account {
            spec["serviceAccountName"] = json!(account);
        }
        merge(&mut spec, &self.pod);
        let mut metadata = json!({"labels": self.labels()});
        merge(&mut metadata, &self.metadata);
        json!({"metadata": metadata, "spec": spec})
    }

    fn labels(&self) -> Value {
        if self.version.is_empty() {
            json!({"app": self.service})
        } else {
            json!({"app": self.service, "version": self.version})
        }
    }

    /// The pod alone, with a restart policy: for Jobs and pods without a controller.
    #[must_use]
    pub fn pod_template(&self, restart_policy: &str) -> Value {
        let mut template = self.template();
        template["spec"]["restartPolicy"] = json!(restart_policy);
        template
    }

    /// All its objects.
    #[must_use]
    pub fn objects(&self) -> Value {
        let mut items = Vec::new();
        if let Some(account) = &self.service_account {
            items.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}));
        }
        let ports = [(self.http_name, self.http), ("tcp-echo", self.echo), ("mysql", self.banner)];
        let ports: Vec<Value> =
            ports.iter().filter_map(|(name, port)| Some(json!({"name": name, "port": (*port)?}))).collect();
        if !ports.is_empty() {
            let mut service = json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": self.service},
                "spec": {"selector": {"app": self.service}, "ports": ports},
            });
            if self.kind == Kind::StatefulSet {
                service["spec"]["clusterIP"] = json!("None");
            }
            items.push(service);
        }
        let mut spec = json!({
            "replicas": self.replicas,
            "selector": {"matchLabels": self.labels()},
            "template": self.template(),
        });
        let kind = match self.kind {
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => {
                spec["serviceName"] = json!(self.service);
                spec["podManagementPolicy"] = json!("Parallel");
                "StatefulSet"
            }
        };
        items.push(
            json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": self.name}, "spec": spec}),
        );
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    }
}

/// The image of the test's application; on a cluster of the user's own it has to be where nodes find it.
fn image() -> String {
    std::env::var("WEFT_TEST_APP_IMAGE").unwrap_or_else(|_| "localhost/weft-test-app:1".to_owned())
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
