//! Key and certificate on disk: one file, so that a crash can never leave a key with another key's certificate.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::WorkloadCertificate;
use super::settings::IdentityError;
use super::trust::{TrustBundle, pem};

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

/// `<state-dir>/identity/identity.pem`: the key, then the chain, then the roots the authority delivered with it.
#[derive(Clone, Debug)]
pub(super) struct IdentityStore {
    directory: PathBuf,
}

impl IdentityStore {
    /// Makes the directory with mode 0700 where it is missing.
    pub(super) fn open(state_dir: &Path) -> Result<Self, IdentityError> {
        let directory = state_dir.join("identity");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(IdentityError::file("create", &directory))?;
        Ok(Self { directory })
    }

    pub(super) fn file(&self) -> PathBuf {
        self.directory.join("identity.pem")
    }

    /// What was stored last; `None` when nothing was.
    ///
    /// # Errors
    /// [`IdentityError::Exposed`] when others can read the key, and when the file makes no sense.
    pub(super) fn load(
        &self,
        configured: &TrustBundle,
    ) -> Result<Option<WorkloadCertificate>, IdentityError> {
        let path = self.file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IdentityError::file("open", &path)(error)),
        };
        let mode = file.metadata().map_err(IdentityError::file("examine", &path))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path, mode });
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(IdentityError::file("read", &path))?;
        let malformed = |error: rustls::pki_types::pem::Error| {
            IdentityError::Malformed(format!("{} is not PEM: {error}", path.display()))
        };
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(malformed)?;
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(malformed)?;
        let (chain, roots) = split_roots(certificates);
        let bundle = configured.with(roots).map_err(|source| IdentityError::TrustBundle { path, source })?;
        Ok(Some(WorkloadCertificate::new(chain, key, bundle)?))
    }

    /// Replaces what is stored, or leaves it as it was.
    pub(super) fn save(
        &self,
        key: &PrivatePkcs8KeyDer<'_>,
        certificates: &[CertificateDer<'_>],
    ) -> Result<(), IdentityError> {
        let mut text = pem("PRIVATE KEY", key.secret_pkcs8_der());
        text.extend(certificates.iter().map(|certificate| pem("CERTIFICATE", certificate)));
        let path = self.file();
        replace(&path, text.as_bytes()).map_err(IdentityError::file("write", &path))
    }
}

/// Divides what an authority sends (leaf, intermediates, roots) into the chain to present and the roots to trust.
pub(super) fn split_roots(
    certificates: Vec<CertificateDer<'static>>,
) -> (Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>) {
    certificates.into_iter().partition(|certificate| !is_root(certificate))
}

fn is_root(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, parsed)| parsed.is_ca() && parsed.subject().as_raw() == parsed.issuer().as_raw())
}

/// Writes beside, makes it durable, then renames: a reader, or a restart after a crash, sees the old or the new.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    // A leftover of a crash may have any mode; the new file must be made by us.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
