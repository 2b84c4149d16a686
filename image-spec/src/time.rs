// SPDX-License-Identifier: Apache-2.0
//! Time stamps of configs: RFC 3339 section 5.6, as Go's JSON reader takes them.

use serde_json::Value;

use crate::{
    error::{Error, ErrorKind},
    fields,
    path::Path,
};

/// Bytes of a time stamp with nanoseconds and offset (35), and room for finer fractions.
const MAX_TIME: usize = 64;

pub(crate) fn read(value: Value, path: &Path<'_>) -> Result<String, Error> {
    let text = fields::text(value, path, MAX_TIME)?;
    if !is_date_time(&text) {
        return Err(Error::new(ErrorKind::Syntax, "not an RFC 3339 time")
            .at(path)
            .value(text));
    }
    Ok(text)
}

fn is_date_time(text: &str) -> bool {
    let Some((head, tail)) = text.split_at_checked("2006-01-02T15:04:05".len()) else {
        return false;
    };
    let shape = head.bytes().zip("0000-00-00T00:00:00".bytes());
    if !shape.into_iter().all(|(byte, like)| {
        if like == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == like
        }
    }) {
        return false;
    }
    let field = |from: usize, low: u32, high: u32| within(head.get(from..from + 2), low, high);
    if !(field(5, 1, 12) && field(8, 1, 31) && field(11, 0, 23) && field(14, 0, 59) && field(17, 0, 60)) {
        return false;
    }
    let zone = match tail.strip_prefix('.') {
        None => tail,
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
    };
    zone == "Z" || zone.strip_prefix(['+', '-']).is_some_and(is_offset)
}

fn is_offset(text: &str) -> bool {
    let Some((hours, minutes)) = text.split_once(':') else {
        return false;
    };
    hours.len() == 2 && minutes.len() == 2 && within(Some(hours), 0, 23) && within(Some(minutes), 0, 59)
}

fn within(digits: Option<&str>, low: u32, high: u32) -> bool {
    let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .is_some_and(|number: u32| (low..=high).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::is_date_time;

    #[test]
    fn go_times_are_times() {
        for text in [
            "2015-10-31T22:22:56.015925234Z",
            "0001-01-01T00:00:00Z",
            "1970-01-01T00:00:00+00:00",
            "2024-02-29T23:59:60.5-11:30",
        ] {
            assert!(is_date_time(text), "{text}");
        }
    }

    #[test]
    fn near_times_are_not() {
        for text in [
            "",
            "yesterday",
            "2015-10-31",
            "2015-10-31 22:22:56Z",
            "2015-10-31T22:22:56",
            "2015-10-31T22:22:56.Z",
            "2015-10-31T22:22:56z",
            "2015-13-31T22:22:56Z",
            "2015-00-31T22:22:56Z",
            "2015-10-32T22:22:56Z",
            "2015-10-31T24:22:56Z",
            "2015-10-31T22:60:56Z",
            "2015-10-31T22:22:61Z",
            "2015-10-31T22:22:56+24:00",
            "2015-10-31T22:22:56+1:00",
            "2015-10-31T22:22:56+0100",
            "2015-10-31T22:22:5éZ",
            "+015-10-31T22:22:56Z",
            "2015-10-31T22:22:56+-1:00",
        ] {
            assert!(!is_date_time(text), "{text}");
        }
    }
}
