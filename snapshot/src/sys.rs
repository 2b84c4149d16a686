// SPDX-License-Identifier: Apache-2.0
//! The one place with unsafe code in this crate: the requests that loop devices take, for which no
//! crate has safe functions (linux/loop.h).
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::ioctl::{Getter, Ioctl, IoctlOutput, Opcode, Setter, ioctl};

const LOOP_GET_STATUS64: Opcode = 0x4c05;
const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LOOP_CTL_GET_FREE: Opcode = 0x4c82;

/// The device refuses writes.
pub(crate) const READ_ONLY: u32 = 1;
/// The device lets go of its file when nobody has it open or mounted any more.
pub(crate) const AUTOCLEAR: u32 = 4;
/// The file is read past the page cache.
pub(crate) const DIRECT_IO: u32 = 16;

/// What a loop device is bound to: `struct loop_info64`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopInfo {
    /// Device and inode number of the file; only told, never set.
    pub(crate) device: u64,
    pub(crate) inode: u64,
    rdevice: u64,
    /// Where in the file the device begins, in bytes.
    pub(crate) offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    pub(crate) flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

// The kernel copies as many bytes as its own structures have.
const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

/// The number of a loop device that was free a moment ago, made if there was none.
pub(crate) fn free_loop(control: impl AsFd) -> io::Result<u32> {
    struct GetFree;

    // SAFETY: the request takes no argument, touches no memory of this process, and answers with a
    // number that is not negative, or with an error, which `ioctl` has told from it.
    unsafe impl Ioctl for GetFree {
        type Output = u32;

        const IS_MUTATING: bool = false;

        fn opcode(&self) -> Opcode {
            LOOP_CTL_GET_FREE
        }

        fn as_ptr(&mut self) -> *mut c_void {
            std::ptr::null_mut()
        }

        unsafe fn output_from_ptr(number: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
            u32::try_from(number).map_err(|_| rustix::io::Errno::INVAL)
        }
    }

    // SAFETY: see above; a file which is not the loop control device refuses the request.
    Ok(unsafe { ioctl(control, GetFree) }?)
}

/// Binds a free loop device to a file from `offset` on, with sectors of 512 bytes (Linux 5.8).
///
/// Fails with EBUSY if somebody else has bound the device meanwhile.
pub(crate) fn configure_loop(device: impl AsFd, file: impl AsFd, offset: u64, flags: u32) -> io::Result<()> {
    let fd = u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| rustix::io::Errno::BADF)?;
    let info = LoopInfo {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let config = LoopConfig {
        fd,
        block_size: 512,
        info,
        reserved: [0; 8],
    };
    // SAFETY: the request reads one `struct loop_config`, which `LoopConfig` is by layout and size,
    // and writes nothing; `file` is open until it returns, and the kernel then has a handle of its own.
    Ok(unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }?)
}

/// What a loop device is bound to; fails with ENXIO if to nothing.
pub(crate) fn loop_info(device: impl AsFd) -> io::Result<LoopInfo> {
    // SAFETY: the request writes one `struct loop_info64`, which `LoopInfo` is by layout and size; all
    // its fields are integers, for which any bytes are a value.
    Ok(unsafe { ioctl(device, Getter::<LOOP_GET_STATUS64, LoopInfo>::new()) }?)
}
