//! The plugin on the host: its program among the CNI plugins, and its entry in the network configuration that the
//! container runtime uses, which is the first by name. The main plugin owns that file and may write it again at any
//! time, so it is looked at for as long as the agent runs.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::PLUGIN;
use super::plugin::Configuration;

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;

/// Folders of the host, as they are mounted here.
#[derive(Args, Clone, Debug)]
pub struct Host {
    /// Its folder of CNI plugins.
    #[arg(long, value_name = "DIR", default_value = "/host/opt/cni/bin")]
    pub bin_dir: PathBuf,
    /// Its folder of network configurations.
    #[arg(long, value_name = "DIR", default_value = "/host/etc/cni/net.d")]
    pub config_dir: PathBuf,
}

/// Why the plugin is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file or a folder.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The network configuration is damaged.
    #[error("{} is no network configuration: {reason}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// What a look at the network configuration came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// There is none yet: the main plugin has not written it.
    Nothing,
    /// The plugin is in it, as it should be.
    Good,
    /// The plugin was put into this file.
    Changed(PathBuf),
}

/// A configuration of one plugin, that was made a list of, is kept under its name with this behind it.
const KEPT: &str = ".weft-kept";

/// The folder beside the plugin with what it starts.
const BUNDLE: &str = ".weft-cni";
/// In it, this program.
const PROGRAM: &str = "weft-proxy";
/// In it, the dynamic loader.
const LOADER: &str = "loader";
/// The plugin: runtimes start it by its full path.
const SCRIPT: &str = "#!/bin/sh
# Weft's CNI plugin: this program with the libraries that it was built with.
home=\"${0%/*}/.weft-cni\"
exec \"$home/loader\" --library-path \"$home\" \"$home/weft-proxy\" cni plugin
";

/// The libraries that this process has been loaded with, the loader among them.
fn libraries() -> Result<Vec<PathBuf>, InstallError> {
    let maps = Path::new("/proc/self/maps");
    let text = fs::read_to_string(maps).map_err(failed("read", maps))?;
    // The sixth word of a line is the file.
    let files = text.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
    let is_library = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.is_absolute() && name.contains(".so")
    };
    Ok(files.filter(is_library).collect::<std::collections::BTreeSet<_>>().into_iter().collect())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File { action, path, source }
}

impl Host {
    /// Copies `program` to the host's plugins, with its libraries and their loader: the host's may be older, or others
    /// altogether. The plugin itself is a script that starts it with them.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn install_program(&self, program: &Path) -> Result<(), InstallError> {
        let folder = self.bin_dir.join(BUNDLE);
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        let copy = |from: &Path, name: &str| {
            write(&folder.join(name), &fs::read(from).map_err(failed("read", from))?, 0o755)
        };
        for library in libraries()? {
            let name = library.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            copy(&library, name)?;
            if name.starts_with("ld-") {
                copy(&library, LOADER)?;
            }
        }
        copy(program, PROGRAM)?;
        write(&self.bin_dir.join(PLUGIN), SCRIPT.as_bytes(), 0o755)
    }

    /// Puts the plugin into the network configuration, unless it is there.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn configure(&self, own: &Configuration) -> Result<Found, InstallError> {
        let Some(path) = self.first()? else { return Ok(Found::Nothing) };
        let mut list = read(&path)?;
        let is_list = list.get("plugins").is_some();
        if !is_list {
            list = as_list(list);
        }
        let own = serde_json::to_value(own).unwrap_or_default();
        let damaged =
            || InstallError::Configuration { path: path.clone(), reason: "`plugins` is no list".to_owned() };
        let plugins = list.get_mut("plugins").and_then(Value::as_array_mut).ok_or_else(damaged)?;
        if plugins.last() == Some(&own) {
            return Ok(Found::Good);
        }
        plugins.retain(|plugin| plugin["type"] != PLUGIN);
        plugins.push(own);
        let text = format!("{list:#}\n");
        if is_list {
            write(&path, text.as_bytes(), 0o644)?;
            return Ok(Found::Changed(path));
        }
        let to = path.with_extension("conflist");
        write(&to, text.as_bytes(), 0o644)?;
        // Or the runtime would go on using it: it comes first by name.
        let kept = with_suffix(&path, KEPT);
        fs::rename(&path, &kept).map_err(failed("put aside", &path))?;
        Ok(Found::Changed(to))
    }

    /// Takes plugin and program away. First from the configuration: what is named there must exist.
    ///
    /// # Errors
    /// See [`InstallError`]; what could be taken away is gone.
    pub fn uninstall(&self) -> Result<(), InstallError> {
        let mut outcome = Ok(());
        for path in self.configurations()? {
            outcome = outcome.and(Self::take_out(&path));
        }
        outcome?;
        let (program, bundle) = (self.bin_dir.join(PLUGIN), self.bin_dir.join(BUNDLE));
        for (path, removed) in [(&program, fs::remove_file(&program)), (&bundle, fs::remove_dir_all(&bundle))]
        {
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(failed("remove", path)(error));
            }
        }
        Ok(())
    }

    fn take_out(path: &Path) -> Result<(), InstallError> {
        let mut list = match read(path) {
            Ok(list) => list,
            // Whoever damaged it, it was not this.
            Err(InstallError::Configuration { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(plugins) = list.get_mut("plugins").and_then(Value::as_array_mut) else { return Ok(()) };
        let before = plugins.len();
        plugins.retain(|plugin| plugin["type"] != PLUGIN);
        if plugins.len() == before {
            return Ok(());
        }
        let kept = with_suffix(&path.with_extension("conf"), KEPT);
        if kept.exists() {
            let original = path.with_extension("conf");
            fs::rename(&kept, &original).map_err(failed("bring back", &original))?;
            return fs::remove_file(path).map_err(failed("remove", path));
        }
        write(path, format!("{list:#}\n").as_bytes(), 0o644)
    }

    fn first(&self) -> Result<Option<PathBuf>, InstallError> {
        Ok(self.configurations()?.into_iter().next())
    }

    /// In the order in which runtimes look at them.
    fn configurations(&self) -> Result<Vec<PathBuf>, InstallError> {
        let entries = fs::read_dir(&self.config_dir).map_err(failed("read", &self.config_dir))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let extension = path.extension().and_then(|extension| extension.to_str());
                matches!(extension, Some("conf" | "conflist" | "json"))
            })
            .collect();
        paths.sort();
        Ok(paths)
    }
}

/// A configuration of one plugin as a list with that one.
fn as_list(mut single: Value) -> Value {
    let take = |value: &mut Value, key: &str| value.as_object_mut().and_then(|object| object.remove(key));
    let version = take(&mut single, "cniVersion").unwrap_or_else(|| "0.4.0".into());
    let name = take(&mut single, "name").unwrap_or_else(|| "pods".into());
    json!({ "cniVersion": version, "name": name, "plugins": [single] })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(path: &Path) -> Result<Value, InstallError> {
    let text = fs::read(path).map_err(failed("read", path))?;
    let damaged = |reason: String| InstallError::Configuration { path: path.to_owned(), reason };
    let value: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(damaged("it is no JSON object".to_owned())) }
}

/// Whole or not at all: a runtime may read at any moment. The name of the unfinished file is none that it looks at.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), InstallError> {
    let unfinished = with_suffix(path, ".weft-new");
    fs::write(&unfinished, content).map_err(failed("write", &unfinished))?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode))
        .map_err(failed("write", &unfinished))?;
    fs::rename(&unfinished, path).map_err(failed("replace", path))
}
