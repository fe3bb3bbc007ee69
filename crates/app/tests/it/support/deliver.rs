//! Sends deliveries as providers do: signed, and again where no answer came.
//!
//! It must never look into the server; only the answer counts.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use sim::Delivery;

/// Deliveries that are under way at once: as a provider sends them in a burst.
const AT_ONCE: usize = 16;

/// Where to deliver.
#[derive(Clone)]
pub(crate) struct Sender {
    http: reqwest::Client,
    url: String,
}

impl Sender {
    /// Delivers to a source at a server.
    pub(crate) fn new(server: &str, source: i64) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        Self { http, url: format!("{server}/api/webhooks/{source}") }
    }

    /// Sends one, and returns the status; `None` where no answer came.
    pub(crate) async fn send(&self, delivery: &Delivery) -> Option<u16> {
        let mut request = self.http.post(&self.url).body(delivery.body.clone());
        for (name, value) in &delivery.headers {
            request = request.header(name, value);
        }
        request.send().await.ok().map(|it| it.status().as_u16())
    }

    /// Sends all, and calls back with what became of each.
    pub(crate) async fn send_all(
        &self,
        deliveries: Vec<Delivery>,
        mut answered: impl FnMut(Delivery, Option<u16>),
    ) {
        let sending = stream::iter(deliveries).map(async |it| {
            let status = self.send(&it).await;
            (it, status)
        });
        let mut sending = std::pin::pin!(sending.buffer_unordered(AT_ONCE));
        while let Some((delivery, status)) = sending.next().await {
            answered(delivery, status);
        }
    }
}
