use super::*;
use crate::source::Spec;
use crate::source::kinds::service::{Addressing, TargetPort};
use crate::source::kinds::virtual_service::{HttpAction, RetryCondition};

fn diagnostics(file: &str, text: &str) -> String {
    let parsed = parse_documents(file, text, "default");
    assert!(parsed.objects.is_empty(), "{:?}", parsed.objects);
    parsed.findings.iter().map(|finding| format!("{finding}\n{}\n\n", finding.excerpt)).collect()
}

fn good(text: &str) -> Vec<Arc<Object>> {
    let parsed = parse_documents("good.yaml", text, "default");
    assert!(!parsed.has_errors(), "{:#?}", parsed.findings);
    parsed.objects
}

macro_rules! golden {
    ($($test:ident: $file:literal;)*) => { $(
        #[test]
        fn $test() {
            insta::assert_snapshot!(diagnostics($file, include_str!(concat!("testdata/bad/", $file))));
        }
    )* };
}

golden! {
    every_mistake_of_an_http_route_is_told: "http_route.yaml";
    every_mistake_of_a_virtual_service_is_told: "virtual_service.yaml";
    every_mistake_of_a_destination_rule_is_told: "destination_rule.yaml";
    every_mistake_of_the_other_kinds_is_told: "others.yaml";
}

#[test]
fn what_the_gateway_api_documents_is_read() {
    let objects = good(include_str!("testdata/good/gateway_api.yaml"));
    insta::assert_debug_snapshot!(objects.iter().map(|object| &object.spec).collect::<Vec<_>>());
    assert_eq!(&*objects[1].reference.api_version, "gateway.networking.k8s.io/v1", "the preferred version");
}

#[test]
fn what_istio_documents_is_read() {
    let objects = good(include_str!("testdata/good/istio.yaml"));
    assert_eq!(objects.len(), 6);
    insta::assert_debug_snapshot!(objects.iter().map(|object| &object.spec).collect::<Vec<_>>());
    let Spec::VirtualService(service) = &objects[0].spec else { panic!() };
    let HttpAction::Route(route) = &service.http[3].action else { panic!() };
    assert_eq!(&*route[1].field, "spec.http[3].route[1]");
    assert_eq!(
        objects[0].provenance(&route[1].field).to_string(),
        "VirtualService/default/ratings@0 spec.http[3].route[1]"
    );
    let retries = service.http[0].retries.as_ref().unwrap();
    assert!(retries.retry_on.as_ref().unwrap().contains(&RetryCondition::Status(503)));
}

#[test]
fn a_list_is_unfolded_and_each_item_keeps_its_text() {
    let objects = good(include_str!("testdata/good/kubernetes.yaml"));
    let names: Vec<_> = objects.iter().map(|object| object.name().to_string()).collect();
    assert_eq!(names, ["reviews", "db", "elsewhere"]);
    assert!(objects[0].text.starts_with("apiVersion: v1\nkind: Service\n"), "{}", objects[0].text);
    assert!(objects[0].text.contains("# kept"));
    let Spec::Service(service) = &objects[0].spec else { panic!() };
    assert_eq!(service.ports[0].target_port, TargetPort::Name("web".into()));
    let Spec::Service(headless) = &objects[1].spec else { panic!() };
    assert_eq!(headless.addressing, Addressing::Headless);
    let place = objects[1].finding(Severity::Warning, "x", "spec.clusterIP", "m", "");
    let line = include_str!("testdata/good/kubernetes.yaml").lines().nth(place.line as usize - 1).unwrap();
    assert!(line.contains("clusterIP"), "{}: {line}", place.line);
}

#[test]
fn what_was_read_reads_the_same_from_its_own_text_and_from_json() {
    for text in [
        include_str!("testdata/good/gateway_api.yaml"),
        include_str!("testdata/good/istio.yaml"),
        include_str!("testdata/good/kubernetes.yaml"),
    ] {
        for object in good(text) {
            let [again] = &good(&object.text)[..] else { panic!() };
            assert!(again.same_content(&object), "{}", object.reference);
            let parsed = parse_json(&object.to_json(), "default");
            assert!(parsed.objects[0].same_content(&object), "{}", object.reference);
            assert!(good(&parsed.objects[0].text)[0].same_content(&object), "JSON text is YAML");
        }
    }
}

