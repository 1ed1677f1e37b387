//! The control plane's API, over its Unix socket.

use std::path::Path;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use weft_proto::api::mesh_client::MeshClient;

use crate::command::{CommandError, FAILED, NOT_FOUND, NOT_UP};

/// Largest message, bytes: all objects of a mesh.
const MAX_MESSAGE: usize = 64 << 20;

/// A control plane that shows no sign of life for so long while it is asked is hung: one that is merely busy, as with a
/// rollout, still answers HTTP/2's pings.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Connects to a mesh's control plane. A socket's path works across network namespaces.
///
/// # Errors
/// When nobody answers there.
pub async fn connect(socket: &Path) -> Result<MeshClient<Channel>, CommandError> {
    let no_answer = |error: &tonic::transport::Error| {
        let why = root_cause(error);
        CommandError::new(NOT_UP, format!("no control plane answers at {}: {why}", socket.display()))
            .hint("`weft up` starts it again")
    };
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .map_err(|error| no_answer(&error))?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(SIGN_OF_LIFE)
        .keep_alive_timeout(SIGN_OF_LIFE);
    endpoint.connect().await.map(sized).map_err(|error| no_answer(&error))
}

/// A client that takes all objects of a mesh in one message.
#[must_use]
pub fn sized(channel: Channel) -> MeshClient<Channel> {
    MeshClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

impl From<tonic::Status> for CommandError {
    fn from(status: tonic::Status) -> Self {
        refused(&status)
    }
}

/// A refusal of the control plane, as a command's error.
#[must_use]
pub fn refused(status: &tonic::Status) -> CommandError {
    // A connection that broke is an error of this side: no status came from the control plane.
    if let Some(error) = std::error::Error::source(status) {
        let hung = chain(error).any(|it| it.downcast_ref().is_some_and(hyper::Error::is_timeout));
        let what = if hung { "accepts but does not answer" } else { "ended while it was asked" };
        return CommandError::new(NOT_UP, format!("the control plane {what}"))
            .hint("`weft up` starts it again; no workload is stopped by that");
    }
    let code = match status.code() {
        tonic::Code::Unavailable => NOT_UP,
        tonic::Code::NotFound => NOT_FOUND,
        _ => FAILED,
    };
    CommandError::new(code, format!("the control plane says: {}", status.message()))
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |it| it.source())
}

/// What the system said: what lies above it says only that there was an error.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}
