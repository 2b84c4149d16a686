// SPDX-License-Identifier: Apache-2.0
//! Blocking work on threads made for it.

use tokio::task::JoinHandle;

use crate::error::{ErrorKind, Fault};

/// Runs blocking work on a thread that may block. When the caller goes away the work still runs to its end, and
/// what it returns is dropped there: results that hold something must give it back in their `Drop`.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    join(tokio::task::spawn_blocking(work)).await
}

/// Waits for work that runs already.
pub(crate) async fn join<T>(work: JoinHandle<Result<T, Fault>>) -> Result<T, Fault> {
    // A panic is a defect of ours; it fails this request and no other.
    work.await
        .unwrap_or_else(|error| Err(Fault::because(ErrorKind::Io, "internal failure", error)))
}
