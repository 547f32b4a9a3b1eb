//! What can be said on the command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::when::parse_duration;

/// Dromos keeps the credentials of third-party services, so that agents can
/// use the services without owning the credentials.
///
/// `dromos demo` shows it in a second; `dromos up` starts one to develop with.
/// The other commands speak to a gateway.
#[derive(Debug, Parser)]
#[command(
    name = "dromos",
    version,
    verbatim_doc_comment,
    arg_required_else_help = true,
    after_long_help = "\
Examples:
  dromos demo                     see what it does; needs no network, leaves nothing
  dromos up                       start a broker and a gateway for development
  dromos providers create acme.json
  dromos connections list --status attention
  dromos token 0198c5f0-7c1e-7000-8000-000000000001 --output json

Environment:
  GATEWAY_URL     where the gateway is (http://127.0.0.1:8090)
  DROMOS_API_KEY  the API key; without it, .dromos/admin.key is read
  NO_COLOR        any value: no colours"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a broker and a gateway here, for development.
    Up(UpArguments),
    /// Show everything once: connect, use, refresh, revoke
    ///
    /// Starts a broker, a gateway and a simulated provider on free ports, walks
    /// through the life of a connection and checks each claim that it prints.
    /// It needs no network and no database server, and leaves nothing behind.
    #[command(verbatim_doc_comment)]
    Demo,
    /// Run a provider to try things with: OAuth, OpenID Connect and an API.
    Simulator(SimulatorArguments),
    /// List, look at, watch and revoke connections.
    #[command(subcommand)]
    Connections(ConnectionsCommand),
    /// Get the credential of a connection, fresh.
    #[command(after_long_help = "\
Examples:
  dromos token 0198c5f0-7c1e-7000-8000-000000000001
  dromos token 0198c5f0-7c1e-7000-8000-000000000001 --output json | jq .credentials")]
    Token(TokenArguments),
    /// List, look at, create and delete providers.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// List, create and delete API keys.
    #[command(subcommand)]
    ApiKeys(ApiKeysCommand),
    /// List, create and delete webhooks, and see what they were told.
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// List what happened, export it, and verify an export.
    #[command(args_conflicts_with_subcommands = true)]
    Audit(AuditArguments),
    /// See and rotate the keys that everything stored is encrypted with.
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// `dromos up`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
At its first start it makes keys and keeps them in the data directory, readable
by you only; later starts use the same ones. Without --database-url the data is
in an SQLite file there. Private addresses and http are allowed for providers,
and loopback return URLs for applications: it is for development.

Examples:
  dromos up
  dromos up --data-dir /tmp/try --listen 127.0.0.1:9000
  dromos up --database-url postgres://dromos@localhost/dromos
  dromos up --redis-url redis://localhost:6379
  RUST_LOG=debug dromos up")]
pub struct UpArguments {
    /// Where keys and data are kept.
    #[arg(long, value_name = "DIR", default_value = ".dromos")]
    pub data_dir: PathBuf,
    /// Where the gateway listens: what agents and these commands speak to.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Where the broker listens for the gateway.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub broker_listen: SocketAddr,
    /// Where the broker listens for users' browsers.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8081")]
    pub public_listen: SocketAddr,
    /// A PostgreSQL database to use in place of SQLite.
    // Not from the environment: a DATABASE_URL there belongs to another program.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// A Redis to share caches and rate limits over, in place of memory.
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// Log each request too (RUST_LOG says it in more detail).
    #[arg(long, short)]
    pub verbose: bool,
}

/// `dromos simulator`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
It insists on PKCE, rotates refresh tokens and revokes them all when one comes
twice. `dromos up` reaches it at its default port; nothing of it is kept.

Examples:
  dromos simulator
  dromos simulator --auto-approve --port 9400")]
pub struct SimulatorArguments {
    /// The port on 127.0.0.1.
    #[arg(long, value_name = "PORT", default_value_t = 8092)]
    pub port: u16,
    /// Where it may send browsers back to; may be given several times.
    #[arg(
        long,
        value_name = "URI",
        default_value = "http://127.0.0.1:8081/auth/callback"
    )]
    pub redirect_uri: Vec<String>,
    /// Consent for the user, without showing a page.
    #[arg(long)]
    pub auto_approve: bool,
}

/// What every command takes that speaks to a gateway.
#[derive(Debug, Args)]
pub struct Common {
    /// The gateway.
    #[arg(
        long,
        value_name = "URL",
        env = "GATEWAY_URL",
        default_value = "http://127.0.0.1:8090"
    )]
    pub gateway_url: String,
    /// How to print: for people, or all of it for programs.
    #[arg(long, short, value_enum, default_value = "table")]
    pub output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// The API's own JSON, for programs.
    Json,
}

