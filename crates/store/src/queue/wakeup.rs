//! Wakes workers when something was enqueued, so that they need not wait for their next look.
//!
//! Never the truth: a wake-up may be missing or come for nothing, and whoever waits must look by itself as well.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;

use crate::dialect::CHANNEL;

/// The pause before a lost connection is made again: short beside the time between two looks.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// A place to wait for work.
#[derive(Debug)]
pub struct Wakeups {
    local: watch::Receiver<()>,
    remote: Option<Remote>,
}

#[derive(Debug)]
struct Remote {
    connect: PgConnectOptions,
    listener: Option<PgListener>,
}

impl Wakeups {
    pub(crate) fn new(local: watch::Receiver<()>, connect: Option<PgConnectOptions>) -> Self {
        Self { local, remote: connect.map(|connect| Remote { connect, listener: None }) }
    }

    /// Waits until something was enqueued, here or by another process.
    pub async fn wait(&mut self) {
        match &mut self.remote {
            None => changed(&mut self.local).await,
            Some(remote) => {
                tokio::select! {
                    () = changed(&mut self.local) => {}
                    () = remote.wait() => {}
                }
            }
        }
    }
}

async fn changed(local: &mut watch::Receiver<()>) {
    // Fails when the store is gone: then nothing will ever be enqueued.
    if local.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Remote {
    async fn wait(&mut self) {
        if let Some(listener) = &mut self.listener {
            if let Err(error) = listener.recv().await {
                tracing::warn!(%error, "no longer told of new work; listening again soon");
                self.listener = None;
            }
            return;
        }
        match self.listen().await {
            // Something may have been enqueued before we listened.
            Ok(listener) => self.listener = Some(listener),
            Err(error) => {
                tracing::warn!(%error, "not told of new work; trying again soon");
                tokio::time::sleep(RECONNECT_AFTER).await;
            }
        }
    }

    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        // A connection of its own: it must not take one from those who commit.
        let pool = PgPoolOptions::new().max_connections(1).connect_with(self.connect.clone()).await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}
