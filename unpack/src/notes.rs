// SPDX-License-Identifier: Apache-2.0
/// What a layer's tree alone cannot tell, to be kept beside it: how it meets the layers below.
///
/// Paths have no leading slash; the root is the empty path. [`Whiteouts::Remove`](crate::Whiteouts)
/// leaves nothing open and gives empty notes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notes {
    /// Directories that no entry describes, made because entries are below them. Where a lower layer
    /// has a directory of that path, and this one does not hide it, its metadata stays.
    pub implied: Vec<Vec<u8>>,
    /// Directories in which at least one whiteout was made.
    pub whiteouts: Vec<Vec<u8>>,
    /// Hard links, as name and target, whose target only a lower layer can have. They were not made.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// The root is opaque: nothing of any lower layer shows.
    pub opaque_root: bool,
}

const IMPLIED: u8 = b'i';
const WHITEOUTS: u8 = b'w';
const LINK: u8 = b'l';
const OPAQUE_ROOT: u8 = b'o';

impl Notes {
    /// The notes as bytes: a letter and a NUL-ended path each, two paths for a link.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |letter, paths: &[&[u8]]| {
            bytes.push(letter);
            for path in paths {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
        };
        self.implied.iter().for_each(|path| put(IMPLIED, &[path]));
        self.whiteouts.iter().for_each(|path| put(WHITEOUTS, &[path]));
        self.links
            .iter()
            .for_each(|(name, target)| put(LINK, &[name, target]));
        if self.opaque_root {
            put(OPAQUE_ROOT, &[]);
        }
        bytes
    }

    /// Reads what [`Notes::encode`] wrote; none where the bytes are damaged.
    pub fn decode(mut bytes: &[u8]) -> Option<Notes> {
        fn path<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
            let end = bytes.iter().position(|b| *b == 0)?;
            let (path, rest) = bytes.split_at_checked(end)?;
            *bytes = rest.get(1..)?;
            Some(path)
        }
        let mut notes = Notes::default();
        while let Some((letter, rest)) = bytes.split_first() {
            bytes = rest;
            match *letter {
                IMPLIED => notes.implied.push(path(&mut bytes)?.to_vec()),
                WHITEOUTS => notes.whiteouts.push(path(&mut bytes)?.to_vec()),
                LINK => notes
                    .links
                    .push((path(&mut bytes)?.to_vec(), path(&mut bytes)?.to_vec())),
                OPAQUE_ROOT => notes.opaque_root = true,
                _ => return None,
            }
        }
        Some(notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_as_they_were() {
        let notes = Notes {
            implied: vec![b"".to_vec(), b"a/\xff\n".to_vec()],
            whiteouts: vec![b"etc".to_vec()],
            links: vec![(b"a/b".to_vec(), b"c".to_vec())],
            opaque_root: true,
        };
        assert_eq!(Notes::decode(&notes.encode()), Some(notes));
        assert_eq!(Notes::decode(b""), Some(Notes::default()));
        assert_eq!(Notes::decode(b"ia"), None);
        assert_eq!(Notes::decode(b"x"), None);
        assert_eq!(Notes::decode(b"la\0b"), None);
    }
}
