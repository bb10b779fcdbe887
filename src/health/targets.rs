//! What is to be checked, as a snapshot says. Pure.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::{ActiveCheck, ColorName, ServiceName};
use crate::state::{ColorLive, EndpointLive, EndpointState, HealthState, Snapshot, Verdict};

/// One thing to ask, however many endpoints it answers for: several ports and colors may share a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub check: Arc<ActiveCheck>,
}

/// An endpoint that an answer is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its service.
    pub service: ServiceName,
    /// The listening port that it serves.
    pub port: u16,
    /// Its color.
    pub color: ColorName,
    /// Its color's facts.
    pub color_live: Arc<ColorLive>,
    /// Its own facts, which get the verdict.
    pub live: Arc<EndpointLive>,
}

/// Every question of a snapshot, with the endpoints that its answer is about.
pub fn questions(snapshot: &Snapshot) -> HashMap<Question, Vec<Target>> {
    let mut questions = HashMap::<Question, Vec<Target>>::new();
    for service in snapshot.services.values() {
        let Some(check) = service.service.policy.health.active() else { continue };
        for port in &service.ports {
            for color in &port.colors {
                for endpoint in &color.endpoints {
                    let target = Target {
                        service: service.service.name.clone(),
                        port: port.port.listen,
                        color: color.name.clone(),
                        color_live: Arc::clone(&color.live),
                        live: Arc::clone(&endpoint.live),
                    };
                    questions.entry(question(check, endpoint)).or_default().push(target);
                }
            }
        }
    }
    questions
}

/// Lets go of those that were `asked` and are not `wanted` any more. An endpoint that nobody asks is not known
/// to work: should it come back, its first check decides.
pub fn forget<'a>(asked: impl Iterator<Item = &'a Target>, wanted: impl Iterator<Item = &'a Target>) {
    let pointer = |target: &Target| Arc::as_ptr(&target.live) as usize;
    let kept: HashSet<usize> = wanted.map(pointer).collect();
    for target in asked {
        if !kept.contains(&pointer(target)) && target.live.health.state() == HealthState::Healthy {
            target.live.health.set(Verdict::PENDING);
        }
    }
}

fn question(check: &Arc<ActiveCheck>, endpoint: &EndpointState) -> Question {
    let port = check.port.unwrap_or(endpoint.address.port());
    Question { address: SocketAddr::new(endpoint.address.ip(), port), check: Arc::clone(check) }
}
