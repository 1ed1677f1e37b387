use super::*;
use crate::source::parse_documents;
use transaction::Step;

fn service(name: &str, port: u16) -> Arc<Object> {
    let text = format!(
        "# about {name}\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    );
    Arc::clone(&parse_documents("shop.yaml", &text, "shop").objects[0])
}

fn now() -> jiff::Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn open(state: &Path) -> Store {
    Store::open(state, Origin::Api).unwrap()
}

/// Name, port's text and generation of everything.
fn content(objects: &Objects) -> Vec<String> {
    objects
        .by_name
        .values()
        .map(|object| format!("{}@{} {}", object.name(), object.generation, object.text))
        .collect()
}

#[test]
fn objects_survive_a_restart_with_text_generation_and_creation_time() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    let outcomes = store.apply(&[service("a", 80), service("b", 80)], now()).unwrap();
    assert!(
        outcomes.iter().all(|outcome| outcome.change == Change::Created && outcome.object.generation == 1)
    );
    let before = store.objects();
    drop(store);
    let after = open(state.path()).objects();
    assert_eq!(before, after);
    let object = after.by_name.values().next().unwrap();
    assert!(object.text.starts_with("# about a\n"));
    assert_eq!(object.metadata.created, Some(now()));
    assert_eq!((&*object.place.file, object.origin), ("shop.yaml", Origin::Api));
    assert!(state.path().join("objects/shop/Service/a.yaml").is_file());
}

#[test]
fn the_generation_grows_only_with_the_content() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    let mut apply = |object: Arc<Object>| {
        let outcome = store.apply(&[object], now()).unwrap().remove(0);
        (outcome.change, outcome.object.generation, outcome.object.text.to_string())
    };
    assert_eq!(apply(service("a", 80)).1, 1);
    assert_eq!(apply(service("a", 80)).0, Change::Unchanged);
    let mut commented = Object::clone(&service("a", 80));
    commented.text = format!("# new\n{}", commented.text).into();
    let (change, generation, text) = apply(Arc::new(commented));
    assert_eq!((change, generation), (Change::Unchanged, 1));
    assert!(text.starts_with("# new"), "new comments are kept");
    assert_eq!((apply(service("a", 81)).0, apply(service("a", 82)).1), (Change::Configured, 3));
}

#[test]
fn a_preview_changes_nothing_and_deleting_removes_the_file() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    assert_eq!(store.preview(&[service("a", 80)], now())[0].change, Change::Created);
    assert!(store.objects().by_name.is_empty());
    let name = store.apply(&[service("a", 80)], now()).unwrap()[0].object.reference.clone();
    let missing = ObjectRef::new("v1", "Service", "shop", "nobody");
    let deleted = store.delete(&[name, missing]).unwrap();
    assert_eq!(deleted.len(), 1);
    assert!(!state.path().join("objects/shop/Service/a.yaml").exists());
}

#[test]
fn there_is_one_writer() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    assert!(matches!(Store::open(state.path(), Origin::Api), Err(StoreError::Locked(_))));
    drop(store);
    open(state.path());
}

/// Copies a directory as a power cut would leave it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

/// Replays every prefix of the steps of a change, with the step after it torn, and opens what is left.
fn killed_at_every_step(transaction: &Transaction, state: &Path, check: impl Fn(&str, Vec<String>)) {
    let (commit, rest) = transaction.steps().unwrap();
    let steps: Vec<_> = commit.into_iter().chain(rest).collect();
    for done in 0..=steps.len() {
        for torn in [None, Some(0), Some(7)] {
            let crashed = tempfile::tempdir().unwrap();
            copy(state, crashed.path());
            steps[..done].iter().for_each(|step| step.run(crashed.path()).unwrap());
            match (torn, steps.get(done)) {
                (None, _) => {}
                (Some(bytes), Some(Step::Write(path, content))) => {
                    fs::write(crashed.path().join(path), &content.as_bytes()[..bytes]).unwrap();
                }
                _ => continue,
            }
            let store = open(crashed.path());
            assert_eq!(store.objects().findings, [], "after {done} steps");
            check(
                &format!("after {done} of {} steps, torn {torn:?}", steps.len()),
                content(&store.objects()),
            );
            drop(store);
            let leftovers = walk(crashed.path());
            assert!(
                leftovers.iter().all(|path| !path.ends_with(".new") && !path.ends_with("journal")),
                "{leftovers:?}"
            );
        }
    }
}

