// SPDX-License-Identifier: Apache-2.0
//! POSIX access lists, as far as the kernel looks into them when they are set (acl(5)).

/// What `system.posix_acl_*` begins with.
const VERSION: [u8; 4] = 2u32.to_le_bytes();

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    tag: u16,
    permissions: u16,
}

/// The entries of a list; none where the kernel would refuse it.
pub(super) fn parse(value: &[u8]) -> Option<Vec<Entry>> {
    let entries = value.strip_prefix(&VERSION)?;
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    let mut list = Vec::with_capacity(entries.len());
    for [a, b, c, d, id @ ..] in entries {
        let (tag, permissions) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
        let named = matches!(tag, USER | GROUP);
        if permissions > 7 || named && u32::from_le_bytes(*id) == u32::MAX {
            return None;
        }
        list.push(Entry { tag, permissions });
    }
    (list.is_empty() || is_complete(&list)).then_some(list)
}

/// One entry for the owner, the group and others, in this order, users and groups by name behind their
/// kind, and a mask where there are such.
fn is_complete(list: &[Entry]) -> bool {
    let mut tags = list.iter().map(|entry| entry.tag).peekable();
    let mut skip = |tag| {
        let mut count = 0;
        while tags.next_if_eq(&tag).is_some() {
            count += 1;
        }
        count
    };
    let owner = skip(USER_OBJ);
    let users = skip(USER);
    let group = skip(GROUP_OBJ);
    let groups = skip(GROUP);
    let masks = skip(MASK);
    let others = skip(OTHER);
    let named = users + groups > 0;
    (owner, group, others) == (1, 1, 1) && (masks == 1 || masks == 0 && !named) && tags.next().is_none()
}

/// The permissions that a file with this list has, and whether they say all that the list says.
pub(super) fn mode(list: &[Entry]) -> (u16, bool) {
    let (mut mode, mut minimal) = (0, true);
    for Entry { tag, permissions } in list {
        match *tag {
            USER_OBJ => mode |= permissions << 6,
            GROUP_OBJ => mode |= permissions << 3,
            OTHER => mode |= permissions,
            MASK => {
                mode = mode & !0o070 | permissions << 3;
                minimal = false;
            }
            _ => minimal = false,
        }
    }
    (mode, minimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = VERSION.to_vec();
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    const ANY: u32 = u32::MAX;

    #[test]
    fn lists_are_taken_and_refused_as_by_the_kernel() {
        let minimal = [(USER_OBJ, 7, ANY), (GROUP_OBJ, 5, ANY), (OTHER, 0, ANY)];
        assert_eq!(mode(&parse(&value(&minimal)).unwrap()), (0o750, true));
        let masked = [
            (USER_OBJ, 6, ANY),
            (USER, 7, 1000),
            (GROUP_OBJ, 4, ANY),
            (MASK, 7, ANY),
            (OTHER, 4, ANY),
        ];
        assert_eq!(mode(&parse(&value(&masked)).unwrap()), (0o674, false));
        assert_eq!(parse(&value(&[])), Some(Vec::new()));

        let without_mask = [masked[0], masked[1], masked[2], masked[4]];
        let other_order = [masked[2], masked[0], masked[4]];
        let nobody = [masked[0], (USER, 7, ANY), masked[2], masked[3], masked[4]];
        let too_much = [(USER_OBJ, 8, ANY), minimal[1], minimal[2]];
        for wrong in [&without_mask[..], &other_order, &nobody, &too_much, &minimal[..2]] {
            assert_eq!(parse(&value(wrong)), None, "{wrong:?}");
        }
        let whole = value(&minimal);
        assert_eq!(parse(&whole[..whole.len() - 1]), None);
        assert_eq!(parse(b"\x01\0\0\0"), None);
        assert_eq!(parse(b""), None);
    }
}
