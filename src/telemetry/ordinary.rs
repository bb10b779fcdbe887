//! The process-wide recorder for ordinary series, and the whole text of `/metrics`.

use metrics::Unit;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::names::{BUILD_INFO, Kind, ORDINARY};
use super::series::Series;

/// The exporter's end of the recorder.
#[derive(Clone)]
pub struct Ordinary {
    handle: PrometheusHandle,
    process: metrics_process::Collector,
}

/// Another recorder is installed in this process.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the metrics recorder: {0}")]
pub struct InstallError(#[from] metrics_exporter_prometheus::BuildError);

impl Ordinary {
    /// Installs the recorder behind the `metrics` macros; once per process, before the first use.
    ///
    /// # Errors
    /// Another recorder is installed already.
    pub fn install() -> Result<Self, InstallError> {
        let handle = PrometheusBuilder::new().install_recorder()?;
        for family in ORDINARY {
            match family.kind {
                Kind::Counter => metrics::describe_counter!(family.name, Unit::Count, family.help),
                Kind::Gauge => metrics::describe_gauge!(family.name, family.help),
                Kind::Histogram(_) | Kind::FineHistogram(..) => {
                    metrics::describe_histogram!(family.name, Unit::Seconds, family.help);
                }
            }
        }
        metrics::gauge!(BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let process = metrics_process::Collector::default();
        process.describe();
        Ok(Self { handle, process })
    }

    /// Everything that `/metrics` shows, in Prometheus' text format 0.0.4.
    pub fn render(&self, series: &Series) -> String {
        self.process.collect();
        let mut text = self.handle.render();
        series.render(&mut text);
        text
    }

    /// Frees what the recorder keeps for histograms between scrapes; call it every few seconds.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}
