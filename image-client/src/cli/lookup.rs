// SPDX-License-Identifier: Apache-2.0
//! The commands that show what a source has: documents, blobs and lists.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use image_client::{Client, Descriptor, Digest, Listing, Request};
use serde_json::json;

use super::error::{Failure, printable};
use super::report;
use super::run::Outcome;

/// The document as it came, byte for byte, or only its digest.
pub(crate) async fn manifest(
    client: &Client,
    request: Request,
    only_digest: bool,
) -> Result<Outcome, Failure> {
    let manifest = client.manifest(request).await?;
    let json = json!({
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "size": manifest.bytes.len(),
        "manifest": serde_json::from_slice::<serde_json::Value>(&manifest.bytes).ok(),
    });
    let text = match (only_digest, io::stdout().is_terminal()) {
        (true, _) => format!("{}\n", manifest.digest).into_bytes(),
        (false, true) => visible(&manifest.bytes).into_bytes(),
        (false, false) => manifest.bytes.to_vec(),
    };
    Ok(Outcome { text, json })
}

/// A remote text for a terminal: no control characters but the ends of lines, and one at the end.
fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .map(|line| printable(&line.replace('\t', "    ")) + "\n")
        .collect()
}

/// A blob, to a file that is only there when it is complete and verified, or to stdout as it comes.
pub(crate) async fn blob(
    client: &Client,
    request: Request,
    digest: &str,
    file: Option<&Path>,
    json: bool,
) -> Result<Outcome, Failure> {
    let digest: Digest = digest
        .parse()
        .with_context(|| format!("not a digest: `{}`", printable(digest)))
        .map_err(Failure::usage)?;
    let mut to = match file {
        Some(path) => Output::file(path).map_err(|error| unwritten(path, error))?,
        None if json => {
            return Err(Failure::usage(anyhow!(
                "--json needs a file for the blob: -o FILE"
            )));
        }
        None if io::stdout().is_terminal() => {
            return Err(Failure::usage(anyhow!(
                "a blob is not shown on a terminal: name a file with -o, or redirect stdout"
            )));
        }
        None => Output::Stdout,
    };
    let name = file.unwrap_or(Path::new("stdout"));
    let mut blob = client.blob(request, &digest).await?;
    while let Some(bytes) = blob.chunk().await? {
        to.write(&bytes).map_err(|error| unwritten(name, error))?;
    }
    to.keep().map_err(|error| unwritten(name, error))?;
    Ok(Outcome {
        text: Vec::new(),
        json: json!({"digest": digest, "size": blob.size(), "file": file}),
    })
}

fn unwritten(path: &Path, error: io::Error) -> Failure {
    let text = format!("cannot write `{}`", path.display());
    Failure::internal(anyhow::Error::new(error).context(text))
}

/// Where a blob goes.
enum Output {
    Stdout,
    /// What is there already and is no plain file, such as a device.
    Special(File),
    /// A file beside the one that is wanted, which takes its place in the end and is removed otherwise.
    Beside {
        file: File,
        part: PathBuf,
        path: PathBuf,
    },
}

impl Output {
    fn file(path: &Path) -> io::Result<Self> {
        let path = match fs::canonicalize(path) {
            Ok(path) if !path.is_file() => {
                return OpenOptions::new().write(true).open(path).map(Self::Special);
            }
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_path_buf(),
            Err(error) => return Err(error),
        };
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(hidden);
        let file = OpenOptions::new().write(true).create_new(true).open(&part)?;
        Ok(Self::Beside { file, part, path })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(bytes),
            Self::Special(file) | Self::Beside { file, .. } => file.write_all(bytes),
        }
    }

    fn keep(mut self) -> io::Result<()> {
        match &mut self {
            Self::Stdout => io::stdout().lock().flush(),
            Self::Special(_) => Ok(()),
            Self::Beside { part, path, .. } => fs::rename(part, path),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Self::Beside { part, .. } = self {
            // After a rename there is nothing of that name.
            let _ = fs::remove_file(part);
        }
    }
}

pub(crate) async fn tags(client: &Client, request: Request, listing: &Listing) -> Result<Outcome, Failure> {
    let tags = client.tags(request, listing).await?;
    Ok(Outcome {
        text: tags
            .iter()
            .map(|tag| printable(tag) + "\n")
            .collect::<String>()
            .into_bytes(),
        json: json!({"tags": tags}),
    })
}

pub(crate) async fn referrers(
    client: &Client,
    request: Request,
    artifact_type: Option<&str>,
) -> Result<Outcome, Failure> {
    let found: Vec<Descriptor> = client.referrers(request, artifact_type).await?;
    Outcome::new(report::referrers(&found), &json!({"referrers": found}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_text_cannot_steer_a_terminal() {
        assert_eq!(
            visible(b"{\n\t\"a\": \"\x1b[2J\xff\"\r\n}"),
            "{\n    \"a\": \"\u{fffd}[2J\u{fffd}\"\n}\n"
        );
        assert_eq!(visible(b""), "");
    }

    #[test]
    fn a_file_is_there_when_it_is_whole_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let names = || fs::read_dir(dir.path()).unwrap().count();
        let mut output = Output::file(&path).unwrap();
        output.write(b"half").unwrap();
        assert!(!path.exists());
        drop(output);
        assert_eq!(names(), 0);
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("blob", dir.path().join("link")).unwrap();
        let mut output = Output::file(&dir.path().join("link")).unwrap();
        output.write(b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(), 2);
        // A device stays what it is.
        let mut output = Output::file(Path::new("/dev/null")).unwrap();
        output.write(b"gone").unwrap();
        output.keep().unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }
}
