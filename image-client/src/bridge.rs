// SPDX-License-Identifier: Apache-2.0
//! Hands a blob's bytes from the network's task to the thread that unpacks them.
//!
//! What lies between is bounded by bytes, not by pieces: a source may cut a blob into pieces of any size.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use distribution::Blob;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of one layer that may wait between network and unpacker: a tenth of a second at 40 MB/s, and three
/// layers at once stay far below the memory goal of 64 MiB.
const WINDOW: usize = 4 << 20;

/// How much of a blob is still read after the unpacker gave up on it. A broken archive is most often a blob with
/// the wrong digest, and that is the better explanation; a huge blob is not fetched for it, unless a mirror may be
/// the liar, and the registry itself have the right one.
const AFTERMATH: u64 = 16 << 20;

/// What a piece takes of the window at the least: a source that sends single bytes must not fill the memory with
/// what surrounds each of them.
const PIECE: usize = 1 << 10;

enum Message {
    Piece(Piece),
    /// The blob's end, its size and digest verified: the only way to a clean end of file.
    End,
}

struct Piece {
    bytes: Bytes,
    // Gives the window's room back when the piece is used up.
    _room: OwnedSemaphorePermit,
}

/// The end which the network's task writes. Dropping it before the end makes the reader fail.
pub(crate) struct BlobWriter {
    // Needs no bound of its own: every piece carries its part of the window.
    messages: mpsc::UnboundedSender<Message>,
    room: Arc<Semaphore>,
}

/// The end which the unpacker reads, on a thread that may block. Dropping it makes the writer stop soon.
pub(crate) struct BlobReader {
    messages: mpsc::UnboundedReceiver<Message>,
    now: Option<Piece>,
    ended: bool,
}

pub(crate) fn channel() -> (BlobWriter, BlobReader) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let writer = BlobWriter {
        messages: sender,
        room: Arc::new(Semaphore::new(WINDOW)),
    };
    (
        writer,
        BlobReader {
            messages: receiver,
            now: None,
            ended: false,
        },
    )
}

/// Moves a blob to its reader until its verified end. `seen` is told the bytes so far.
///
/// # Errors
/// Whatever the source reports, first of all a wrong digest or size. A reader that went away is no error here: it
/// has its own.
pub(crate) async fn pump(
    mut blob: Blob,
    writer: BlobWriter,
    mut seen: impl FnMut(u64),
) -> Result<(), distribution::Error> {
    let size = blob.size();
    let mut bytes = 0;
    let mut wanted = true;
    while let Some(piece) = blob.chunk().await? {
        bytes += piece.len() as u64;
        seen(bytes);
        if wanted {
            wanted = writer.send(piece).await;
        }
        if !wanted && size.saturating_sub(bytes) > AFTERMATH && !blob.is_mirrored() {
            return Ok(());
        }
    }
    // A reader that is gone needs no end.
    let _ = writer.messages.send(Message::End);
    Ok(())
}

impl BlobWriter {
    /// Waits for room and hands over one piece; false when nobody reads any more.
    async fn send(&self, bytes: Bytes) -> bool {
        let need = u32::try_from(bytes.len().clamp(PIECE, WINDOW)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(need).await else {
            return false;
        };
        self.messages
            .send(Message::Piece(Piece { bytes, _room: room }))
            .is_ok()
    }
}

impl BlobReader {
    /// Reads what the unpacker left. Returns only at the blob's end, when its size and digest are verified.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        loop {
            match self.fill_buf()?.len() {
                0 => return Ok(()),
                length => self.consume(length),
            }
        }
    }
}

/// Gives the pieces themselves, so that their bytes are copied nowhere on their way.
impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.now.is_none() && !self.ended {
            match self.messages.blocking_recv() {
                Some(Message::Piece(piece)) => self.now = Some(piece).filter(|piece| !piece.bytes.is_empty()),
                Some(Message::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the fetch stopped",
                    ));
                }
            }
        }
        Ok(self.now.as_ref().map_or(&[], |piece| &piece.bytes))
    }

    fn consume(&mut self, length: usize) {
        if let Some(piece) = &mut self.now {
            piece.bytes.advance(length);
            if piece.bytes.is_empty() {
                self.now = None;
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let length = self.fill_buf()?.read(buf)?;
        self.consume(length);
        Ok(length)
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn pieces_arrive_in_order_and_end_cleanly_only_after_the_end() {
        let (writer, mut reader) = channel();
        runtime().block_on(async {
            assert!(writer.send(Bytes::from_static(b"ab")).await);
            assert!(writer.send(Bytes::from_static(b"cde")).await);
        });
        writer.messages.send(Message::End).ok();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcde");
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_piece_s_room_comes_free_with_its_last_byte() {
        let (writer, mut reader) = channel();
        runtime().block_on(async {
            assert!(writer.send(Bytes::from(vec![7; PIECE])).await);
            // Says nothing, and is no end.
            assert!(writer.send(Bytes::new()).await);
            assert!(writer.send(Bytes::from_static(b"x")).await);
        });
        writer.messages.send(Message::End).ok();
        assert_eq!(reader.fill_buf().unwrap(), [7; PIECE]);
        reader.consume(PIECE - 1);
        assert_eq!(reader.fill_buf().unwrap(), [7]);
        assert_eq!(writer.room.available_permits(), WINDOW - 3 * PIECE);
        reader.consume(1);
        assert_eq!(writer.room.available_permits(), WINDOW - 2 * PIECE);
        assert_eq!(reader.fill_buf().unwrap(), b"x");
        reader.finish().unwrap();
        assert_eq!(writer.room.available_permits(), WINDOW);
        assert!(reader.fill_buf().unwrap().is_empty());
    }

    #[test]
    fn a_writer_dropped_before_the_end_is_an_error_and_no_end_of_file() {
        let (writer, mut reader) = channel();
        runtime().block_on(writer.send(Bytes::from_static(b"ab")));
        drop(writer);
        let mut all = Vec::new();
        let error = reader.read_to_end(&mut all).unwrap_err();
        assert_eq!(
            (all.as_slice(), error.kind()),
            (b"ab".as_slice(), io::ErrorKind::ConnectionAborted)
        );
    }

    #[test]
    fn single_bytes_on_the_way_are_bounded_too() {
        let (writer, _reader) = channel();
        runtime().block_on(async {
            for _ in 0..WINDOW / PIECE {
                assert!(writer.send(Bytes::from_static(b"x")).await);
            }
            assert_eq!(writer.room.available_permits(), 0);
        });
    }

    #[test]
    fn bytes_on_the_way_are_bounded_and_a_lost_reader_frees_the_writer() {
        let (writer, reader) = channel();
        runtime().block_on(async {
            // Larger than the window: taken whole, and fills it.
            assert!(writer.send(Bytes::from(vec![0; WINDOW + 1])).await);
            assert_eq!(writer.room.available_permits(), 0);
            let next = writer.send(Bytes::from_static(b"x"));
            tokio::pin!(next);
            tokio::select! {
                biased;
                _ = &mut next => panic!("went past the window"),
                () = std::future::ready(()) => {}
            }
            drop(reader);
            assert!(!next.await);
        });
    }
}
