// SPDX-License-Identifier: Apache-2.0
//! Where a list goes on (RFC 8288).

use hyper::header::{HeaderMap, LINK};

use crate::{Error, ErrorKind};

/// The target of the link whose relation is `next`, as it was written.
///
/// # Errors
///
/// [`BadResponse`](ErrorKind::BadResponse) for a header outside the grammar, and for two such
/// links.
pub(crate) fn next(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut found = None;
    for value in headers.get_all(LINK) {
        let bad = || Error::new(ErrorKind::BadResponse, "the Link header cannot be read");
        let mut rest = value.to_str().map_err(|_| bad())?;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (link, after) = Link::read(rest).ok_or_else(bad)?;
            rest = after;
            if link.next && found.replace(link.target).is_some() {
                return Err(Error::new(ErrorKind::BadResponse, "two links to a next page"));
            }
        }
    }
    Ok(found)
}

struct Link<'a> {
    target: &'a str,
    next: bool,
}

impl<'a> Link<'a> {
    /// `<target>; name=value; ...` up to a comma or the end, and what follows.
    fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
        let (mut relation, mut anchored) = (None, false);
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            if rest.is_empty() || rest.starts_with(',') {
                break;
            }
            rest = rest.strip_prefix(';')?.trim_start_matches([' ', '\t']);
            if rest.is_empty() || rest.starts_with([';', ',']) {
                continue;
            }
            let (name, after) = token(rest)?;
            rest = after.trim_start_matches([' ', '\t']);
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix('=') {
                (value, rest) = self::value(after.trim_start_matches([' ', '\t']))?;
            }
            match name.to_ascii_lowercase().as_str() {
                // Later ones do not count (section 3.3).
                "rel" => drop(relation.get_or_insert(value)),
                "anchor" => anchored = true,
                _ => {}
            }
        }
        let relation = relation.unwrap_or_default();
        let next = relation.split(' ').any(|name| name.eq_ignore_ascii_case("next"));
        let next = next && !anchored;
        Some((Self { target, next }, rest))
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let symbol = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !symbol(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(token, _)| !token.is_empty())
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(token, rest)| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (end, '"') => return Some((value, quoted.get(end + 1..)?)),
            (_, '\\') => value.push(chars.next()?.1),
            (_, c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn a_link_is_read_as_written_or_not_at_all() {
        for (text, want) in [
            (
                r#"</v2/a/tags/list?n=2&last=b>; rel="next""#,
                Ok(Some("/v2/a/tags/list?n=2&last=b")),
            ),
            ("</x>;rel=next", Ok(Some("/x"))),
            (r#"</x> ; REL = "prev NEXT""#, Ok(Some("/x"))),
            (
                r#"</p>; rel="prev", </x>; title="a,b;\"c"; rel="next""#,
                Ok(Some("/x")),
            ),
            ("</x>; rel=next;", Ok(Some("/x"))),
            (r#"</x>; rel="first"; rel="next""#, Ok(None)),
            (r##"</x>; rel="next"; anchor="#a""##, Ok(None)),
            ("</x>", Ok(None)),
            ("", Ok(None)),
            ("</x>; rel=next, </y>; rel=next", Err(())),
            ("/x; rel=next", Err(())),
            ("</x; rel=next", Err(())),
            (r#"</x>; rel="next"#, Err(())),
            ("</x> rel=next", Err(())),
            ("</x>; rel=", Err(())),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_str(text).unwrap());
            assert_eq!(next(&headers).map_err(drop), want, "{text}");
        }
    }

    #[test]
    fn several_headers_count_together() {
        let mut headers = HeaderMap::new();
        headers.append(LINK, HeaderValue::from_static("</p>; rel=prev"));
        headers.append(LINK, HeaderValue::from_static("</x>; rel=next"));
        assert_eq!(next(&headers).unwrap(), Some("/x"));
        headers.append(LINK, HeaderValue::from_static("</y>; rel=next"));
        assert_eq!(next(&headers).unwrap_err().kind(), ErrorKind::BadResponse);
    }
}
