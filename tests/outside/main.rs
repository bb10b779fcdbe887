//! What releases ask of the outside world, with real programs and a real HTTP server on loopback.
//!
//! `programs`: which programs may be run; `process`: running them; `webhook`, `prometheus`, `notify`: over HTTP;
//! `secrets`: keys and signatures; `server` is the server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod notify;
mod process;
mod programs;
mod prometheus;
mod secrets;
mod server;
mod webhook;

use std::time::Duration;

use teal::model::release::{Gate, GateCheck, Percent};
use teal::model::{AppName, ColorName, ServiceName};
use teal::release::outside::{Asked, AskedMember};
use teal::state::release::ReleaseId;

/// Nothing here takes long; what takes so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Fails the test when `work` does not end.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("the deadline has passed")
}

/// A service that moves from blue to green.
pub fn member(service: &str) -> AskedMember {
    AskedMember {
        service: ServiceName::parse(service).unwrap(),
        from: ColorName::parse("blue").unwrap(),
        to: ColorName::parse("green").unwrap(),
        preview: format!("green.{service}.local"),
    }
}

/// A release of two services at its second step.
pub fn asked() -> Asked {
    Asked {
        release: ReleaseId("shop-20261123-1".to_owned()),
        app: AppName::parse("shop").unwrap(),
        version: "2.0".to_owned(),
        step: 2,
        percent: Percent::new(10).unwrap(),
        members: vec![member("service-a"), member("serviceb")],
    }
}

/// A gate that is called smoke.
pub fn gate(check: GateCheck, timeout: Duration) -> Gate {
    Gate { name: "smoke".to_owned(), check, timeout }
}
