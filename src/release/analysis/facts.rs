//! What a verdict is about.

use serde::{Deserialize, Serialize};

use super::Sample;
use crate::model::release::Percent;
use crate::model::{ColorName, ServiceName};

/// What is known of one stage of a release: since its shift, and since the start of this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFacts {
    /// The share of the new color.
    pub percent: Percent,
    /// Connections that are asked for, of each member's new color.
    pub min_connections: u64,
    /// How many pairs of stage and member the whole release judges: among so many the permitted error is
    /// divided. 0 counts as 1.
    pub comparisons: usize,
    /// Who is judged: the members that this step has shifted.
    pub members: Vec<MemberFacts>,
}

/// The facts of one member since the stage's shift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    /// The service.
    pub service: ServiceName,
    /// The old color.
    pub from: ColorName,
    /// The new color.
    pub to: ColorName,
    /// Of the old color, since the shift: the control.
    pub old: Sample,
    /// Of the new color, since the shift.
    pub new: Sample,
    /// Of the old color before the stage's shift, in this process: the control where the old color gets next to
    /// nothing any more, as in the last step. Worse than one beside the new color, so it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Sample>,
    /// Whether clients and not connections are split (`affinity`), so that one client can make a difference.
    #[serde(default)]
    pub by_client: bool,
}
