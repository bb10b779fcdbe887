//! Connections of one endpoint, as the rest of the daemon sees them.

use super::*;
use crate::telemetry::stripes::become_worker;

const SECOND: Duration = Duration::from_secs(1);

/// One that is 10 s old, whose backend was found just now.
fn connection() -> Connection {
    Connection::new(Instant::now().checked_sub(SECOND * 10).unwrap(), Why::Weight)
}

#[test]
fn the_first_byte_is_awaited_from_the_backend_on_or_from_the_client_s_first_byte() {
    let connection = connection();
    assert!(connection.time_at_backend() < SECOND * 5, "what came before the backend does not count");
    let age = |later: u32| connection.opened.elapsed() + SECOND * later;
    assert!(connection.waited(age(3)) >= SECOND * 3 && connection.waited(age(3)) < SECOND * 9);
    assert!(!connection.is_overdue(Instant::now() + SECOND * 100), "nobody has asked");
    connection.waits_since.store(microseconds(SECOND * 12) | SPOKE, Ordering::Relaxed);
    let at = |age: u32| connection.opened + SECOND * age;
    assert_eq!(connection.waited(SECOND * 14), SECOND * 2);
    assert!(!connection.is_overdue(at(15)) && connection.is_overdue(at(15) + SECOND / 10));
    assert_eq!(connection.waited(SECOND * 5), Duration::ZERO);
    connection.note_heard();
    assert!(!connection.is_overdue(at(100)));
}

#[test]
fn a_stall_is_told_once() {
    let connection = connection();
    assert!(!connection.note_unblocked());
    connection.note_blocked();
    assert!(!connection.note_unblocked(), "it was short");
    connection.note_blocked();
    let since = connection.blocked_since.load(Ordering::Relaxed);
    assert!(!connection.is_stalled(connection.opened + SECOND * 13));
    assert!(connection.is_stalled(connection.opened + SECOND * 100));
    connection.note_blocked();
    assert_eq!(connection.blocked_since.load(Ordering::Relaxed), since, "the first time counts");
    connection.blocked_since.store(4_000, Ordering::Relaxed);
    assert!(connection.note_unblocked());
    connection.note_blocked();
    assert!(!connection.is_stalled(Instant::now() + SECOND * 100) && !connection.note_unblocked());
}

#[test]
fn connections_of_all_workers_are_counted_asked_and_cut() {
    let open = OpenConnections::default();
    let keys: Vec<u32> = std::thread::scope(|scope| {
        let worker = |index| {
            let open = &open;
            scope.spawn(move || {
                become_worker(index);
                (0..3).map(|_| open.insert(Arc::new(connection()))).collect::<Vec<_>>()
            })
        };
        let workers: Vec<_> = (0..4).map(worker).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!((open.len(), open.summary(|_| true).0), (12, 12));
    assert_eq!((open.ask_to_end_idle(2), open.ask_to_end_idle(2)), (6, 3));
    assert_eq!((open.cut(CutReason::Shutdown, 7), open.cut(CutReason::Shutdown, 7)), (7, 5));
    // Also by a thread that is none of theirs.
    for key in keys {
        open.remove(key);
    }
    assert!(open.is_empty());
}