/// `dromos connections`.
#[derive(Debug, Subcommand)]
pub enum ConnectionsCommand {
    /// List the connections, oldest first.
    List {
        /// Only this user's.
        #[arg(long, value_name = "USER_ID")]
        user: Option<String>,
        /// Only this provider's.
        #[arg(long, value_name = "NAME")]
        provider: Option<String>,
        /// Only those in this status.
        #[arg(long, value_enum)]
        status: Option<Status>,
        #[command(flatten)]
        common: Common,
    },
    /// Look at one connection.
    Get {
        /// The connection's id.
        connection_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Print each change of a connection as it happens, until it is revoked.
    ///
    /// With --output json each line is one JSON object. A stream that breaks is
    /// taken up where it ended.
    #[command(verbatim_doc_comment)]
    Watch {
        /// The connection's id.
        connection_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a connection for good, and tell the provider.
    Revoke {
        /// The connection's id.
        connection_id: String,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Status {
    /// The user has not consented yet.
    Pending,
    /// A credential is held.
    Active,
    /// The provider refused; the user must reconnect.
    Attention,
    /// The credential expired; the user must reconnect.
    Expired,
    /// Revoked for good.
    Revoked,
    /// The consent did not succeed.
    Failed,
}

/// `dromos token`.
#[derive(Debug, Args)]
pub struct TokenArguments {
    /// The connection's id.
    pub connection_id: String,
    /// Show the secrets in the table too (JSON always holds them).
    #[arg(long)]
    pub show_secrets: bool,
    #[command(flatten)]
    pub common: Common,
}

/// `dromos providers`.
#[derive(Debug, Subcommand)]
pub enum ProvidersCommand {
    /// List the providers by name.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Look at one provider.
    Show {
        /// The provider's name.
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Create a provider from a JSON file.
    #[command(after_long_help = "\
Example, acme.json:
  { \"name\": \"acme\",
    \"display_name\": \"Acme\",
    \"api_base_url\": \"https://api.acme.test\",
    \"oauth2\": { \"issuer\": \"https://login.acme.test\",
                \"client_id\": \"…\", \"client_secret\": \"…\",
                \"scopes\": [\"openid\"] },
    \"strategy\": { \"type\": \"oauth2\" } }

The answer's redirect_uri is what to register at the provider.")]
    Create {
        /// The file; - reads standard input.
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a provider.
    #[command(after_long_help = "\
One that connections use is deleted only with --force: then no credential of it
is handed out any more, its connections are revoked, and the provider is told in
the background (RFC 7009), for up to a day. What came of it:
  dromos audit --action connection.revoked_upstream")]
    Delete {
        /// The provider's name.
        name: String,
        /// Revoke its connections as well, if it has any.
        #[arg(long)]
        force: bool,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// `dromos api-keys`.
#[derive(Debug, Subcommand)]
pub enum ApiKeysCommand {
    /// List the keys, without their secrets.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Create a key; its secret is shown this once.
    #[command(after_long_help = "\
Scopes:
  connections:read   see connections           connections:write    request, revoke them
  credentials:read   get credentials           credentials:refresh  refresh them
  providers:read     see providers             providers:write      change them
  audit:read         see what happened         admin                all of these

Example, a key for an agent:
  dromos api-keys create --name agent --scope credentials:read,credentials:refresh \\
      --expires-in 30d")]
    Create {
        /// Its name for people.
        #[arg(long)]
        name: String,
        /// What it may do; repeat it, or separate with commas.
        #[arg(
            long = "scope",
            value_name = "SCOPE",
            required = true,
            value_delimiter = ','
        )]
        scopes: Vec<String>,
        /// When it stops working, for instance 12h or 30d; never by default.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        common: Common,
    },
    /// Look at one key.
    Get {
        /// The key's id.
        api_key_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a key: it stops working within seconds.
    Delete {
        /// The key's id.
        api_key_id: String,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// `dromos webhooks`.
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List the webhooks, without their secrets.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Create a webhook; its secret is shown this once.
    #[command(after_long_help = "\
Events:
  connection.requested  connection.reconnect_requested  connection.activated
  connection.attention  connection.expired              connection.failed
  connection.revoked    credential.refreshed

Messages are signed as the Standard Webhooks specification has it; its libraries
check them with the secret.

Example:
  dromos webhooks create https://app.example.com/hooks/dromos \\
      --event connection.attention,connection.expired")]
    Create {
        /// Where messages go.
        url: String,
        /// What it is told; repeat it, or separate with commas; all by default.
        #[arg(long = "event", value_name = "EVENT", value_delimiter = ',')]
        event_types: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a webhook and what it has yet to deliver.
    Delete {
        /// The webhook's id.
        webhook_id: String,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Give a webhook a new secret; the old one signs as well for 24 hours.
    RotateSecret {
        /// The webhook's id.
        webhook_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// List what a webhook was told in the last seven days.
    Deliveries {
        /// The webhook's id.
        webhook_id: String,
        /// Only those in this status.
        #[arg(long, value_enum)]
        status: Option<DeliveryStatus>,
        #[command(flatten)]
        common: Common,
    },
    /// Send a message again, whatever became of it.
    Replay {
        /// The webhook's id.
        webhook_id: String,
        /// The delivery's id.
        delivery_id: String,
        #[command(flatten)]
        common: Common,
    },
}

/// What became of a message to a webhook.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DeliveryStatus {
    /// It is being sent, or will be sent again.
    Pending,
    /// It arrived.
    Delivered,
    /// It did not arrive within a day.
    Dead,
}

/// `dromos audit`.
#[derive(Debug, Args)]
pub struct AuditArguments {
    /// Without one, what happened in the key's workspace is listed.
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    #[command(flatten)]
    pub list: AuditListArguments,
}

/// What else can be done with the audit.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Export the audit of all workspaces, with all that its verification needs.
    #[command(after_long_help = "\
Needs an API key with the scope operator. One JSON object a line; no secret is in
it, but who used what.

Examples:
  dromos audit export --to audit.jsonl
  dromos audit export | gzip > audit.jsonl.gz")]
    Export {
        /// The file to write; standard output by default.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// The gateway.
        #[arg(
            long,
            value_name = "URL",
            env = "GATEWAY_URL",
            default_value = "http://127.0.0.1:8090"
        )]
        gateway_url: String,
    },
    /// Verify an export: offline, with the key alone.
    #[command(after_long_help = "\
The key is read from --key-file, or else from the settings ENCRYPTION_KEY (and
ENCRYPTION_KEY_PREVIOUS) or ENCRYPTION_KEY_FILE, or else from
.dromos/encryption.key, where `dromos up` keeps it. Where it is in AWS KMS, or is
not for whoever verifies, --audit-keys takes the audit's own keys.

A broker writes the heads of its writers down every minute, in
DATA_DIR/audit-heads and in its log. Heads from before the export was made show
what an export alone can't: a chain whose end was cut off, a missing writer.

Exit codes: 0 it is whole, 1 it is broken, 2 it can't be read.

Examples:
  dromos audit verify audit.jsonl
  dromos audit verify audit.jsonl --heads .dromos/audit-heads/2026-01-31.jsonl
  dromos audit verify audit.jsonl --audit-keys audit.keys
  gunzip < audit.jsonl.gz | dromos audit verify - --key-file encryption.key")]
    Verify {
        /// The export; - reads standard input.
        file: PathBuf,
        /// Heads that a broker wrote down before; may be given several times.
        #[arg(long, value_name = "FILE")]
        heads: Vec<PathBuf>,
        /// A file with the key-encryption key, in base64.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Audit keys instead, as `dromos-broker audit keys` writes them.
        #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
        audit_keys: Option<PathBuf>,
        /// How to print.
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
}

/// `dromos audit` alone.
#[derive(Debug, Args)]
pub struct AuditListArguments {
    /// Only what is about this connection.
    #[arg(long, value_name = "CONNECTION_ID")]
    pub connection: Option<String>,
    /// Only this action, for instance credential.read.
    #[arg(long)]
    pub action: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// `dromos keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys, and how far rotations are.
    Status {
        /// Only the data keys of this workspace.
        #[arg(long, value_name = "WORKSPACE_ID")]
        workspace: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Rotate keys while everything goes on.
    #[command(after_long_help = "\
New data keys are used at once, by every broker; what is stored is encrypted again
in the background. With --kek, every data key is wrapped again under the current
key-encryption key: the broker's settings say which one that is, and hold the one
before for as long as `dromos keys status` shows it. It needs a key with the scope
operator.

Examples:
  dromos keys rotate --wait
  dromos keys rotate --workspace 0198c5f0-7c1e-7000-8000-000000000001
  dromos keys rotate --kek --wait")]
    Rotate {
        /// Wrap the data keys again, and leave what is stored as it is.
        #[arg(long, conflicts_with = "workspace")]
        kek: bool,
        /// Rotate the data key of this workspace only.
        #[arg(long, value_name = "WORKSPACE_ID")]
        workspace: Option<String>,
        /// Wait until it has ended, and show how far it is.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_fits_eighty_eight_columns() {
        fn check(mut command: clap::Command) {
            let help = command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 88, "{line}");
            }
            command.get_subcommands().cloned().for_each(check);
        }
        check(Arguments::command());
    }
}
