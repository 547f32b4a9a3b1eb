//! A bookshelf over gRPC and REST on one port.
//!
//! ```sh
//! cargo run --example shelf
//! curl localhost:8080/v1/shelves/1/books/1
//! curl localhost:8080/v1/shelves/1/books -H 'content-type: application/json' -d '{"title": "Flatland"}'
//! ```

mod service;

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tonic::service::Routes;
use transcode::Transcoder;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let routes = Routes::new(service::Shelf::with_one_book()).prepare();
    let service = Transcoder::builder(service::pool()?)
        .build()?
        .service(routes);

    let address = std::env::args().nth(1);
    let listener =
        tokio::net::TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            // A connection that breaks ends here; the others go on.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
