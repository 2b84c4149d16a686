// SPDX-License-Identifier: Apache-2.0
/// What one layer may cost. Each number comes from outside and is checked before it is obeyed.
///
/// The defaults let every image through that a builder makes and stop what only an attacker makes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one PAX header or GNU long name, and of all attributes of one entry with about 100
    /// bytes for each. Real ones hold a few names and attributes; the whole is held in memory.
    /// Default 1 MiB.
    pub header_bytes: u64,
    /// Bytes of a name or of a link's target. The kernel takes paths of 4,095 bytes; a name may be
    /// longer, since it is walked in pieces, but it is held in memory. Default 64 KiB.
    pub name_bytes: usize,
    /// Directories above an entry. Default 8,192: removing a deeper tree defeats common tools.
    pub depth: usize,
    /// Extended attributes of one entry. Default 1,024.
    pub xattrs: usize,
    /// Bytes of one attribute's value; the kernel's own limit (XATTR_SIZE_MAX). Default 64 KiB.
    pub xattr_bytes: usize,
    /// Header blocks of a layer, those of PAX headers and GNU long names counted too. Default 8 million: more than any file system of an image holds.
    pub entries: u64,
    /// Bytes of memory for what is remembered of a layer until it ends: its directories, symbolic links
    /// and whiteouts, about 100 bytes, the name and a directory's attributes for each; every entry
    /// where whiteouts remove.
    /// Default 512 MiB, which a million directories do not reach.
    pub record_bytes: u64,
    /// Pieces of a sparse file. The map is held in memory, 16 bytes a piece. Default 65,536.
    pub sparse_pieces: usize,
    /// Bytes of one file, holes included. Default 1 TiB.
    pub file_bytes: u64,
    /// Inflated bytes of the layer. As many may be copied for hard links that the file system has
    /// no room for. Default 256 GiB.
    pub layer_bytes: u64,
    /// Inflated bytes for each compressed byte, counted once [`Limits::RATIO_GRACE`] bytes have
    /// come out. Installed software reaches 10, text 30; gzip cannot exceed 1,032. Default 500.
    pub ratio: u64,
    /// Binary logarithm of the window that a zstd frame may ask for, which is allocated. Default 27
    /// (128 MiB), what `zstd --long` writes; ordinary levels stay at 8 MiB or below.
    pub zstd_window_log: u32,
}

impl Limits {
    /// Inflated bytes from which on `ratio` is looked at: small layers of zeros are harmless.
    pub const RATIO_GRACE: u64 = 128 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: 1 << 20,
            name_bytes: 64 << 10,
            depth: 8192,
            xattrs: 1024,
            xattr_bytes: 64 << 10,
            entries: 8_000_000,
            record_bytes: 512 << 20,
            sparse_pieces: 65_536,
            file_bytes: 1 << 40,
            layer_bytes: 256 << 30,
            ratio: 500,
            zstd_window_log: 27,
        }
    }
}
