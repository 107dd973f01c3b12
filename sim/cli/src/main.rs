//! The command `hotfire`: arguments only; what they ask for is done in the modules.

mod admin;
mod exit;
mod explain;
mod explore;
mod files;
mod load;
mod print;
mod progress;
mod run;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
use crate::run::{Request, Seeds};
use crate::serve::Port;

/// Messages are many small allocations: this allocator is measurably faster at them than glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fires a simulated RocketMQ cluster at full thrust and gives an honest verdict.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Shown below the help.
const EXIT_CODES: &str = "Exit codes: 0 all pass, 1 an invariant is violated, 2 unknown (something \
                          was not put to the test, or a budget ended), 254 wrong usage or \
                          scenario, 255 a bug of hotfire.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and judge them.
    Run(RunArgs),
    /// List scenarios, invariants or planted defects.
    List {
        /// What to list.
        #[arg(value_enum, default_value_t = Listed::Scenarios)]
        what: Listed,
        /// Where scenarios are.
        #[arg(long, default_value = "scenarios")]
        folder: PathBuf,
    },
    /// Explain an invariant (INV-LOSS), a planted defect, or all keys of scenario files (scenario).
    Explain {
        /// What to explain.
        id: String,
    },
    /// Administer name servers and brokers, with the commands and options of mqadmin.
    Admin(Box<admin::AdminArgs>),
    /// Serve a name server and a broker in one process, on real TCP and real files.
    Serve {
        #[command(flatten)]
        files: ServeFiles,
        /// The port of the name server. [default: 9876]
        #[arg(long, value_name = "PORT")]
        namesrv_port: Option<u16>,
        /// The port of the broker. [default: that of the configuration, or 10911]
        #[arg(long, value_name = "PORT")]
        broker_port: Option<u16>,
    },
    /// Serve a name server.
    Namesrv {
        #[command(flatten)]
        files: ServeFiles,
        /// The port. [default: that of the configuration, or 9876]
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
    },
    /// Serve a broker.
    Broker {
        #[command(flatten)]
        files: ServeFiles,
        /// The port. [default: that of the configuration, or 10911]
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
        /// A name server to register with; may be given several times.
        #[arg(long, value_name = "HOST:PORT")]
        namesrv: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct ServeFiles {
    /// Where files are kept.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// A configuration file in Apache RocketMQ's format (Java properties).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log, in the notation of RUST_LOG: info, or hotfire_broker=debug,warn.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// How to log: text for people, or json, one object per line.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = serve::LogFormat::Text)]
    log_format: serve::LogFormat,
    /// Hand out metrics for Prometheus on this port; those of a name server beside a broker on the
    /// next one. [default: what the configuration says]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Scenario files, or folders with scenarios.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The seed.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Several seeds, both ends included.
    #[arg(long, value_name = "A..B")]
    seeds: Option<Seeds>,
    /// Runs at a time. Default: one per core.
    #[arg(long, short, value_name = "J")]
    jobs: Option<std::num::NonZeroUsize>,
    /// Leave results.json and history.jsonl of every run below this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object per run on stdout.
    #[arg(long)]
    json: bool,
    /// Run everything twice and fail unless the trace hashes agree.
    #[arg(long)]
    verify: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Listed {
    Scenarios,
    Invariants,
    Defects,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for, everything else is wrong usage.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Pass
            };
            let _ = error.print();
            return exit.into();
        }
    };
    let exit = act(cli.command).unwrap_or_else(|wrong| {
        print::error(&wrong);
        Exit::Usage
    });
    exit.into()
}

/// Does what is asked for, or says what was wrong with it.
fn act(command: Command) -> Result<Exit, String> {
    match command {
        Command::Run(args) => {
            let cores =
                || std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN);
            return run::all(&Request {
                paths: args.paths,
                seeds: args.seeds.unwrap_or(Seeds::one(args.seed)),
                jobs: args.jobs.unwrap_or_else(cores).get(),
                out: args.out,
                json: args.json,
                verify: args.verify,
            });
        }
        Command::List { what, folder } => {
            let text = match what {
                Listed::Scenarios => explain::scenarios(&folder)?,
                Listed::Invariants => explain::invariants(),
                Listed::Defects => explain::defects(),
            };
            print::line(text.trim_end());
        }
        Command::Admin(args) => return admin::run(*args),
        Command::Explain { id } => print::line(explain::explain(&id)?.trim_end()),
        Command::Serve {
            files,
            namesrv_port,
            broker_port,
        } => return files.serve(Some(namesrv_port), Some(broker_port), Vec::new()),
        Command::Namesrv { files, port } => return files.serve(Some(port), None, Vec::new()),
        Command::Broker {
            files,
            port,
            namesrv,
        } => return files.serve(None, Some(port), namesrv),
    }
    Ok(Exit::Pass)
}

impl ServeFiles {
    fn serve(
        self,
        namesrv: Option<Port>,
        broker: Option<Port>,
        namesrv_addrs: Vec<String>,
    ) -> Result<Exit, String> {
        serve::log(&self.log, self.log_format)?;
        serve::serve(&serve::Request {
            data: self.data,
            namesrv,
            broker,
            namesrv_addrs,
            config: self.config,
            metrics_port: self.metrics_port,
        })
    }
}
