//! Server streams: a line or an event a message.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

use crate::{config::Config, messages::Messages, response, route::Route, status::Failure};

/// How a stream of messages is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `{"result": …}` a line; the last may be `{"error": …}`.
    Ndjson,
    /// The same objects, each the data of an event.
    ServerSentEvents,
}

impl Encoding {
    /// Events for whoever lists `text/event-stream` under `Accept`.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Self {
        let events = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .any(|media| media.trim().eq_ignore_ascii_case("text/event-stream"));
        if events {
            Self::ServerSentEvents
        } else {
            Self::Ndjson
        }
    }

    fn wrap(self, key: &str, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>) -> Wrapped {
        let mut out = Vec::with_capacity(128);
        if self == Self::ServerSentEvents {
            out.extend_from_slice(b"data: ");
        }
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        write(&mut out)?;
        // The JSON has no line breaks of its own: its strings escape them.
        out.extend_from_slice(match self {
            Self::Ndjson => b"}\n",
            Self::ServerSentEvents => b"}\n\n",
        });
        Ok(out.into())
    }
}

type Wrapped = Result<Bytes, Failure>;

/// The body of a streamed answer.
pub(crate) struct StreamBody {
    config: Arc<Config>,
    route: Arc<Route>,
    messages: Option<Messages>,
    form: Form,
}

enum Form {
    Json(Encoding),
    /// The data of `google.api.HttpBody` messages, end to end; the first of
    /// them was read for its content type.
    Raw {
        first: Bytes,
    },
}

impl StreamBody {
    pub(crate) fn json(
        config: Arc<Config>,
        route: Arc<Route>,
        messages: Messages,
        encoding: Encoding,
    ) -> Self {
        Self {
            config,
            route,
            messages: Some(messages),
            form: Form::Json(encoding),
        }
    }

    pub(crate) fn raw(
        config: Arc<Config>,
        route: Arc<Route>,
        messages: Messages,
        first: Bytes,
    ) -> Self {
        Self {
            config,
            route,
            messages: Some(messages),
            form: Form::Raw { first },
        }
    }

    fn encode(&self, message: Bytes) -> Result<Bytes, Failure> {
        match &self.form {
            Form::Json(encoding) => encoding.wrap("result", |out| {
                response::write(&self.config, &self.route, message, out)
            }),
            Form::Raw { .. } => response::raw(&self.route, message).map(|(_, data)| data),
        }
    }
}

/// Raw bytes have no place for an error: the connection breaks off instead,
/// so that nobody takes half an answer for a whole one.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the stream failed")
    }
}

impl std::error::Error for BrokenOff {}

impl From<Infallible> for BrokenOff {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        if let Form::Raw { first } = &mut this.form
            && !first.is_empty()
        {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(first)))));
        }
        let Some(messages) = &mut this.messages else {
            return Poll::Ready(None);
        };
        let failure = match ready!(messages.poll_next(cx)) {
            None => {
                this.messages = None;
                return Poll::Ready(None);
            }
            Some(Ok(message)) => match this.encode(message) {
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(failure) => failure,
            },
            Some(Err(failure)) => failure,
        };
        this.messages = None;
        let Form::Json(encoding) = this.form else {
            return Poll::Ready(Some(Err(BrokenOff)));
        };
        let line = encoding.wrap("error", |out| {
            failure.write(out, &this.config);
            Ok(())
        });
        Poll::Ready(line.ok().map(|line| Ok(Frame::data(line))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn events_are_sent_to_whoever_asks_for_them() {
        for (accept, expected) in [
            ("text/event-stream", Encoding::ServerSentEvents),
            ("*/*, Text/Event-Stream;q=0.9", Encoding::ServerSentEvents),
            ("*/*", Encoding::Ndjson),
            ("application/json", Encoding::Ndjson),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Encoding::negotiate(&headers), expected, "{accept}");
        }
        assert_eq!(Encoding::negotiate(&HeaderMap::new()), Encoding::Ndjson);
    }
}
