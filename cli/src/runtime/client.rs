//! The control plane's API, over its Unix socket.

use std::path::Path;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use weft_proto::api::mesh_client::MeshClient;

use crate::command::{CommandError, FAILED, NOT_FOUND, NOT_UP};

/// Largest message, bytes: all objects of a mesh.
const MAX_MESSAGE: usize = 64 << 20;

/// Connects to a mesh's control plane. A socket's path works across network namespaces.
///
/// # Errors
/// When nobody answers there.
pub async fn connect(socket: &Path) -> Result<MeshClient<Channel>, CommandError> {
    let no_answer = |error: &dyn std::fmt::Display| {
        CommandError::new(NOT_UP, format!("no control plane answers at {}: {error}", socket.display()))
            .hint("`weft up` starts it")
    };
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .map_err(|error| no_answer(&error))?
        .connect_timeout(Duration::from_secs(5));
    let sized = |channel| {
        MeshClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
    };
    endpoint.connect().await.map(sized).map_err(|error| no_answer(&error))
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
    let broke = std::error::Error::source(status).is_some_and(|it| it.is::<tonic::transport::Error>());
    if broke {
        return CommandError::new(NOT_UP, "the control plane ended while it was asked")
            .hint("`weft up` starts it");
    }
    let code = match status.code() {
        tonic::Code::Unavailable => NOT_UP,
        tonic::Code::NotFound => NOT_FOUND,
        _ => FAILED,
    };
    CommandError::new(code, format!("the control plane says: {}", status.message()))
}
