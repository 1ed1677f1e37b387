//! The YAML that a user names with `-f`: files, directories, standard input.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

use weft_proto::api::SourceFile;

use crate::command::{CommandError, FAILED};

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// As the user named it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory without YAML.
    #[error("{} has no .yaml, .yml or .json file", .0.display())]
    Empty(PathBuf),
}

/// All that could not be read.
#[derive(Debug)]
pub struct FileErrors(pub Vec<FileError>);

impl From<FileErrors> for CommandError {
    fn from(FileErrors(errors): FileErrors) -> Self {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self::new(FAILED, lines.join("\n"))
    }
}

/// Reads every source: `-` is standard input; of a directory all `.yaml`, `.yml` and `.json` files, in order of name,
/// its sub-directories too.
///
/// # Errors
/// All that could not be read, at once.
pub fn read(sources: &[PathBuf]) -> Result<Vec<SourceFile>, FileErrors> {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    for source in sources {
        if source.as_os_str() == "-" {
            let mut content = String::new();
            match io::stdin().lock().read_to_string(&mut content) {
                Ok(_) => files.push(SourceFile { path: "-".to_owned(), content }),
                Err(error) => errors.push(FileError::Unreadable { path: source.clone(), source: error }),
            }
            continue;
        }
        match list(source) {
            Ok(paths) if paths.is_empty() => errors.push(FileError::Empty(source.clone())),
            Ok(paths) => {
                for path in paths {
                    match fs::read_to_string(&path) {
                        Ok(content) => files.push(SourceFile { path: path.display().to_string(), content }),
                        Err(error) => errors.push(FileError::Unreadable { path, source: error }),
                    }
                }
            }
            Err(error) => errors.push(FileError::Unreadable { path: source.clone(), source: error }),
        }
    }
    if errors.is_empty() { Ok(files) } else { Err(FileErrors(errors)) }
}

fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let named =
            entry.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        if entry.is_dir() {
            found.extend(list(&entry)?);
        } else if named {
            found.push(entry);
        }
    }
    Ok(found)
}
