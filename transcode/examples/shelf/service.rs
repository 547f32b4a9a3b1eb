//! The gRPC side: a service as tonic's code generator would write it. Here it
//! is written by hand, so that the example needs no build script.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use prost_reflect::DescriptorPool;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetBookRequest {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateBookRequest {
    #[prost(string, tag = "1")]
    pub parent: String,
    #[prost(message, optional, tag = "2")]
    pub book: Option<Book>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Book {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub title: String,
    #[prost(int32, tag = "3")]
    pub pages: i32,
    #[prost(string, repeated, tag = "4")]
    pub authors: Vec<String>,
}

/// The descriptors of the service, annotations included.
pub fn pool() -> Result<DescriptorPool, Box<dyn std::error::Error>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/proto");
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true);
    compiler.open_file("shelf/v1/shelf.proto")?;
    let bytes = compiler.encode_file_descriptor_set();
    Ok(DescriptorPool::decode(bytes.as_slice())?)
}

#[derive(Clone, Default)]
pub struct Shelf {
    books: Arc<Mutex<BTreeMap<String, Book>>>,
}

impl Shelf {
    pub fn with_one_book() -> Self {
        let shelf = Self::default();
        shelf.put(Book {
            name: "shelves/1/books/1".to_owned(),
            title: "The Periodic Table".to_owned(),
            pages: 233,
            authors: vec!["Primo Levi".to_owned()],
        });
        shelf
    }

    fn put(&self, book: Book) {
        let mut books = self.books.lock().unwrap_or_else(|e| e.into_inner());
        books.insert(book.name.clone(), book);
    }
}

struct GetBook(Shelf);

impl UnaryService<GetBookRequest> for GetBook {
    type Response = Book;
    type Future = Ready<Result<Response<Book>, Status>>;

    fn call(&mut self, request: Request<GetBookRequest>) -> Self::Future {
        let books = self.0.books.lock().unwrap_or_else(|e| e.into_inner());
        ready(match books.get(&request.get_ref().name) {
            Some(book) => Ok(Response::new(book.clone())),
            None => Err(Status::not_found("no such book")),
        })
    }
}

struct CreateBook(Shelf);

impl UnaryService<CreateBookRequest> for CreateBook {
    type Response = Book;
    type Future = Ready<Result<Response<Book>, Status>>;

    fn call(&mut self, request: Request<CreateBookRequest>) -> Self::Future {
        let CreateBookRequest { parent, book } = request.into_inner();
        let mut book = book.unwrap_or_default();
        let count = self.0.books.lock().unwrap_or_else(|e| e.into_inner()).len();
        book.name = format!("{parent}/books/{}", count + 1);
        self.0.put(book.clone());
        ready(Ok(Response::new(book)))
    }
}

impl NamedService for Shelf {
    const NAME: &'static str = "shelf.v1.ShelfService";
}

impl Service<http::Request<Body>> for Shelf {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shelf = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/shelf.v1.ShelfService/GetBook" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(GetBook(shelf), request).await
                }
                "/shelf.v1.ShelfService/CreateBook" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(CreateBook(shelf), request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}
