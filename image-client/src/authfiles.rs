// SPDX-License-Identifier: Apache-2.0
//! Where `docker login`, `podman login` and their like leave credentials (containers-auth.json(5)).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use distribution::AuthFile;

use crate::error::Fault;

/// More than the parser takes, so that it is the one to complain.
const MAX_READ: u64 = (1 << 20) + 1;

/// The files to read, in order.
#[derive(Debug, PartialEq, Eq)]
enum Places {
    /// Named by a variable: this one and no other, and it must be there.
    Named(PathBuf),
    /// Those that are there.
    Usual(Vec<PathBuf>),
}

/// The files of this process's environment and user.
pub(crate) fn find() -> Result<Vec<AuthFile>, Fault> {
    let uid = rustix::process::getuid().as_raw();
    match places(|name| std::env::var_os(name), uid) {
        Places::Named(path) => Ok(vec![parse(&path, read(&path))?]),
        Places::Usual(paths) => paths
            .iter()
            .filter_map(|path| try_load(path).transpose())
            .collect(),
    }
}

fn places(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> Places {
    let set = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // The base directory specification has relative ones ignored.
    let folder = |name| set(name).filter(|path| path.is_absolute());
    if let Some(path) = set("REGISTRY_AUTH_FILE") {
        return Places::Named(path);
    }
    let home = folder("HOME");
    let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let runtime = match folder("XDG_RUNTIME_DIR") {
        Some(folder) => folder.join("containers"),
        None => PathBuf::from(format!("/run/containers/{uid}")),
    };
    let config = folder("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
    let docker = set("DOCKER_CONFIG").or_else(|| in_home(".docker"));
    let places = [
        Some(runtime.join("auth.json")),
        config.map(|folder| folder.join("containers/auth.json")),
        docker.map(|folder| folder.join("config.json")),
    ];
    Places::Usual(places.into_iter().flatten().collect())
}

/// A file that need not be there, and is not ours if it cannot be opened: a service may have the
/// `HOME` of another user.
fn try_load(path: &Path) -> Result<Option<AuthFile>, Fault> {
    let bytes = read(path);
    match &bytes {
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), "an auth file that may not be read is passed over");
            Ok(None)
        }
        _ => parse(path, bytes).map(Some),
    }
}

fn parse(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<AuthFile, Fault> {
    let doing = format!("use the auth file `{}`", path.display());
    let bytes = bytes.map_err(|cause| Fault::io(&doing, cause))?;
    AuthFile::parse(&bytes).map_err(|cause| Fault::from(cause).under(format!("cannot {doing}")))
}

/// Only what is a file: a pipe would be waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_of_the_manual() {
        for (variables, want) in [
            ("REGISTRY_AUTH_FILE=a.json HOME=/h", "a.json alone"),
            (
                "HOME=/h",
                "/run/containers/7/auth.json /h/.config/containers/auth.json /h/.docker/config.json",
            ),
            (
                "HOME=/h XDG_RUNTIME_DIR=/r XDG_CONFIG_HOME=/c DOCKER_CONFIG=/d REGISTRY_AUTH_FILE=",
                "/r/containers/auth.json /c/containers/auth.json /d/config.json",
            ),
            (
                "HOME=h XDG_RUNTIME_DIR=r XDG_CONFIG_HOME=c",
                "/run/containers/7/auth.json",
            ),
            ("", "/run/containers/7/auth.json"),
        ] {
            let pairs: Vec<_> = variables
                .split(' ')
                .filter_map(|pair| pair.split_once('='))
                .collect();
            let variable = |name: &str| {
                let (_, value) = pairs.iter().find(|(key, _)| *key == name)?;
                Some(OsString::from(value))
            };
            let found = match places(variable, 7) {
                Places::Named(path) => format!("{} alone", path.display()),
                Places::Usual(paths) => {
                    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                    paths.join(" ")
                }
            };
            assert_eq!(found, want, "{variables}");
        }
    }

    #[test]
    fn a_usual_file_may_be_absent_but_not_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        assert!(try_load(&path).unwrap().is_none());
        fs::write(&path, r#"{"auths":{"h":{"auth":"dTpw"}}}"#).unwrap();
        assert!(try_load(&path).unwrap().is_some());
        assert!(try_load(&path.join("below a file")).unwrap().is_none());
        fs::write(&path, r#"{"auths":"swordfish"}"#).unwrap();
        let line = try_load(&path).unwrap_err().to_line();
        assert!(
            line.starts_with("cannot use the auth file `/") && line.contains("line 1"),
            "{line}"
        );
        assert!(!line.contains("swordfish"), "{line}");
        let line = try_load(dir.path()).unwrap_err().to_line();
        assert!(line.ends_with("not a regular file"), "{line}");
    }
}
