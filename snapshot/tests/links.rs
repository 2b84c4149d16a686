// SPDX-License-Identifier: Apache-2.0
//! Hard links to files of lower layers, which no layer's tree can hold.
mod common;

use common::check;

#[test]
fn a_link_hides_what_it_replaced_even_when_it_is_replaced_itself() {
    check(
        &[
            "d /\nf /f x\nd /a\nf /a/old x\nd /a/sub\nf /a/sub/old x",
            "d /\nlink /a f",
            "d /\nd /a\nd /a/sub\nf /a/sub/new x",
        ],
        "a a/sub a/sub/new f",
        &[],
    );
}

#[test]
fn links_to_lower_layers_are_hard_links() {
    check(
        &[
            "d /\nd /a\nmode /a 0710\nf /a/f content\nown /a/f 5:6\nx /a/f user.n=v\nh /a/g a/f",
            "d /\nd /b\nmode /b 0701\nlink /b/h a/f\nlink /b/i b/h",
            "d /\nlink /j b/i",
        ],
        "a a/f a/g b b/h b/i j",
        &[
            ("a", "dir 710"),
            ("b", "dir 701"),
            ("a/g", "= a/f"),
            ("b/h", "= a/f"),
            ("b/i", "= a/f"),
            ("j", "= a/f"),
            ("j", "file \"content\" 644 5:6 1000003.000003003 user.n=v"),
        ],
    );
}

#[test]
fn links_outlive_the_name_they_were_made_from() {
    check(
        &["d /\nf /old content", "d /\nw /old\nlink /new old"],
        "new",
        &[("new", "content")],
    );
    check(
        &["d /\nf /old content", "d /\nlink /new old", "d /\nf /old other"],
        "new old",
        &[("new", "file \"content\""), ("old", "file \"other\"")],
    );
}

#[test]
fn links_that_a_later_layer_hides_are_not_there() {
    check(
        &[
            "d /\nf /old content",
            "d /\nd /d\nlink /a old\nlink /b old\nlink /d/c old",
            "d /\nf /a mine\nw /b\nw /d",
        ],
        "a old",
        &[("a", "file \"mine\"")],
    );
}

#[test]
fn the_order_of_links_in_a_layer_counts() {
    check(
        &[
            "d /\nf /a lower-a\nf /b lower-b",
            "d /\nlink /c a\nlink /a b\nlink /d a",
        ],
        "a b c d",
        &[("c", "lower-a"), ("a", "lower-b"), ("d", "lower-b"), ("d", "= a")],
    );
}

#[test]
fn a_link_to_its_own_name_brings_back_what_its_directory_hides() {
    check(
        &[
            "d /\nd /b\nf /b/c lower\nf /b/gone x",
            "d /\nd /b\no /b\nlink /b/c b/c\nlink /d b/c",
        ],
        "b b/c d",
        &[("b/c", "file \"lower\""), ("d", "= b/c")],
    );
}

#[test]
fn links_to_symlinks_and_fifos_work() {
    check(
        &["d /\ns /s target\np /p", "d /\nlink /s2 s\nlink /p2 p"],
        "p p2 s s2",
        &[("s2", "symlink -> target"), ("p2", "= p"), ("s2", "= s")],
    );
}

#[test]
fn a_directory_made_for_a_link_takes_after_the_one_below() {
    check(
        &[
            "d /\nd /d\nmode /d 0700\nf /d/f x",
            "d /\nlink /d/g d/f\nlink /new/dir/h d/f",
        ],
        "d d/f d/g new new/dir new/dir/h",
        &[
            ("d", "dir 700"),
            ("new/dir", "dir 755 0:0 0.000000000"),
            ("new/dir/h", "= d/f"),
        ],
    );
}
