//! A bound on how long a new connection may stay silent.
//!
//! The server first reads which HTTP version a connection speaks, and has no
//! timer for that; a client that sends nothing would hold its place for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pin_project! {
    /// Fails with `TimedOut` unless enough arrives in time to tell HTTP/1.1 and
    /// HTTP/2 apart; from then on the protocols' own timers take over.
    pub(crate) struct FirstBytes<I> {
        #[pin]
        inner: I,
        matched: usize,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<I> FirstBytes<I> {
    pub(crate) fn new(inner: I, within: Duration) -> Self {
        Self {
            inner,
            matched: 0,
            timer: Some(Box::pin(sleep(within))),
        }
    }
}

impl<I: AsyncRead> AsyncRead for FirstBytes<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let polled = this.inner.poll_read(cx, buffer);
        let Some(timer) = this.timer else {
            return polled;
        };
        if polled.is_pending() {
            return match timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            };
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        let expected = PREFACE.get(*this.matched..).unwrap_or_default();
        let same = new
            .iter()
            .zip(expected)
            .take_while(|(new, expected)| new == expected)
            .count();
        *this.matched += same;
        if same < new.len() || *this.matched == PREFACE.len() {
            *this.timer = None;
        }
        polled
    }
}

impl<I: AsyncWrite> AsyncWrite for FirstBytes<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
