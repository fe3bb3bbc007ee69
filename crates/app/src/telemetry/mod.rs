//! What the program tells those who run it: log lines, to standard error above any progress bar, and metrics.
//!
//! Results never go through here, and nothing secret.

mod metrics;
mod trace;

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

pub(crate) use metrics::Metrics;
pub(crate) use trace::Traces;

use crate::config::{Config, LogFormat};
use crate::output::Output;

/// Starts logging, and tracing where that is configured. What is returned sends the last traces when it is dropped.
pub(crate) fn start(config: &Config, out: &Output) -> Option<Traces> {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(AboveBars(out.bars().clone()))
        .with_ansi(out.colors_on_stderr());
    let lines = match config.log_format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let (traces, sending) = config.otlp_endpoint.as_ref().and_then(trace::layer).unzip();
    // A failure means that somebody logs already, which only happens in a test.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces).try_init();
    sending
}

/// Writes each line while the bars are off the screen.
#[derive(Clone)]
struct AboveBars(MultiProgress);

impl MakeWriter<'_> for AboveBars {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
