// SPDX-License-Identifier: Apache-2.0
//! The command line `image-client`.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
