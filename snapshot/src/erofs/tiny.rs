// SPDX-License-Identifier: Apache-2.0
//! The smallest useful EROFS image: one directory, whose files' data is in extra devices.
//!
//! From the start of the image: a block's worth of nothing up to 1024, the superblock (128 bytes), one
//! slot of 128 bytes for each device, one inode of 32 bytes for the directory and for each file, and
//! from the next whole block on the directory's entries. An inode's number is its position in units of
//! its size. The addresses of all devices make one space, in which the image comes first.
//! (Linux, fs/erofs/erofs_fs.h.)

const SUPERBLOCK: usize = 1024;
const SLOT: usize = 128;
const INODE: usize = 32;
const ENTRY: usize = 12;
const REGULAR: u16 = 0o100_000;
const DIRECTORY: u16 = 0o040_000;

/// One file of the directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) name: &'a str,
    /// Type and permissions.
    pub(crate) mode: u16,
    pub(crate) size: u32,
    /// The device with the data, counted from 0, and the block in it where they begin.
    pub(crate) device: usize,
    pub(crate) block: u32,
}

/// Writes an image with blocks of `1 << bits` bytes and devices of so many blocks each.
///
/// The directory's entries have to fit into one block. A file which is not regular has its device
/// number for `block`.
pub(crate) fn image(bits: u8, files: &[File<'_>], devices: &[u32]) -> Vec<u8> {
    let block = 1 << bits;
    let inodes = SUPERBLOCK + SLOT * (1 + devices.len());
    let entries = (inodes + INODE * (1 + files.len())).next_multiple_of(block);
    let blocks = number(entries / block) + 1;
    let starts = devices.iter().scan(blocks, |next, length| {
        let start = *next;
        *next += length;
        Some(start)
    });
    let starts = starts.collect::<Vec<_>>();
    let mut image = vec![0; entries + block];

    let root = inodes / INODE;
    let mut names = vec![(".", root, DIRECTORY), ("..", root, DIRECTORY)];
    let listed = files.iter().enumerate();
    names.extend(listed.map(|(at, file)| (file.name, root + 1 + at, file.mode)));
    names.sort_unstable();
    let length = directory(&mut image[entries..], &names);

    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(SUPERBLOCK, &0xe0f5_e1e2_u32.to_le_bytes());
    put(SUPERBLOCK + 12, &[bits]);
    put(SUPERBLOCK + 14, &short(root).to_le_bytes());
    put(SUPERBLOCK + 16, &(1 + files.len() as u64).to_le_bytes());
    put(SUPERBLOCK + 36, &blocks.to_le_bytes());
    // The one feature that a reader must know: the device table.
    put(SUPERBLOCK + 80, &8_u32.to_le_bytes());
    put(SUPERBLOCK + 86, &short(devices.len()).to_le_bytes());
    put(SUPERBLOCK + 88, &short(SUPERBLOCK / SLOT + 1).to_le_bytes());
    for (at, (length, start)) in devices.iter().zip(&starts).enumerate() {
        let slot = SUPERBLOCK + SLOT * (1 + at);
        put(slot + 64, &length.to_le_bytes());
        put(slot + 68, &start.to_le_bytes());
    }
    let mut inode = |nth: usize, mode: u16, links: usize, size: u32, block: u32| {
        let at = inodes + INODE * nth;
        put(at + 4, &mode.to_le_bytes());
        put(at + 6, &short(links).to_le_bytes());
        put(at + 8, &size.to_le_bytes());
        put(at + 16, &block.to_le_bytes());
        put(at + 20, &number(nth + 1).to_le_bytes());
    };
    inode(0, DIRECTORY | 0o755, 2, number(length), blocks - 1);
    for (at, file) in files.iter().enumerate() {
        let regular = file.mode & 0o170_000 == REGULAR;
        let start = if regular { starts[file.device] } else { 0 };
        inode(at + 1, file.mode, 1, file.size, start + file.block);
    }
    image
}

/// Writes the entries of a directory into a block, all entries first, then their names.
fn directory(block: &mut [u8], names: &[(&str, usize, u16)]) -> usize {
    let mut end = ENTRY * names.len();
    for (at, (name, inode, mode)) in names.iter().enumerate() {
        let entry = ENTRY * at;
        block[entry..entry + 8].copy_from_slice(&(*inode as u64).to_le_bytes());
        block[entry + 8..entry + 10].copy_from_slice(&short(end).to_le_bytes());
        block[entry + 10] = match mode & 0o170_000 {
            REGULAR => 1,
            DIRECTORY => 2,
            _ => 3,
        };
        block[end..end + name.len()].copy_from_slice(name.as_bytes());
        end += name.len();
    }
    end
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("a tiny image")
}

fn short(value: usize) -> u16 {
    u16::try_from(value).expect("a tiny image")
}
