//! A mesh whose objects and keys are in files of this control plane.

use weft_model::clock::Clock;

use std::sync::Arc;

use super::{Failure, Mesh, authority_settings, mesh_settings, monitor, serve};
use crate::admin::Pages;
use crate::authority::{AcceptorSettings, Attestor, CertificateAuthority, JoinTokens, RootSource};
use crate::settings::Settings;
use crate::source::directory::{Directory, DirectorySettings};
use crate::source::set::Source;
use crate::state::MeshState;
use crate::world::MeshSettings;

pub(super) async fn run(settings: Settings) -> Result<(), Failure> {
    let Some(state_dir) = settings.state_dir.clone() else {
        return Err("--state-dir is missing: without --kubernetes everything durable is kept there".into());
    };
    let directory = match &settings.config_dir {
        Some(path) => {
            let state = state_dir.join("directory");
            Some(Directory::open(DirectorySettings::new(path, &state, "default"))?)
        }
        None => None,
    };
    let sources: Vec<&dyn Source> = directory.iter().map(|directory| directory as &dyn Source).collect();
    let mesh = mesh_settings(&settings, &MeshSettings::default().root_namespace);
    let state = MeshState::open(&state_dir, mesh, settings.networks(), &sources)?;
    let clock = Clock::system();
    let root = match (&settings.root_cert, &settings.root_key) {
        (Some(certificate), Some(key)) => {
            RootSource::Given { certificate: certificate.clone(), key: key.clone(), roots: None }
        }
        _ => RootSource::Own,
    };
    let authority = CertificateAuthority::open(authority_settings(&settings, root), clock.clone())?;
    let tokens = JoinTokens::open(&state_dir, clock)?;
    let pages = Arc::new(Pages::default());
    monitor(&settings, &pages).await?;
    let mesh = Mesh {
        state,
        sources,
        authority,
        attestor: Attestor::JoinTokens(tokens.clone()),
        tokens: Some(tokens),
        acceptor: AcceptorSettings::default(),
        discovery_address: None,
        pages,
    };
    serve(&settings, mesh).await
}
