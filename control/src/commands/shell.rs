//! `wiretable completions` and `wiretable man`.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::failure::Failure;

/// Prints the completion script of a shell.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wiretable", &mut script);
    print(&script)
}

/// Prints the manual page: the command, then each subcommand.
pub fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    let mut command = Cli::command();
    command.build();
    let mut render = |command: clap::Command| {
        clap_mangen::Man::new(command).render(&mut page).map_err(|e| output_error(&e))
    };
    render(command.clone())?;
    for subcommand in
        command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set())
    {
        let name = format!("wiretable-{}", subcommand.get_name());
        render(subcommand.clone().name(name))?;
    }
    print(&page)
}

/// Writes bytes to standard output.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| output_error(&e))
}

/// A failed write to standard output: no failure when the reader has gone away.
pub fn output_error(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        Failure::OutputClosed
    } else {
        Failure::Environment(format!("cannot write the result: {error}"))
    }
}
