//! What the task of the one writer can be asked for.

use tokio::sync::oneshot;

use super::change::{ChangeError, FreezeOrder, Outcome};
use super::order::Order;
use super::overrides::Cause;
use crate::config::Sources;

/// Somebody asks for a change at run time and waits for its result.
#[derive(Debug)]
pub enum ChangeRequest {
    /// Weights or endpoints.
    Order(Order, oneshot::Sender<Result<Outcome, ChangeError>>),
    /// No shifts, or shifts again; the answer says whether that changed anything.
    Freeze(FreezeOrder, oneshot::Sender<Result<bool, ChangeError>>),
    /// Trust the journal again; the answer says whether it was damaged.
    Accept(Cause, oneshot::Sender<Result<bool, ChangeError>>),
    /// Whether the text on disk is the one in effect, and that text.
    Read(oneshot::Sender<Result<Sources, String>>),
}
