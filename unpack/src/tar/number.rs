// SPDX-License-Identifier: Apache-2.0
use crate::Error;

/// A numeric header field: octal digits, or GNU's base-256 where the first bit is set.
///
/// An empty field is 0, as every reader takes it. Blanks and NUL may stand around the digits.
pub(super) fn field(bytes: &[u8]) -> Result<i64, Error> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes),
        _ => octal(bytes),
    }
}

fn octal(bytes: &[u8]) -> Result<i64, Error> {
    let bad = || Error::archive("a header field is no octal number");
    let mut value: Option<i64> = None;
    for byte in bytes {
        value = match (byte, value) {
            (b'0'..=b'7', value) => {
                let before = value.unwrap_or(0).checked_mul(8).ok_or_else(bad)?;
                Some(before | i64::from(byte & 7))
            }
            (b' ' | 0, None) => None,
            (b' ' | 0, Some(_)) => break,
            _ => return Err(bad()),
        }
    }
    Ok(value.unwrap_or(0))
}

/// Two's complement, most significant byte first; the very first bit is the mark of this form.
fn base256(bytes: &[u8]) -> Result<i64, Error> {
    let negative = bytes.first().is_some_and(|b| b & 0x40 != 0);
    let mut value: i128 = if negative { -1 } else { 0 };
    for (i, byte) in bytes.iter().enumerate() {
        let byte = match (i, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        // Twelve bytes are 95 bits and fit; a field is never longer.
        value = value.checked_shl(8).unwrap_or(0) | i128::from(byte);
    }
    i64::try_from(value).map_err(|_| Error::archive("a header field is out of range"))
}

/// A decimal number of a PAX record: a size, a user or group, a sparse map's member.
pub(super) fn decimal(text: &[u8]) -> Result<u64, Error> {
    if text.is_empty() || text.len() > 20 {
        return Err(Error::archive("a PAX record is no number"));
    }
    text.iter()
        .try_fold(0u64, |value, digit| match digit {
            b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit & 15)),
            _ => None,
        })
        .ok_or_else(|| Error::archive("a PAX record is no number"))
}

/// A PAX time: seconds with a fraction, perhaps negative. Digits beyond nanoseconds are cut.
pub(super) fn time(text: &[u8]) -> Result<(i64, u32), Error> {
    let bad = || Error::archive("a PAX record is no time");
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(dot) => (
            text.get(..dot).unwrap_or_default(),
            text.get(dot.saturating_add(1)..).unwrap_or_default(),
        ),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole).map_err(|_| bad())?).map_err(|_| bad())?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let nanos = fraction
        .iter()
        .copied()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0u32, |value, digit| {
            value.wrapping_mul(10).wrapping_add(u32::from(digit & 15))
        });
    Ok(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (seconds.wrapping_neg(), 0),
        // -1.25 s is 2 s before 1970 and 750 million nanoseconds after that.
        (true, _) => (
            seconds.wrapping_neg().saturating_sub(1),
            1_000_000_000u32.wrapping_sub(nanos),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_octal_or_base_256() {
        for (bytes, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   755 \0", Some(0o755)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"12x", None),
            (b"9", None),
            (b"-1", None),
            (b"\x80\0\0\0\0\0\0\x01", Some(1)),
            (b"\x80\0\0\0\xee\x6b\x28\x00", Some(4_000_000_000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(field(bytes).ok(), want, "{bytes:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, want) in [
            ("1704067200.123456789", Some((1_704_067_200, 123_456_789))),
            ("1.5", Some((1, 500_000_000))),
            ("1.0000000009", Some((1, 0))),
            ("7", Some((7, 0))),
            ("-86400.0", Some((-86_400, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("", None),
            ("-", None),
            ("1.x", None),
            ("x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()).ok(), want, "{text}");
        }
    }
}
