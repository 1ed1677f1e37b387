//! `weft ps` in a cluster: its pods, and whether they are in the mesh.

use std::process::ExitCode;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::cluster::pods::{self, STATUS};
use crate::cluster::replicas::{is_ready, name};
use crate::cluster::{Cluster, ClusterChoice};
use crate::command::{CommandResult, block_on};
use crate::output::{Format, Table, print};

pub(super) fn run(format: Format, all_namespaces: bool, choice: ClusterChoice) -> CommandResult {
    let found = block_on(async {
        let cluster = Cluster::connect(&choice).await?;
        cluster.pods((!all_namespaces).then_some(cluster.namespace.as_str())).await
    })?;
    let data: Vec<Value> = found.iter().map(describe).collect();
    print(&format.render(&data, |rows| table(rows))?)?;
    Ok(ExitCode::SUCCESS)
}

fn describe(pod: &Pod) -> Value {
    let status = pod.status.clone().unwrap_or_default();
    let addresses: Vec<String> = status.pod_ips.iter().flatten().map(|it| it.ip.clone()).collect();
    let sidecar = pods::sidecar(pod);
    let image = sidecar.and_then(|container| container.image.clone());
    json!({
        "namespace": pod.metadata.namespace,
        "name": name(pod),
        "workload": pods::owner(pod),
        "serviceAccount": pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()),
        "addresses": addresses,
        "node": pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        "phase": status.phase,
        "ready": is_ready(pod),
        "sidecar": sidecar.is_some(),
        "sidecarVersion": image.as_deref().and_then(|image| image.rsplit_once(':')).map(|(_, tag)| tag),
        "injection": pod.metadata.annotations.as_ref().and_then(|all| all.get(STATUS)),
    })
}

fn table(rows: &[Value]) -> String {
    let mut table = Table::new(&["NAMESPACE", "POD", "WORKLOAD", "ADDRESSES", "STATE", "SIDECAR"]);
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let addresses: Vec<&str> = row["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let state = if row["ready"] == true { "ready".to_owned() } else { text("phase").to_lowercase() };
        let sidecar = if row["sidecar"] == true { text("sidecarVersion") } else { "none".to_owned() };
        table.row([text("namespace"), text("name"), text("workload"), addresses.join(","), state, sidecar]);
    }
    if table.is_empty() { "no pods\n".to_owned() } else { table.render() }
}
