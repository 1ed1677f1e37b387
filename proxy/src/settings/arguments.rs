//! What `weft-proxy run` can be told on its command line.

use std::path::PathBuf;

use clap::Args;
use weft_model::identity::TrustDomain;

/// Arguments of `weft-proxy run`. Texts: they are checked together, so that all mistakes are told at once.
#[derive(Args, Clone, Default, Debug)]
pub struct RunArgs {
    /// In a Kubernetes pod: what the pod says of itself, in environment variables and files of the injector, stands for
    /// whatever is not given here.
    #[arg(long)]
    pub from_pod: bool,
    /// With `--from-pod`: the files of the downward API; `labels` is read.
    #[arg(long, value_name = "DIR", requires = "from_pod", default_value = "/etc/weft/pod")]
    pub pod_info_dir: PathBuf,
    /// Who this is: `sidecar~IP~WORKLOAD.NAMESPACE~DOMAIN`.
    #[arg(long)]
    pub node: Option<String>,
    /// The control plane, `HOST:PORT`.
    #[arg(long, value_name = "HOST:PORT")]
    pub discovery_address: Option<String>,
    /// The name in the control plane's certificate; by default `weft-control-plane`, in a pod the host of its address.
    #[arg(long, value_name = "NAME")]
    pub discovery_server_name: Option<String>,
    /// PEM file with the roots that vouch for the control plane.
    #[arg(long, value_name = "FILE")]
    pub trust_bundle: Option<PathBuf>,
    /// File with the token for the first certificate.
    #[arg(long, value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
    /// Trust domain of the mesh.
    #[arg(long, default_value = TrustDomain::DEFAULT, env = "WEFT_TRUST_DOMAIN")]
    pub trust_domain: String,
    /// Where key, certificate and the last good configuration are kept.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// `intercept`: the packet filter brings the traffic here; `explicit`: the workload uses local ports.
    #[arg(long, default_value = "intercept")]
    pub mode: String,
    /// Admin endpoint.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15000")]
    pub admin_address: String,
    /// Admin endpoint as a Unix socket, for those who cannot reach the address.
    #[arg(long, value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,
    /// Mark of this proxy's own sockets, that interception lets pass; by default 0x539 when intercepting, else and in a
    /// pod none.
    #[arg(long)]
    pub mark: Option<String>,
    /// The workload's resolver.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15053")]
    pub dns_address: String,
    /// Who is asked for names that are not of the mesh; those of /etc/resolv.conf when absent.
    #[arg(long, value_name = "IP[:PORT]")]
    pub upstream_resolver: Vec<String>,
    /// Where connections to the world outside the mesh's network are asked for: the socket of `weft-proxy egress`.
    #[arg(long, value_name = "PATH")]
    pub egress_socket: Option<PathBuf>,
    /// With `--egress-socket`: the mesh's own networks, which are reached directly.
    #[arg(long, value_name = "IP/BITS", requires = "egress_socket")]
    pub inside: Vec<String>,
    /// A domain of which the mesh knows all names: nobody else is asked for names below it.
    #[arg(long, value_name = "DOMAIN")]
    pub dns_own_domain: Option<String>,
    /// Explicit mode: forward proxy for the workload.
    #[arg(long, value_name = "IP:PORT")]
    pub explicit_outbound: Option<String>,
    /// Explicit mode: where calls to a port of the workload arrive.
    #[arg(long, value_name = "PORT=IP:PORT")]
    pub explicit_inbound: Vec<String>,
    /// Where one line for each request goes; `-`: standard output.
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// Where spans go: the address of an OpenTelemetry collector's gRPC receiver, such as http://127.0.0.1:4317.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Share of requests without a trace of their own that begin one, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0.01")]
    pub trace_share: String,
    /// Most label sets of metrics; what goes beyond is counted under the labels `other`. By default 1000, with which
    /// a page stays below 64 MiB.
    #[arg(long, value_name = "NUMBER", env = "WEFT_MAX_SERIES")]
    pub max_series: Option<String>,
    /// A port that the workload listens on.
    #[arg(long, value_name = "PORT")]
    pub app_port: Vec<String>,
    /// What the workload is: `workload`, `service`, `version`, `namespace`, `service_account`; others become labels.
    #[arg(long, value_name = "KEY=VALUE")]
    pub metadata: Vec<String>,
    /// Worker threads; by default one a core.
    #[arg(long)]
    pub concurrency: Option<String>,
    /// How long what is under way may take after SIGTERM.
    #[arg(long, default_value = "5s")]
    pub drain_time: String,
    /// After SIGTERM everything is served until no connection has been open for so long: for a sidecar that is told to
    /// end at the same time as its application, which may still want to send. Never longer than `--drain-time`.
    #[arg(long, default_value = "0s")]
    pub minimum_drain_time: String,
    /// Serve this configuration, without a control plane: a file in the format of `last-good`.
    #[arg(long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// With `--resources`: PEM files `cert-chain.pem`, `key.pem` and `root-cert.pem` in it are this proxy's identity.
    #[arg(long, value_name = "DIR", requires = "resources")]
    pub identity_dir: Option<PathBuf>,
}
