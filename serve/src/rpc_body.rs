//! The body of an RPC's answer: it always ends in a gRPC status.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::time::Sleep;
use tonic::{Status, body::Body};

use crate::{meter::Meter, status};

/// Ends the answer at the deadline, and turns a failure or a panic while it is
/// streamed into trailers.
pub(crate) struct RpcBody {
    inner: Body,
    timer: Option<Pin<Box<Sleep>>>,
    meter: Meter,
    done: bool,
}

impl RpcBody {
    pub(crate) fn new(inner: Body, timer: Option<Pin<Box<Sleep>>>, meter: Meter) -> Self {
        Self {
            done: inner.is_end_stream(),
            inner,
            timer,
            meter,
        }
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.done = true;
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            return Poll::Ready(None);
        }
        self.meter.see(&trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl http_body::Body for RpcBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let polled = catch_unwind(AssertUnwindSafe(|| {
            Pin::new(&mut this.inner).poll_frame(cx)
        }));
        match polled {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.meter.see(trailers);
                    this.done = true;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(None)) => {
                this.done = true;
                Poll::Ready(None)
            }
            Ok(Poll::Ready(Some(Err(error)))) => {
                tracing::error!(code = ?error.code(), "an answer broke off");
                this.end(&status::internal())
            }
            Ok(Poll::Pending) => {
                let passed = this
                    .timer
                    .as_mut()
                    .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
                if passed {
                    this.end(&status::deadline_exceeded())
                } else {
                    Poll::Pending
                }
            }
            Err(_) => this.end(&status::internal()),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    // No size is hinted: an exact one would become a content-length, and
    // trailers after it would never be sent.
}
