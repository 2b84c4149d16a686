// SPDX-License-Identifier: Apache-2.0
//! `Config.User`: who the process runs as.
use std::os::fd::OwnedFd;

use image_spec::runtime::User;

use super::accounts::{Key, MAX_ID, Table, number};
use crate::{Error, ErrorKind};

/// NGROUPS_MAX of the kernel.
const MAX_GROUPS: usize = 65536;

/// `user`, `uid`, `user:group` and the mixed forms.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    user: Who<'a>,
    group: Option<Who<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Who<'a> {
    Id(u32),
    Name(&'a str),
}

/// Takes the text apart; an empty one is user 0.
pub(super) fn parse(text: &str) -> Result<Wanted<'_>, Error> {
    let refuse = |why: &str| {
        Error::new(
            ErrorKind::User,
            format!("image's User {why}: `{}`", text.escape_default()),
        )
    };
    let who = |part| match part {
        _ if !str::bytes(part).all(|byte| byte.is_ascii_digit()) => Ok(Who::Name(part)),
        _ => number(part.as_bytes())
            .map(Who::Id)
            .ok_or_else(|| refuse(&format!("has an id larger than {MAX_ID}"))),
    };
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    if group.contains(':') || text.contains(['\0', '\n']) {
        return Err(refuse("is not `user` or `user:group`"));
    }
    if user.is_empty() && !text.is_empty() {
        return Err(refuse("names a group but no user"));
    }
    Ok(Wanted {
        user: if user.is_empty() { Who::Id(0) } else { who(user)? },
        group: (!group.is_empty()).then(|| who(group)).transpose()?,
    })
}

/// Finds the ids, in the accounts of the root filesystem `root` where they are needed.
pub(super) fn resolve(wanted: &Wanted<'_>, root: &OwnedFd) -> Result<User, Error> {
    let unknown = |file: &str, name: &str| {
        let what = format!(
            "the image's {file} does not have its User: `{}`",
            name.escape_default()
        );
        Error::new(ErrorKind::User, what)
    };
    let account = match (&wanted.user, &wanted.group) {
        (Who::Id(_), Some(_)) => None,
        (Who::Id(uid), None) => Table::passwd(root)?.account(&Key::Id(*uid))?,
        (Who::Name(name), _) => {
            let found = Table::passwd(root)?.account(&Key::Name(name.as_bytes()))?;
            Some(found.ok_or_else(|| unknown("/etc/passwd", name))?)
        }
    };
    let uid = match (&wanted.user, &account) {
        (Who::Id(uid), _) => *uid,
        (Who::Name(_), account) => account.as_ref().map_or(0, |account| account.uid),
    };
    let mut others = Vec::new();
    let gid = match (&wanted.group, &account) {
        (Some(Who::Id(gid)), _) => *gid,
        (Some(Who::Name(name)), _) => Table::group(root)?
            .group_id(name.as_bytes())?
            .ok_or_else(|| unknown("/etc/group", name))?,
        (None, Some(account)) => {
            others = Table::group(root)?.groups_of(&account.name)?;
            account.gid
        }
        // A number that no account has: the root group, as every engine does.
        (None, None) => 0,
    };
    let mut groups = vec![gid];
    others.sort_unstable();
    others.dedup();
    groups.extend(others.into_iter().filter(|other| *other != gid));
    if groups.len() > MAX_GROUPS {
        let what = format!("image's User is in more groups than the kernel takes: {MAX_GROUPS}");
        return Err(Error::new(ErrorKind::User, what));
    }
    Ok(User {
        uid,
        gid,
        additional_gids: groups,
        ..User::default()
    })
}
