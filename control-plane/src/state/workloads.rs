//! Workloads join, report and leave.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weft_model::endpoint::Health;
use weft_model::provenance::ObjectRef;
use weft_proto::api::RegisterWorkloadRequest;

use super::{MeshState, StateError};
use crate::registry::{Registration, name_for};
use crate::source::kinds::service::Addressing;
use crate::source::{Object, Origin, Spec, parse_documents};
use crate::world::WorkloadKey;

/// What was chosen for a workload that joined.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Unique in its namespace.
    pub name: String,
    /// Never empty.
    pub namespace: String,
    /// Never empty.
    pub service_account: String,
    /// Where others reach it: with prefix lengths, IPv4 first; empty in explicit mode.
    pub addresses: Vec<String>,
    /// In the order of `addresses`.
    pub gateways: Vec<String>,
    /// Where others reach it.
    pub address: IpAddr,
}

/// Why a workload could not join.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The request makes no valid object.
    #[error("{0}")]
    Invalid(String),
    /// A workload of that name is there.
    #[error("a workload `{0}` is already in namespace `{1}`; stop it first, or choose another --name")]
    Taken(String, String),
    /// Its service has a virtual address, which clients use.
    #[error(
        "service `{0}` in namespace `{1}` is not headless; delete it first (`weft delete service {0} -n {1}`), or leave --headless away"
    )]
    NotHeadless(String, String),
    /// All addresses are in use.
    #[error("all addresses of the workloads' network are in use")]
    NoAddress,
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

fn or_default(text: &str, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text.to_owned() }
}

impl MeshState {
    /// Takes a workload in. It is told to nobody as an endpoint until it reports that it is ready.
    ///
    /// # Errors
    /// [`RegistrationError`]: the workload is not in.
    pub async fn register(&self, request: &RegisterWorkloadRequest) -> Result<Registered, RegistrationError> {
        let mut writer = self.writer.lock().await;
        let namespace = or_default(&request.namespace, "default");
        let world = self.world.load_full();
        let names = world
            .workloads
            .keys()
            .filter(|(place, _)| **place == *namespace)
            .map(|(_, name)| name.to_string());
        let names: BTreeSet<String> = names.collect();
        let name = name_for(request, &names);
        if names.contains(&name) {
            return Err(RegistrationError::Taken(name, namespace));
        }
        let default_account = if request.service.is_empty() { &name } else { &request.service };
        let service_account = or_default(&request.service_account, default_account);
        let addresses: Vec<IpAddr> = if request.explicit {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
        } else {
            let taken = world.workloads.values().map(|workload| workload.address).collect();
            let networks = writer.networks;
            networks.allocate(&taken, &mut writer.last_address).ok_or(RegistrationError::NoAddress)?
        };
        let registration = Registration {
            request,
            name: &name,
            namespace: &namespace,
            service_account: &service_account,
            address: addresses[0],
        };
        let mut objects = parsed(&registration.workload_entry())?;
        let known = self.objects();
        let service = ObjectRef::new("v1", "Service", &namespace, &request.service);
        // A service that the user wrote stays as it is; one that an earlier workload brought gets the ports of both.
        let (is_users, earlier) =
            match known.by_name.get(&service).map(|object| (object.origin, &object.spec)) {
                Some((Origin::Run, Spec::Service(spec))) => (false, Some(spec)),
                Some(_) => (true, None),
                None => (false, None),
            };
        if request.headless
            && let Some(Spec::Service(spec)) = known.by_name.get(&service).map(|object| &object.spec)
            && spec.addressing != Addressing::Headless
        {
            return Err(RegistrationError::NotHeadless(request.service.clone(), namespace));
        }
        if let Some(service) = registration.service(earlier).filter(|_| !is_users) {
            objects.extend(parsed(&service)?);
        }
        let key: WorkloadKey = (namespace.as_str().into(), name.as_str().into());
        self.remember(&mut writer, &key, Some(Health::Unhealthy))?;
        writer.own()?.run.apply(&objects, jiff::Timestamp::now()).map_err(StateError::from)?;
        self.rebuild(&mut writer);
        let networks: Vec<_> = writer.networks.iter().collect();
        let reachable = if request.explicit { &[][..] } else { &addresses[..] };
        Ok(Registered {
            name,
            namespace,
            service_account,
            addresses: reachable
                .iter()
                .zip(&networks)
                .map(|(address, network)| network.with_length(*address))
                .collect(),
            gateways: reachable
                .iter()
                .zip(&networks)
                .map(|(_, network)| network.gateway().to_string())
                .collect(),
            address: addresses[0],
        })
    }

    /// Lets a workload go; one that is not there is gone already.
    ///
    /// # Errors
    /// [`StateError`]: it is still there.
    pub async fn deregister(&self, namespace: &str, name: &str) -> Result<(), StateError> {
        let mut writer = self.writer.lock().await;
        let reference = ObjectRef::new("networking.istio.io/v1", "WorkloadEntry", namespace, name);
        writer.own()?.run.delete(&[reference])?;
        // Its object is gone: the world must not keep it, even if its state cannot be forgotten.
        let forgotten = self.remember(&mut writer, &(namespace.into(), name.into()), None);
        self.rebuild(&mut writer);
        forgotten.map(drop)
    }

    /// A workload takes requests, or does so no more. Answers the revision that has it; none when there is no such
    /// workload.
    ///
    /// # Errors
    /// [`StateError`]: nothing was changed.
    pub async fn report(
        &self,
        namespace: &str,
        name: &str,
        health: Health,
    ) -> Result<Option<u64>, StateError> {
        let mut writer = self.writer.lock().await;
        let key: WorkloadKey = (namespace.into(), name.into());
        let world = self.world.load_full();
        // Of a pod kubelet says whether it is ready.
        let known = world.workloads.get(&key).is_some_and(|workload| workload.pod.is_none());
        if !known {
            return Ok(None);
        }
        if self.remember(&mut writer, &key, Some(health))? {
            let revision = world.revision + 1;
            self.publish(world.with_states(revision, writer.states.states()), false);
            return Ok(Some(revision));
        }
        Ok(Some(world.revision))
    }

    fn remember(
        &self,
        writer: &mut super::Writer,
        key: &WorkloadKey,
        health: Option<Health>,
    ) -> Result<bool, StateError> {
        let path = std::path::PathBuf::from("workload-states.json");
        writer.states.set(key, health).map_err(|source| StateError::File { path, source })
    }
}

fn parsed(value: &serde_json::Value) -> Result<Vec<Arc<Object>>, RegistrationError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| RegistrationError::Invalid(error.to_string()))?;
    let parsed = parse_documents("", &text, "default");
    let errors: Vec<String> =
        parsed.findings.iter().filter(|f| f.is_error()).map(ToString::to_string).collect();
    if errors.is_empty() { Ok(parsed.objects) } else { Err(RegistrationError::Invalid(errors.join("; "))) }
}
