//! The `kasparro` program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kasparro::cli::main()
}
