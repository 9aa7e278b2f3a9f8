//! The options that every command takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::profile::{Options, units};

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Which profile
    #[arg(short, long, global = true, env = "ASISTRY_PROFILE", hide_env_values = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Endpoint, over the profile's; without -p any MCP service
    #[arg(long, global = true, env = "ASISTRY_URL", hide_env_values = true, value_name = "URL")]
    pub url: Option<String>,
    /// Extra request header; ${VAR} is read from the environment
    #[arg(long, global = true, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// Extra request headers, one a line
    #[arg(long, global = true, value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// The longest silence on one request [default: 60s; 10m for tool calls of a bridge]
    #[arg(long, global = true, env = "ASISTRY_TIMEOUT", hide_env_values = true, value_name = "DUR", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// Hard limit for one request
    #[arg(long, global = true, value_name = "DUR", value_parser = units::duration)]
    pub max_time: Option<Duration>,
    /// The longest total wait for 429 and 503 answers to one request; 0 = never wait [default: 60s]
    #[arg(long, global = true, value_name = "DUR", value_parser = units::duration)]
    pub max_wait: Option<Duration>,
    /// Further root certificates, PEM
    #[arg(long, global = true, value_name = "PEM")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its private key, PEM
    #[arg(long, global = true, value_name = "PEM")]
    pub client_cert: Option<PathBuf>,
    /// Check no certificate
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Allow a credential over plain http beyond this machine
    #[arg(long, global = true)]
    pub allow_http: bool,
    /// Never ask anything [env: CI=true]
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Log more (twice: still more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Write logs into a file instead of stderr
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// How logs are written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Write the conversation down; %p in the name is the process id
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub trace: Option<String>,
}

impl Common {
    /// Returns what was said about the connection.
    pub fn options(&self) -> Options {
        Options {
            timeout: self.timeout,
            max_time: self.max_time,
            max_wait: self.max_wait,
            ca_file: self.ca_file.clone(),
            client_cert: self.client_cert.clone(),
            insecure: self.insecure.then_some(true),
            allow_http: self.allow_http.then_some(true),
            ..Options::default()
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
