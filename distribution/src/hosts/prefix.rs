// SPDX-License-Identifier: Apache-2.0
//! Prefixes of image names, as registries.conf uses them (containers-registries.conf(5)).
//!
//! A prefix ends where a part of the name ends: `example.com` holds `example.com/a`, and neither
//! `example.com.evil.org/a` nor `evil.org/example.com/a`. Its host includes the port, so it does
//! not hold `example.com:5000/a` either; there containers/image is laxer, and calls that a fault.

use image_spec::Reference;

/// A prefix in the form in which it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    text: String,
    /// Every host under it, not itself: the text begins with a dot.
    wildcard: bool,
}

impl Prefix {
    /// From `host[:port][/path[:tag|@digest]]` or `*.host[:port]`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        if text.contains("://") || text.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        let (host, path) = match text.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (text, None),
        };
        let host = match host.to_ascii_lowercase() {
            old if old == "index.docker.io" => "docker.io".to_owned(),
            host => host,
        };
        if let Some(domain) = host.strip_prefix('*') {
            let good = domain.len() > 1 && domain.starts_with('.') && !domain.contains('*') && path.is_none();
            return good.then(|| Self {
                text: domain.to_owned(),
                wildcard: true,
            });
        }
        let good = !host.is_empty() && !text.contains('*') && path.is_none_or(|path| !path.is_empty());
        good.then(|| Self {
            text: path.map_or_else(|| host.clone(), |path| format!("{host}/{path}")),
            wildcard: false,
        })
    }

    /// How specific it is: the longest one that holds a name counts.
    pub(crate) fn length(&self) -> usize {
        self.text.len() + usize::from(self.wildcard)
    }

    /// Whether it is about single tags or digests.
    pub(crate) fn names_image(&self) -> bool {
        let (_, path) = self.text.split_once('/').unwrap_or_default();
        path.contains([':', '@'])
    }

    /// Whether it holds the image.
    pub(crate) fn holds(&self, reference: &Reference) -> bool {
        if self.wildcard {
            let host = reference.registry().to_ascii_lowercase();
            return host.len() > self.text.len() && host.ends_with(&self.text);
        }
        let text = reference.to_string();
        let (host, path) = text.split_once('/').unwrap_or((&text, ""));
        let Some((own, wanted)) = self.text.split_once('/') else {
            return host.eq_ignore_ascii_case(&self.text);
        };
        let rest = path.strip_prefix(wanted);
        host.eq_ignore_ascii_case(own)
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
    }

    /// The image's name without what the prefix holds of it: empty or with a leading slash.
    pub(crate) fn rest<'a>(&self, name: &'a str) -> &'a str {
        let (host, _) = name.split_once('/').unwrap_or((name, ""));
        let length = if self.wildcard {
            host.len()
        } else {
            self.text.len()
        };
        name.get(length..).unwrap_or_default()
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*" } else { "" }, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_part_of_the_name_ends() {
        for (prefix, name, want) in [
            ("example.com", "example.com/a", true),
            ("EXAMPLE.com", "Example.COM/a", true),
            ("example.com/", "example.com/a", true),
            ("example.com", "example.com:5000/a", false),
            ("example.com:5000", "example.com:5000/a", true),
            ("example.com:5000", "example.com/a", false),
            ("example.com", "evil.org/example.com/small", false),
            ("example.com", "example.com.evil.org/a", false),
            ("example.com", "notexample.com/a", false),
            ("example.com/a", "example.com/a", true),
            ("example.com/a", "example.com/a:tag", true),
            ("example.com/a", "example.com/a/b", true),
            ("example.com/a", "example.com/ab", false),
            ("example.com/a", "example.com/a-b", false),
            ("example.com/a:tag", "example.com/a:tag", true),
            ("example.com/a:tag", "example.com/a:tag2", false),
            ("example.com/a:tag", "example.com/a", false),
            ("docker.io/library/busybox", "busybox", true),
            ("index.docker.io", "busybox", true),
            ("docker.io/busybox", "busybox", false),
            ("*.example.com", "a.example.com/x", true),
            ("*.example.com", "a.b.example.com/x", true),
            ("*.example.com", "example.com/x", false),
            ("*.example.com", "a.example.com:5000/x", false),
            ("*.example.com:5000", "a.example.com:5000/x", true),
            ("*.example.com", "a.example.com.evil.org/x", false),
            ("*.example.com", "evil.org/a.example.com/x", false),
            ("*.example.com", "notexample.com/x", false),
            ("[::1]:5000", "[::1]:5000/x", true),
        ] {
            let found = Prefix::parse(prefix).unwrap().holds(&name.parse().unwrap());
            assert_eq!(found, want, "{prefix} {name}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "",
            "/a",
            "https://a",
            "*",
            "*.",
            "*a",
            "*.a.b/c",
            "a.*.b",
            "a/*",
            "a b",
            "*.*.a",
        ] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_rest_is_what_a_location_goes_before() {
        for (prefix, name, want) in [
            ("example.com", "example.com/a/b", "/a/b"),
            ("example.com/a", "example.com/a/b", "/b"),
            ("example.com/a", "example.com/a", ""),
            ("*.example.com", "x.example.com/a", "/a"),
        ] {
            assert_eq!(Prefix::parse(prefix).unwrap().rest(name), want, "{prefix} {name}");
        }
    }
}
