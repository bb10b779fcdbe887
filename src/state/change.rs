//! One change at run time: recorded, carried out, recorded as done.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::build::override_again;
use super::journal::{Event, Journal, JournalError};
use super::order::{Journaling, Order, Unknown, plan};
use super::overrides::{Cause, Edit};
use super::release::ReleaseId;
use super::snapshot::{EndpointState, PortState, ServiceState, Snapshot};
use super::writer::{Now, Writer};
use crate::model::{AppName, ColorName, ServiceName, Weight};
use crate::telemetry::names::{JOURNAL_DAMAGED, JOURNAL_UNRECORDED};

/// The subject of the journal's problem.
const SUBJECT: &str = "journal";

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A name means nothing here.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// It cannot be recorded.
    #[error("nothing was changed, as it could not be recorded: {0}; --emergency does it all the same")]
    Unrecorded(JournalError),
    /// Not even in an emergency.
    #[error("nothing was changed: {0}")]
    TooMany(JournalError),
    /// A release decides about the weights.
    #[error(
        "nothing was changed: {service} is a member of the open release {release}; \
         `teal release set` changes its weights inside the release, `teal release rollback` ends it"
    )]
    InRelease {
        /// The member.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
    },
    /// The task that writes the journal is gone.
    #[error("nothing was changed: the journal's task failed: {0}")]
    Task(String),
}

/// Releases may not shift, or may again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeOrder {
    /// Of this app; of every one when absent.
    pub app: Option<AppName>,
    /// Whether they may not.
    pub frozen: bool,
    /// Who, when and why.
    pub cause: Cause,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What changed; nothing when everything was so already.
    pub edits: Vec<Edit>,
    /// Why the journal does not say so yet, if it does not.
    pub unrecorded: Option<String>,
    /// What the operator probably does not want.
    pub warnings: Vec<String>,
    /// Weights in effect now, of the services concerned.
    pub weights: BTreeMap<ServiceName, BTreeMap<ColorName, Weight>>,
}

