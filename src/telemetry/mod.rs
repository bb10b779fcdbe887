//! Metric names and stores, and the log.
//!
//! Two stores, no family in both: ordinary series live in metrics-exporter-prometheus, families by
//! service, port or color in [`Series`], because they must leave again when their service does.

pub mod buckets;
pub mod histogram;
pub mod lines;
pub mod logs;
pub mod names;
pub mod ordinary;
pub mod series;

pub use histogram::FixedHistogram;
pub use series::{CounterCell, GaugeCell, HistogramCell, Series, SetGauge};
