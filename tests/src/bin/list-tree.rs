// SPDX-License-Identifier: Apache-2.0
//! A folder as tests compare it, as a program for where no test runs: `list-tree FOLDER`.

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("expected a folder")?;
    std::io::stdout().write_all(fixture::tree(folder).as_bytes())?;
    Ok(())
}