impl Writer {
    /// Carries out an order at one instant: intent, fsync, swap, applied, fsync. A release that goes on without
    /// changing weights has one record.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn change(&mut self, order: &Order, now: Now) -> Result<Outcome, ChangeError> {
        let before = self.cell().load_full();
        self.refuse_members(order)?;
        let edits = plan(&order.wishes, &before.catalog, &self.overrides)?;
        if edits.is_empty() && order.release.is_none() {
            return Ok(outcome(&order.cause, edits, None, &before));
        }
        let at = now.unix_seconds;
        let event = event_of(order, &edits);
        let recorded = self.with_journal(move |journal| journal.record(event, at)).await?;
        let failure = match (recorded, order.journaling) {
            (Ok(intent), _) => {
                self.take_effect(&before, (&edits, order), now).await;
                let after = (!edits.is_empty()).then_some(Event::Applied { intent });
                let unrecorded = self.note(after.into_iter().collect(), at).await;
                return Ok(outcome(&order.cause, edits, unrecorded, &self.cell().load()));
            }
            (Err(error), Journaling::Required) => {
                self.show_journal(Some(&error)).await;
                return Err(ChangeError::Unrecorded(error));
            }
            (Err(error), Journaling::Emergency) => error,
        };
        // Room for it now, as nothing may change that nobody can ever record.
        let (release, cause) = (order.release.clone(), order.cause.clone());
        let event = Event::Emergency { edits: edits.clone(), cause, release };
        self.with_journal(move |journal| journal.owe(event)).await?.map_err(ChangeError::TooMany)?;
        let Cause { actor, why, .. } = &order.cause;
        tracing::error!(who = %actor, why, "changed without journal: {failure}");
        self.take_effect(&before, (&edits, order), now).await;
        self.show_journal(Some(&failure)).await;
        Ok(outcome(&order.cause, edits, Some(failure.to_string()), &self.cell().load()))
    }

    /// Weights of a member are the release's while it is open, but in an emergency.
    fn refuse_members(&self, order: &Order) -> Result<(), ChangeError> {
        if order.release.is_some() || order.journaling == Journaling::Emergency {
            return Ok(());
        }
        let of_member = order.wishes.iter().find_map(|wish| {
            let service = wish.of_weights()?;
            Some((service.clone(), self.releases.open_with(service)?.id.clone()))
        });
        of_member.map_or(Ok(()), |(service, release)| Err(ChangeError::InRelease { service, release }))
    }

    async fn take_effect(&mut self, before: &Snapshot, (edits, order): (&[Edit], &Order), now: Now) {
        let cause = &order.cause;
        self.overrides.apply(edits, cause);
        if let Some(release) = &order.release {
            Arc::make_mut(&mut self.releases).note((**release).clone());
        }
        self.swap_set(before, now).await;
        for edit in edits {
            tracing::info!(who = %cause.actor, why = cause.why, "{edit}");
        }
    }

    /// Makes what is set at run time what readers see.
    async fn swap_set(&mut self, before: &Snapshot, now: Now) {
        let set = (&self.overrides, &self.releases);
        let next = override_again(before, set, &self.base.live, self.base.rotation);
        self.swap_overrides(before, &Arc::new(next), now.instant).await;
    }

    /// Keeps releases of an app, or of all, from shifting, or lets them again. Says whether that changed anything.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub async fn freeze(&mut self, freeze: &FreezeOrder, now: Now) -> Result<bool, ChangeError> {
        let FreezeOrder { app, frozen, cause } = freeze.clone();
        let is_frozen = self.releases.freezes().iter().any(|known| known.app == app);
        if is_frozen == frozen {
            return Ok(false);
        }
        let before = self.cell().load_full();
        let (event, at) = (Event::Freeze { app, frozen, cause }, now.unix_seconds);
        let recorded = self.with_journal(move |journal| journal.record(event, at)).await?;
        if let Err(error) = recorded {
            self.show_journal(Some(&error)).await;
            return Err(ChangeError::Unrecorded(error));
        }
        let FreezeOrder { app, cause, .. } = freeze;
        Arc::make_mut(&mut self.releases).set_frozen(app.as_ref(), frozen.then(|| cause.clone()));
        self.swap_set(&before, now).await;
        let app = app.as_ref().map_or("every app", AppName::as_str);
        tracing::info!(who = %cause.actor, why = cause.why, app, frozen, "releases frozen or not");
        Ok(true)
    }

    /// Trusts the journal again after its last verified record; what is in effect stays. Says whether it was
    /// damaged.
    ///
    /// # Errors
    /// The disk.
    pub async fn accept_journal(&mut self, cause: Cause, now: Now) -> Result<bool, ChangeError> {
        let at = now.unix_seconds;
        let who = cause.actor.to_string();
        let accepted = self
            .with_journal(move |journal| {
                let was_damaged = journal.damage().is_some();
                journal.accept(cause, at)?;
                journal.settle(at).map(|_| was_damaged)
            })
            .await?;
        if let Ok(true) = accepted {
            tracing::warn!(who, "the damage of the journal was accepted");
        }
        self.show_journal(accepted.as_ref().err()).await;
        accepted.map_err(ChangeError::Unrecorded)
    }

    /// Records what has happened already, now or when the disk is back. Says why not now.
    pub(super) async fn note(&mut self, events: Vec<Event>, at: u64) -> Option<String> {
        let noted = self
            .with_journal(move |journal| {
                let mut failed = None;
                for event in events {
                    if let Err(error) = journal.record(event.clone(), at) {
                        failed = Some(error);
                        if let Err(error) = journal.owe(event) {
                            tracing::error!(%error, "a record of the journal is lost");
                        }
                    }
                }
                failed
            })
            .await;
        match noted {
            Ok(failed) => {
                self.show_journal(failed.as_ref()).await;
                failed.map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// Writes what is owed, if anything is.
    pub(super) async fn settle(&mut self, at: u64) {
        let is_owed = |journal: &mut Journal| journal.owed() > 0 && journal.damage().is_none();
        if !self.with_journal(is_owed).await.unwrap_or(false) {
            return;
        }
        match self.with_journal(move |journal| journal.settle(at)).await {
            Ok(Ok(records)) => {
                tracing::info!(records, "the journal is written again");
                self.show_journal(None).await;
            }
            Ok(Err(error)) => self.show_journal(Some(&error)).await,
            Err(_) => {}
        }
    }

    async fn with_journal<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Journal) -> T + Send + 'static,
    ) -> Result<T, ChangeError> {
        let journal = Arc::clone(&self.journal);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut journal.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.map_err(|error| ChangeError::Task(error.to_string()))
    }

    async fn show_journal(&mut self, error: Option<&JournalError>) {
        let look = |journal: &mut Journal| (journal.damage().map(str::to_owned), journal.owed());
        let Ok((damage, owed)) = self.with_journal(look).await else { return };
        metrics::gauge!(JOURNAL_DAMAGED.name).set(f64::from(u8::from(damage.is_some())));
        metrics::gauge!(JOURNAL_UNRECORDED.name).set(owed as f64);
        let waiting = if owed > 0 { format!("; {owed} records wait") } else { String::new() };
        let problems = &self.base.problems;
        match (damage, error) {
            (Some(damage), _) => problems.set(
                SUBJECT,
                format!(
                    "damaged: {damage}; the last verified weights are in effect and changes are refused until \
                     `teal journal accept -m WHY`{waiting}"
                ),
            ),
            (None, Some(error)) => problems.set(
                SUBJECT,
                format!("{error}; changes are refused but for --emergency, free some space there{waiting}"),
            ),
            (None, None) if owed > 0 => {}
            (None, None) => problems.clear(SUBJECT),
        }
    }
}

