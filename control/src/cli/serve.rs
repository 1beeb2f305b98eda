//! `wiretable serve` and `wiretable token`: the control plane's server, and who may ask it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::db::DatabaseArgs;
use super::parse_duration;

/// `wiretable serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
The database is the private cluster, which is started if need be, or the one of --database-url; its schema is brought up to date.

Examples:
  wiretable serve
  wiretable token create --role operator --label ada
  curl -s localhost:8080/v1/query -H \"Authorization: Bearer $TOKEN\" -d '{\"sql\": \"SELECT * FROM net.drift\"}'
  wiretable serve --listen 0.0.0.0:8443 --tls-cert /etc/wiretable/chain.pem --tls-key /etc/wiretable/key.pem
  wiretable serve --listen none --database-url postgres://wt_proxy@db.example/net    only drives devices

What the configuration (TOML) may say, all of it with a default:
  [proxy]
  worker = \"edge\"          # what leases are in the name of; default: the host and the process
  lease = \"30s\"            # how long a command is the proxy's, unless it says again that it is
  poll = \"1s\"              # how often commands are looked for when nothing hints at one
  check = \"60s\"            # how often every device is asked what it is
  timeout = \"10s\"          # longest call of a device
  calls = 64               # calls at a time
  calls_per_device = 4
  state = \"/var/lib/wiretable/devices\"  # generations of devices that keep none themselves

  [appliance]
  folder = \"/run/wiretable\"  # where the sockets lie that appliances are named after

  [http]
  allow = [\"http://127.0.0.1:8080/api\"]      # what targets must begin with; none by default
  paths = { weight = \"nodes/{name}/weight\" }  # of objects, by kind; default: {kind}/{name}

  [kubernetes]
  allow = [\"http://127.0.0.1:8001\"]           # e.g. that of kubectl proxy; none by default
  namespace = \"default\"                       # of nodes
  image = \"registry.k8s.io/pause:3.10\"        # what nodes run")]
pub struct ServeArgs {
    /// Where requests are taken; port 0 is any free one, `none` takes none and drives devices only
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: Listen,
    /// Write the address into this file once requests are taken
    #[arg(long, value_name = "FILE")]
    pub address_file: Option<PathBuf>,
    /// Take requests in TLS, with this certificate and those that issued it (PEM); one that is replaced is taken over
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Take requests without TLS though others than this host reach the address: whoever is on the way reads tokens and answers
    #[arg(long, conflicts_with = "tls_cert")]
    pub plain_http: bool,
    /// How devices are driven (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which database.
    #[command(flatten)]
    pub place: DatabaseArgs,
}

/// Where requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    None,
    /// There.
    At(SocketAddr),
}

impl std::str::FromStr for Listen {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            text => text.parse().map(Self::At),
        }
    }
}

/// `wiretable token`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown this once
    Create {
        /// What it may do
        #[arg(long, value_enum)]
        role: TokenRole,
        /// Of a tenant's people and programs
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// Whose it is: provenance names them
        #[arg(long, value_name = "NAME")]
        label: String,
        /// How long it is valid
        #[arg(long = "for", value_name = "DURATION", default_value = "90d", value_parser = parse_duration)]
        valid: Duration,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
    /// List tokens, never what they are
    List {
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
    /// Make a token invalid
    Revoke {
        /// Its number
        id: i64,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
}

/// Roles of tokens.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TokenRole {
    /// Everything, tokens and tenants too
    Admin,
    /// Make and call
    Operator,
    /// Read
    Viewer,
    /// Send results and telemetry
    Ingest,
}

impl TokenRole {
    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "wt_admin",
            Self::Operator => "wt_operator",
            Self::Viewer => "wt_viewer",
            Self::Ingest => "wt_ingest",
        }
    }
}
