//! Upstreams that send questions back to teal.
//!
//! A question that comes back looks like anybody's, and waits for itself: a question in flight is asked once,
//! so that a loop multiplies nothing. That the same question comes twice is the suspicion: at once where it
//! comes from an upstream's address, else when it has not been answered in time. Then the upstream gets one
//! for a name below it that nobody else can know; if that one comes, there is a loop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::wire::NAME_OCTETS_MAX;

/// Between two tests.
const REST: Duration = Duration::from_secs(10);
/// How long a test counts.
const LIFE: Duration = Duration::from_secs(5);
const PREFIX: &[u8] = b"teal-loop-";
const DIGITS: usize = 32;
const LABEL_OCTETS: usize = PREFIX.len() + DIGITS;

/// The label that one upstream was sent.
#[derive(Debug, Clone)]
struct Mark {
    label: [u8; LABEL_OCTETS],
    upstream: SocketAddr,
    sent_at: Instant,
}

/// The tests of the last seconds.
#[derive(Debug, Default)]
pub struct LoopTests {
    marks: Vec<Mark>,
    begun_at: Option<Instant>,
}

impl LoopTests {
    /// Whether a suspicion is to be followed. Says so every 10 s at most.
    pub fn begin(&mut self, now: Instant) -> bool {
        if self.begun_at.is_some_and(|at| now.saturating_duration_since(at) < REST) {
            return false;
        }
        self.begun_at = Some(now);
        self.marks.clear();
        true
    }

    /// The question to send to `upstream`: a name below that of `question` that `random` makes its own. None
    /// where there is no room for one.
    pub fn mark(
        &mut self,
        question: &[u8],
        upstream: SocketAddr,
        random: u128,
        now: Instant,
    ) -> Option<Box<[u8]>> {
        if question.len() + LABEL_OCTETS + 1 > NAME_OCTETS_MAX + 4 {
            return None;
        }
        let mut label = [0; LABEL_OCTETS];
        label[..PREFIX.len()].copy_from_slice(PREFIX);
        label[PREFIX.len()..].copy_from_slice(format!("{random:032x}").as_bytes());
        self.marks.push(Mark { label, upstream, sent_at: now });
        let length = u8::try_from(LABEL_OCTETS).expect("a short label");
        Some([&[length], &label[..], question].concat().into())
    }

    /// The upstream that was sent this name, if it was.
    pub fn find(&self, lower_case_name: &[u8], now: Instant) -> Option<SocketAddr> {
        let (length, rest) = lower_case_name.split_first()?;
        let label = rest.get(..LABEL_OCTETS).filter(|_| usize::from(*length) == LABEL_OCTETS)?;
        let known = |mark: &&Mark| mark.label == *label && now.saturating_duration_since(mark.sent_at) < LIFE;
        self.marks.iter().find(known).map(|mark| mark.upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_in_any_case_and_no_other_counts() {
        let (mut tests, now) = (LoopTests::default(), Instant::now());
        let upstream = "192.0.2.1:53".parse().unwrap();
        assert!(tests.begin(now));
        assert!(!tests.begin(now + Duration::from_secs(9)));
        let question = tests.mark(b"\x03wWw\x07example\0\0\x01\0\x01", upstream, 0xABC, now).unwrap();
        let name = question[..question.len() - 4].to_ascii_lowercase();
        assert_eq!(tests.find(&name, now), Some(upstream));
        assert_eq!(tests.find(&name, now + LIFE), None);
        assert_eq!(tests.find(b"\x03www\x07example\0", now), None);
        assert_eq!(tests.find(b"", now), None);
        assert!(tests.mark(&[1; 230], upstream, 1, now).is_none());
    }
}
