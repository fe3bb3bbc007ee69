//! Traces: the spans of requests and jobs, sent to a collector as OTLP over HTTP.
//!
//! Nothing is sent unless a collector is configured. It must never hold up work: what a slow collector does not take
//! is dropped.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};
use url::Url;

/// The spans that are sent: our own. Those of the libraries would include the sending itself.
const SPANS: &str = "off,syncline=info,engine=info,store=info";

/// Keeps traces flowing; sends the last ones when it is dropped.
pub(crate) struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Makes what sends spans to a collector; nothing when that cannot be set up.
pub(super) fn layer<S>(endpoint: &Url) -> Option<(Box<dyn Layer<S> + Send + Sync>, Traces)>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    engine::install_tls();
    let address = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(address)
        .build();
    let exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => {
            // Nothing logs yet: this is how logging is set up.
            eprintln!("traces are not sent: {error}");
            return None;
        }
    };
    let resource = Resource::builder().with_service_name("syncline").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("syncline"));
    Some((layer.with_filter(EnvFilter::new(SPANS)).boxed(), Traces(provider)))
}
