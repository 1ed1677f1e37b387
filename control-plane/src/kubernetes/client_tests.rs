use super::*;

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_says_which_and_why() {
    let error = connect(Some(Path::new("/nowhere/config")), None).await.err().unwrap().to_string();
    assert!(error.contains("/nowhere/config"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, "apiVersion: v1\nkind: Config\ncontexts: []\n").unwrap();
    let error = connect(Some(&file), Some("prod")).await.err().unwrap().to_string();
    assert!(error.contains("`prod`") && error.contains("config"), "{error}");
}
