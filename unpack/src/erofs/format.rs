// SPDX-License-Identifier: Apache-2.0
//! What stands where in an EROFS image (Linux, `fs/erofs/erofs_fs.h`). All numbers are little-endian.

/// Where the superblock is, whatever the size of blocks.
pub(super) const SUPER_OFFSET: u64 = 1024;
pub(super) const SUPER_BYTES: usize = 128;
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// Where in the superblock the UUID is.
pub(super) const UUID: usize = 48;
/// Bytes of a slot of the device table, which follows the superblock.
pub(super) const SLOT_BYTES: usize = 128;
/// Inodes stand at multiples of this; their place divided by it is the number that entries name.
pub(super) const INODE_UNIT: u64 = 32;
pub(super) const COMPACT_BYTES: usize = 32;
pub(super) const EXTENDED_BYTES: usize = 64;
/// Before the entries of a set of attributes, in the inode.
pub(super) const XATTR_HEADER: usize = 12;
/// An entry of a directory, without its name.
pub(super) const DIRENT_BYTES: usize = 12;

/// `i_format`: bit 0 is the size of the inode, bits 1 to 3 where its data is.
pub(super) const EXTENDED: u16 = 1;
/// Data in whole blocks from a start block.
pub(super) const FLAT_PLAIN: u16 = 0;
/// The same, but what does not fill a block stands behind the inode.
pub(super) const FLAT_INLINE: u16 = 2;

const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_DEVICE_TABLE: u32 = 8;

/// What wrote the image, as its volume name: the bytes of an image depend on the layer and on this.
pub(super) const WRITER: [u8; 16] = *b"image-client/1\0\0";

/// The kinds of a directory's entries.
pub(super) mod kind {
    pub(in super::super) const FILE: u8 = 1;
    pub(in super::super) const DIRECTORY: u8 = 2;
    pub(in super::super) const CHAR_DEVICE: u8 = 3;
    pub(in super::super) const BLOCK_DEVICE: u8 = 4;
    pub(in super::super) const FIFO: u8 = 5;
    pub(in super::super) const SYMLINK: u8 = 7;
}

/// The type bits of a mode (`S_IFMT`).
pub(super) mod mode {
    pub(in super::super) const TYPE: u16 = 0o170_000;
    pub(in super::super) const FILE: u16 = 0o100_000;
    pub(in super::super) const DIRECTORY: u16 = 0o040_000;
    pub(in super::super) const CHAR_DEVICE: u16 = 0o020_000;
    pub(in super::super) const BLOCK_DEVICE: u16 = 0o060_000;
    pub(in super::super) const FIFO: u16 = 0o010_000;
    pub(in super::super) const SYMLINK: u16 = 0o120_000;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Super {
    pub(super) block_bits: u8,
    pub(super) root: u16,
    pub(super) inodes: u64,
    /// The time of all compact inodes.
    pub(super) time: (i64, u32),
    pub(super) blocks: u32,
    pub(super) devices: u16,
    /// Overlayfs tells the layers of a mount apart by it, so it must not be zeros.
    pub(super) uuid: [u8; 16],
}

impl Super {
    /// Its bytes, without the checksum.
    pub(super) fn encode(&self) -> [u8; SUPER_BYTES] {
        let mut bytes = Fields::default();
        bytes.u32(0, MAGIC);
        bytes.u32(8, COMPAT_CHECKSUM | COMPAT_MTIME);
        bytes.put(12, &[self.block_bits]);
        bytes.u16(14, self.root);
        bytes.u64(16, self.inodes);
        bytes.put(24, &self.time.0.to_le_bytes());
        bytes.u32(32, self.time.1);
        bytes.u32(36, self.blocks);
        bytes.put(UUID, &self.uuid);
        bytes.put(64, &WRITER);
        if self.devices > 0 {
            bytes.u32(80, INCOMPAT_DEVICE_TABLE);
            bytes.u16(86, self.devices);
            // In units of slots.
            bytes.u16(88, ((SUPER_OFFSET as usize + SUPER_BYTES) / SLOT_BYTES) as u16);
        }
        bytes.0
    }

    /// Reads what [`Super::encode`] wrote, and nothing else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Super> {
        let bytes: [u8; SUPER_BYTES] = bytes.get(..SUPER_BYTES)?.try_into().ok()?;
        let view = View(&bytes);
        let found = Super {
            block_bits: *bytes.get(12)?,
            root: view.u16(14)?,
            inodes: view.u64(16)?,
            time: (view.u64(24)?.cast_signed(), view.u32(32)?),
            blocks: view.u32(36)?,
            devices: view.u16(86)?,
            uuid: view.array(UUID)?,
        };
        let mut same = found.encode();
        same.get_mut(4..8)?.copy_from_slice(bytes.get(4..8)?);
        let known = found.block_bits == 9 || found.block_bits == 12;
        (known && same == bytes).then_some(found)
    }
}

