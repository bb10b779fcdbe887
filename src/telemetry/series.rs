//! The store of series that can leave: families by service, port and color.
//!
//! Built on metrics-util's registry, which can delete, unlike the exporter's recorder. A handle that
//! was resolved before its series was deleted still counts, but into nothing that is rendered.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Key, Label};
use metrics_exporter_prometheus::formatting::{sanitize_label_value, write_help_line, write_type_line};
use metrics_util::registry::{Registry, Storage};

use super::histogram::FixedHistogram;
use super::names::{Family, Kind, REMOVABLE};
use super::stripes::Counter;

/// A counter's cell.
pub type CounterCell = Arc<Counter>;
/// A gauge's cell: the bits of an `f64`, set through [`metrics::GaugeFn`] or [`Series::set_gauge`].
pub type GaugeCell = Arc<AtomicU64>;
/// A histogram's cell.
pub type HistogramCell = Arc<FixedHistogram>;

struct Cells;

impl Storage<Key> for Cells {
    type Counter = CounterCell;
    type Gauge = GaugeCell;
    type Histogram = HistogramCell;

    fn counter(&self, _: &Key) -> CounterCell {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> GaugeCell {
        Arc::default()
    }

    fn histogram(&self, key: &Key) -> HistogramCell {
        let bounds = REMOVABLE.iter().find(|family| family.name == key.name()).map(|family| family.kind);
        Arc::new(match bounds {
            Some(Kind::Histogram(bounds)) => FixedHistogram::new(bounds),
            Some(Kind::FineHistogram(bounds, parts)) => FixedHistogram::divided(bounds, parts),
            _ => FixedHistogram::new(&[]),
        })
    }
}

/// Label names with their values, in the order in which they are rendered.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// The store. Cheap to share behind an `Arc`; resolving a handle locks one shard, using it does not.
pub struct Series {
    registry: Registry<Key, Cells>,
    /// Held while gauges are replaced.
    replacing: Mutex<()>,
}

/// Sets one gauge.
pub type SetGauge<'a> = dyn FnMut(Family, Labels<'_>, f64) + 'a;

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

impl Default for Series {
    fn default() -> Self {
        Self { registry: Registry::new(Cells), replacing: Mutex::default() }
    }
}

fn key(family: Family, labels: Labels<'_>) -> Key {
    let labels =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect::<Vec<_>>();
    Key::from_parts(family.name, labels)
}

impl Series {
    /// The counter with these labels, made at 0 if it is new.
    pub fn counter(&self, family: Family, labels: Labels<'_>) -> CounterCell {
        self.registry.get_or_create_counter(&key(family, labels), Arc::clone)
    }

    /// The gauge with these labels, made at 0 if it is new.
    pub fn gauge(&self, family: Family, labels: Labels<'_>) -> GaugeCell {
        self.registry.get_or_create_gauge(&key(family, labels), Arc::clone)
    }

    /// The histogram with these labels, made empty if it is new.
    pub fn histogram(&self, family: Family, labels: Labels<'_>) -> HistogramCell {
        self.registry.get_or_create_histogram(&key(family, labels), Arc::clone)
    }

    /// Sets a gauge.
    pub fn set_gauge(&self, family: Family, labels: Labels<'_>, value: f64) {
        self.gauge(family, labels).store(value.to_bits(), Ordering::Relaxed);
    }

