use std::sync::Arc;

use super::*;

fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
    let labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    selector.parse::<NamespaceSelector>().unwrap().matches(&labels)
}

#[test]
fn every_requirement_counts() {
    let prod = [("env", "prod"), ("team.example/name", "a")];
    for yes in [
        "env=prod",
        "env==prod",
        "env",
        "env in (dev, prod),team.example/name",
        "env!=dev",
        "!old",
        "env notin (dev)",
        "none!=x",
    ] {
        assert!(selects(yes, &prod), "{yes}");
    }
    for no in ["env=dev", "!env", "env=prod,old", "env in (dev)", "env notin (dev,prod)", "old in (a)"] {
        assert!(!selects(no, &prod), "{no}");
    }
}

#[test]
fn what_is_no_selector_says_what_is_wrong() {
    for bad in ["", " , ", "env=a b", "env in (a", "env within (a)", "-x", "!", "a=b=c"] {
        let error = bad.parse::<NamespaceSelector>().unwrap_err();
        assert!(error.contains("selector"), "{bad}: {error}");
    }
}
