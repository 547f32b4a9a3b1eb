//! The messages of a gRPC answer: frames cut out of the body, and the status
//! behind them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, response::Parts};
use http_body::Body as _;
use tonic::body::Body;

use crate::status::Failure;

const PREFIX: usize = 5;

pub(crate) struct Messages {
    /// `None` once the answer has ended.
    body: Option<Body>,
    buffer: BytesMut,
    http: StatusCode,
    /// The trailers, once they have come.
    trailers: Option<HeaderMap>,
}

impl Messages {
    /// An answer without a body carries its status in its headers, and has
    /// failed before it began.
    pub(crate) fn new(parts: &Parts, body: Body) -> Result<Self, Failure> {
        let body = match Failure::read(&parts.headers) {
            Some(status) => {
                status?;
                None
            }
            None => Some(body),
        };
        Ok(Self {
            body,
            buffer: BytesMut::new(),
            http: parts.status,
            trailers: None,
        })
    }

    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next message; `None` after the last, when the status was OK.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let failure = loop {
            match cut(&mut self.buffer) {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(failure) => break failure,
            }
            let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => break Failure::transport(status.code()),
                None => break Failure::without_status(self.http),
            };
            let trailers = match frame.into_data() {
                Ok(data) if self.buffer.is_empty() => {
                    self.buffer = BytesMut::from(data);
                    continue;
                }
                Ok(data) => {
                    self.buffer.extend_from_slice(&data);
                    continue;
                }
                Err(frame) => frame.into_trailers().unwrap_or_default(),
            };
            let status = Failure::read(&trailers);
            self.trailers = Some(trailers);
            match status {
                None => break Failure::without_status(self.http),
                Some(Err(failure)) => break failure,
                Some(Ok(())) if !self.buffer.is_empty() => {
                    break Failure::internal("the service ended within a message");
                }
                Some(Ok(())) => {
                    self.body = None;
                    return Poll::Ready(None);
                }
            }
        };
        // The call ends with its failure: dropping the body tells the service.
        self.body = None;
        Poll::Ready(Some(Err(failure)))
    }
}

/// Takes one whole message off the front of the buffer.
fn cut(buffer: &mut BytesMut) -> Result<Option<Bytes>, Failure> {
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [flag, length @ ..] = *prefix;
    match flag {
        0 => {}
        1 => return Err(Failure::internal("the service compressed its answer")),
        _ => return Err(Failure::internal("the service's answer is malformed")),
    }
    let length = u32::from_be_bytes(length) as usize;
    if buffer.len() - PREFIX < length {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}
