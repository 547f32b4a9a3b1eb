//! One hop of the floor: prints the address that it serves, then serves.

use anyhow::Result;
use clap::{Parser, Subcommand};
use dromos_bench::floor;

/// One hop of a bare service, to measure Dromos beside.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    hop: Hop,
}

#[derive(Subcommand)]
enum Hop {
    /// Calls the back for every call.
    Front {
        /// Where the back serves.
        #[arg(long)]
        back: String,
    },
    /// Reads one row by its primary key and opens what is sealed in it.
    Back {
        /// The database.
        #[arg(long)]
        database_url: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().hop {
        Hop::Front { back } => floor::front(back).await,
        Hop::Back { database_url } => floor::back(&database_url).await,
    }
}
