// SPDX-License-Identifier: Apache-2.0
use std::io::BufRead;

use image_spec::{Algorithm, Digest};

use crate::extract::Extractor;
use crate::pipeline::Outcome;
use crate::{Codec, Error, Limits, Notes, Root, erofs, pipeline};

/// How a layer's whiteouts (`.wh.` entries, image-spec layer.md) take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whiteouts {
    /// The tree holds this layer alone, for overlayfs: a whiteout becomes a character device 0:0, an
    /// opaque directory gets the attribute `trusted.overlay.opaque`. What needs the layers below to
    /// be decided goes into [`Notes`].
    Overlay,
    /// The tree holds the layers below already, and whiteouts remove from it.
    Remove,
}

/// One layer on its way into a tree.
#[derive(Debug)]
pub struct Layer<'a> {
    root: &'a Root,
    whiteouts: Whiteouts,
    codec: Codec,
    algorithm: Algorithm,
    verified: Option<Digest>,
    limits: Limits,
}

/// A layer that was unpacked to its end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unpacked {
    /// Digest of the inflated bytes, to be compared with the image configuration's.
    pub diff_id: Digest,
    /// Inflated bytes.
    pub bytes: u64,
    /// Entries, whiteouts included.
    pub entries: u64,
    /// Attributes of the `user` namespace that entries have which Linux gives none to: symbolic
    /// links, devices and FIFOs. They were passed over.
    pub dropped_xattrs: u64,
    /// What the tree alone cannot tell.
    pub notes: Notes,
}

impl<'a> Layer<'a> {
    /// A layer for this root: overlay whiteouts, no compression, SHA-256 and default limits, unless
    /// told otherwise.
    pub fn new(root: &'a Root) -> Self {
        Layer {
            root,
            whiteouts: Whiteouts::Overlay,
            codec: Codec::Plain,
            algorithm: Algorithm::Sha256,
            verified: None,
            limits: Limits::default(),
        }
    }

    /// Sets the form of whiteouts.
    pub fn whiteouts(mut self, whiteouts: Whiteouts) -> Self {
        self.whiteouts = whiteouts;
        self
    }

    /// Sets the compression.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the algorithm of the diff_id.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Says that the reader verifies its own bytes: they end only if their digest is this one, and
    /// fail otherwise. An uncompressed layer has it for diff_id, if of the same algorithm, and is not
    /// hashed again.
    pub fn verified(mut self, digest: Digest) -> Self {
        self.verified = Some(digest);
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Unpacks the layer, blocking until `reader` has ended: it is read to its very end even where
    /// the archive ends before. Its bytes are taken where they lie, in pieces of any size; 64 KiB are
    /// a good size for a buffer around a file.
    ///
    /// # Errors
    /// The tree is then incomplete and must be thrown away.
    pub fn unpack(self, reader: impl BufRead + Send) -> Result<Unpacked, Error> {
        let outcome = self.run(reader, |input| {
            Extractor::new(self.root, self.whiteouts, &self.limits)?.extract(input)
        })?;
        self.root.set_plain(outcome.value.plain);
        let (diff_id, bytes) = (outcome.digest, outcome.bytes);
        let done = outcome.value;
        Ok(Unpacked {
            diff_id,
            bytes,
            entries: done.entries,
            dropped_xattrs: done.dropped_xattrs,
            notes: done.notes,
        })
    }

    /// Keeps the layer's archive instead of unpacking it: the root's directory, which must be empty,
    /// gets the files of [`erofs`]. Blocks as [`unpack`](Layer::unpack) does; the form of
    /// whiteouts makes no difference.
    ///
    /// # Errors
    /// The directory is then incomplete and must be thrown away.
    pub fn keep(self, reader: impl BufRead + Send) -> Result<Unpacked, Error> {
        let outcome = self.run(reader, |input| erofs::keep(self.root, &self.limits, input))?;
        let (diff_id, bytes) = (outcome.digest, outcome.bytes);
        let kept = outcome.value;
        Ok(Unpacked {
            diff_id,
            bytes,
            entries: kept.entries,
            dropped_xattrs: kept.dropped_xattrs,
            notes: kept.notes,
        })
    }

    fn run<T: Send>(
        &self,
        reader: impl BufRead + Send,
        consume: impl FnOnce(&mut dyn BufRead) -> Result<T, Error> + Send,
    ) -> Result<Outcome<T>, Error> {
        let same = |digest: &Digest| self.codec == Codec::Plain && digest.algorithm() == self.algorithm;
        match self.verified.filter(same) {
            Some(digest) => pipeline::run_verified(reader, &self.limits, digest, consume),
            None => pipeline::run(reader, self.codec, &self.limits, self.algorithm, consume),
        }
    }
}
