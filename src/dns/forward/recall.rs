//! What the forwarder does with its cache, counted.

use super::super::cache::Found;
use super::super::reply::Rcode;
use super::message::{self, Answer};
use super::metrics::Recall;
use super::question::{KEY_OCTETS_MAX, Key, Query};
use super::turn::Turn;

impl Turn<'_> {
    /// Answers out of the cache, if it can: the reply is then in `out`.
    pub(super) fn recall(&mut self, query: &Query<&[u8]>, out: &mut Vec<u8>) -> Option<Rcode> {
        let mut space = [0; KEY_OCTETS_MAX];
        let key = query.key_in(&mut space);
        let (metrics, now) = (&self.forwarder.metrics, self.now);
        match self.inner().cache.look((key, query), now, out) {
            Found::Fresh(rcode, _) => {
                metrics.found(Recall::Fresh);
                Some(rcode)
            }
            Found::Stale(answer) => {
                metrics.found(Recall::Stale);
                Some(message::write_reply(query, &answer, out).rcode)
            }
            Found::Nothing => {
                metrics.found(Recall::Nothing);
                None
            }
        }
    }

    /// Remembers a final answer. Returns what clients get: an older answer where nobody has one now.
    pub(super) fn keep(&mut self, key: &Key, answer: Answer) -> Answer {
        let (metrics, now) = (&self.forwarder.metrics, self.now);
        let cache = &mut self.inner().cache;
        let instead = cache.keep(key, &answer, now);
        metrics.cache(cache.size());
        if instead.is_some() {
            metrics.found(Recall::Stale);
        }
        instead.unwrap_or(answer)
    }
}
