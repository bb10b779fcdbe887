//! Why connections fail and end: the values of the label `reason`.

use super::connections::CutReason;

/// Why no backend served a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorReason {
    /// The last backend tried refused.
    Refused,
    /// No backend answered within the connect timeouts.
    Timeout,
    /// No way to the last backend tried.
    Unreachable,
    /// The host had no port, descriptor or memory left for the last try.
    Resources,
    /// The last try failed in another way.
    Other,
    /// The source is not in `allow_from`.
    NotAllowed,
    /// The source is no endpoint of a service that depends on this one, and `restrict_callers` is set.
    NotCaller,
    /// `[limits] max_connections` was reached.
    Limit,
    /// `max_connections` of the service was reached.
    LimitService,
    /// `max_connections` of the color was reached, and no other color served.
    LimitColor,
    /// `max_connections_per_endpoint` was reached everywhere.
    LimitEndpoint,
    /// `max_connections_per_source` was reached.
    LimitSource,
    /// `accept_rate` was reached.
    LimitRate,
    /// No valid PROXY protocol header came in time, or not from a trusted source.
    ProxyProtocol,
    /// All weights are 0.
    NoWeight,
    /// The service or color was removed while the connection waited.
    Removed,
    /// Checks say that no endpoint works which may be tried.
    Down,
    /// Nothing of the color of its lane served it, and `lanes` are `require`.
    Lane,
    /// The client went away before a backend accepted.
    ClientGone,
}

impl ErrorReason {
    /// How many there are, by the last one.
    pub(super) const COUNT: usize = Self::ClientGone as usize + 1;

    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Resources => "resources",
            Self::Other => "other",
            Self::NotAllowed => "not_allowed",
            Self::NotCaller => "not_a_caller",
            Self::Limit => "limit",
            Self::LimitService => "limit_service",
            Self::LimitColor => "limit_color",
            Self::LimitEndpoint => "limit_endpoint",
            Self::LimitSource => "limit_source",
            Self::LimitRate => "limit_rate",
            Self::ProxyProtocol => "proxy_protocol",
            Self::NoWeight => "no_weight",
            Self::Removed => "removed",
            Self::Down => "down",
            Self::Lane => "lane",
            Self::ClientGone => "client_gone",
        }
    }
}

/// Why a served connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedReason {
    /// Both sides said FIN.
    Finished,
    /// The client sent RST or vanished.
    ClientReset,
    /// The backend sent RST or vanished.
    BackendReset,
    /// Nothing moved for `idle_timeout`.
    Idle,
    /// One side had said FIN, and nothing moved for `half_close_timeout`.
    HalfClose,
    /// It reached `max_connection_age`.
    Age,
    /// It was idle when its `drain_timeout` was nearly over, and ended by FIN.
    DrainIdle,
    /// Its drain ran into `drain_timeout`.
    DrainDeadline,
    /// The daemon stopped.
    Shutdown,
}

impl From<CutReason> for ClosedReason {
    fn from(reason: CutReason) -> Self {
        match reason {
            CutReason::DrainDeadline => Self::DrainDeadline,
            CutReason::Shutdown => Self::Shutdown,
        }
    }
}

impl ClosedReason {
    /// How many there are, by the last one.
    pub(super) const COUNT: usize = Self::Shutdown as usize + 1;

    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ClientReset => "client_reset",
            Self::BackendReset => "backend_reset",
            Self::Idle => "idle",
            Self::HalfClose => "half_close",
            Self::Age => "age",
            Self::DrainIdle => "drain_idle",
            Self::DrainDeadline => "drain_deadline",
            Self::Shutdown => "shutdown",
        }
    }
}
