// SPDX-License-Identifier: Apache-2.0
//! One flat tree made of copies, for where overlayfs cannot be had.
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, OsStr};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::linkat;

use crate::dir::{self, DIRECTORY, HANDLE, beneath, join, open_dir, require_empty, shown, split};
use crate::error::Context;
use crate::meta::Meta;
use crate::node::Copier;
use crate::snapshotter::{Layer, Mounted, Snapshotter};
use crate::stack::{DirView, Inode, Rules, Source, Stack, View, inode};
use crate::{Error, ErrorKind, remove};

/// In the state directory: which directory the tree was made in, so that no other is ever emptied.
const NOTE: &CStr = c"copy";
/// Two numbers and a path of at most PATH_MAX.
const MAX_NOTE: u64 = 8 << 10;

/// Copies the visible files of all layers into one tree, sharing blocks where the file system can.
///
/// Needs no mount and works on any file system that keeps owners, devices and extended attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Copy;

impl Snapshotter for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn mount(&self, layers: &[Layer], state: &Path, target: &Path) -> Result<Mounted, Error> {
        let target_dir = open_dir(target)?;
        require_empty(&target_dir, target)?;
        let state_dir = open_dir(state)?;
        require_empty(&state_dir, state)?;
        let note = Note::of(&target_dir, target)?;
        let made = note
            .write(&state_dir)
            .and_then(|()| Tree::make(layers, &target_dir));
        if let Err(error) = made {
            let cleared = remove::contents(&target_dir).and_then(|()| remove::name(&state_dir, NOTE));
            if let Err(left) = cleared {
                tracing::warn!(target = %target.display(), "cannot clean up after a failed copy: {left}");
            }
            return Err(error);
        }
        tracing::debug!(layers = layers.len(), target = %target.display(), "copied layers");
        Ok(Mounted {
            snapshotter: self.name(),
            target: target.to_owned(),
        })
    }

    fn unmount(&self, state: &Path, target: &Path) -> Result<(), Error> {
        let state_dir = match open_dir(state) {
            Ok(dir) => dir,
            Err(_) if !state.exists() => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(note) = Note::read(&state_dir, state)? else {
            return Ok(());
        };
        if let Some(dir) = note.open(target)? {
            remove::contents(&dir).at("remove content of", target)?;
        }
        remove::name(&state_dir, NOTE).at("remove content of", state)
    }

    fn usage(&self, state: &Path) -> Result<u64, Error> {
        let Some(note) = Note::read(&open_dir(state)?, state)? else {
            return Ok(0);
        };
        match note.open(&note.target)? {
            Some(dir) => dir::usage(&dir).at("measure", &note.target),
            None => Ok(0),
        }
    }
}

/// Where a tree was made.
#[derive(Debug)]
struct Note {
    inode: Inode,
    target: PathBuf,
}

impl Note {
    fn of(dir: &OwnedFd, target: &Path) -> Result<Self, Error> {
        let stat = fstat(dir).at("look at", target)?;
        let target = std::path::absolute(target).at("make an absolute path of", target)?;
        Ok(Note {
            inode: inode(&stat),
            target,
        })
    }

    fn write(&self, state: &OwnedFd) -> Result<(), Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(state, NOTE, flags, Mode::S_IRUSR | Mode::S_IWUSR).at("make note", "copy")?;
        let mut text = format!("{} {} ", self.inode.0, self.inode.1).into_bytes();
        text.extend_from_slice(self.target.as_os_str().as_bytes());
        std::fs::File::from(file)
            .write_all(&text)
            .at("write note", "copy")
    }

    fn read(state: &OwnedFd, path: &Path) -> Result<Option<Self>, Error> {
        let file = match beneath(state, NOTE.to_bytes(), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other.at("open note in", path)?,
        };
        let mut text = Vec::new();
        std::fs::File::from(file)
            .take(MAX_NOTE)
            .read_to_end(&mut text)
            .at("read note in", path)?;
        Ok(Self::parse(&text).or_else(|| {
            // Written before the first file of the tree: a torn note means that there is no tree.
            tracing::warn!(state = %path.display(), "the note about a copy is torn");
            let nowhere = PathBuf::new();
            Some(Note {
                inode: (0, 0),
                target: nowhere,
            })
        }))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(3, |&byte| byte == b' ');
        let mut number = || str::from_utf8(parts.next()?).ok()?.parse().ok();
        let inode = (number()?, number()?);
        let target = PathBuf::from(OsStr::from_bytes(parts.next()?));
        target.is_absolute().then_some(Note { inode, target })
    }

    /// Opens `target` if it is the directory of this note.
    fn open(&self, target: &Path) -> Result<Option<OwnedFd>, Error> {
        let dir = match open_dir(target) {
            Ok(dir) => dir,
            Err(_) if target.symlink_metadata().is_err() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok((inode(&fstat(&dir).at("look at", target)?) == self.inode).then_some(dir))
    }
}

