use super::*;
use crate::install::values::InstallValues;
use crate::testing::{assert_current, repository};

#[test]
fn the_files_are_current() {
    assert_current("deploy/helm/weft/values.yaml", &values());
    assert_current("deploy/helm/weft/values.schema.json", &schema_file());
}

#[test]
fn the_charts_values_are_those_of_an_installation_but_for_the_namespace() {
    let values = InstallValues::load(&[("values.yaml".to_owned(), values())], &[]).unwrap();
    assert_eq!(values.chosen(), serde_json::json!({"namespace": {"create": false}}));
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = std::fs::read_to_string(repository("deploy/helm/weft/Chart.yaml")).unwrap();
    for key in ["version", "appVersion"] {
        assert!(chart.lines().any(|line| line == format!("{key}: {}", env!("CARGO_PKG_VERSION"))), "{key}");
    }
}

#[test]
fn the_reference_in_the_manual_is_current() {
    let page = std::fs::read_to_string(repository("docs/install.md")).unwrap();
    let (begin, end) = ("<!-- values: made from cli/src/install/schema.rs -->\n", "<!-- end of values -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    assert_current("docs/install.md", &format!("{head}{begin}{}{end}{tail}", reference()));
}
