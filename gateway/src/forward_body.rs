//! The broker's answer while it is streamed.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use dromos_serve::traces::RpcCall;
use http::HeaderMap;
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use crate::{broker::Failure, headers};

/// Relays messages as they come and lets only the status's trailers through.
/// An answer that ends without a status ends in BROKER_UNAVAILABLE.
pub(crate) struct ForwardBody {
    inner: Body,
    call: RpcCall,
    /// Of a stream, which would go on for ever: resolves when this gateway
    /// shuts down.
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    done: bool,
}

impl ForwardBody {
    pub(crate) fn new(inner: Body, call: RpcCall, closing: Option<CancellationToken>) -> Self {
        Self {
            inner,
            call,
            closing: closing.map(|closing| Box::pin(closing.cancelled_owned())),
            done: false,
        }
    }
}

fn failed(failure: Failure) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // The status is a constant of this crate: it always fits into headers.
    let _ = failure.answer().add_header(&mut trailers);
    trailers
}

impl http_body::Body for ForwardBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                // What is there already goes first; then the end, as a status.
                let closing = self.closing.as_mut();
                if closing.is_none_or(|closing| closing.as_mut().poll(cx).is_pending()) {
                    return Poll::Pending;
                }
                self.done = true;
                let trailers = failed(Failure::Closing);
                self.call.see(&trailers);
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
        };
        let trailers = match frame {
            Some(Ok(frame)) => match frame.into_trailers() {
                Err(data) => return Poll::Ready(Some(Ok(data))),
                Ok(trailers) if headers::refuses_service_key(&trailers) => {
                    failed(Failure::ServiceKey)
                }
                Ok(trailers) if trailers.contains_key(headers::GRPC_STATUS) => {
                    headers::trailers(&trailers)
                }
                Ok(_) => failed(Failure::Protocol),
            },
            Some(Err(_)) | None => failed(Failure::Stream),
        };
        self.done = true;
        self.call.see(&trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}
