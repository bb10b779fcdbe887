//! The first configuration of a process: the one on disk, or the last good one where that is broken.

use std::sync::atomic::Ordering;

use super::last_good::{self, LastGood};
use super::reload::now;
use super::start::{Options, StartError};
use crate::admin::Facts;
use crate::config::{self, Loaded, ReportStyle, Sources};
use crate::model::Catalog;
use crate::provider::watch::{PATIENCE, Watcher};
use crate::state::{Problems, StateDirectory};
use crate::telemetry::names::{
    CONFIG_DEGRADED, CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP, CONFIG_LAST_RELOAD_SUCCESSFUL,
};

/// The subject of the problem that the configuration on disk is broken.
pub const SUBJECT: &str = "configuration";

/// A valid configuration, and where it comes from.
pub struct Boot {
    /// What it means.
    pub catalog: Catalog,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where the first configuration comes from.
pub enum Origin {
    /// The disk, with this text.
    Disk(Sources),
    /// It was kept when it last took effect. What is wrong with the one on disk:
    LastGood(String),
}

impl Origin {
    /// Notes what runs now: a good configuration is kept, a broken one is shown until it is mended.
    pub fn note(self, last_good: &LastGood, problems: &Problems, facts: &Facts) {
        let is_broken = match self {
            Self::Disk(sources) => {
                last_good.keep(sources);
                metrics::gauge!(CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP.name).set(now().unix_seconds as f64);
                false
            }
            Self::LastGood(report) => {
                let what =
                    "the last good configuration runs, as the one on disk is broken; mend it and reload";
                problems.set(SUBJECT, format!("{what}:\n{}", report.trim_end()));
                true
            }
        };
        facts.degraded.store(is_broken, Ordering::Relaxed);
        metrics::gauge!(CONFIG_DEGRADED.name).set(f64::from(u8::from(is_broken)));
        metrics::gauge!(CONFIG_LAST_RELOAD_SUCCESSFUL.name).set(f64::from(u8::from(!is_broken)));
    }
}

/// Reads the configuration, or the last good one where it is broken.
///
/// # Errors
/// It is broken, and there is no last good one.
pub async fn read(
    options: &Options,
    watcher: &Watcher,
    directory: &StateDirectory,
) -> Result<Boot, StartError> {
    let report = match watcher.handle().read(PATIENCE).await {
        Ok(sources) => match config::load(&sources) {
            Ok(Loaded { catalog, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{}", warning.one_line(&sources));
                }
                return Ok(Boot { catalog, origin: Origin::Disk(sources) });
            }
            Err(rejected) => config::render(&rejected.diagnostics, &sources, ReportStyle::Plain),
        },
        Err(error) => error.to_string(),
    };
    match last_good::read(directory, &options.config) {
        Ok(Some(kept)) => match config::load(&kept) {
            Ok(Loaded { catalog, .. }) => Ok(Boot { catalog, origin: Origin::LastGood(report) }),
            Err(_) => Err(broken(report, "this version cannot use the last good one", options)),
        },
        Ok(None) => Err(broken(report, "no last good configuration is kept", options)),
        Err(error) => Err(broken(report, &format!("and the last good one is lost: {error}"), options)),
    }
}

fn broken(report: String, instead: &str, options: &Options) -> StartError {
    let (instead, state_dir) = (instead.to_owned(), options.state_dir.clone());
    StartError::Configuration { report, instead, state_dir }
}
