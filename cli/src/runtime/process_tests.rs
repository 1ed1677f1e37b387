use std::process::Command;

use super::*;

#[test]
fn a_process_is_alive_until_it_ends_even_before_its_parent_notices() {
    let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let process = ProcessRef::of(child.id() as i32).unwrap();
    assert!(process.alive());
    drop(child.stdin.take());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(process.gone_within(Duration::from_secs(20))));
    child.wait().unwrap();
    assert!(!process.alive());
}

#[test]
fn a_process_with_the_same_id_is_not_taken_for_an_earlier_one() {
    let own = ProcessRef::own().unwrap();
    assert!(own.alive());
    assert!(!ProcessRef { start_time: own.start_time + 1, ..own.clone() }.alive());
    assert!(!ProcessRef { boot: "another".to_owned(), ..own }.alive());
}

#[test]
fn the_processes_of_the_machines_own_network_are_never_listed() {
    // Who may not look at it cannot end them either.
    let machine = network_of("1");
    assert_eq!(machine.map_or(0, |network| in_network(network, &BTreeSet::new()).len()), 0);
}
