// SPDX-License-Identifier: Apache-2.0
//! A folder as text, so that two of them can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::{fs, io};

use sha2::Digest as _;

/// Lists a folder completely; see [`Listing`].
#[track_caller]
pub fn tree(path: impl AsRef<Path>) -> String {
    Listing::new().of(path)
}

/// What a listing shows. One line for each name, in the order of bytes:
///
/// ```text
/// ./etc/passwd file 0644 0:0 22 1700000000.000000000 links=1 sha256:0123456789abcdef user.a="v"
/// ```
///
/// Of names that share an inode the later ones say `same=NAME`. Sizes are those of files, devices
/// show major:minor; sizes and link counts of directories belong to the file system and are left out,
/// as is the label `security.selinux`.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    times: bool,
    owners: bool,
    xattrs: bool,
}

impl Default for Listing {
    fn default() -> Self {
        Listing::new()
    }
}

impl Listing {
    /// Shows everything.
    pub fn new() -> Self {
        Listing {
            times: true,
            owners: true,
            xattrs: true,
        }
    }

    /// Leaves out the times.
    #[must_use]
    pub fn without_times(self) -> Self {
        Listing { times: false, ..self }
    }

    /// Leaves out the owners.
    #[must_use]
    pub fn without_owners(self) -> Self {
        Listing {
            owners: false,
            ..self
        }
    }

    /// Leaves out extended attributes.
    #[must_use]
    pub fn without_xattrs(self) -> Self {
        Listing {
            xattrs: false,
            ..self
        }
    }

    /// Lists a folder; panics with the name that cannot be read.
    #[track_caller]
    pub fn of(self, path: impl AsRef<Path>) -> String {
        let mut out = String::new();
        let mut inodes = BTreeMap::new();
        let path = path.as_ref();
        if let Err(error) = self.list(path, b".", &mut out, &mut inodes) {
            panic!("cannot list {}: {error}", path.display());
        }
        out
    }

    fn list(
        self,
        path: &Path,
        name: &[u8],
        out: &mut String,
        inodes: &mut BTreeMap<(u64, u64), String>,
    ) -> io::Result<()> {
        let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        out.push_str(&self.line(path, name, inodes).map_err(at)?);
        out.push('\n');
        if !fs::symlink_metadata(path).map_err(at)?.is_dir() {
            return Ok(());
        }
        let mut names = fs::read_dir(path)
            .map_err(at)?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for child in names {
            let inner = [name, b"/", child.as_bytes()].concat();
            self.list(&path.join(&child), &inner, out, inodes)?;
        }
        Ok(())
    }

    fn line(self, path: &Path, name: &[u8], inodes: &mut BTreeMap<(u64, u64), String>) -> io::Result<String> {
        let meta = fs::symlink_metadata(path)?;
        let kind = meta.file_type();
        let shown = name.escape_ascii().to_string().replace(' ', "\\x20");
        let word = if kind.is_dir() {
            "dir"
        } else if kind.is_file() {
            "file"
        } else if kind.is_symlink() {
            "link"
        } else if kind.is_fifo() {
            "fifo"
        } else if kind.is_char_device() {
            "char"
        } else if kind.is_block_device() {
            "block"
        } else {
            "socket"
        };
        let mut line = format!("{shown} {word} {:04o}", meta.mode() & 0o7777);
        let mut add = |text: std::fmt::Arguments<'_>| write!(line, " {text}").expect("write into text");
        if self.owners {
            add(format_args!("{}:{}", meta.uid(), meta.gid()));
        }
        if kind.is_file() {
            add(format_args!("{}", meta.size()));
        } else if kind.is_char_device() || kind.is_block_device() {
            let device = meta.rdev();
            add(format_args!(
                "{}:{}",
                rustix::fs::major(device),
                rustix::fs::minor(device)
            ));
        }
        if self.times {
            add(format_args!("{}.{:09}", meta.mtime(), meta.mtime_nsec()));
        }
        if !kind.is_dir() {
            add(format_args!("links={}", meta.nlink()));
            match inodes.get(&(meta.dev(), meta.ino())) {
                Some(first) => add(format_args!("same={first}")),
                None => {
                    inodes.insert((meta.dev(), meta.ino()), shown);
                }
            }
        }
        if kind.is_file() {
            add(format_args!("sha256:{}", content(path)?));
        } else if kind.is_symlink() {
            add(format_args!(
                "-> {}",
                fs::read_link(path)?.as_os_str().as_bytes().escape_ascii()
            ));
        }
        if self.xattrs {
            for (name, value) in xattrs(path)? {
                add(format_args!(
                    "{}=\"{}\"",
                    name.escape_ascii(),
                    value.escape_ascii()
                ));
            }
        }
        Ok(line)
    }
}

/// The first 16 digits of the content's SHA-256.
fn content(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(crate::hex(&hasher.finalize()[..8]))
}

fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // The kernel's own limits: 64 KiB of names, 64 KiB a value.
    let mut names = vec![0u8; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..length]
        .split(|&b| b == 0)
        .filter(|n| !n.is_empty() && *n != b"security.selinux")
    {
        let mut value = vec![0u8; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}
