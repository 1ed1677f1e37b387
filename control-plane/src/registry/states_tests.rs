use super::*;

#[test]
fn states_survive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("states.json");
    let key = |name: &str| -> WorkloadKey { ("default".into(), name.into()) };
    let mut book = StateBook::open(&file).unwrap();
    assert!(book.set(&key("a"), Some(Health::Healthy)).unwrap());
    assert!(!book.set(&key("a"), Some(Health::Healthy)).unwrap());
    assert!(book.set(&key("b"), Some(Health::Draining)).unwrap());
    assert!(book.set(&key("c"), Some(Health::Unhealthy)).unwrap());
    assert!(book.set(&key("c"), None).unwrap());
    let again = StateBook::open(&file).unwrap();
    assert_eq!(
        again.states(),
        &WorkloadStates::from([(key("a"), Health::Healthy), (key("b"), Health::Draining)])
    );
}
