//! The agent: one a node, until SIGTERM.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use weft_proto::local_socket;

use super::SOCKET;
use super::install::{Found, Host, InstallError};
use super::kubernetes::{Api, ApiError};
use super::message::{self, Answer, PodRef, Request};
use super::plugin::Configuration;
use super::pod::{self, Wanted};
use super::repair::{self, Repair};
use crate::interception::apply::{apply, families_here, present};
use crate::interception::command::SettingArgs;

/// Arguments of `weft-proxy cni agent`.
#[derive(clap::Args, Clone, Debug)]
pub struct AgentArgs {
    #[command(flatten)]
    host: Host,
    /// Where the plugin asks: the same path on the host and here.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// This node.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node_name: String,
    /// Namespaces whose pods start without asking.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "kube-system,kube-public,kube-node-lease,weft-system"
    )]
    exclude_namespaces: Vec<String>,
    /// What is done with pods that started without their rules.
    #[arg(long, value_enum, default_value = "delete")]
    repair: Repair,
    /// The DaemonSet that this pod is of, and its namespace: when it is gone at the end, so is the plugin.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "weft-system/weft-cni")]
    daemon_set: String,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Of the system.
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
    /// Of the API server.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Of the host's folders.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// Between two looks at the network configuration.
const LOOK: Duration = Duration::from_secs(1);
/// Pods that are set up at a time.
const AT_A_TIME: usize = 16;

/// Serves until SIGTERM.
///
/// # Errors
/// Why it could not start.
pub fn run(arguments: AgentArgs) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let api = Api::of_pod(&|name| std::env::var(name).ok())?;
        if let Some(folder) = arguments.socket.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let listener = UnixListener::from_std(local_socket::bind(&arguments.socket, "another agent")?)?;
        // First who answers, then who asks.
        let serving = tokio::spawn(serve(listener, Arc::new(api.clone())));
        arguments.host.install_program(&std::env::current_exe()?)?;
        let own = Configuration {
            socket: arguments.socket.clone(),
            ..Configuration::new(arguments.exclude_namespaces.clone())
        };
        let installing = tokio::spawn(keep_installed(arguments.host.clone(), own));
        let repairing = tokio::spawn(repair::run(api.clone(), arguments.node_name.clone(), arguments.repair));
        terminate.recv().await;
        for task in [serving, installing, repairing] {
            task.abort();
        }
        let _ = std::fs::remove_file(&arguments.socket);
        leave(&api, &arguments).await
    })
}

/// While the agent is replaced by its successor the plugin stays, and pods wait for that; when the DaemonSet itself is
/// gone, so is the plugin, or no pod could start any more. So too when this agent's rights are gone: they go with the
/// mesh, in no certain order.
async fn leave(api: &Api, arguments: &AgentArgs) -> Result<(), AgentError> {
    let (namespace, name) =
        arguments.daemon_set.split_once('/').unwrap_or(("weft-system", &arguments.daemon_set));
    let gone = match api.get(&format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}")).await {
        Ok(found) => !found["metadata"]["deletionTimestamp"].is_null(),
        Err(error) => error.is_not_found() || error.is_denied(),
    };
    if !gone {
        tracing::info!("the plugin stays installed: pods that are made now wait for the next agent");
        return Ok(());
    }
    tracing::info!(daemon_set = arguments.daemon_set, "the DaemonSet is gone, and so is the plugin");
    Ok(arguments.host.uninstall()?)
}

async fn keep_installed(host: Host, own: Configuration) {
    let (mut ticks, mut trouble) = (tokio::time::interval(LOOK), String::new());
    loop {
        ticks.tick().await;
        let now = match host.configure(&own) {
            Ok(Found::Good) => String::new(),
            Ok(Found::Changed(path)) => {
                tracing::info!(path = %path.display(), "the plugin is in the network configuration now");
                String::new()
            }
            Ok(Found::Nothing) => {
                "there is no network configuration yet: waiting for the main plugin".to_owned()
            }
            Err(error) => error.to_string(),
        };
        // Not every second anew.
        if now != trouble && !now.is_empty() {
            tracing::warn!("{now}");
        }
        trouble = now;
    }
}

