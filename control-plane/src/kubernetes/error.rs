//! Errors of the API server and of the way there, in one line.

use std::error::Error;

/// What went wrong, with all its causes: that of a refused connection is hidden three levels down.
#[must_use]
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("the API server answers {}", status.code)
        }
        kube::Error::Api(status) => format!("the API server answers {}: {}", status.code, status.message),
        other => chain(other),
    }
}

/// An error and its causes. One that says what its cause says is told once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}