#[test]
fn a_broken_document_does_not_hide_those_after_it() {
    let text = "a: [\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n---\n# only a comment\n---\nkind: [\n";
    let parsed = parse_documents("x.yaml", text, "shop");
    assert_eq!(parsed.objects.len(), 1);
    assert_eq!(parsed.objects[0].reference.to_string(), "Service/shop/a");
    assert_eq!(parsed.objects[0].place.line, 2);
    let codes: Vec<_> = parsed.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["yaml-syntax", "yaml-syntax"]);
}

#[test]
fn an_object_that_stands_twice_is_refused() {
    let one = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let parsed = parse_documents("x.yaml", &format!("{one}---\n{one}"), "default");
    assert!(parsed.objects.is_empty());
    let finding = &parsed.findings[0];
    assert_eq!((finding.code, finding.line), ("duplicate-object", 8), "{finding}");
}

#[test]
fn an_object_that_stands_in_two_files_is_refused() {
    let one = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let parsed = parse_files([("1.yaml", one), ("2.yaml", one)], "default");
    assert!(parsed.has_errors());
    assert_eq!(
        parsed.findings[0].to_string(),
        "2.yaml:3:12: error[duplicate-object]: Service/default/a is in 1.yaml too (metadata.name of Service/default/a); keep one"
    );
}

#[test]
fn an_alias_across_list_items_still_gives_each_item_a_text_of_its_own() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: &s {ports: [{port: 80}]}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n  spec: *s\n";
    let objects = good(text);
    assert!(good(&objects[1].text)[0].same_content(&objects[1]));
}

fn kinds() -> impl proptest::strategy::Strategy<Value = String> {
    let files = [
        include_str!("testdata/good/gateway_api.yaml"),
        include_str!("testdata/good/istio.yaml"),
        include_str!("testdata/good/kubernetes.yaml"),
    ];
    proptest::sample::select(files.map(str::to_owned).to_vec())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

    #[test]
    fn cut_and_garbled_files_are_read_or_refused_without_panic(
        file in kinds(), at in 0.0..1.0_f64, length in 0_usize..40, junk in "[a-z:{}\\[\\]\"'\n 0-9#&*|é-]{0,12}",
    ) {
        let clamp = |byte: usize| (0..=byte.min(file.len())).rev().find(|&at| file.is_char_boundary(at)).unwrap_or(0);
        let start = clamp((file.len() as f64 * at) as usize);
        let end = clamp(start + length).max(start);
        let text = format!("{}{junk}{}", &file[..start], &file[end..]);
        let parsed = parse_documents("f.yaml", &text, "default");
        for object in &parsed.objects {
            let _ = object.finding(Severity::Error, "x", "spec", "m", "h");
            proptest::prop_assert!(parse_documents("f", &object.text, object.namespace()).objects.len() == 1);
        }
        let _ = crate::admission::review(&parsed.objects, "cluster.local");
    }

    #[test]
    fn any_json_value_in_any_field_is_read_or_refused_without_panic(file in kinds(), pick in 0_usize..400, value in 0_usize..8) {
        let values = [serde_json::json!(null), serde_json::json!(1), serde_json::json!(-1), serde_json::json!("x"), serde_json::json!([]), serde_json::json!({}), serde_json::json!([{}]), serde_json::json!(1e300)];
        for object in good(&file) {
            let mut json = object.to_json();
            let mut left = pick;
            replace(&mut json, &mut left, &values[value]);
            let _ = parse_json(&json, "default");
        }
    }
}

fn replace(json: &mut serde_json::Value, left: &mut usize, with: &serde_json::Value) {
    if *left == 0 {
        json.clone_from(with);
        *left = usize::MAX;
        return;
    }
    *left -= 1;
    match json {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| replace(item, left, with)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|item| replace(item, left, with)),
        _ => {}
    }
}
