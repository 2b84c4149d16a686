// SPDX-License-Identifier: Apache-2.0
//! Parts of a response (RFC 9110 section 14).

use std::ops::Range;

use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue};

/// The part of a body that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) start: u64,
    /// The first byte that is not wanted any more; none for all that follows.
    pub(crate) end: Option<u64>,
}

impl Wanted {
    pub(crate) fn header(self) -> HeaderValue {
        let text = match self.end {
            Some(end) => format!("bytes={}-{}", self.start, end.saturating_sub(1)),
            None => format!("bytes={}-", self.start),
        };
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("bytes=0-"))
    }
}

/// The part that a response says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) bytes: Range<u64>,
    /// The size of the whole, where it is told.
    pub(crate) total: Option<u64>,
}

impl Part {
    /// From a response's only Content-Range; none if it cannot be read.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_RANGE).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let end = last.checked_add(1)?;
        (first < end && total.is_none_or(|total| end <= total)).then_some(Self {
            bytes: first..end,
            total,
        })
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_written_or_not_at_all() {
        let part = |bytes: Range<u64>, total| Some(Part { bytes, total });
        for (text, want) in [
            ("bytes 0-9/10", part(0..10, Some(10))),
            ("bytes 5-5/*", part(5..6, None)),
            (
                "bytes 0-18446744073709551614/18446744073709551615",
                part(0..u64::MAX, Some(u64::MAX)),
            ),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes 5-4/10", None),
            ("bytes 5-10/10", None),
            ("bytes */10", None),
            ("bytes +1-2/10", None),
            ("bytes -1-2/10", None),
            ("bytes 1-2", None),
            ("bytes=1-2/3", None),
            ("items 1-2/3", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, HeaderValue::from_static(text));
            assert_eq!(Part::of(&headers), want, "{text}");
            headers.append(CONTENT_RANGE, HeaderValue::from_static(text));
            assert_eq!(Part::of(&headers), None, "twice {text}");
        }
    }

    #[test]
    fn a_range_is_asked_for_by_its_last_byte() {
        let text = |start, end| Wanted { start, end }.header();
        assert_eq!(text(0, Some(1)), "bytes=0-0");
        assert_eq!(text(7, Some(10)), "bytes=7-9");
        assert_eq!(text(7, None), "bytes=7-");
    }
}
