//! `bench-resources MODE DIR`: writes `A.resources`, and in pair modes `B.resources`, for `weft-proxy run --resources`.
//! Places come from the environment of the load harness (`load/bench.py`): `IN_PORT`, `MID_PORT`, `BACKENDS`.

use std::env;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use weft_benches::mode::{Mode, Places, Role, resources};
use weft_model::xds::Resource;
use weft_proto::type_url;
use weft_proto::xds::discovery::{DeltaDiscoveryResponse, Resource as Delivered};
use weft_proxy::discovery::write_resources;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-resources: {error}\nusage: bench-resources MODE DIR");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let [mode, directory] = <[String; 2]>::try_from(env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "there are two arguments")?;
    let mode: Mode = mode.parse()?;
    let places = places()?;
    let pair = matches!(mode, Mode::PairHttp1 | Mode::PairHttp2 | Mode::PairTcp);
    for (role, name) in [(Role::A, "A"), (Role::B, "B")] {
        if role == Role::A || pair {
            let path = Path::new(&directory).join(format!("{name}.resources"));
            write_resources(&path, &responses(&resources(mode, role, &places)))?;
        }
    }
    Ok(())
}

fn places() -> Result<Places, Box<dyn Error>> {
    let text = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let port = |name: &str| -> Result<SocketAddr, Box<dyn Error>> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, text(name)?.parse::<u16>()?)))
    };
    let backends = text("BACKENDS")?;
    let backends: Result<Vec<SocketAddr>, _> = backends.split_whitespace().map(str::parse).collect();
    Ok(Places { entry: port("IN_PORT")?, middle: port("MID_PORT")?, backends: backends? })
}

/// One answer a type, in the order in which they can be applied.
fn responses(resources: &[Resource]) -> Vec<DeltaDiscoveryResponse> {
    let of_type = |url: &&str| DeltaDiscoveryResponse {
        type_url: (*url).to_owned(),
        resources: resources
            .iter()
            .filter(|resource| resource.type_url() == *url)
            .map(|resource| Delivered {
                name: resource.name().to_owned(),
                version: "1".to_owned(),
                resource: Some(resource.encode()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    type_url::IN_ORDER.iter().map(of_type).collect()
}
