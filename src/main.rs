//! The `kasparro` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kasparro::cli::main()
}
