use super::*;

/// One call of a runtime; `socket` is where nobody listens.
fn call(command: &str, namespace: &str, input: &Value) -> Result<Option<Value>, CniError> {
    let arguments = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=a-1;K8S_POD_UID=u");
    let variable = |name: &str| match name {
        "CNI_COMMAND" => Some(command.to_owned()),
        "CNI_ARGS" if !namespace.is_empty() => Some(arguments.clone()),
        "CNI_NETNS" => Some("/proc/self/ns/net".to_owned()),
        _ => None,
    };
    run(&variable, input.to_string().as_bytes())
}

fn configuration() -> Value {
    let own = Configuration {
        socket: "/nonexistent/agent.sock".into(),
        ..Configuration::new(vec!["kube-system".to_owned()])
    };
    let mut input = serde_json::to_value(own).unwrap();
    input["cniVersion"] = "0.4.0".into();
    input["name"] = "pods".into();
    input["prevResult"] =
        json!({ "cniVersion": "0.4.0", "ips": [{ "address": "10.244.1.7/24" }], "dns": {} });
    input
}

#[test]
fn what_others_did_is_passed_on_for_pods_that_need_not_ask() {
    for namespace in ["kube-system", ""] {
        let result = call("ADD", namespace, &configuration()).unwrap();
        assert_eq!(result.as_ref(), configuration().get("prevResult"), "{namespace}");
    }
}

#[test]
fn without_the_agent_no_other_pod_starts_but_every_pod_can_go() {
    let refused = call("ADD", "shop", &configuration()).unwrap_err();
    assert_eq!(refused.code, TRY_AGAIN);
    assert!(
        refused.message.contains("shop/a-1") && refused.message.contains("/nonexistent/agent.sock"),
        "{refused:?}"
    );
    assert_eq!(call("CHECK", "shop", &configuration()).unwrap_err().code, TRY_AGAIN);
    assert_eq!(call("DEL", "shop", &configuration()), Ok(None));
    assert_eq!(call("DEL", "shop", &Value::Null), Ok(None));
}

#[test]
fn it_says_which_versions_it_speaks() {
    let said = call("VERSION", "", &json!({ "cniVersion": "0.4.0" })).unwrap().unwrap();
    assert_eq!(said["cniVersion"], "0.4.0");
    assert!(said["supportedVersions"].as_array().unwrap().contains(&"1.0.0".into()));
}

#[test]
fn what_is_wrong_has_the_specifications_code() {
    let mut first = configuration();
    first.as_object_mut().unwrap().remove("prevResult");
    let mut no_socket = configuration();
    no_socket.as_object_mut().unwrap().remove("socket");
    for (command, input, code, why) in [
        ("ADD", first, 7, "behind another plugin"),
        ("ADD", no_socket, 7, "socket"),
        ("GROW", configuration(), 4, "GROW"),
        ("", configuration(), 4, "CNI_COMMAND is not set"),
    ] {
        let error = call(command, "shop", &input).unwrap_err();
        assert!(error.code == code && error.message.contains(why), "{error:?}");
    }
    let damaged = run(&|_| Some("ADD".to_owned()), b"{").unwrap_err();
    assert_eq!(damaged.code, NOT_DECODED);
}
