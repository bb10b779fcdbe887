//! Queries that are answered later: what [`super::answer()`] gives [`super::Verdict::Forward`] for.
//!
//! The sockets hand such a query over together with its way back, and go on with the next one; replies
//! come when they come, in any order. What is done in between is nobody's business here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::alias::AliasedWay;
use super::answer::Scope;
use super::batch::{AskedAt, Replies};
use super::cache::Kept;
use super::forward::message::Origin;
use super::reply::{Rcode, Transport};
use crate::model::HostNetworks;
use crate::net::DatagramSocket;
use crate::state::Snapshot;

/// A query that has to be asked elsewhere.
#[derive(Debug)]
pub struct Outside<'a> {
    /// As it came: one question of class IN with RD, perhaps an OPT.
    pub packet: &'a [u8],
    /// How it came, which bounds the reply.
    pub transport: Transport,
    /// Who asks.
    pub source: IpAddr,
    /// Index of the configured domain that covers the name; none: it is the upstreams'.
    pub domain: Option<u16>,
    /// What decided that.
    pub snapshot: &'a Snapshot,
    /// This host's networks.
    pub host: &'a HostNetworks,
}

/// Who answers what is neither of the zones nor special.
pub trait Forward: fmt::Debug + Send + Sync {
    /// Takes a query. Must return at once; `way_back` may be used whenever the reply is there. It never
    /// waits, so how many are under way is bounded here. Over UDP the reply may be in `out` at once, so that it
    /// leaves with others: then where it came from and its code are returned, and it is counted by the caller.
    fn forward(&self, query: &Outside<'_>, way_back: WayBack, out: &mut Vec<u8>) -> Option<(Scope, Rcode)>;

    /// What is known of the answer that the query would get without asking anybody.
    fn kept(&self, query: &Outside<'_>) -> Option<Kept>;

    /// Forgets what was kept about a name (wire format, lower case) and the names below it. Says how many answers.
    fn flush(&self, name: &[u8]) -> usize;
}

/// Where one reply goes. Dropped without use, it gives up its place, and the client gets nothing.
#[derive(Debug)]
pub enum WayBack {
    /// Out of the socket that was asked, from the address that was asked.
    Udp {
        /// The socket.
        socket: Arc<DatagramSocket>,
        /// The client.
        peer: SocketAddr,
        /// The address that it asked.
        from: AskedAt,
    },
    /// The TCP connection that asked.
    Tcp(TcpWayBack),
    /// The operator, who is told more than a client.
    Operator(oneshot::Sender<Told>),
    /// A name's aliases go before it.
    Aliased(Box<AliasedWay>),
}

/// A reply for the operator.
#[derive(Debug)]
pub struct Told {
    /// As a client would have it over TCP.
    pub reply: Vec<u8>,
    /// Who said so, where an upstream did.
    pub origin: Option<Origin>,
}

impl WayBack {
    /// Sends the reply. A client that went away gets nothing, which is no error. Many datagrams at once are
    /// better sent together.
    pub fn send(self, reply: Vec<u8>) {
        match self {
            Self::Udp { socket, peer, from } => {
                let mut replies = Replies::default();
                *replies.next(peer, from) = reply;
                if let Err(error) = replies.send(&*socket, 0) {
                    tracing::debug!(%error, "cannot send a DNS reply");
                }
            }
            Self::Tcp(way_back) => way_back.send(reply),
            // Who does not wait any more does not want it.
            Self::Operator(way_back) => drop(way_back.send(Told { reply, origin: None })),
            Self::Aliased(way) => {
                let mut whole = Vec::new();
                way.aliases.finish(&reply, &mut whole);
                way.to.send(whole);
            }
        }
    }

    /// Whether the operator asks, which is not counted.
    pub fn is_operators(&self) -> bool {
        match self {
            Self::Udp { .. } | Self::Tcp(_) => false,
            Self::Operator(_) => true,
            Self::Aliased(way) => way.to.is_operators(),
        }
    }

    /// Whether the reply can leave together with others, at once.
    pub fn is_datagram(&self) -> bool {
        match self {
            Self::Udp { .. } => true,
            Self::Tcp(_) | Self::Operator(_) => false,
            Self::Aliased(way) => way.to.is_datagram(),
        }
    }
}

/// The way back to a TCP connection, which always learns what became of it: an empty message is none.
#[derive(Debug)]
pub struct TcpWayBack(Option<Sender<Vec<u8>>>);

impl TcpWayBack {
    /// `replies` has room for as many as may be under way.
    pub(super) fn new(replies: Sender<Vec<u8>>) -> Self {
        Self(Some(replies))
    }

    pub(super) fn send(mut self, reply: Vec<u8>) {
        self.put(reply);
    }

    fn put(&mut self, reply: Vec<u8>) {
        if let Some(replies) = self.0.take() {
            let _ = replies.try_send(reply);
        }
    }
}

impl Drop for TcpWayBack {
    fn drop(&mut self) {
        self.put(Vec::new());
    }
}
