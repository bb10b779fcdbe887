//! The `teal` binary.

use teal::cli::exit::Exit;

fn main() -> Exit {
    teal::cli::main()
}
