//! Claims: how busy an endpoint is, for picks, without looking into its table of open connections.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::live::EndpointLive;

/// How many connections an endpoint has, those that are being connected included.
#[derive(Debug, Default)]
pub struct Claims(AtomicU32);

impl Claims {
    /// As of now; other threads change it at any time.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection's claim on an endpoint: counted from the moment of the pick, so that a burst sees itself,
/// until it is dropped, with the try that failed or the connection that ended.
#[derive(Debug)]
pub struct Claim(Arc<EndpointLive>);

impl Claim {
    /// One more on this endpoint.
    pub fn new(endpoint: &Arc<EndpointLive>) -> Self {
        endpoint.claims.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }
}

impl Deref for Claim {
    type Target = EndpointLive;

    fn deref(&self) -> &EndpointLive {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.claims.0.fetch_sub(1, Ordering::Relaxed);
    }
}