/// Where pods are looked up.
pub trait Pods: Send + Sync + 'static {
    /// The pod's object.
    fn pod(&self, pod: &PodRef) -> impl Future<Output = Result<serde_json::Value, ApiError>> + Send;
}

impl Pods for Api {
    async fn pod(&self, pod: &PodRef) -> Result<serde_json::Value, ApiError> {
        self.get(&format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name)).await
    }
}

/// Answers plugins, for ever.
pub async fn serve<P: Pods>(listener: UnixListener, pods: Arc<P>) {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: let those under way finish.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (room, pods) = (room.clone(), pods.clone());
        tokio::spawn(async move {
            let Ok(_permit) = room.acquire_owned().await else { return };
            if let Err(error) = exchange(stream, &*pods).await {
                tracing::warn!("a question of the plugin was not answered: {error}");
            }
        });
    }
}

async fn exchange<P: Pods>(stream: tokio::net::UnixStream, pods: &P) -> io::Result<()> {
    let stream: UnixStream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let (stream, (request, namespace)) = tokio::task::spawn_blocking(move || {
        let received = message::receive(&stream)?;
        Ok::<_, io::Error>((stream, received))
    })
    .await
    .map_err(io::Error::other)??;
    let answer = respond(&request, namespace, pods).await;
    message::answer(&stream, &answer)
}

async fn respond<P: Pods>(request: &Request, namespace: Option<OwnedFd>, pods: &P) -> Answer {
    let (pod, apply) = match request {
        Request::Status => return Answer::Ready,
        Request::Add(pod) => (pod, true),
        Request::Check(pod) => (pod, false),
    };
    let outcome = respond_for(pod, apply, namespace, pods).await;
    let named = format!("{}/{}", pod.namespace, pod.name);
    match outcome {
        Ok(answer) => {
            tracing::info!(pod = named, "{answer:?}");
            answer
        }
        Err(reason) => {
            tracing::warn!(pod = named, "the pod does not start yet: {reason}");
            Answer::Failed { reason }
        }
    }
}

async fn respond_for<P: Pods>(
    pod: &PodRef,
    apply: bool,
    namespace: Option<OwnedFd>,
    pods: &P,
) -> Result<Answer, String> {
    let object = pods.pod(pod).await.map_err(|error| error.to_string())?;
    if !pod::is(&object, &pod.uid) {
        return Err(format!(
            "the API server still knows another pod of that name, not the one of uid {}",
            pod.uid
        ));
    }
    let setting = match pod::wanted(&object)? {
        Wanted::Nothing(reason) => return Ok(Answer::Skipped { reason: reason.to_owned() }),
        Wanted::Rules(setting) => *setting,
    };
    let namespace = namespace.ok_or("the plugin did not hand over the pod's network namespace")?;
    inside(namespace, move || if apply { set(setting) } else { look() })
        .await
        .map(|by| Answer::Intercepted { by })
}

fn set(setting: SettingArgs) -> Result<String, String> {
    // The old iptables does not wait for its lock; and which pod comes first does not matter.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let (families, backend) = setting.families_and_backend();
    let setting = setting.check().map_err(|error| error.to_string())?;
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    apply(&setting, &families, backend).map(str::to_owned).map_err(|error| error.to_string())
}

fn look() -> Result<String, String> {
    present(&families_here()).map(str::to_owned).ok_or_else(|| "its rules are missing".to_owned())
}

/// Does something in a network namespace: on a thread of its own, which ends with it.
async fn inside<T: Send + 'static>(
    namespace: OwnedFd,
    act: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("pod".to_owned())
        .spawn(move || {
            let entered = setns(&namespace, CloneFlags::CLONE_NEWNET);
            let outcome = match entered {
                Ok(()) => act(),
                Err(error) => Err(format!(
                    "cannot enter its network namespace: {error} (the agent needs the capability SYS_ADMIN)"
                )),
            };
            drop(done.send(outcome));
        })
        .map_err(|error| error.to_string())?;
    outcome.await.map_err(|_| "a mistake of the agent: please report it".to_owned())?
}
