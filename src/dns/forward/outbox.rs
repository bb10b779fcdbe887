//! Replies to clients that have waited, gathered and sent together.

use std::sync::Arc;

use super::super::batch::Replies;
use super::super::later::{Told, WayBack};
use super::super::metrics::DnsMetrics;
use super::super::udp::send_all;
use super::message::{self, Answer, Origin};
use super::question::Query;
use crate::dns::Rcode;
use crate::net::DatagramSocket;

/// What is to be sent, by socket.
#[derive(Default)]
pub struct Outbox {
    udp: Vec<(Arc<DatagramSocket>, Replies)>,
    spare: Vec<Replies>,
}

impl Outbox {
    /// Writes the reply to one client, and says its code.
    pub fn put(&mut self, query: &Query, answer: &Answer, to: WayBack) -> Rcode {
        if let WayBack::Udp { socket, peer, from } = to {
            let buffer = self.replies(&socket).next(peer, from);
            return message::write_reply(query, answer, buffer).rcode;
        }
        let mut reply = Vec::new();
        let rcode = message::write_reply(query, answer, &mut reply).rcode;
        self.pass(reply, rcode, (answer.origin, to))
    }

    /// Passes on what is written.
    fn pass(&mut self, reply: Vec<u8>, rcode: Rcode, (origin, to): (Option<Origin>, WayBack)) -> Rcode {
        match to {
            WayBack::Udp { socket, peer, from } => {
                let buffer = self.replies(&socket).next(peer, from);
                buffer.clear();
                buffer.extend_from_slice(&reply);
            }
            WayBack::Tcp(way_back) => way_back.send(reply),
            WayBack::Operator(way_back) => drop(way_back.send(Told { reply, origin })),
            WayBack::Aliased(way) => {
                let mut whole = Vec::new();
                let rcode = way.aliases.finish(&reply, &mut whole);
                return self.pass(whole, rcode, (origin, way.to));
            }
        }
        rcode
    }

    fn replies(&mut self, socket: &Arc<DatagramSocket>) -> &mut Replies {
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
