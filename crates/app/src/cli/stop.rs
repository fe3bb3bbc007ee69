//! Ctrl-C and SIGTERM: the first asks for a clean stop, the second does not wait for it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::output::Output;

/// The shell's number for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Listens for signals for as long as it lives.
pub(crate) struct Stop {
    token: CancellationToken,
    /// Ends the listening when it is dropped.
    _listening: JoinSet<()>,
}

impl Stop {
    /// Begins to listen. `goodbye` is what people are told at the first signal.
    pub(crate) fn listen(out: &Output, goodbye: &'static str) -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = CancellationToken::new();
        let (told, out) = (token.clone(), out.clone());
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut first = true;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if !first {
                    std::process::exit(INTERRUPTED);
                }
                first = false;
                out.note(goodbye);
                told.cancel();
            }
        });
        Ok(Self { token, _listening: listening })
    }

    /// Returns what is cancelled at the first signal.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}
