//! A question of the operator's, answered as a client's over TCP would be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::sync::mpsc;

use super::answer::{Asked, Source, Verdict, answer};
use super::forward::ReplyTo;
use super::reply::Transport;
use super::{Dns, source_of};

/// What became of a question.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict on it.
    pub verdict: Verdict,
    /// The reply; none comes where nobody answers.
    pub reply: Option<Vec<u8>>,
}

impl Dns {
    /// Answers `packet` as if it came from `source`, or from somebody who may ask. What is asked elsewhere is
    /// waited for, and counted as any query is; the rest is neither counted nor logged. To be called on the DNS
    /// thread.
    pub async fn ask(&self, packet: &[u8], source: Option<IpAddr>) -> Outcome {
        let mut reply = Vec::new();
        let (sender, mut replies) = mpsc::unbounded_channel();
        let verdict = {
            let snapshot = self.snapshot.load();
            let allowed = source.map(|source| source_of(source, &snapshot, &self.host.load()));
            let asked = Asked { transport: Transport::Tcp, source: allowed.unwrap_or(Source::Allowed) };
            match answer(packet, asked, &snapshot.answers, &mut reply) {
                Verdict::Forward(opt) => {
                    let peer = SocketAddr::new(source.unwrap_or(Ipv4Addr::LOCALHOST.into()), 0);
                    let to = ReplyTo::Tcp { replies: sender, peer };
                    self.forward((packet, opt), to, &snapshot, &mut reply)
                }
                verdict => verdict,
            }
        };
        if let Verdict::Forward(_) = verdict {
            reply = replies.recv().await.unwrap_or_default();
        }
        Outcome { verdict, reply: Some(reply).filter(|reply| !reply.is_empty()) }
    }
}
