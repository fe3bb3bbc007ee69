//! Deliveries of providers: their signature is checked, they are kept once each, and what they hint at waits for a request.
//!
//! Never lands anything of a delivery, and never tells a sender which sources there are.

use domain::connector::delivery::{Delivery, Rejected};
use domain::id::SourceId;
use jiff::{SignedDuration, Timestamp};
use store::{Arrival, Arrived, DeliveryRow, Secret, StoreError, Target};

use super::SyncService;
use super::source::connector;
use crate::error::Error;

/// How long hints wait for others: a push to several branches comes as several deliveries within a second.
const DEBOUNCE: SignedDuration = SignedDuration::from_secs(2);

/// What became of a delivery that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id of it.
    pub id: String,
    /// What the provider calls what happened; empty where it came before.
    pub event: String,
    /// What becomes of it.
    pub arrived: Arrived,
}

/// Why a delivery was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody has a secret that it is signed with, here and now: there may be no such source.
    Unsigned,
    /// It is signed, and yet nothing that can be read.
    Malformed,
    /// Too many hints of the source wait already.
    Full,
}

/// Which deliveries of a source.
#[derive(Clone, Debug, Default)]
pub struct DeliveryQuery {
    /// Only those that hint at this stream and partition.
    pub of: Option<Target>,
    /// Only those that came at this time or later.
    pub since: Option<Timestamp>,
    /// Only those before the one that came at this time and has this id.
    pub before: Option<(Timestamp, String)>,
    /// How many at most.
    pub limit: u32,
}

impl SyncService {
    /// Takes a delivery for a source. Whatever is wrong with a signature, and also where there is no such source, the
    /// answer is the same, and takes as long.
    pub async fn receive(
        &self,
        source: Option<SourceId>,
        delivery: Delivery<'_>,
    ) -> Result<Result<Receipt, Refusal>, Error> {
        let taken = self.take(source, delivery).await?;
        let word = match &taken {
            Ok(Receipt { arrived: Arrived::Waiting, .. }) => "waiting",
            Ok(Receipt { arrived: Arrived::Ignored, .. }) => "ignored",
            Ok(Receipt { arrived: Arrived::Duplicate, .. }) => "duplicate",
            Ok(Receipt { arrived: Arrived::Full, .. }) | Err(Refusal::Full) => "full",
            Err(Refusal::Unsigned) => "unsigned",
            Err(Refusal::Malformed) => "malformed",
        };
        metrics::counter!("syncline_deliveries_total", "outcome" => word).increment(1);
        Ok(taken)
    }

    async fn take(
        &self,
        source: Option<SourceId>,
        delivery: Delivery<'_>,
    ) -> Result<Result<Receipt, Refusal>, Error> {
        let now = self.clock.now();
        let webhook = match self.store.webhook(source, &self.vault).await {
            Err(StoreError::Secret(error)) => {
                tracing::error!(%error, "the secret of a webhook does not open; make another one");
                None
            }
            other => other?,
        };
        let Some((source, webhook)) = source.zip(webhook) else {
            // Checked all the same, with a secret that nobody has, and never accepted.
            let decoy = connectors::find("github").map(|it| it.verify("nobody's", &delivery, now));
            drop(std::hint::black_box(decoy));
            return Ok(Err(Refusal::Unsigned));
        };
        let connector = connector(&webhook.provider)?;
        let Ok(verified) = connector.verify(webhook.secret.expose(), &delivery, now) else {
            return Ok(Err(Refusal::Unsigned));
        };
        let id = verified.id.clone();
        if self.store.is_delivered(source, id.clone()).await? {
            return Ok(Ok(Receipt { id, event: String::new(), arrived: Arrived::Duplicate }));
        }
        let received = match connector.receive(&verified, &delivery, now) {
            Ok(received) => received,
            Err(Rejected::Malformed) => return Ok(Err(Refusal::Malformed)),
            Err(Rejected::Signature | Rejected::Stale) => return Ok(Err(Refusal::Unsigned)),
        };
        let event = received.event.clone();
        let arrival = Arrival { source, id: id.clone(), received, debounce: DEBOUNCE };
        match self.store.deliver(arrival, now).await {
            Ok(Arrived::Full) => Ok(Err(Refusal::Full)),
            Ok(arrived) => Ok(Ok(Receipt { id, event, arrived })),
            // It was removed since the secret was read.
            Err(StoreError::NotFound) => Ok(Err(Refusal::Unsigned)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the secret that a source's deliveries are signed with, or another one in its place. It is shown this once.
    pub async fn make_webhook_secret(&self, source: SourceId) -> Result<Secret, Error> {
        let row = self.source_by_id(source).await?;
        Ok(self.store.make_webhook(row.id, &self.vault, self.clock.now()).await?)
    }

    /// Returns since when a source has a secret that deliveries are signed with.
    pub async fn webhook_since(&self, source: SourceId) -> Result<Option<Timestamp>, Error> {
        let row = self.source_by_id(source).await?;
        Ok(self.store.webhook_since(row.id).await?)
    }

    /// Lists deliveries of a source, the newest first.
    pub async fn deliveries(
        &self,
        source: SourceId,
        query: DeliveryQuery,
    ) -> Result<Vec<DeliveryRow>, Error> {
        let row = self.source_by_id(source).await?;
        let DeliveryQuery { of, since, before, limit } = query;
        let query = store::DeliveryQuery { source: row.id, of, since, before, limit };
        Ok(self.store.deliveries(query).await?)
    }
}