    /// Sets gauges, and removes those of `families` that are not set. One caller at a time: what `fill` reads
    /// is newer than what any caller before has read.
    pub fn replace_gauges(&self, families: &[Family], fill: impl FnOnce(&mut SetGauge<'_>)) {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = HashSet::new();
        fill(&mut |family, labels, value| {
            let key = key(family, labels);
            self.registry.get_or_create_gauge(&key, |gauge| gauge.store(value.to_bits(), Ordering::Relaxed));
            present.insert(key);
        });
        let is_replaced = |key: &Key| families.iter().any(|family| family.name == key.name());
        self.registry.retain_gauges(|key, _| !is_replaced(key) || present.contains(key));
    }

    /// Removes every series that has all of these labels, whatever its family and further labels.
    pub fn remove(&self, labels: Labels<'_>) {
        let keep = |key: &Key| !has_labels(key, labels);
        self.registry.retain_counters(|key, _| keep(key));
        self.registry.retain_gauges(|key, _| keep(key));
        self.registry.retain_histograms(|key, _| keep(key));
    }

    /// Appends all series in Prometheus' text format 0.0.4, sorted by family and labels. All of a family are read
    /// before any is written: what the colors of a service have counted belongs to the same moment.
    pub fn render(&self, out: &mut String) {
        let mut families: BTreeMap<String, BTreeMap<String, Cell>> = BTreeMap::new();
        let mut put = |key: &Key, cell: Cell| {
            families.entry(key.name().to_owned()).or_default().insert(label_text(key), cell);
        };
        self.registry.visit_counters(|key, cell| put(key, Cell::Counter(Arc::clone(cell))));
        self.registry.visit_gauges(|key, cell| put(key, Cell::Gauge(Arc::clone(cell))));
        self.registry.visit_histograms(|key, cell| put(key, Cell::Histogram(Arc::clone(cell))));
        for family in REMOVABLE {
            let Some(series) = families.get(family.name) else { continue };
            write_help_line(out, family.name, None, None, family.help);
            write_type_line(out, family.name, None, None, type_word(family.kind));
            let values: Vec<_> = series.values().map(Cell::read).collect();
            for (labels, value) in series.keys().zip(values) {
                for (suffix, value) in value.lines() {
                    write_sample(out, family.name, labels, (&suffix, &value));
                }
            }
        }
    }
}

enum Cell {
    Counter(CounterCell),
    Gauge(GaugeCell),
    Histogram(HistogramCell),
}

impl Cell {
    fn read(&self) -> Value {
        match self {
            Self::Counter(cell) => Value::Count(cell.load(Ordering::Relaxed)),
            Self::Gauge(cell) => Value::Gauge(f64::from_bits(cell.load(Ordering::Relaxed))),
            Self::Histogram(cell) => {
                let (buckets, total) = cell.cumulative();
                Value::Histogram { buckets, total, sum_seconds: cell.sum_seconds() }
            }
        }
    }
}

/// What a cell held when it was read.
enum Value {
    Count(u64),
    Gauge(f64),
    Histogram { buckets: Vec<(f64, u64)>, total: u64, sum_seconds: f64 },
}

impl Value {
    /// Suffix of the family's name with an `le` label where there is one, and number, of each line.
    fn lines(&self) -> Vec<(String, String)> {
        match self {
            Self::Count(count) => vec![(String::new(), count.to_string())],
            Self::Gauge(gauge) => vec![(String::new(), gauge.to_string())],
            Self::Histogram { buckets, total, sum_seconds } => {
                let bucket =
                    |(bound, count): &(f64, u64)| (format!("_bucket le=\"{bound}\""), count.to_string());
                let mut lines: Vec<_> = buckets.iter().map(bucket).collect();
                lines.push(("_bucket le=\"+Inf\"".to_owned(), total.to_string()));
                lines.push(("_sum".to_owned(), sum_seconds.to_string()));
                lines.push(("_count".to_owned(), total.to_string()));
                lines
            }
        }
    }
}

fn type_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) | Kind::FineHistogram(..) => "histogram",
    }
}

fn has_labels(key: &Key, labels: Labels<'_>) -> bool {
    labels
        .iter()
        .all(|(name, value)| key.labels().any(|label| label.key() == *name && label.value() == *value))
}

fn label_text(key: &Key) -> String {
    let pairs =
        key.labels().map(|label| format!("{}=\"{}\"", label.key(), sanitize_label_value(label.value())));
    pairs.collect::<Vec<_>>().join(",")
}

fn write_sample(out: &mut String, name: &str, labels: &str, (suffix, value): (&str, &str)) {
    let (suffix, bound) = suffix.split_once(' ').unwrap_or((suffix, ""));
    let joint = if labels.is_empty() || bound.is_empty() { "" } else { "," };
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() || !bound.is_empty() {
        out.push('{');
        out.push_str(labels);
        out.push_str(joint);
        out.push_str(bound);
        out.push('}');
    }
    out.push(' ');
    out.push_str(value);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::names::{CONNECT_DURATION, CONNECTIONS, WEIGHT_ZERO_VIOLATIONS};
    use super::*;

    #[test]
    fn a_removed_service_leaves_and_the_others_stay() {
        let series = Series::default();
        let of = |service| [("service", service), ("color", "blue")];
        series.counter(CONNECTIONS, &of("a")).fetch_add(3, Ordering::Relaxed);
        series.counter(CONNECTIONS, &of("b")).fetch_add(1, Ordering::Relaxed);
        series.histogram(CONNECT_DURATION, &of("a"));
        series.counter(WEIGHT_ZERO_VIOLATIONS, &[]);
        series.remove(&[("service", "a")]);
        let mut text = String::new();
        series.render(&mut text);
        assert_eq!(
            text,
            "# HELP teal_connections_total Connections that a color served (the backend accepted).\n\
             # TYPE teal_connections_total counter\n\
             teal_connections_total{service=\"b\",color=\"blue\"} 1\n\
             # HELP teal_weight_zero_violations_total Connections given to a color of weight 0 without \
             anybody having said so. Stays 0.\n\
             # TYPE teal_weight_zero_violations_total counter\n\
             teal_weight_zero_violations_total 0\n"
        );
    }

    #[test]
    fn a_histogram_is_rendered_cumulatively_with_its_family_s_bounds() {
        let series = Series::default();
        let cell = series.histogram(CONNECT_DURATION, &[("service", "a")]);
        cell.observe(std::time::Duration::from_micros(600));
        let mut text = String::new();
        series.render(&mut text);
        assert!(text.contains("teal_connect_duration_seconds_bucket{service=\"a\",le=\"0.0005\"} 0\n"));
        assert!(text.contains("teal_connect_duration_seconds_bucket{service=\"a\",le=\"0.001\"} 1\n"));
        assert!(text.contains("teal_connect_duration_seconds_bucket{service=\"a\",le=\"+Inf\"} 1\n"));
        assert!(text.contains("teal_connect_duration_seconds_count{service=\"a\"} 1\n"));
    }
}
