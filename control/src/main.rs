//! The `wiretable` command.

mod batch;
mod blame;
mod broker;
mod capacity;
mod cli;
mod commands;
mod confine;
mod db;
mod doctor;
mod execute;
mod extract;
mod failure;
mod indexed;
mod live;
mod moment;
mod output;
mod proxy;
mod record;
mod serve;
mod server;
mod session;
mod sets;
mod sink;
mod tls;
mod top;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("{message}");
            }
            ExitCode::from(failure.exit_status())
        }
    }
}

fn dispatch(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Query(args) => commands::query::query(args),
        Command::Run(args) => commands::run::run(args),
        Command::Ctl(args) => commands::ctl::ctl(args),
        Command::Top(args) => top::top(args),
        Command::Record(args) => record::record(args),
        Command::Store(args) => commands::store::store(args),
        Command::Explain(args) => commands::explain::explain(args),
        Command::Schema(args) => commands::schema::schema(args),
        Command::Functions(args) => commands::functions::functions(args),
        Command::Broker(args) => broker::broker(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Index(args) => commands::index::index(args),
        Command::Extract(args) => extract::extract(args),
        Command::Device(args) => commands::device::device(args),
        Command::Policy(args) => commands::policy::policy(args),
        Command::Db(args) => commands::db::db(args),
        Command::Serve(args) => commands::serve::serve(args),
        Command::Token(args) => commands::serve::token(args),
        Command::Why(args) => commands::why::why(args),
        Command::Sql(args) => commands::sql::sql(args),
        Command::Call(args) => commands::sql::call(args),
        Command::Completions { shell } => commands::shell::completions(*shell),
        Command::Man => commands::shell::man(),
    }
}
