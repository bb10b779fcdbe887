//! The demo's backends: small HTTP servers on loopback, each with a count of what it served.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::cast::{Member, PerSide, Side};
use super::client::{MARK, Mark, Way};
use crate::net::accept::{Accept, AcceptError};
use crate::net::{ListenOptions, Listener, accept_loop};

/// One server.
#[derive(Debug)]
struct Instance {
    address: SocketAddr,
    served: Arc<AtomicU64>,
}

/// All servers. They stop when this is dropped.
#[derive(Debug)]
pub struct Backends {
    /// By member and side.
    instances: [PerSide<Vec<Instance>>; 2],
    way: Arc<OnceLock<Way>>,
    stop: CancellationToken,
}

impl Backends {
    /// Starts every instance on a port that the kernel chooses.
    ///
    /// # Errors
    /// A socket cannot be had.
    pub fn start() -> io::Result<Self> {
        let mut backends = Self {
            instances: Default::default(),
            way: Arc::new(OnceLock::new()),
            stop: CancellationToken::new(),
        };
        for member in Member::ALL {
            for side in Side::ALL {
                for number in 0..member.instances() {
                    let instance = backends.start_one((member, side), own_address(member, side, number))?;
                    backends.instances[member as usize][side as usize].push(instance);
                }
            }
        }
        Ok(backends)
    }

    fn start_one(&self, (member, side): (Member, Side), own: Ipv4Addr) -> io::Result<Instance> {
        let listener = Listener::bind((own, 0).into(), ListenOptions::default())?;
        let instance = Instance { address: listener.address(), served: Arc::default() };
        let (served, way) = (Arc::clone(&instance.served), Arc::clone(&self.way));
        let mut role = Role { member, side, own, served, way };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            if let Err(error) = accept_loop(listener, stop, &mut role).await {
                tracing::error!(%error, "a backend of the demo stopped");
            }
        });
        Ok(instance)
    }

    /// Tells `serviceb` how `servicea` is called; until then it answers 503.
    pub fn set_way(&self, way: Way) {
        // Called once; a second way would be the same.
        let _ = self.way.set(way);
    }

    /// Where the instances of a side listen.
    pub fn addresses(&self, member: Member, side: Side) -> Vec<SocketAddr> {
        self.instances[member as usize][side as usize].iter().map(|instance| instance.address).collect()
    }

    /// What each instance of a side has served of the demo's own calls.
    pub fn served(&self, member: Member, side: Side) -> Vec<u64> {
        let instances = &self.instances[member as usize][side as usize];
        instances.iter().map(|instance| instance.served.load(Ordering::Relaxed)).collect()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An address of its own for each instance: a release's lanes tell them apart by it.
fn own_address(member: Member, side: Side, number: usize) -> Ipv4Addr {
    let group = 10 * (1 + member as u8) + side as u8;
    Ipv4Addr::new(127, 0, group, u8::try_from(number + 1).unwrap_or(u8::MAX))
}

/// What one server answers.
#[derive(Debug, Clone)]
struct Role {
    member: Member,
    side: Side,
    /// Where it listens and calls from, as a container would.
    own: Ipv4Addr,
    served: Arc<AtomicU64>,
    way: Arc<OnceLock<Way>>,
}

impl Accept for Role {
    fn accepted(&mut self, stream: TcpStream, peer: SocketAddr) {
        let role = self.clone();
        tokio::spawn(async move {
            let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
            let service = service_fn(move |request| {
                let role = role.clone();
                async move { Ok::<_, Infallible>(role.answer(&request).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%peer, %error, "a connection to a backend of the demo broke");
            }
        });
    }

    fn failed(&mut self, error: AcceptError) {
        tracing::warn!(reason = error.label(), "a backend of the demo cannot accept");
    }
}

impl Role {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mark = if request.headers().contains_key(MARK) { Mark::Counted } else { Mark::Uncounted };
        if mark == Mark::Counted {
            self.served.fetch_add(1, Ordering::Relaxed);
        }
        let words = self.member.words(self.side);
        match self.member {
            Member::A => respond(StatusCode::OK, words.to_owned()),
            Member::B => {
                let Some(way) = self.way.get() else {
                    return respond(StatusCode::SERVICE_UNAVAILABLE, "not yet".to_owned());
                };
                let way = Way { from: Some(self.own), ..*way };
                match way.get(&Member::A.host(), mark).await {
                    Ok(text) => respond(StatusCode::OK, format!("{words}{text}")),
                    Err(error) => respond(StatusCode::BAD_GATEWAY, error.to_string()),
                }
            }
        }
    }
}

fn respond(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
