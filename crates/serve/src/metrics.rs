//! What an operator watches, in the text form of Prometheus.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

/// Counted since the start.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<Request, Histogram>,
    batch_items: Histogram,
    batch_seconds: Histogram,
    waiting: Gauge,
    /// Open connections.
    pub connections: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sensorium");
        // 1 ms to 17 s.
        let seconds = || Histogram::new(exponential_buckets(0.001, 1.5, 25));
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            batch_items: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            batch_seconds: seconds(),
            waiting: Gauge::default(),
            connections: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", metrics.requests.clone());
        let help = "Time from a request's head to its answer";
        registry.register_with_unit("request", help, Unit::Seconds, metrics.seconds.clone());
        registry.register("batch_items", "Items that the model embedded at once", metrics.batch_items.clone());
        let help = "Time that the model took for a batch";
        registry.register_with_unit("batch", help, Unit::Seconds, metrics.batch_seconds.clone());
        registry.register("queue_items", "Items taken in and not yet answered", metrics.waiting.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        Self { registry, ..metrics }
    }

    /// A request was answered. `route` is the pattern, not the path: there are few.
    pub fn request(&self, route: &str, status: u16, took: Duration) {
        let request = Request { route: route.to_owned(), status };
        self.requests.get_or_create(&request).inc();
        self.seconds.get_or_create(&request).observe(took.as_secs_f64());
    }

    /// The model answered a batch.
    pub fn batch(&self, items: usize, took: Duration) {
        self.batch_items.observe(items as f64);
        self.batch_seconds.observe(took.as_secs_f64());
    }

    /// Everything as text.
    pub fn text(&self, waiting: usize) -> Result<String, fmt::Error> {
        self.waiting.set(waiting as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
