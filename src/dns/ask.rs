//! A question of the operator's, answered as a client's over TCP would be.

use std::net::IpAddr;

use tokio::sync::mpsc;

use super::answer::{Asked, Source, Verdict, answer};
use super::later::{Outside, TcpWayBack, WayBack};
use super::reply::Transport;
use super::{Dns, source_of};

/// What became of a question.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict on it.
    pub verdict: Verdict,
    /// How many seconds ago it was kept, where it comes out of the cache.
    pub kept_for: Option<u32>,
    /// The reply; none comes where nobody answers.
    pub reply: Option<Vec<u8>>,
}

impl Dns {
    /// Answers `packet` as if it came from `source`, or from somebody who may ask. What is asked elsewhere is
    /// waited for. Neither counted nor logged as a client's query. To be called on the DNS thread.
    pub async fn ask(&self, packet: &[u8], source: Option<IpAddr>) -> Outcome {
        let mut reply = Vec::new();
        let (sender, mut replies) = mpsc::channel(1);
        let (snapshot, host) = (self.snapshot.load_full(), self.host.load_full());
        let mut kept_for = None;
        let verdict = {
            let allowed = source.map(|source| source_of(source, &snapshot, &host));
            let asked = Asked { transport: Transport::Tcp, source: allowed.unwrap_or(Source::Allowed) };
            answer(packet, asked, &snapshot.answers, &mut reply)
        };
        if let Verdict::Forward(domain) = verdict {
            let source = source.unwrap_or(IpAddr::from([127, 0, 0, 1]));
            let (transport, snapshot, host) = (Transport::Tcp, &*snapshot, &*host);
            let query = Outside { packet, transport, source, domain, snapshot, host };
            kept_for = self.forwarder.kept_for(&query);
            self.forwarder.forward(&query, WayBack::Tcp(TcpWayBack::new(sender)), &mut Vec::new());
            reply = replies.recv().await.unwrap_or_default();
        }
        Outcome { verdict, kept_for, reply: Some(reply).filter(|reply| !reply.is_empty()) }
    }
}
