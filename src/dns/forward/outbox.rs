//! Replies to clients that have waited, gathered and sent together.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::super::batch::{AskedAt, Replies};
use super::super::metrics::DnsMetrics;
use super::super::udp::send_all;
use super::message::{self, Answer};
use super::question::Query;
use crate::dns::{Rcode, Transport};

/// Where a reply goes.
#[derive(Debug, Clone)]
pub enum ReplyTo {
    /// Out of the socket that was asked, from the address that was asked.
    Udp {
        /// The socket.
        socket: Arc<UdpSocket>,
        /// The client.
        peer: SocketAddr,
        /// The address that it asked.
        from: AskedAt,
    },
    /// To the connection that asked, which writes replies in the order in which they come. Bounded by the
    /// queries that may wait.
    Tcp {
        /// Takes the reply, without its length.
        replies: mpsc::UnboundedSender<Vec<u8>>,
        /// The client.
        peer: SocketAddr,
    },
}

impl ReplyTo {
    /// How it is reached.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Udp { .. } => Transport::Udp,
            Self::Tcp { .. } => Transport::Tcp,
        }
    }

    /// The client.
    pub fn peer(&self) -> SocketAddr {
        match self {
            Self::Udp { peer, .. } | Self::Tcp { peer, .. } => *peer,
        }
    }
}

/// What is to be sent, by socket.
#[derive(Default)]
pub struct Outbox {
    udp: Vec<(Arc<UdpSocket>, Replies)>,
    spare: Vec<Replies>,
}

impl Outbox {
    /// Writes the reply to one client, and says its code.
    pub fn put(&mut self, query: &Query, answer: &Answer, to: ReplyTo) -> Rcode {
        match to {
            ReplyTo::Udp { socket, peer, from } => {
                let buffer = self.replies(&socket).next(peer, from);
                message::write_reply(query, answer, buffer)
            }
            ReplyTo::Tcp { replies, .. } => {
                let mut reply = Vec::new();
                let rcode = message::write_reply(query, answer, &mut reply);
                // The client may have gone.
                let _ = replies.send(reply);
                rcode
            }
        }
    }

    fn replies(&mut self, socket: &Arc<UdpSocket>) -> &mut Replies {
        let index = self.udp.iter().position(|(known, _)| Arc::ptr_eq(known, socket)).unwrap_or_else(|| {
            self.udp.push((Arc::clone(socket), self.spare.pop().unwrap_or_default()));
            self.udp.len() - 1
        });
        &mut self.udp[index].1
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.udp.is_empty()
    }

    /// Sends everything.
    pub async fn send(&mut self, metrics: &DnsMetrics) {
        for (socket, mut replies) in self.udp.drain(..) {
            send_all(&socket, &replies, metrics).await;
            replies.clear();
            self.spare.push(replies);
        }
    }
}
