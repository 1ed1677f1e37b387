use std::fs;
use std::os::unix::fs::symlink;

use super::*;

struct Fixture {
    files: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { files: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
    }

    /// The periodic look is so far away that only the watch can have seen a change.
    fn settings(&self) -> DirectorySettings {
        DirectorySettings {
            debounce: Duration::from_millis(20),
            rescan: Duration::from_secs(3600),
            ..DirectorySettings::new(self.files.path(), self.state.path(), "shop")
        }
    }

    fn open(&self) -> Directory {
        Directory::open(self.settings()).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.files.path().join(name), text).unwrap();
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

fn names(objects: &Objects) -> Vec<String> {
    objects.by_name.values().map(|object| format!("{}@{}", object.name(), object.generation)).collect()
}

/// Waits until the objects in force are these.
async fn until(directory: &Directory, wanted: &[&str]) -> Arc<Objects> {
    until_that(directory, |objects| names(objects) == wanted).await
}

async fn until_that(directory: &Directory, holds: impl FnMut(&Arc<Objects>) -> bool) -> Arc<Objects> {
    let mut watch = directory.watch();
    let waited = tokio::time::timeout(Duration::from_secs(30), watch.wait_for(holds)).await;
    match waited {
        Ok(objects) => Arc::clone(&objects.unwrap()),
        Err(_) => {
            panic!("{:?} {:?}", names(&directory.watch().borrow()), directory.watch().borrow().findings)
        }
    }
}

#[tokio::test]
async fn files_that_come_change_and_go_are_followed() {
    let fixture = Fixture::new();
    fixture.write("a.yaml", &service("a", 80));
    let directory = fixture.open();
    assert_eq!(names(&directory.watch().borrow()), ["a@1"], "read before it is watched");
    fixture.write("b.yml", &service("b", 80));
    until(&directory, &["a@1", "b@1"]).await;
    fixture.write("a.yaml", &service("a", 81));
    until(&directory, &["a@2", "b@1"]).await;
    fs::remove_file(fixture.files.path().join("b.yml")).unwrap();
    until(&directory, &["a@2"]).await;
    fixture.write(".hidden.yaml", &service("h", 80));
    fixture.write("notes.txt", "no YAML");
    fs::create_dir(fixture.files.path().join("more")).unwrap();
    fixture.write(
        "more/c.json",
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"},"spec":{"ports":[{"port":1}]}}"#,
    );
    until(&directory, &["a@2", "c@1"]).await;
}

#[tokio::test]
async fn an_editors_rename_and_a_config_maps_switch_are_seen() {
    let fixture = Fixture::new();
    let root = fixture.files.path();
    for (version, port) in [("..one", 80), ("..two", 81)] {
        fs::create_dir(root.join(version)).unwrap();
        fixture.write(&format!("{version}/map.yaml"), &service("map", port));
    }
    symlink("..one", root.join("..data")).unwrap();
    symlink("..data/map.yaml", root.join("map.yaml")).unwrap();
    fixture.write("a.yaml", &service("a", 80));
    let directory = fixture.open();
    until(&directory, &["a@1", "map@1"]).await;
    symlink("..two", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    until(&directory, &["a@1", "map@2"]).await;
    fixture.write(".a.yaml.swp", &service("a", 82));
    fs::rename(root.join(".a.yaml.swp"), root.join("a.yaml")).unwrap();
    until(&directory, &["a@2", "map@2"]).await;
}

#[tokio::test]
async fn pain_11_a_bad_object_leaves_its_last_good_version_in_force_and_harms_no_other() {
    let fixture = Fixture::new();
    fixture.write(
        "all.yaml",
        &format!("{}---\n{}---\n{}", service("a", 80), service("b", 80), service("c", 80)),
    );
    let directory = fixture.open();
    until(&directory, &["a@1", "b@1", "c@1"]).await;
    // a is broken, b changes, c is removed.
    fixture.write(
        "all.yaml",
        &format!("{}---\n{}", service("a", 80).replace("ports", "prots"), service("b", 81)),
    );
    let objects = until(&directory, &["a@1", "b@2"]).await;
    let text: Vec<_> = objects.findings.iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|line| line.contains("there is no field `prots`")), "{text:?}");
    assert!(
        text.iter().any(|line| line.contains("Service/shop/a of generation 1 stays in force")),
        "{text:?}"
    );
    let mistakes: Vec<_> = objects.findings.iter().filter(|finding| finding.is_error()).collect();
    assert!(!mistakes.is_empty() && mistakes.iter().all(|finding| finding.last_good_kept), "{mistakes:?}");
    fixture.write("new.yaml", &service("n", 80).replace("ports", "prots"));
    let objects =
        until_that(&directory, |all| all.findings.iter().any(|f| f.file.ends_with("new.yaml"))).await;
    let new = objects.findings.iter().filter(|finding| finding.file.ends_with("new.yaml"));
    assert!(new.clone().all(|finding| !finding.last_good_kept), "there never was a good one: {new:?}");
    fs::remove_file(fixture.files.path().join("new.yaml")).unwrap();
    // Not even YAML: nobody can tell whose document it was, so everything stays.
    fixture.write("all.yaml", "a: [\n");
    let objects =
        until_that(&directory, |objects| objects.findings.iter().any(|f| f.code == "yaml-syntax")).await;
    assert_eq!(names(&objects), ["a@1", "b@2"]);
    fixture.write("all.yaml", "");
    let objects =
        until_that(&directory, |objects| objects.findings.iter().any(|f| f.message.contains("empty"))).await;
    assert!(objects.findings.iter().all(|finding| finding.last_good_kept), "{:?}", objects.findings);
    assert_eq!(names(&objects), ["a@1", "b@2"]);
    // A restart forgets nothing of that.
    drop(directory);
    fixture.write("all.yaml", "a: [\n");
    let directory = reopened(&fixture).await;
    assert_eq!(names(&directory.watch().borrow()), ["a@1", "b@2"]);
    fixture.write("all.yaml", &service("a", 90));
    let objects = until(&directory, &["a@2"]).await;
    assert!(objects.findings.is_empty(), "{:?}", objects.findings);
}

/// The lock of the state is free once the task of the one before has ended.
async fn reopened(fixture: &Fixture) -> Directory {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        match Directory::open(fixture.settings()) {
            Ok(directory) => return directory,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_object_in_two_files_counts_once_and_a_missing_directory_loses_nothing() {
    let fixture = Fixture::new();
    fixture.write("1.yaml", &service("a", 80));
    fixture.write("2.yaml", &service("a", 81));
    let directory =
        Directory::open(DirectorySettings { rescan: Duration::from_millis(50), ..fixture.settings() })
            .unwrap();
    let objects = until(&directory, &["a@1"]).await;
    assert!(objects.findings[0].message.contains("the first counts"), "{:?}", objects.findings);
    assert_eq!(&*objects.by_name.values().next().unwrap().text, service("a", 80));
    let aside = fixture.files.path().with_extension("aside");
    fs::rename(fixture.files.path(), &aside).unwrap();
    let objects =
        until_that(&directory, |objects| objects.findings.iter().any(|f| f.code == "unreadable")).await;
    assert_eq!(names(&objects), ["a@1"]);
    fs::rename(&aside, fixture.files.path()).unwrap();
    until_that(&directory, |objects| objects.findings.iter().all(|f| f.code != "unreadable")).await;
}