fn walk(directory: &Path) -> Vec<String> {
    fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }
        })
        .collect()
}

#[test]
fn a_kill_at_any_moment_leaves_all_or_nothing_of_a_change() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.apply(&[service("a", 80), service("b", 80)], now()).unwrap();
    let old = content(&store.objects());
    // a changes, b goes, c comes.
    let outcome = store.preview(&[service("a", 81), service("c", 80)], now());
    drop(store);
    let mut transaction = Transaction::default();
    for outcome in &outcome {
        transaction.put(file::path(&outcome.object.reference), file::render(&outcome.object));
    }
    transaction.delete(file::path(&service("b", 80).reference));

    let done = tempfile::tempdir().unwrap();
    copy(state.path(), done.path());
    assert!(transaction.run(done.path()).unwrap());
    let new = content(&open(done.path()).objects());
    assert_ne!(old, new);

    let seen = std::cell::RefCell::new(Vec::new());
    killed_at_every_step(&transaction, state.path(), |when, now| {
        assert!(now == old || now == new, "{when}: {now:?}");
        seen.borrow_mut().push(now == new);
    });
    let seen = seen.into_inner();
    assert!(seen.is_sorted(), "once it is there it stays");
    assert!(!seen[0] && seen[seen.len() - 1]);
}

#[test]
fn a_kill_within_the_change_of_one_object_leaves_the_old_or_the_new() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.apply(&[service("a", 80)], now()).unwrap();
    let old = content(&store.objects());
    let outcome = store.preview(&[service("a", 81)], now()).remove(0);
    drop(store);
    let mut transaction = Transaction::default();
    transaction.put(file::path(&outcome.object.reference), file::render(&outcome.object));
    killed_at_every_step(&transaction, state.path(), |when, now| {
        assert!(now == old || now[0].starts_with("a@2"), "{when}: {now:?}");
    });
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_left_and_the_others_are_read() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.apply(&[service("a", 80), service("b", 80)], now()).unwrap();
    drop(store);
    let path = state.path().join("objects/shop/Service/a.yaml");
    let text = fs::read_to_string(&path).unwrap().replace("ports", "prots");
    fs::write(&path, &text).unwrap();
    let mut store = open(state.path());
    assert_eq!(store.objects().by_name.len(), 1);
    assert!(store.objects().findings[0].message.contains("prots"), "{:?}", store.objects().findings);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    store.apply(&[service("a", 81)], now()).unwrap();
    assert_eq!(store.objects().by_name.len(), 2);
}

#[test]
fn a_change_that_the_disk_refuses_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.apply(&[service("a", 80)], now()).unwrap();
    // A folder in the journal's place: the rename that commits fails.
    fs::create_dir_all(state.path().join("journal/x")).unwrap();
    let before = store.objects();
    let error = store.apply(&[service("a", 81), service("b", 80)], now()).unwrap_err();
    assert!(error.to_string().contains("journal"), "{error}");
    assert_eq!(store.objects(), before);
    fs::remove_dir_all(state.path().join("journal")).unwrap();
    assert_eq!(store.apply(&[service("a", 81), service("b", 80)], now()).unwrap().len(), 2);
}

#[test]
fn the_longest_names_have_a_file() {
    let state = tempfile::tempdir().unwrap();
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec: {{address: 1.2.3.4}}\n"
    );
    let object = parse_documents("x", &text, "default").objects.remove(0);
    open(state.path()).apply(&[object], now()).unwrap();
    assert_eq!(open(state.path()).objects().by_name.len(), 1);
}
