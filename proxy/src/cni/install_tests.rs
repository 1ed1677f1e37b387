use super::*;

struct Machine {
    _folder: tempfile::TempDir,
    host: Host,
}

fn machine(configurations: &[(&str, &Value)]) -> Machine {
    let folder = tempfile::tempdir().unwrap();
    let host = Host { bin_dir: folder.path().join("bin"), config_dir: folder.path().join("net.d") };
    fs::create_dir(&host.bin_dir).unwrap();
    fs::create_dir(&host.config_dir).unwrap();
    for (name, value) in configurations {
        fs::write(host.config_dir.join(name), value.to_string()).unwrap();
    }
    Machine { _folder: folder, host }
}

impl Machine {
    fn content(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.host.config_dir.join(name)).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.host.config_dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn bridge() -> Value {
    json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [{ "type": "bridge" }, { "type": "portmap" }] })
}

fn own() -> Configuration {
    Configuration::new(vec!["kube-system".to_owned()])
}

#[test]
fn the_plugin_is_last_in_the_first_configuration_and_is_put_back_when_somebody_takes_it_out() {
    let machine = machine(&[
        ("10-bridge.conflist", &bridge()),
        ("99-other.conflist", &bridge()),
        ("00-notes.txt", &json!(1)),
    ]);
    let path = machine.host.config_dir.join("10-bridge.conflist");
    assert_eq!(machine.host.configure(&own()).unwrap(), Found::Changed(path.clone()));
    let types: Vec<String> = machine.content("10-bridge.conflist")["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| plugin["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types, ["bridge", "portmap", PLUGIN]);
    assert_eq!(machine.content("99-other.conflist"), bridge());
    assert_eq!(machine.host.configure(&own()).unwrap(), Found::Good);

    fs::write(&path, bridge().to_string()).unwrap();
    assert_eq!(machine.host.configure(&own()).unwrap(), Found::Changed(path));
    // Another setting replaces the one that is there.
    let more = Configuration::new(vec!["kube-system".to_owned(), "ci".to_owned()]);
    assert!(matches!(machine.host.configure(&more).unwrap(), Found::Changed(_)));
    assert_eq!(machine.content("10-bridge.conflist")["plugins"].as_array().unwrap().len(), 3);
}

#[test]
fn a_configuration_of_one_plugin_becomes_a_list_and_comes_back() {
    let single = json!({ "cniVersion": "0.3.1", "name": "pods", "type": "bridge", "bridge": "cni0" });
    let machine = machine(&[("05-single.conf", &single)]);
    machine.host.configure(&own()).unwrap();
    assert_eq!(machine.names(), ["05-single.conf.weft-kept", "05-single.conflist"]);
    let list = machine.content("05-single.conflist");
    assert_eq!((&list["name"], &list["plugins"][0]["bridge"]), (&"pods".into(), &"cni0".into()));
    assert_eq!(machine.host.configure(&own()).unwrap(), Found::Good);
    machine.host.uninstall().unwrap();
    assert_eq!(machine.names(), ["05-single.conf"]);
    assert_eq!(machine.content("05-single.conf"), single);
}

#[test]
fn what_was_installed_is_gone_afterwards_and_nothing_else() {
    let machine = machine(&[("10-bridge.conflist", &bridge())]);
    // Any program will do: this one says that it was started as the plugin.
    machine.host.install_program(Path::new("/bin/echo")).unwrap();
    let program = machine.host.bin_dir.join(PLUGIN);
    let said = std::process::Command::new(&program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "cni plugin\n", "{said:?}");
    machine.host.configure(&own()).unwrap();
    machine.host.uninstall().unwrap();
    machine.host.uninstall().unwrap();
    assert_eq!(fs::read_dir(&machine.host.bin_dir).unwrap().count(), 0);
    assert_eq!(machine.content("10-bridge.conflist"), bridge());
}

#[test]
fn a_node_may_not_be_ready_and_a_damaged_configuration_is_named_and_left() {
    let empty = machine(&[]);
    assert_eq!(empty.host.configure(&own()).unwrap(), Found::Nothing);
    let damaged = machine(&[("10-bridge.conflist", &json!({ "plugins": "bridge" }))]);
    let error = damaged.host.configure(&own()).unwrap_err().to_string();
    assert!(error.contains("10-bridge.conflist") && error.contains("no list"), "{error}");
    assert_eq!(damaged.content("10-bridge.conflist"), json!({ "plugins": "bridge" }));
}
