//! Every rendering that was applied, kept as a Secret in the cluster: what a rollback brings back, what an upgrade takes
//! out, and what `weft uninstall` removes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::apply::FIELD_MANAGER;
use super::names::NAMESPACE;
use super::values::InstallValues;
use crate::cluster::Cluster;
use crate::command::{CommandError, FAILED};

/// Renderings that are kept for each revision.
const KEPT: usize = 10;
/// The Secrets' type, as Helm has its own.
const TYPE: &str = "weft.mesh/install.v1";
/// Label that names the revision of the control plane.
const INSTALL: &str = "weft.mesh/install";
const NUMBER: &str = "weft.mesh/install-number";
const STATUS: &str = "weft.mesh/install-status";

/// How far an installation came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It was begun.
    Pending,
    /// Everything was applied.
    Deployed,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deployed => "deployed",
        }
    }
}

/// One rendering that was applied.
#[derive(Clone, PartialEq, Debug)]
pub struct Installed {
    /// Counts from 1 for each revision of the control plane.
    pub number: u32,
    /// The control plane's revision; `default` without a name.
    pub revision: String,
    /// Version of `weft` that rendered it.
    pub version: String,
    /// The values that were not the defaults.
    pub values: Value,
    /// The objects, in the order of applying.
    pub objects: Vec<Value>,
    /// How far it came.
    pub status: Status,
}

impl Installed {
    /// A rendering by this version.
    #[must_use]
    pub fn new(number: u32, values: &InstallValues, objects: &[Value]) -> Self {
        Self {
            number,
            revision: values.revision_label().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            values: values.chosen(),
            objects: objects.to_vec(),
            status: Status::Pending,
        }
    }

    fn secret_name(&self) -> String {
        match self.revision.as_str() {
            "default" => format!("weft-install-v{}", self.number),
            revision => format!("weft-install-{revision}-v{}", self.number),
        }
    }

    fn read(secret: &Secret) -> Result<Self, CommandError> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let damaged = || {
            CommandError::new(
                FAILED,
                format!("the Secret {name} in {NAMESPACE} is no record of an installation"),
            )
            .hint("delete it: it is needed for a rollback to it, and nothing else")
        };
        let label = |key: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
        let data =
            |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
        let parsed = |key: &str| data(key).and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        Ok(Self {
            number: label(NUMBER).and_then(|text| text.parse().ok()).ok_or_else(damaged)?,
            revision: label(INSTALL).ok_or_else(damaged)?,
            version: data("version")
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                .ok_or_else(damaged)?,
            values: parsed("values").ok_or_else(damaged)?,
            objects: parsed("objects").and_then(|list| list.as_array().cloned()).ok_or_else(damaged)?,
            status: if label(STATUS).as_deref() == Some("deployed") {
                Status::Deployed
            } else {
                Status::Pending
            },
        })
    }
}

/// All that was installed of one revision, the earliest first; of all for an empty name.
///
/// # Errors
/// When the API server does not answer or refuses, or a record is damaged.
pub async fn list(cluster: &Cluster, revision: &str) -> Result<Vec<Installed>, CommandError> {
    let selector = if revision.is_empty() { INSTALL.to_owned() } else { format!("{INSTALL}={revision}") };
    let list = secrets(cluster).list(&ListParams::default().labels(&selector)).await;
    let list = list.map_err(|error| {
        cluster.failed(&format!("read the records of installations in {NAMESPACE}"), &error)
    })?;
    let mut all = list.items.iter().map(Installed::read).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| (&a.revision, a.number).cmp(&(&b.revision, b.number)));
    Ok(all)
}

/// Keeps a rendering.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn write(cluster: &Cluster, installed: &Installed, status: Status) -> Result<(), CommandError> {
    let labels = [
        ("app.kubernetes.io/name", "weft".to_owned()),
        ("app.kubernetes.io/part-of", "weft".to_owned()),
        (INSTALL, installed.revision.clone()),
        (NUMBER, installed.number.to_string()),
        (STATUS, status.word().to_owned()),
    ];
    let bytes = |value: &Value| ByteString(value.to_string().into_bytes());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(installed.secret_name()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(BTreeMap::from([
            ("objects".to_owned(), bytes(&json!(installed.objects))),
            ("values".to_owned(), bytes(&installed.values)),
            ("version".to_owned(), ByteString(installed.version.clone().into_bytes())),
        ])),
        ..Secret::default()
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = secrets(cluster).patch(&installed.secret_name(), &params, &Patch::Apply(&secret)).await;
    written
        .map(|_| ())
        .map_err(|error| cluster.failed(&format!("keep a record of the installation in {NAMESPACE}"), &error))
}

/// Deletes the earliest records beyond those that are kept, now that there is that of a number.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn forget(cluster: &Cluster, number: u32, earlier: &[Installed]) -> Result<(), CommandError> {
    let others: Vec<&Installed> = earlier.iter().filter(|it| it.number != number).collect();
    let too_many = (others.len() + 1).saturating_sub(KEPT);
    remove(cluster, others.into_iter().take(too_many)).await
}

/// Deletes records.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn remove(
    cluster: &Cluster,
    records: impl IntoIterator<Item = &Installed>,
) -> Result<(), CommandError> {
    for installed in records {
        match secrets(cluster).delete(&installed.secret_name(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(cluster.failed("delete the record of an earlier installation", &error)),
        }
    }
    Ok(())
}

fn secrets(cluster: &Cluster) -> Api<Secret> {
    Api::namespaced(cluster.client.clone(), NAMESPACE)
}
