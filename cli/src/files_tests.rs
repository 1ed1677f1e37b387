use super::*;

#[test]
fn a_directory_gives_its_yaml_in_order() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("deep")).unwrap();
    for (name, text) in [("b.yaml", "b"), ("a.yml", "a"), ("deep/c.json", "c"), ("notes.txt", "no")] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let files = read(&[directory.path().to_owned()]).unwrap();
    assert_eq!(files.iter().map(|file| file.content.as_str()).collect::<String>(), "abc");
}

#[test]
fn all_that_cannot_be_read_is_named_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let FileErrors(errors) = read(&["/nowhere/x.yaml".into(), directory.path().to_owned()]).unwrap_err();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].to_string().contains("/nowhere/x.yaml") && errors[1].to_string().contains("no .yaml"));
}
