// SPDX-License-Identifier: Apache-2.0
//! A bundle directory with an image's config and files.
use std::fs;
use std::path::{Path, PathBuf};

use image_spec::runtime::Spec;
use image_spec::{ImageConfig, Platform};
use snapshot::{Error, ErrorKind, bundle};
use tempfile::TempDir;

use super::chain;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# remark\n\nweb:x:33:44:web:/srv:/bin/false\nweb:x:1:1::/:\nwide:x:4294967296:0::/:\nlast:x:4294967294:7::/:\n1000:x:5:5::/:\nloner:x:77:78\n";
const GROUP: &str =
    "root:x:0:root,web\nwww:x:44:web\nextra:x:45:last,web\nnone:x:46:\nbad:x:-1:\nmore:x:45:web\n";

/// A bundle with a root filesystem of a few files.
pub(crate) struct Place {
    pub(crate) temp: TempDir,
    pub(crate) config: ImageConfig,
}

impl Place {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut config = ImageConfig::new(&"linux/amd64".parse::<Platform>().unwrap(), Vec::new());
        config.config.entrypoint = vec!["/bin/sh".to_owned()];
        let place = Place { temp, config };
        fs::create_dir_all(place.rootfs().join("etc")).unwrap();
        place.file("etc/passwd", PASSWD);
        place.file("etc/group", GROUP);
        place
    }

    pub(crate) fn bundle(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.rootfs().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn write(&self) -> Result<Spec, Error> {
        let _ = fs::remove_file(self.bundle().join("config.json"));
        bundle::write(self.bundle(), &self.config, &self.rootfs())
    }

    pub(crate) fn user(&mut self, user: &str) -> Result<(u32, u32, Vec<u32>), String> {
        user.clone_into(&mut self.config.config.user);
        let user = self.write().map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::User, "{}", chain(&error));
            assert!(!self.bundle().join("config.json").exists());
            error.to_string()
        })?;
        let user = user.process.unwrap().user;
        Ok((user.uid, user.gid, user.additional_gids))
    }

    pub(crate) fn volumes(&mut self, volumes: &[&str]) -> Result<Vec<(String, String)>, String> {
        self.config.config.volumes = volumes.iter().map(|volume| (*volume).to_owned()).collect();
        let spec = self.write().map_err(|error| error.to_string())?;
        let at = spec
            .mounts
            .iter()
            .position(|mount| mount.destination == "/sys/fs/cgroup")
            .unwrap();
        Ok(spec.mounts[at + 1..]
            .iter()
            .map(|m| (m.destination.clone(), m.options.join(",")))
            .collect())
    }
}
