use super::*;
use crate::push::resource::Resources;
use crate::push::settings::PushSettings;
use crate::push::snapshot::Snapshot;
use crate::push::wire::Protocol;

fn session(settings: &PushSettings) -> Session {
    let nothing = Arc::new(Snapshot::first(1, Resources::default()));
    Session::new(Protocol::Delta, nothing, settings, Instant::now())
}

fn request(subscribe: &[String], unsubscribe: &[String]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ResourceType::Cluster.url().to_owned(),
        resource_names_subscribe: subscribe.to_vec(),
        resource_names_unsubscribe: unsubscribe.to_vec(),
        ..DeltaDiscoveryRequest::default()
    }
}

#[test]
fn names_that_a_client_makes_up_and_gives_up_are_not_remembered() {
    let mut session = session(&PushSettings::default());
    session.on_delta(request(&["*".to_owned()], &[]), Instant::now()).unwrap();
    for round in 0..50 {
        let names: Vec<String> = (0..100).map(|number| format!("{round}-{number}")).collect();
        session.on_delta(request(&names, &[]), Instant::now()).unwrap();
        session.on_delta(request(&[], &names), Instant::now()).unwrap();
        let never_asked: Vec<String> = names.iter().map(|name| format!("x{name}")).collect();
        session.on_delta(request(&[], &never_asked), Instant::now()).unwrap();
    }
    let state = session.state(ResourceType::Cluster);
    assert_eq!((state.asked.len(), state.due.len(), state.held.len()), (0, 0, 0));
}

#[test]
fn asking_again_for_the_same_names_is_not_asking_for_more() {
    let mut settings = PushSettings::default();
    settings.limits.names = 3;
    let mut session = session(&settings);
    let names: Vec<String> = ["a", "b"].map(str::to_owned).to_vec();
    for _ in 0..3 {
        session.on_delta(request(&names, &[]), Instant::now()).unwrap();
    }
    let more: Vec<String> = ["c", "d"].map(str::to_owned).to_vec();
    let refused = session.on_delta(request(&more, &[]), Instant::now()).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
}
