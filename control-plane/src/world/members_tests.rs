use super::*;
use crate::source::{Object, Objects, parse_documents, parse_watched};
use crate::world::{AddressBook, AddressRanges, Input, MeshSettings, World};

fn pod(name: &str, app: &str, ready: bool) -> Arc<Object> {
    let address = format!("10.0.{}.{}", name.len(), name.bytes().map(u32::from).sum::<u32>() % 250 + 1);
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app, "common": "yes"}},
        "spec": {"containers": []},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    });
    let parsed = parse_watched(&pod);
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    parsed.objects[0].clone()
}

fn set(pods: impl IntoIterator<Item = Arc<Object>>) -> Objects {
    let by_name = pods.into_iter().map(|pod| (pod.reference.clone(), pod)).collect();
    Objects { by_name, findings: Vec::new() }
}

fn world(services: &str, pods: &Objects) -> World {
    let parsed = parse_documents("t.yaml", services, "default");
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let mut book = AddressBook::in_memory(AddressRanges::default());
    let input = Input { objects: &parsed.objects, pods, states: &BTreeMap::new() };
    World::of(1, Arc::new(MeshSettings::default()), input, &mut book)
}

fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}, common: \"yes\"}}, ports: [{{port: 80}}]}}\n"
    )
}

fn behind(world: &World, name: &str) -> Vec<String> {
    let service = &world.services[&*format!("{name}.default.svc.cluster.local")];
    world.workloads_of(service).map(|workload| workload.name.to_string()).collect()
}

#[test]
fn workloads_that_come_change_and_go_are_behind_the_services_that_select_them() {
    let services = [service("a"), service("b")].concat();
    let before = set([pod("a-1", "a", true), pod("a-2", "a", true), pod("b-1", "b", true)]);
    let world = world(&services, &before);
    assert_eq!(behind(&world, "a"), ["a-1", "a-2"]);
    // One joins, one goes over to the other service, one leaves.
    let after = set([pod("a-0", "a", true), pod("a-1", "b", true), pod("b-1", "b", true)]);
    let changes = world.pods_changed(&after.changes_since(&before));
    let next = world.with_workloads(2, changes);
    assert_eq!(behind(&next, "a"), ["a-0"]);
    assert_eq!(behind(&next, "b"), ["a-1", "b-1"]);
    let anew = self::world(&services, &after);
    assert_eq!(behind(&anew, "a"), behind(&next, "a"));
    assert_eq!(behind(&anew, "b"), behind(&next, "b"));
}

#[test]
fn of_a_hundred_services_and_five_thousand_pods_a_change_touches_what_it_concerns() {
    let services: String = (0..100).map(|number| service(&format!("s{number}"))).collect();
    let all = (0..5000).map(|number| pod(&format!("p{number}"), &format!("s{}", number % 100), true));
    let before = set(all);
    let world = world(&services, &before);
    assert_eq!(behind(&world, "s7").len(), 50);
    let mut after = before.clone();
    let changed = pod("p107", "s7", false);
    after.by_name.insert(changed.reference.clone(), changed);
    let changes = world.pods_changed(&after.changes_since(&before));
    assert_eq!(changes.len(), 1);
    let keys: Vec<_> = changes.iter().map(|(key, _)| key.clone()).collect();
    let next = world.with_workloads(2, changes);
    assert!(!world.is_reconfigured_by(&next, &keys), "readiness is the endpoints' lane");
    let lists = world.services.keys().filter(|host| {
        let (Some(was), Some(now)) = (world.members.behind(host), next.members.behind(host)) else {
            return false;
        };
        !Arc::ptr_eq(was, now)
    });
    let touched: Vec<_> = lists.map(|host| host.to_string()).collect();
    assert_eq!(touched, ["s7.default.svc.cluster.local"]);
}
