//! A response body that knows when it was handed over, and can break off in the middle.
//! Must never promise another length than the answer has: a cut body's client has to notice.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::limits::Passage;

/// Between the half that is sent and the end of the connection, so that the half reaches the client.
const CUT_PAUSE: Duration = Duration::from_millis(5);

/// A body on its way out.
pub(crate) struct Sending {
    data: Bytes,
    passage: Option<Passage>,
    cut: Cut,
}

enum Cut {
    Not,
    Half,
    Pause(Pin<Box<Sleep>>),
}

impl Sending {
    /// Sends a whole body.
    pub(crate) fn whole(data: Bytes, passage: Option<Passage>) -> Self {
        Self { data, passage, cut: Cut::Not }
    }

    /// Sends one half of a body and breaks off.
    pub(crate) fn half(data: Bytes, passage: Passage) -> Self {
        Self { data, passage: Some(passage), cut: Cut::Half }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        match &mut this.cut {
            Cut::Not if this.data.is_empty() => Poll::Ready(None),
            Cut::Not => {
                let data = std::mem::take(&mut this.data);
                if let Some(passage) = this.passage.take() {
                    passage.sent(data.len());
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Cut::Half => {
                this.cut = Cut::Pause(Box::pin(sleep(CUT_PAUSE)));
                let half = this.data.len() / 2;
                let half = this.data.split_to(half);
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            Cut::Pause(pause) => match pause.as_mut().poll(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => Poll::Ready(Some(Err(io::Error::other("cut on purpose")))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && matches!(self.cut, Cut::Not)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}
