//! The answer to an HTTP check, in pieces of any size: the verdict is the same as in one piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teal::health::response::Response;
use teal::model::{HttpCheck, StatusSet};

/// Whether the check passes when the answer comes in `pieces` and then ends.
fn passes<'a>(check: &HttpCheck, pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut response = Response::new(check);
    for piece in pieces {
        if let Some(judged) = response.push(piece) {
            return judged.is_ok();
        }
    }
    response.end().is_ok()
}

fuzz_target!(|bytes: &[u8]| {
    let [kind, size, answer @ ..] = bytes else { return };
    let body = (kind & 1 == 1).then(|| "ok".into());
    let check = HttpCheck { path: "/".into(), host: None, expect: StatusSet::successful(), body };
    let whole = passes(&check, std::iter::once(answer));
    let pieces = passes(&check, answer.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, pieces, "the verdict depends on how the answer was cut");
    if whole {
        let status =
            answer.windows(3).any(|word| word[0] == b'2' && word[1..].iter().all(u8::is_ascii_digit));
        assert!(status, "it passed without a good status");
        assert!(
            kind & 1 == 0
                || answer
                    .windows(2)
                    .any(|word| word == b"ok" || word.contains(&b'\r') || word.contains(&b'\n'))
        );
    }
});
