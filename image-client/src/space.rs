// SPDX-License-Identifier: Apache-2.0
//! Whether an image fits, before and after it was found out the hard way.

use std::path::Path;

use crate::error::{ErrorKind, Fault};

/// Refuses to begin what cannot fit: a layer takes at least about as much room as its compressed bytes.
pub(crate) fn refuse_full(place: &Path, needed: u64) -> Result<(), Fault> {
    let Some(free) = free(place) else { return Ok(()) };
    if needed <= free {
        return Ok(());
    }
    let text = format!("not enough space for the layers: {needed} bytes needed at least, {free} free");
    Err(Fault::new(ErrorKind::NoSpace { needed, free }, text))
}

/// Adds the numbers to a failure for lack of space.
pub(crate) fn explain(fault: Fault, place: &Path, needed: u64) -> Fault {
    match fault.kind {
        ErrorKind::NoSpace { .. } => {
            let free = free(place).unwrap_or(0);
            fault.with_kind(ErrorKind::NoSpace { needed, free })
        }
        _ => fault,
    }
}

/// Bytes which this process may still write there, if the system tells.
pub(crate) fn free(place: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(place).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        refuse_full(dir.path(), 0).unwrap();
        match refuse_full(dir.path(), u64::MAX).unwrap_err().kind {
            ErrorKind::NoSpace {
                needed: u64::MAX,
                free,
            } => assert!(free < u64::MAX),
            other => panic!("{other:?}"),
        }
    }
}
