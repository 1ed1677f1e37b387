use super::*;

#[test]
fn the_tools_that_look_at_the_same_rules_do_not_clean_up_after_each_other() {
    let [nft, by_nft, legacy, general] = ALL;
    assert!(general.overlaps(by_nft) && legacy.overlaps(general) && nft.overlaps(nft));
    assert!(!nft.overlaps(general) && !by_nft.overlaps(legacy) && !by_nft.overlaps(nft));
}

#[test]
fn one_failure_is_told_as_it_is_and_many_together() {
    let missing = |tool| ApplyError::Missing { tool, package: "iptables" };
    assert!(matches!(only_or_all(vec![missing("a")]), ApplyError::Missing { tool: "a", .. }));
    let both = only_or_all(vec![missing("a"), missing("b")]).to_string();
    assert!(both.contains("`a` is not installed") && both.contains("`b` is not installed"), "{both}");
}
