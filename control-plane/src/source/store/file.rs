//! The file of one object: a first line for the store, then the user's text.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weft_model::provenance::ObjectRef;

use super::{StoreError, disk, unusable};
use crate::source::diagnostic::Finding;
use crate::source::object::{Object, Origin, Place};
use crate::source::parse::parse_documents;
use crate::source::set::Objects;

/// Folder of the objects within the state directory.
pub(super) const OBJECTS: &str = "objects";
/// Begins the store's own line.
const MARK: &str = "# weft: ";
/// Longest stem of a file's name; Linux allows 255 bytes with the ending.
const MAX_STEM: usize = 240;

/// What the store knows beside the text.
#[derive(Serialize, Deserialize)]
struct Header {
    generation: u64,
    /// RFC 3339.
    created: Option<String>,
    origin: String,
    namespace: String,
    file: String,
    line: u32,
}

/// Where an object's file stands. All three parts are checked names, so none leads out of the folder.
pub(super) fn path(name: &ObjectRef) -> PathBuf {
    let mut stem = name.name.to_string();
    if stem.len() > MAX_STEM {
        let digest = Sha256::digest(stem.as_bytes());
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        stem.truncate(MAX_STEM - 17);
        stem = format!("{stem}-{short}");
    }
    [OBJECTS, &name.namespace, &name.kind, &format!("{stem}.yaml")].iter().collect()
}

/// The file's content.
pub(super) fn render(object: &Object) -> String {
    let header = Header {
        generation: object.generation,
        created: object.metadata.created.map(|created| created.to_string()),
        origin: object.origin.to_string(),
        namespace: object.namespace().to_string(),
        file: object.place.file.to_string(),
        line: object.place.line,
    };
    let header = serde_json::to_string(&header).unwrap_or_default();
    format!("{MARK}{header}\n{}", object.text)
}

/// All objects below a folder, with findings for the files that cannot be used.
pub(super) fn read_all(folder: &Path) -> Result<Objects, StoreError> {
    let mut objects = Objects::default();
    let mut files = Vec::new();
    list(folder, 0, &mut files)?;
    files.sort();
    for path in files {
        match fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| read(&text)) {
            Ok(object) => {
                objects.by_name.insert(object.reference.clone(), Arc::new(object));
            }
            Err(why) => objects.findings.push(unusable(&path, &why)),
        }
    }
    Ok(objects)
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk("read", folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(disk("read", folder))?.path();
        if path.is_dir() && depth < 3 {
            list(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads a file's content.
fn read(content: &str) -> Result<Object, String> {
    let (first, text) = content.split_once('\n').ok_or("it has only one line")?;
    let header = first.strip_prefix(MARK).ok_or("its first line is not the store's")?;
    let header: Header = serde_json::from_str(header).map_err(|error| format!("its first line: {error}"))?;
    let parsed = parse_documents(&header.file, text, &header.namespace);
    let errors: Vec<_> =
        parsed.findings.iter().filter(|finding| finding.is_error()).map(Finding::to_string).collect();
    let [object] = &parsed.objects[..] else {
        let why = if errors.is_empty() {
            format!("it has {} objects", parsed.objects.len())
        } else {
            errors.join("; ")
        };
        return Err(why);
    };
    let mut object = Object::clone(object);
    object.generation = header.generation;
    object.metadata.created = header.created.and_then(|created| created.parse().ok());
    object.origin = Origin::named(&header.origin).unwrap_or_default();
    object.place = Place { file: header.file.as_str().into(), line: header.line };
    object.text = text.into();
    Ok(object)
}
