//! Whether the cluster is new enough.

use super::Problem;
use crate::cluster::Cluster;
use crate::command::CommandError;

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;

/// Oldest minor version of Kubernetes 1 that everything installed is served by: server-side apply,
/// `autoscaling/v2`, `policy/v1`, bound service-account tokens.
const OLDEST: u32 = 26;
/// The first with native sidecars on by default (<https://kubernetes.io/blog/2023/08/25/native-sidecar-containers/>).
const NATIVE_SIDECARS: u32 = 29;

pub(super) async fn check(cluster: &Cluster) -> Result<Vec<Problem>, CommandError> {
    let info = cluster.client.apiserver_version().await;
    let info = info.map_err(|error| cluster.failed("ask for the API server's version", &error))?;
    Ok(judge(&info.git_version, &info.major, &info.minor).into_iter().collect())
}

fn judge(version: &str, major: &str, minor: &str) -> Option<Problem> {
    // Some distributions write `28+`.
    let number = |text: &str| text.trim_end_matches(|it: char| !it.is_ascii_digit()).parse::<u32>().ok();
    match (number(major)?, number(minor)?) {
        (1, minor) if minor < OLDEST => Some(Problem::error(
            format!("the cluster is Kubernetes {version}"),
            format!("Weft needs 1.{OLDEST} or newer"),
        )),
        (1, minor) if minor < NATIVE_SIDECARS => Some(Problem::warning(
            format!("the cluster is Kubernetes {version}, which has no native sidecars"),
            format!(
                "--set injection.values.proxy.native=false injects ordinary containers: Jobs end only when they tell \
                 their sidecar, and other init containers are outside the mesh; 1.{NATIVE_SIDECARS} has native ones"
            ),
        )),
        _ => None,
    }
}
