//! A question of the operator's, answered as a client's over TCP would be.

use std::net::IpAddr;

use tokio::sync::oneshot;

use super::answer::{Asked, Source, Verdict, answer};
use super::cache::Kept;
use super::forward::message::Origin;
use super::later::{Told, WayBack};
use super::reply::Transport;
use super::{Dns, Outside, source_of};

/// What became of a question.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict on it.
    pub verdict: Verdict,
    /// What is known of it where it comes out of the cache.
    pub kept: Option<Kept>,
    /// Who said so, where an upstream was asked.
    pub origin: Option<Origin>,
    /// The reply; none comes where nobody answers.
    pub reply: Option<Vec<u8>>,
}

impl Dns {
    /// Answers `packet` as if it came from `source`, or from somebody who may ask. What is asked elsewhere is
    /// waited for. Neither counted nor logged as a client's query. To be called on the DNS thread.
    pub async fn ask(&self, packet: &[u8], source: Option<IpAddr>) -> Outcome {
        let mut reply = Vec::new();
        let (sender, told) = oneshot::channel();
        let (snapshot, host) = (self.snapshot.load_full(), self.host.load_full());
        let (mut kept, mut origin) = (None, None);
        let verdict = {
            let allowed = source.map(|source| source_of(source, &snapshot, &host));
            let asked = Asked { transport: Transport::Tcp, source: allowed.unwrap_or(Source::Allowed) };
            answer(packet, asked, &snapshot.answers, &mut reply)
        };
        if let Verdict::Forward(domain) = verdict {
            let source = source.unwrap_or(IpAddr::from([127, 0, 0, 1]));
            let (transport, snapshot, host) = (Transport::Tcp, &*snapshot, &*host);
            let query = Outside { packet, transport, source, domain, snapshot, host };
            kept = self.kept(&query, &reply);
            self.forward(&query, WayBack::Operator(sender), &mut reply);
            let told = told.await.unwrap_or(Told { reply: Vec::new(), origin: None });
            (reply, origin) = (told.reply, told.origin);
        }
        Outcome { verdict, kept, origin, reply: Some(reply).filter(|reply| !reply.is_empty()) }
    }
}
