//! Where log lines go: journald with fields, text or JSON on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// Fields, to journald's socket.
    Journald,
}

impl LogFormat {
    /// Journald when standard error is connected to it (`JOURNAL_STREAM`, systemd.exec(5)), else text.
    pub fn detect() -> Self {
        if std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal() {
            Self::Journald
        } else {
            Self::Text
        }
    }
}

/// Installs the log for the whole process. `TEAL_LOG` takes the directives of tracing's env-filter;
/// without it everything from `info` up is written.
///
/// # Errors
/// Journald cannot be reached, or a log is installed already.
pub fn install(format: LogFormat) -> io::Result<()> {
    install_from(format, "info")
}

/// Like [`install`], with other directives where `TEAL_LOG` says none.
///
/// # Errors
/// Journald cannot be reached, or a log is installed already.
pub fn install_from(format: LogFormat, directives: &str) -> io::Result<()> {
    let filter = EnvFilter::try_from_env("TEAL_LOG").unwrap_or_else(|_| EnvFilter::new(directives));
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => Box::new(
            fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal()),
        ),
        LogFormat::Json => Box::new(fmt::layer().json().flatten_event(true).with_writer(io::stderr)),
        LogFormat::Journald => {
            Box::new(tracing_journald::layer()?.with_field_prefix(Some("TEAL".to_owned())))
        }
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(io::Error::other)
}
