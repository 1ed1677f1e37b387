use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::json;

use super::{ConfigurationNames, patch};

fn configuration(bundles: [Option<&str>; 2]) -> MutatingWebhookConfiguration {
    let webhook = |(index, bundle): (usize, Option<&str>)| {
        let mut client = json!({"url": "https://localhost/inject"});
        if let Some(bundle) = bundle {
            client["caBundle"] = json!(bundle);
        }
        json!({"name": format!("w{index}"), "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"]})
    };
    let webhooks: Vec<_> = bundles.into_iter().enumerate().map(webhook).collect();
    serde_json::from_value(json!({"metadata": {"name": "weft-injector"}, "webhooks": webhooks})).unwrap()
}

#[test]
fn only_what_differs_is_written() {
    // "roots" and "other" in base64.
    let wrong = configuration([Some("cm9vdHM="), Some("b3RoZXI=")]);
    assert_eq!(
        patch(&wrong, "roots"),
        Some(json!({"webhooks": [{"name": "w1", "clientConfig": {"caBundle": "cm9vdHM="}}]}))
    );
    assert_eq!(patch(&configuration([Some("cm9vdHM="); 2]), "roots"), None);
    assert!(patch(&configuration([None; 2]), "roots").is_some());
}

#[test]
fn a_revision_has_its_own_injector_and_the_one_validator() {
    let names = ConfigurationNames::of_revision("default");
    assert_eq!((names.mutating.as_str(), names.validating.as_str()), ("weft-injector", "weft-validator"));
    assert_eq!(ConfigurationNames::of_revision("canary").mutating, "weft-injector-canary");
}
