//! Counters per service. Each worker has its own, which it alone writes (a load and a store, no
//! locked instruction); a reader adds them up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use slipway_model::name::ServicePath;

/// Upper bounds of the latency buckets, in milliseconds; one more bucket is for all above.
pub const LATENCY_BUCKETS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];

/// What one worker counts for one service.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    statuses: [AtomicU64; 5],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS_MS.len() + 1],
    latency_us_sum: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, status: u16, bytes_in: u64, bytes_out: u64, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        add(&self.statuses[class], 1);
        add(&self.bytes_in, bytes_in);
        add(&self.bytes_out, bytes_out);
        let us = took.as_micros() as u64;
        let bucket = LATENCY_BUCKETS_MS
            .iter()
            .position(|bound| us <= bound * 1000)
            .unwrap_or(LATENCY_BUCKETS_MS.len());
        add(&self.latency[bucket], 1);
        add(&self.latency_us_sum, us);
    }
}

/// Only the owning worker adds, so nothing can come between the load and the store.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The counts of a service at one moment, all workers together. They start anew when the service
/// has had no route for a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceCounts {
    /// Answers by class: 1xx (tunnels), 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 5],
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
    /// Answers by the time they took, [`LATENCY_BUCKETS_MS`] and above; not cumulative.
    pub latency: [u64; LATENCY_BUCKETS_MS.len() + 1],
    /// All the time together, in microseconds.
    pub latency_us_sum: u64,
}

impl ServiceCounts {
    pub(crate) fn add(&mut self, counters: &Counters) {
        let sum = |into: &mut u64, from: &AtomicU64| *into += from.load(Ordering::Relaxed);
        self.statuses.iter_mut().zip(&counters.statuses).for_each(|(into, from)| sum(into, from));
        self.latency.iter_mut().zip(&counters.latency).for_each(|(into, from)| sum(into, from));
        sum(&mut self.bytes_in, &counters.bytes_in);
        sum(&mut self.bytes_out, &counters.bytes_out);
        sum(&mut self.latency_us_sum, &counters.latency_us_sum);
    }

    /// Answers of all classes.
    pub fn requests(&self) -> u64 {
        self.statuses.iter().sum()
    }
}

/// The counts in the text format of Prometheus.
pub fn prometheus(counts: &BTreeMap<ServicePath, ServiceCounts>) -> String {
    let mut text = String::new();
    // Writing into a `String` cannot fail.
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(arguments);
    };
    line(format_args!("# TYPE slipway_router_requests_total counter\n"));
    for (service, counts) in counts {
        for (class, count) in counts.statuses.iter().enumerate() {
            let class = class + 1;
            line(format_args!(
                "slipway_router_requests_total{{service=\"{service}\",status=\"{class}xx\"}} {count}\n"
            ));
        }
    }
    for (name, of) in [("in", (|c| c.bytes_in) as fn(&ServiceCounts) -> u64), ("out", |c| c.bytes_out)] {
        line(format_args!("# TYPE slipway_router_bytes_{name}_total counter\n"));
        for (service, counts) in counts {
            let value = of(counts);
            line(format_args!("slipway_router_bytes_{name}_total{{service=\"{service}\"}} {value}\n"));
        }
    }
    line(format_args!("# TYPE slipway_router_request_seconds histogram\n"));
    for (service, counts) in counts {
        let mut cumulative = 0;
        for (bucket, count) in counts.latency.iter().enumerate() {
            cumulative += count;
            let bound = LATENCY_BUCKETS_MS
                .get(bucket)
                .map_or("+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
            line(format_args!(
                "slipway_router_request_seconds_bucket{{service=\"{service}\",le=\"{bound}\"}} {cumulative}\n"
            ));
        }
        let seconds = counts.latency_us_sum as f64 / 1e6;
        line(format_args!("slipway_router_request_seconds_sum{{service=\"{service}\"}} {seconds}\n"));
        line(format_args!("slipway_router_request_seconds_count{{service=\"{service}\"}} {cumulative}\n"));
    }
    text
}
