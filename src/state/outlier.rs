//! What failed connections say of one endpoint: failures in a row, and whether it is ejected for them.
//!
//! Workers count, the health thread alone ejects and takes back: so the share of a color that is ejected
//! stays within its bound whatever the number of workers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::model::Outlier;

/// The ejections of one endpoint, as the health thread remembers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EjectionRecord {
    /// When the present ejection ends; absent when there is none.
    pub until: Option<Instant>,
    /// How many there were in short succession, the present one included.
    pub times: u32,
    /// When the last one ended.
    pub ended: Option<Instant>,
}

/// What makes a connection a success, which ends a row of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuccessAt {
    /// That the endpoint accepted it.
    Accept,
    /// Its first byte, or its end by FIN; an RST before that is a failure. Until one of them nothing is known, so
    /// that accepting alone does not wipe out the failure that follows.
    FirstByte,
}

impl SuccessAt {
    /// As a service's `outlier` says.
    pub fn of(outlier: Option<&Outlier>) -> Self {
        if outlier.is_some_and(|outlier| outlier.resets) { Self::FirstByte } else { Self::Accept }
    }
}

/// How a connection ended of which the endpoint had said no byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheard {
    /// The endpoint reset it, and had not said FIN before.
    Reset,
    /// Both sides said FIN: some protocols go one way only.
    Clean,
    /// Otherwise, which says nothing about the endpoint.
    Otherwise,
}

/// Failures and ejection of one endpoint.
#[derive(Debug, Default)]
pub struct OutlierCell {
    failures: AtomicU32,
    ejected: AtomicBool,
    record: Mutex<EjectionRecord>,
}

impl OutlierCell {
    /// A connection to the endpoint failed.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The endpoint accepted a connection.
    pub fn accepted(&self, success: SuccessAt) {
        if success == SuccessAt::Accept {
            self.succeeded();
        }
    }

    /// The first byte of the endpoint came.
    pub fn heard(&self, success: SuccessAt) {
        if success == SuccessAt::FirstByte {
            self.succeeded();
        }
    }

    /// A connection ended before that.
    pub fn ended_unheard(&self, success: SuccessAt, end: Unheard) {
        match (success, end) {
            (SuccessAt::FirstByte, Unheard::Reset) => self.failed(),
            (SuccessAt::FirstByte, Unheard::Clean) => self.succeeded(),
            (SuccessAt::FirstByte, Unheard::Otherwise) | (SuccessAt::Accept, _) => {}
        }
    }

    /// A connection to the endpoint succeeded. Writes only where failures came before.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Failed connections since the last one that succeeded.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether it gets no connections for now.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// What is remembered. For the health thread.
    pub fn record(&self) -> EjectionRecord {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the beginning or the end of an ejection. The end forgets the failures. For the health
    /// thread.
    pub fn note(&self, record: EjectionRecord) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
        if record.until.is_none() {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.ejected.store(record.until.is_some(), Ordering::Relaxed);
    }
}
