// SPDX-License-Identifier: Apache-2.0
//! The one place with unsafe code in this crate: the request that makes a network device of a file.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};

/// What the kernel calls `struct ifreq`: a name, and for this request flags.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// IP packets, with nothing before them (`IFF_TUN | IFF_NO_PI`, linux/if_tun.h).
const FLAGS: u16 = 0x0001 | 0x1000;

nix::ioctl_write_ptr_bad!(set_interface, 0x4004_54ca, Request);

/// A network device in the calling thread's name space, whose packets are read from and written to
/// the file.
pub(super) fn tun(name: &str) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("no network devices of our own")?;
    let mut request = Request {
        name: [0; 16],
        flags: FLAGS,
        rest: [0; 22],
    };
    if name.len() >= request.name.len() {
        bail!("too long for a network device: {name}");
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the descriptor is open, and the request points to a whole `ifreq` of 40 bytes that the
    // kernel only reads and writes during the call.
    unsafe { set_interface(file.as_raw_fd(), &request) }.context("cannot make a network device")?;
    Ok(file)
}
