use super::*;
use crate::testing::{assert_current, repository};

#[test]
fn the_files_are_current_and_there_is_no_other() {
    let files = files();
    for (name, text) in &files {
        assert_current(&format!("deploy/crds/{name}"), text);
    }
    for entry in std::fs::read_dir(repository("deploy/crds")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(files.iter().any(|(known, _)| *known == name), "deploy/crds/{name} is of no kind");
    }
}
