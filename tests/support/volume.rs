//! A volume with certificate and key, as Kubernetes mounts a Secret.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The files are links into `..data`, which is a link to the folder of one revision: kubelet swaps
/// that one link, so that both files change at the same instant.
pub(crate) struct Volume {
    folder: TempDir,
    revision: u32,
}

impl Volume {
    pub(crate) fn new(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
        }
        let mut volume = Self {
            folder,
            revision: 0,
        };
        volume.publish(chain, key);
        volume
    }

    pub(crate) fn publish(&mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) {
        let path = |name: &str| self.folder.path().join(name);
        let old = fs::canonicalize(path("..data")).ok();
        self.revision += 1;
        let name = format!("..revision_{}", self.revision);
        fs::create_dir(path(&name)).unwrap();
        fs::copy(chain, path(&name).join("tls.crt")).unwrap();
        fs::copy(key, path(&name).join("tls.key")).unwrap();
        symlink(&name, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(old).unwrap();
        }
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }
}
