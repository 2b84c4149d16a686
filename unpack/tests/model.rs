// SPDX-License-Identifier: Apache-2.0
//! Layers that nobody thought of: unpacked by us, and applied to a model that has no file system.
#![allow(missing_docs)]

#[path = "common/images.rs"]
#[allow(dead_code, unreachable_pub)]
mod images;
#[path = "model/kept.rs"]
#[allow(unreachable_pub)]
mod kept;
#[path = "model/mod.rs"]
mod model;

use std::path::Path;

use kept::check_kept;
use model::{Outcome, Program, check, check_stacked};

/// The number of cases, and the first, may be given in the environment.
const CASES: u64 = 1000;
const COUNT: &str = "UNPACK_MODEL_CASES";
const FIRST: &str = "UNPACK_MODEL_FIRST";

type Check = fn(&Program, &Path) -> Result<Outcome, String>;

#[test]
fn random_layers_mean_what_the_model_says() {
    if fixture::is_root("random_layers_mean_what_the_model_says") {
        cases(check);
    }
}

#[test]
fn random_layers_mean_the_same_when_each_is_unpacked_alone() {
    if fixture::is_root("random_layers_mean_the_same_when_each_is_unpacked_alone") {
        cases(check_stacked);
    }
}

#[test]
fn random_layers_mean_the_same_when_they_are_kept_and_mounted() {
    if fixture::is_root("random_layers_mean_the_same_when_they_are_kept_and_mounted") {
        cases(check_kept);
    }
}

fn cases(check: Check) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let first = number(FIRST).unwrap_or(0);
    let (mut applied, mut refused) = (0, 0);
    for case in first..first + number(COUNT).unwrap_or(CASES) {
        let program = program(case);
        match run(check, &program, dir.path()) {
            Ok(Outcome::Applied) => applied += 1,
            Ok(Outcome::Refused) => refused += 1,
            Err(_) => {
                let program = shrink(check, program, dir.path());
                let what = run(check, &program, dir.path()).expect_err("a disagreement");
                panic!("case {case} ({FIRST}={case} {COUNT}=1):\n{program}{what}");
            }
        }
    }
    // Mostly refused layers would test little.
    assert!(applied > refused / 2, "{applied} applied, {refused} refused");
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

/// Splitmix64 from the number of the case: the same program in each run.
fn program(case: u64) -> Program {
    let mut state = case.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let length = 10 + next() % 150;
    let bytes: Vec<u8> = (0..length).map(|_| (next() >> 32) as u8).collect();
    Program::decode(&bytes)
}

fn run(check: Check, program: &Program, dir: &Path) -> Result<Outcome, String> {
    let place = dir.join("place");
    let outcome = check(program, &place);
    std::fs::remove_dir_all(&place).expect("remove the tree");
    outcome
}

/// The same disagreement with as little as possible.
fn shrink(check: Check, mut program: Program, dir: &Path) -> Program {
    while let Some(smaller) = program
        .smaller()
        .into_iter()
        .find(|p| run(check, p, dir).is_err())
    {
        program = smaller;
    }
    program
}
