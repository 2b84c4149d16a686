// SPDX-License-Identifier: Apache-2.0
//! The kernel's overlay against our reading of its rules, on stacks that nobody thought of.
mod common;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use common::{Lab, chain, is_root};
use snapshot::{Copy, ErrorKind, Overlay, Snapshotter};

const STACKS: u64 = 400;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Xorshift: the same stacks in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.roll(3);
        let names = (0..depth)
            .map(|_| NAMES[self.roll(3) as usize])
            .collect::<Vec<_>>();
        names.join("/")
    }
}

/// One layer as an unpacker would leave it: no path twice, directories before what they hold.
fn layer(dice: &mut Dice) -> String {
    let mut made = BTreeMap::<String, &str>::new();
    let mut lines = vec![if dice.roll(2) == 0 {
        "d /".to_owned()
    } else {
        "implied /".to_owned()
    }];
    if dice.roll(12) == 0 {
        lines.push("opaque-root".to_owned());
    }
    for _ in 0..1 + dice.roll(6) {
        let path = dice.path();
        let parents = path
            .match_indices('/')
            .map(|(at, _)| path[..at].to_owned())
            .collect::<Vec<_>>();
        if made.contains_key(&path)
            || parents
                .iter()
                .any(|dir| made.get(dir).is_some_and(|kind| *kind != "d"))
        {
            continue;
        }
        let kind = ["d", "d", "f", "f", "s", "w", "w", "h", "link"][dice.roll(9) as usize];
        let same = made
            .iter()
            .find(|(_, kind)| **kind == "f")
            .map(|(path, _)| path.clone());
        if kind == "h" && same.is_none() {
            continue;
        }
        // The directories of a link need not be in the tree.
        let bare = kind == "link" && dice.roll(2) == 0;
        for dir in parents {
            if bare {
                continue;
            }
            if let Entry::Vacant(free) = made.entry(dir) {
                let word = ["implied", "d"][dice.roll(2) as usize];
                lines.push(format!("{word} {}", free.key()));
                free.insert("d");
            }
        }
        match kind {
            "d" => {
                let mode = if dice.roll(2) == 0 { "0700" } else { "0751" };
                lines.extend([format!("d {path}"), format!("mode {path} {mode}")]);
                if dice.roll(3) == 0 {
                    lines.push(format!("o {path}"));
                }
            }
            "f" => lines.push(format!("f {path} content {}", dice.roll(1000))),
            "s" => lines.push(format!("s {path} {}", NAMES[dice.roll(3) as usize])),
            "h" => lines.push(format!("h {path} {}", same.unwrap_or_default())),
            "link" => lines.push(format!("link {path} {}", dice.path())),
            _ => lines.push(format!("w {path}")),
        }
        made.insert(path, kind);
    }
    lines.join("\n")
}

#[test]
fn overlay_and_copy_agree_on_random_stacks() {
    if !is_root() {
        return;
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut mounted, mut names) = (0, 0);
    for number in 0..STACKS {
        let scripts = (0..1 + dice.roll(5))
            .map(|_| layer(&mut dice))
            .collect::<Vec<_>>();
        let shown = scripts.join("\n---\n");
        let lab = Lab::new(&scripts.iter().map(String::as_str).collect::<Vec<_>>());
        let (state, target) = (lab.dir("state"), lab.dir("target"));
        match Overlay.mount(&lab.layers, &state, &target) {
            Ok(_) => {
                Overlay.unmount(&state, &target).unwrap();
                let (overlay, copy) = (lab.tree(&Overlay), lab.tree(&Copy));
                assert!(
                    !overlay.values().any(|line| line.contains("not there")),
                    "{number}:\n{shown}\n{overlay:#?}"
                );
                assert_eq!(overlay, copy, "{number}:\n{shown}");
                mounted += 1;
                names += overlay.len();
            }
            // A link that leads nowhere.
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    ErrorKind::Layer,
                    "{number}:\n{shown}\n{}",
                    chain(&error)
                );
                let copied = Copy.mount(&lab.layers, &state, &target).unwrap_err();
                assert_eq!(copied.to_string(), error.to_string(), "{number}:\n{shown}");
                lab.assert_clean();
            }
        }
    }
    assert!(
        mounted > STACKS / 3 && names > 3 * STACKS as usize,
        "{mounted} mounts, {names} names"
    );
}
