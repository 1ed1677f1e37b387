//! Files of the repository that are made from the code: tests hold them current.

use std::path::{Path, PathBuf};

/// A path of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Fails when a file is not what the code makes; with `UPDATE=1` writes it instead.
pub(crate) fn assert_current(path: &str, made: &str) {
    let file = repository(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, made).unwrap();
        return;
    }
    let stands = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stands == made,
        "{path} is not what the code makes: run this test with UPDATE=1 and look at the difference"
    );
}
