//! Bounds on a request's body: how many bytes, and how long they may take.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::{context::RequestContext, status};

/// The longest that a request's body may take to arrive.
const INTAKE: Duration = Duration::from_secs(60);

pin_project! {
    /// A body that fails, and says so in the request's context, once it is too
    /// large or too slow.
    pub(crate) struct LimitedBody<B> {
        #[pin]
        inner: B,
        left: usize,
        limit: usize,
        timer: Option<Pin<Box<Sleep>>>,
        context: RequestContext,
    }
}

impl<B> LimitedBody<B> {
    pub(crate) fn new(inner: B, limit: usize, context: RequestContext) -> Self {
        Self {
            inner,
            left: limit,
            limit,
            timer: None,
            context,
        }
    }
}

/// Whether a declared length alone is past `limit`.
pub(crate) fn declares_more_than(headers: &HeaderMap, limit: usize) -> bool {
    let length = headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > limit as u64)
}

impl<B: Body<Data = Bytes, Error: Into<tonic::codegen::StdError>>> Body for LimitedBody<B> {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        match this.inner.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Buf::remaining);
                let Some(left) = this.left.checked_sub(size) else {
                    this.context.set_too_large();
                    return Poll::Ready(Some(Err(status::too_large(*this.limit).into())));
                };
                *this.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(INTAKE)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.context.set_too_slow();
                Poll::Ready(Some(Err(status::too_slow().into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