#[derive(Debug)]
struct Tree<'a> {
    stack: Stack<'a>,
    top: &'a OwnedFd,
    copier: Copier,
    /// The files that links of other layers lead to, by the links' names.
    links: HashMap<Vec<u8>, Source>,
    /// The files that may have more than one name.
    shared: HashSet<(usize, Inode)>,
    /// The first name given to such a file.
    made: HashMap<(usize, Inode), Vec<u8>>,
}

#[derive(Debug)]
enum Step {
    Enter(Vec<u8>, DirView),
    /// All children are there, so that times stay.
    Leave(Vec<u8>, Meta),
}

impl<'a> Tree<'a> {
    fn make(layers: &'a [Layer], top: &'a OwnedFd) -> Result<(), Error> {
        let stack = Stack::open(layers)?;
        let links = stack.links()?;
        let mut tree = Tree {
            shared: links.iter().map(|link| link.source.key()).collect(),
            links: links.into_iter().map(|link| (link.name, link.source)).collect(),
            made: HashMap::new(),
            copier: Copier::new(),
            stack,
            top,
        };
        let root = tree
            .stack
            .dir(b"", tree.stack.sight(Rules::Image))?
            .map(|view| (*view).clone())
            .unwrap_or_default();
        let mut steps = vec![Step::Leave(Vec::new(), tree.stack.root_meta()?)];
        tree.fill(b"", &root, &mut steps)?;
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(path, view) => {
                    steps.push(Step::Leave(path.clone(), tree.stack.meta(&path, &view)?));
                    tree.fill(&path, &view, &mut steps)?;
                }
                Step::Leave(path, meta) => {
                    beneath(top, &path, HANDLE)
                        .and_then(|dir| meta.apply(&dir))
                        .at("set metadata of directory", shown(&path))?;
                }
            }
        }
        Ok(())
    }

    /// Makes everything in a directory but the content of its directories, which become steps.
    fn fill(&mut self, path: &[u8], view: &DirView, steps: &mut Vec<Step>) -> Result<(), Error> {
        let dir = beneath(self.top, path, DIRECTORY).at("open directory", shown(path))?;
        for (name, layers) in self.stack.names(path, view)? {
            let below = join(path, &name);
            match self.stack.child(&layers, &below, Rules::Image)? {
                View::Absent => {}
                View::Dir(view) => {
                    mkdirat(&dir, name.as_slice(), Mode::S_IRWXU).at("make directory", shown(&below))?;
                    steps.push(Step::Enter(below, view));
                }
                View::File { layer, stat } => {
                    let source = Source {
                        layer,
                        path: below.clone(),
                        stat,
                    };
                    self.file(&source, dir.as_fd(), &name, &below)?;
                }
                View::Link { .. } => {
                    let Some(source) = self.links.get(&below).cloned() else {
                        let what = format!("layer changes while it is read: `{}`", below.escape_ascii());
                        return Err(Error::new(ErrorKind::Layer, what));
                    };
                    self.file(&source, dir.as_fd(), &name, &below)?;
                }
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        source: &Source,
        dir: std::os::fd::BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        let key = source.key();
        if let Some(first) = self.made.get(&key) {
            return beneath(self.top, split(first).0, HANDLE)
                .and_then(|parent| linkat(&parent, split(first).1, dir, name, AtFlags::empty()))
                .at("make hard link", shown(path));
        }
        self.copier
            .copy(self.stack.root(source.layer), &source.path, dir, name)
            .at("copy", shown(path))?;
        if source.stat.st_nlink > 1 || self.shared.contains(&key) {
            self.made.insert(key, path.to_vec());
        }
        Ok(())
    }
}
