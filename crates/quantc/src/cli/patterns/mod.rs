//! `quantc patterns`: one file per subcommand.

mod check;
mod docs;
mod export;
mod import;
mod list;
mod test;

use quantc::Error;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check pattern files: everything wrong with them, their examples, and what can never have an effect
    Check(check::Args),
    /// List rules and backends
    List(list::Args),
    /// Write an index, a page for each rule with its examples before and after, and a page for each backend
    Docs(docs::Args),
    /// Write a backend as PyTorch's BackendConfig, in JSON
    Export(export::Args),
    /// Make a .qpat file of PyTorch's BackendConfig, in JSON
    Import(import::Args),
    /// Run the file tests of a folder: graphs, commands and what they must give
    Test(test::Args),
}

/// Runs one subcommand.
///
/// # Errors
/// The one message that the user sees.
pub fn run(command: &Command) -> Result<(), Error> {
    match command {
        Command::Check(args) => check::run(args),
        Command::List(args) => list::run(args),
        Command::Docs(args) => docs::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Test(args) => test::run(args),
    }
}
