// SPDX-License-Identifier: Apache-2.0
//! Hosts that are reached without a proxy, as `no_proxy` lists them.
//!
//! There is no standard. Entries mean what they mean to Go's tools, and so to podman and
//! containerd: `*` is everything, `name` the name and all names under it, `.name` and `*.name`
//! only those under it, an address itself, `network/bits` its addresses. A `:port` at the end of
//! a name or an address limits it to that port. Names are not resolved: a network holds only
//! what was written as an address.

use std::net::IpAddr;

use super::url::Origin;
use crate::error::clean;
use crate::{Error, ErrorKind};

/// Bytes of a list. Clusters generate some with a few hundred networks.
const MAX_LIST: usize = 64 << 10;

/// A parsed list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bypass {
    entries: Vec<(What, Option<u16>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Everything,
    /// A name, and whether it stands for itself too.
    Name(String, bool),
    Network(IpAddr, u8),
}

impl Bypass {
    /// Entries between commas or blanks. One that cannot be read is an error, or if `lenient`
    /// passed over with a warning.
    pub(crate) fn parse(list: &str, lenient: bool) -> Result<Self, Error> {
        if list.len() > MAX_LIST {
            let message = format!("the list of hosts without proxy is longer than {MAX_LIST} bytes");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let mut entries = Vec::new();
        let texts = list.split([',', ' ', '\t', '\n']);
        for text in texts.filter(|text| !text.is_empty()) {
            match entry(text) {
                Some(entry) => entries.push(entry),
                None if lenient => {
                    tracing::warn!(entry = clean(text), "no host, address or network for no_proxy");
                }
                None => {
                    let message = format!(
                        "no host, address or network in the list of hosts without proxy: `{}`",
                        clean(text)
                    );
                    return Err(Error::new(ErrorKind::Invalid, message));
                }
            }
        }
        Ok(Self { entries })
    }

    pub(crate) fn holds(&self, origin: &Origin) -> bool {
        let ip = origin.ip().map(|ip| ip.to_canonical());
        self.entries.iter().any(|(what, port)| {
            let found = match what {
                What::Everything => true,
                What::Name(name, itself) => match origin.name().strip_suffix(name.as_str()) {
                    Some("") => *itself,
                    Some(front) => ip.is_none() && front.ends_with('.'),
                    None => false,
                },
                What::Network(network, bits) => ip.is_some_and(|ip| within(ip, *network, *bits)),
            };
            found && port.is_none_or(|port| port == origin.port())
        })
    }
}

fn entry(text: &str) -> Option<(What, Option<u16>)> {
    if text == "*" {
        return Some((What::Everything, None));
    }
    if let Some((address, bits)) = text.split_once('/') {
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some((What::Network(address, bits), None));
    }
    if let Some(address) = ip(text) {
        return Some((address, None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port: &u16| *port != 0)?)),
        None => (text, None),
    };
    if let Some(address) = ip(host) {
        return Some((address, port));
    }
    let name = host
        .strip_prefix("*.")
        .or_else(|| host.strip_prefix('.'))
        .unwrap_or(host);
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (!name.is_empty() && name.bytes().all(good))
        .then(|| (What::Name(name.to_ascii_lowercase(), name == host), port))
}

/// One address, IPv6 with or without brackets.
fn ip(text: &str) -> Option<What> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(text).parse().ok()?;
    let address = address.to_canonical();
    Some(What::Network(address, if address.is_ipv4() { 32 } else { 128 }))
}

fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_suffixes_addresses_and_networks() {
        for (list, host, want) in [
            ("", "example.com", false),
            ("*", "example.com", true),
            ("example.com", "example.com", true),
            ("example.com", "a.b.example.com", true),
            ("EXAMPLE.com", "A.example.COM", true),
            ("example.com", "notexample.com", false),
            ("example.com", "example.com.evil.org", false),
            (".example.com", "example.com", false),
            (".example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.example.com", true),
            ("example.com:5000", "example.com:5000", true),
            ("example.com:5000", "example.com", false),
            ("example.com:443", "example.com", true),
            ("a, b\tc\nd", "c", true),
            ("10.0.0.0/8", "10.200.3.4:5000", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "[2001:db8::1]", false),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.70", false),
            ("192.0.2.7:80", "192.0.2.7:80", true),
            ("192.0.2.7:80", "192.0.2.7:81", false),
            // An address has no names under it.
            ("2.7", "192.0.2.7", false),
            ("2001:db8::/32", "[2001:db8::1]:5000", true),
            ("2001:db8::/32", "[2001:db9::1]", false),
            ("2001:db8::1", "[2001:db8::1]", true),
            ("[2001:db8::1]:5000", "[2001:db8::1]:5000", true),
            ("[2001:db8::1]:5000", "[2001:db8::1]:5001", false),
            ("192.0.2.0/24", "[::ffff:192.0.2.1]", true),
            // Names are not resolved.
            ("127.0.0.0/8", "localhost", false),
        ] {
            let origin = Origin::new(host, false).unwrap();
            let bypass = Bypass::parse(list, false).unwrap();
            assert_eq!(bypass.holds(&origin), want, "{list} {host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_or_passed_over() {
        for bad in [
            "<local>",
            "10.0.0.0/33",
            "a/8",
            "a:b",
            "a:0",
            "a:65536",
            ".",
            "*.",
            "10.0.0.0/8:80",
        ] {
            let list = format!("good.example,{bad}");
            assert!(Bypass::parse(&list, false).is_err(), "{bad}");
            let kept = Bypass::parse(&list, true).unwrap();
            assert_eq!(kept, Bypass::parse("good.example", false).unwrap(), "{bad}");
        }
    }
}