/// What is recorded before an order takes effect.
fn event_of(order: &Order, edits: &[Edit]) -> Event {
    let cause = order.cause.clone();
    match &order.release {
        Some(release) if edits.is_empty() => Event::Release { release: release.clone(), cause },
        release => Event::Intent { edits: edits.to_vec(), cause, release: release.clone() },
    }
}

fn outcome(cause: &Cause, edits: Vec<Edit>, unrecorded: Option<String>, now: &Snapshot) -> Outcome {
    let names = edits.iter().map(Edit::service);
    let states: BTreeMap<_, _> =
        names.filter_map(|name| Some((name.clone(), now.services.get(name)?))).collect();
    let warnings = states.values().flat_map(|state| warnings(state)).collect();
    let weights = states.iter().map(|(name, state)| {
        let colors =
            state.service.colors.iter().map(|color| (color.name.clone(), state.overrides.weight(color)));
        (name.clone(), colors.collect())
    });
    let weights = weights.collect();
    debug_assert!(!cause.why.is_empty(), "nobody changes anything without a reason");
    Outcome { edits, unrecorded, warnings, weights }
}

/// What a service cannot do as it is set now.
fn warnings(state: &ServiceState) -> Vec<String> {
    let name = &state.service.name;
    let mut warnings = Vec::new();
    let colors = || state.ports.iter().flat_map(|port| &port.colors);
    if colors().all(|color| color.weight.is_zero()) {
        warnings.push(format!("every color of {name} has weight 0: new connections are refused"));
    }
    for (index, color) in state.service.colors.iter().enumerate() {
        let is_out = |port: &PortState| !port.colors[index].endpoints.iter().any(EndpointState::is_enabled);
        if !state.weight(index).is_zero() && state.ports.iter().any(is_out) {
            warnings.push(format!(
                "color {} of {name} has weight {} and no enabled endpoint: its connections go elsewhere or are refused",
                color.name,
                state.weight(index)
            ));
        }
    }
    warnings
}

#[cfg(test)]
#[path = "change_tests.rs"]
pub(in crate::state) mod tests;
