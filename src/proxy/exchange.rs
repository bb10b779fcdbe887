//! Who has said what on a connection, and what was wrong with it in the end.

use std::time::Duration;

use crate::state::signals::{EARLY, OVERDUE};
use crate::state::{BackendFault, ClosedReason, Connection, SuccessAt};

/// What the relay remembers of what was said.
pub struct Exchange {
    /// Whether the backend has said anything.
    pub first_byte: FirstByte,
    /// Whether the last bytes were the client's, so that an answer may be due.
    pub owes_answer: bool,
    client_spoke: bool,
    /// Whether the backend ended it at once, unasked.
    ended_early: bool,
}

/// Whether the backend has said anything, and what makes it a success that it did.
#[derive(Clone, Copy)]
pub enum FirstByte {
    /// Not yet.
    Awaited(SuccessAt),
    /// It has.
    Seen,
}

impl Exchange {
    /// Nothing was said.
    pub fn awaiting(success: SuccessAt) -> Self {
        let first_byte = FirstByte::Awaited(success);
        Self { first_byte, owes_answer: false, client_spoke: false, ended_early: false }
    }

    /// Notes that the client said something.
    pub fn note_client_spoke(&mut self, connection: &Connection) {
        if !self.client_spoke {
            self.client_spoke = true;
            if matches!(self.first_byte, FirstByte::Awaited(_)) {
                connection.note_client_spoke();
            }
        }
    }

    /// Notes that the backend said FIN while the client goes on.
    pub fn note_backend_fin(&mut self, connection: &Connection) {
        self.ended_early = !self.client_spoke && connection.time_at_backend() < EARLY;
    }

    /// What was wrong with a connection that ended like this at that age.
    pub fn fault(
        &self,
        (end, age): (ClosedReason, Duration),
        connection: &Connection,
        has_backend_fin: bool,
    ) -> Option<BackendFault> {
        let is_heard = matches!(self.first_byte, FirstByte::Seen);
        let has_waited = !is_heard && connection.waited(age) >= OVERDUE;
        let is_by_teal = matches!(
            end,
            ClosedReason::Age
                | ClosedReason::DrainIdle
                | ClosedReason::DrainDeadline
                | ClosedReason::Shutdown
        );
        match end {
            // After its FIN it has said everything, and what the client still says is nobody's.
            ClosedReason::BackendReset if !has_backend_fin && is_heard => Some(BackendFault::ResetAfter),
            ClosedReason::BackendReset if !has_backend_fin => Some(BackendFault::ResetBefore),
            _ if self.ended_early => Some(BackendFault::Early),
            _ if is_heard => None,
            _ if has_backend_fin => self.client_spoke.then_some(BackendFault::Empty),
            _ if self.client_spoke => (has_waited || !is_by_teal).then_some(BackendFault::Unanswered),
            _ => (has_waited && !is_by_teal).then_some(BackendFault::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::state::Why;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Clone, Copy, PartialEq)]
    enum Said {
        Nothing,
        Question,
        Both,
    }

    /// The fault of a connection that ended after so many seconds.
    fn fault(said: Said, end: ClosedReason, seconds: u32, has_backend_fin: bool) -> Option<BackendFault> {
        let connection = Connection::new(Instant::now(), Why::Weight);
        let mut exchange = Exchange::awaiting(SuccessAt::Accept);
        if said != Said::Nothing {
            exchange.note_client_spoke(&connection);
        }
        if said == Said::Both {
            exchange.first_byte = FirstByte::Seen;
            connection.note_heard();
        }
        exchange.fault((end, SECOND * seconds), &connection, has_backend_fin)
    }

    #[test]
    fn each_end_has_its_fault() {
        use BackendFault::{Empty, ResetAfter, ResetBefore, Silent, Unanswered};
        use ClosedReason::{BackendReset, ClientReset, DrainDeadline, Finished, Idle, Shutdown};
        for (said, end, seconds, has_backend_fin, wanted) in [
            (Said::Both, Finished, 1, true, None),
            (Said::Both, ClientReset, 9, false, None),
            (Said::Both, BackendReset, 1, false, Some(ResetAfter)),
            (Said::Both, BackendReset, 1, true, None),
            (Said::Question, BackendReset, 1, false, Some(ResetBefore)),
            (Said::Nothing, BackendReset, 1, false, Some(ResetBefore)),
            (Said::Question, Finished, 1, true, Some(Empty)),
            (Said::Question, ClientReset, 1, true, Some(Empty)),
            (Said::Question, ClientReset, 1, false, Some(Unanswered)),
            (Said::Question, Idle, 60, false, Some(Unanswered)),
            (Said::Question, Shutdown, 1, false, None),
            (Said::Question, DrainDeadline, 9, false, Some(Unanswered)),
            (Said::Nothing, Finished, 60, true, None),
            (Said::Nothing, ClientReset, 1, false, None),
            (Said::Nothing, ClientReset, 9, false, Some(Silent)),
            (Said::Nothing, Shutdown, 9, false, None),
        ] {
            assert_eq!(fault(said, end, seconds, has_backend_fin), wanted, "{end:?} after {seconds} s");
        }
    }

    #[test]
    fn only_a_backend_that_was_not_asked_ends_early() {
        let connection = Connection::new(Instant::now(), Why::Weight);
        let mut unasked = Exchange::awaiting(SuccessAt::Accept);
        unasked.note_backend_fin(&connection);
        let end = (ClosedReason::Finished, SECOND);
        assert_eq!(unasked.fault(end, &connection, true), Some(BackendFault::Early));
        let mut asked = Exchange::awaiting(SuccessAt::Accept);
        asked.note_client_spoke(&connection);
        asked.note_backend_fin(&connection);
        assert_eq!(asked.fault(end, &connection, true), Some(BackendFault::Empty));
    }
}
