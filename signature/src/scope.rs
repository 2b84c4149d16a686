// SPDX-License-Identifier: Apache-2.0
//! Which scopes may stand in a policy. One that can never match is a mistake, and a mistake in a
//! policy is not guessed at.

use crate::identity::lower_host;

/// The scope as it is looked up, or what is wrong with it. Transports that this crate does not
/// know keep theirs: the file may be shared with tools that do.
pub(crate) fn checked(transport: &str, scope: String) -> Result<String, &'static str> {
    if scope.is_empty() {
        return Ok(scope);
    }
    match transport {
        "docker" | "atomic" => named(&scope).map(|()| lower_host(&scope)),
        "oci" | "oci-archive" | "dir" | "sif" => path(&scope).map(|()| scope),
        "docker-archive" | "tarball" => Err("the transport has no scope but the empty one"),
        _ => Ok(scope),
    }
}

fn named(scope: &str) -> Result<(), &'static str> {
    if let Some(domain) = scope.strip_prefix("*.") {
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        return if domain.split('.').all(label) {
            Ok(())
        } else {
            Err("not a domain after `*.`")
        };
    }
    if scope.contains('*') {
        return Err("a wildcard stands for whole labels at the start of a host only");
    }
    if scope.contains("://") {
        return Err("a scope has no URL scheme");
    }
    if scope.split('/').any(str::is_empty) || scope.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("not a host, a namespace or an image");
    }
    Ok(())
}

fn path(scope: &str) -> Result<(), &'static str> {
    let Some(relative) = scope.strip_prefix('/') else {
        return Err("not an absolute path");
    };
    if relative.is_empty() {
        return Err("the root is written as the empty scope");
    }
    if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("not the shortest form of a path");
    }
    Ok(())
}
