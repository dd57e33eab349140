//! The registry, and how each layer makes its metrics.
//!
//! A layer owns its `Metrics` struct and makes it here once. Labels come from closed sets only:
//! never an address, a domain, an account or an IP.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    PullingGauge, TextEncoder,
};

/// All metrics of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry(prometheus::Registry);

impl Default for Registry {
    fn default() -> Self {
        Self(prometheus::Registry::new())
    }
}

impl Registry {
    /// A registry that also tells the process's own CPU, memory and descriptors.
    pub fn with_process() -> Self {
        let registry = Self::default();
        let process = ProcessCollector::for_self();
        registry
            .0
            .register(Box::new(process))
            .expect("each metric is made once");
        registry
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(&IntCounter::new(name, help).expect("the name is a metric name"))
    }

    /// A counter with one label, whose values all start at zero: an alert on a counter that is not
    /// there yet never fires.
    pub fn counter_by(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> IntCounterVec {
        let family = IntCounterVec::new(Opts::new(name, help), &[label]);
        let family = self.register(&family.expect("the names are metric names"));
        for value in values {
            family.with_label_values(&[value]);
        }
        family
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(&IntGauge::new(name, help).expect("the name is a metric name"))
    }

    /// A gauge that is read when it is asked for.
    pub fn gauge_of(
        &self,
        name: &str,
        help: &str,
        count: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        let value = move || u32::try_from(count()).unwrap_or(u32::MAX).into();
        let gauge = PullingGauge::new(name, help, Box::new(value));
        self.register(&gauge.expect("the name is a metric name"));
    }

    pub fn info(&self, name: &str, help: &str, label: &str, value: &str) {
        let options = Opts::new(name, help).const_label(label, value);
        let gauge = Gauge::with_opts(options).expect("the name is a metric name");
        self.register(&gauge).set(1.0);
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(&Histogram::with_opts(options).expect("the buckets are sorted"))
    }

    /// The text exposition format, version 0.0.4.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory cannot fail; a metric family that cannot be printed is left out.
        let _ = TextEncoder::new().encode(&self.0.gather(), &mut text);
        text
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: &C) -> C {
        self.0
            .register(Box::new(collector.clone()))
            .expect("each metric is made once");
        collector.clone()
    }
}

/// Seconds, for what a client waits for: 5 ms to 30 s, with 2 s (the promise) among them.
pub const LATENCY: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];
/// Seconds, for sessions: 10 ms to 30 min.
pub const LIFETIME: &[f64] = &[0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0];