/// Puts a UUID that is made of a digest, of the form that leaves its bits to the maker (RFC 9562, version
/// 8), into a first block that begins with the superblock at `at`.
pub(super) fn name(block: &mut [u8], at: usize, digest: &[u8]) {
    let Some(field) = block.get_mut(at + UUID..at + UUID + 16) else {
        return;
    };
    for (byte, from) in field.iter_mut().zip(digest) {
        *byte = *from;
    }
    if let [.., seventh, _, ninth, _, _, _, _, _, _, _] = field {
        *seventh = *seventh & 0x0f | 0x80;
        *ninth = *ninth & 0x3f | 0x80;
    }
}

/// Puts the checksum into the first block, which begins with the superblock at `at`.
pub(super) fn seal(block: &mut [u8], at: usize) {
    let Some(bytes) = block.get_mut(at..) else { return };
    let sum = crc32c(bytes);
    if let Some(field) = bytes.get_mut(4..8) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

/// CRC-32C from an all-ones start, not inverted at the end. The kernel reads the field itself as zeros,
/// which it is when this is called.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            sum >> 1 ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}

/// Blocks of a device and where they stand among those of the whole image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) blocks: u32,
    pub(super) start: u32,
}

impl Slot {
    pub(super) fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = Fields::<SLOT_BYTES>::default();
        bytes.u32(64, self.blocks);
        bytes.u32(68, self.start);
        bytes.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Slot> {
        let view = View(bytes);
        Some(Slot {
            blocks: view.u32(64)?,
            start: view.u32(68)?,
        })
    }
}

/// An inode as it stands in an image; `where_` is its start block or its device numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InodeFields {
    pub(super) layout: u16,
    /// Bytes of the attributes' entries, a multiple of four.
    pub(super) xattr_bytes: usize,
    pub(super) mode: u16,
    pub(super) size: u64,
    pub(super) where_: u32,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) links: u32,
}

impl InodeFields {
    /// Whether the short form can say it in an image of this time.
    pub(super) fn is_compact(&self, time: (i64, u32)) -> bool {
        const SHORT: u32 = u16::MAX as u32;
        self.mtime == time
            && self.size <= u64::from(u32::MAX)
            && self.uid <= SHORT
            && self.gid <= SHORT
            && self.links <= SHORT
    }

    fn xattr_count(&self) -> u16 {
        match self.xattr_bytes {
            0 => 0,
            // The header counts as one.
            bytes => (bytes / 4 + 1) as u16,
        }
    }

    pub(super) fn compact(&self) -> [u8; COMPACT_BYTES] {
        let mut bytes = Fields::default();
        self.common(&mut bytes, 0);
        bytes.u16(6, self.links as u16);
        bytes.u32(8, self.size as u32);
        bytes.u16(24, self.uid as u16);
        bytes.u16(26, self.gid as u16);
        bytes.0
    }

    pub(super) fn extended(&self) -> [u8; EXTENDED_BYTES] {
        let mut bytes = Fields::default();
        self.common(&mut bytes, EXTENDED);
        bytes.u64(8, self.size);
        bytes.u32(24, self.uid);
        bytes.u32(28, self.gid);
        bytes.put(32, &self.mtime.0.to_le_bytes());
        bytes.u32(40, self.mtime.1);
        bytes.u32(44, self.links);
        bytes.0
    }

    fn common<const N: usize>(&self, bytes: &mut Fields<N>, form: u16) {
        bytes.u16(0, form | self.layout << 1);
        bytes.u16(2, self.xattr_count());
        bytes.u16(4, self.mode);
        bytes.u32(16, self.where_);
        bytes.u32(20, self.number);
    }

    /// Reads an inode at the start of `bytes`; also tells how many bytes it takes, without attributes.
    pub(super) fn decode(bytes: &[u8], time: (i64, u32)) -> Option<(InodeFields, usize)> {
        let view = View(bytes);
        let format = view.u16(0)?;
        let extended = format & EXTENDED != 0;
        let xattr_bytes = match view.u16(2)? {
            0 => 0,
            count => (usize::from(count) - 1) * 4,
        };
        let common = InodeFields {
            layout: format >> 1,
            xattr_bytes,
            mode: view.u16(4)?,
            size: u64::from(view.u32(8)?),
            where_: view.u32(16)?,
            number: view.u32(20)?,
            uid: u32::from(view.u16(24)?),
            gid: u32::from(view.u16(26)?),
            mtime: time,
            links: u32::from(view.u16(6)?),
        };
        if !extended {
            return Some((common, COMPACT_BYTES));
        }
        let long = InodeFields {
            size: view.u64(8)?,
            uid: view.u32(24)?,
            gid: view.u32(28)?,
            mtime: (view.u64(32)?.cast_signed(), view.u32(40)?),
            links: view.u32(44)?,
            ..common
        };
        Some((long, EXTENDED_BYTES))
    }
}

/// A structure being written.
struct Fields<const N: usize>([u8; N]);

impl<const N: usize> Default for Fields<N> {
    fn default() -> Self {
        Fields([0; N])
    }
}

impl<const N: usize> Fields<N> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

/// Bytes being read; none where they end.
pub(super) struct View<'a>(pub(super) &'a [u8]);

impl View<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk::<N>().copied()
    }

    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}
