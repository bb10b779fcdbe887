//! Replies to clients that have waited, gathered and sent together.

use std::sync::Arc;

use tokio::net::UdpSocket;

use super::super::batch::Replies;
use super::super::later::WayBack;
use super::super::metrics::DnsMetrics;
use super::super::udp::send_all;
use super::message::{self, Answer};
use super::question::Query;
use crate::dns::Rcode;

/// What is to be sent, by socket.
#[derive(Default)]
pub struct Outbox {
    udp: Vec<(Arc<UdpSocket>, Replies)>,
    spare: Vec<Replies>,
}

impl Outbox {
    /// Writes the reply to one client, and says its code.
    pub fn put(&mut self, query: &Query, answer: &Answer, to: WayBack) -> Rcode {
        match to {
            WayBack::Udp { socket, peer, from } => {
                let buffer = self.replies(&socket).next(peer, from);
                message::write_reply(query, answer, buffer).rcode
            }
            WayBack::Tcp(way_back) => {
                let mut reply = Vec::new();
                let rcode = message::write_reply(query, answer, &mut reply).rcode;
                way_back.send(reply);
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
