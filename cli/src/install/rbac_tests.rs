use super::*;
use crate::testing::assert_current;

fn values() -> InstallValues {
    InstallValues::load(&[], &[]).unwrap()
}

#[test]
fn the_page_is_current() {
    assert_current("docs/rbac.md", &page(&values()));
}

#[test]
fn nothing_is_granted_by_star_and_everything_has_a_reason() {
    for it in permissions(&values()) {
        let words = it.verbs.iter().copied().chain(it.groups.iter().copied());
        assert!(
            words.chain(it.resources.iter().map(String::as_str)).all(|word| !word.contains('*')),
            "{it:?}"
        );
        assert!(!it.reason.is_empty() && !it.verbs.is_empty(), "{it:?}");
    }
}

#[test]
fn secrets_are_read_by_name_and_in_the_own_namespace_only() {
    for it in
        permissions(&values()).iter().filter(|it| it.resources.iter().any(|resource| resource == "secrets"))
    {
        assert_eq!(it.scope, Scope::Namespace);
        assert!(it.verbs == ["create"] || !it.names.is_empty(), "{it:?}");
    }
}

#[test]
fn policies_are_never_written() {
    for it in permissions(&values()) {
        let writes = it.verbs.iter().any(|verb| !READ.contains(verb));
        let policies = it.groups.iter().any(|group| policy_groups().contains(group));
        assert!(
            !(writes && policies) || it.resources.iter().all(|resource| resource.ends_with("/status")),
            "{it:?}"
        );
    }
}

#[test]
fn the_agent_may_only_do_what_its_repair_takes() {
    let verbs = |repair: &str| {
        let values = InstallValues::load(&[], &[format!("cni.repair={repair}")]).unwrap();
        agent_permissions(&values)
            .into_iter()
            .filter(|it| it.resources == ["pods"])
            .flat_map(|it| it.verbs)
            .collect::<Vec<_>>()
    };
    assert_eq!(verbs("delete"), ["get", "list", "delete"]);
    assert_eq!(verbs("label"), ["get", "list", "patch"]);
    assert_eq!(verbs("none"), ["get"]);
}
