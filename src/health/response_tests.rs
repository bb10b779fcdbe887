//! Answers to HTTP checks, good ones and garbage, in pieces of every size.

use proptest::prelude::*;

use super::*;
use crate::model::StatusSet;

fn check(body: Option<&str>) -> HttpCheck {
    let expect = StatusSet::new(vec![(200, 299), (301, 301)]).unwrap();
    HttpCheck { path: "/".into(), host: None, expect, body: body.map(Into::into) }
}

/// What an answer is worth that comes in pieces of `size` bytes and then ends.
fn judge(check: &HttpCheck, answer: &[u8], size: usize) -> String {
    let mut response = Response::new(check);
    for piece in answer.chunks(size) {
        if let Some(judged) = response.push(piece) {
            return judged.map_or_else(|failure| failure.to_string(), |()| "passed".to_owned());
        }
    }
    response.end().unwrap_err().to_string()
}

/// The same for pieces of every size.
fn judge_all(check: &HttpCheck, answer: &str) -> String {
    let whole = judge(check, answer.as_bytes(), answer.len().max(1));
    for size in 1..answer.len() {
        assert_eq!(judge(check, answer.as_bytes(), size), whole, "in pieces of {size}");
    }
    whole
}

#[test]
fn a_status_is_judged_once_the_head_is_complete() {
    let of = |answer: &str| judge_all(&check(None), answer);
    assert_eq!(of("HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"), "passed");
    assert_eq!(of("HTTP/1.0 204 \r\n\r\n"), "passed");
    assert_eq!(of("HTTP/1.1 301 Moved\r\n\r\nx"), "passed");
    assert_eq!(of("HTTP/1.1 500 No\r\n\r\n"), "status 500");
    assert_eq!(of("HTTP/1.1 302 Found\r\n\r\n"), "status 302");
    assert_eq!(of("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), "passed");
    assert_eq!(
        of("HTTP/1.1 200 OK\r\nServer: x\r\n"),
        "the connection was closed before the answer was complete"
    );
    assert_eq!(of(""), "the connection was closed before the answer was complete");
}

#[test]
fn garbage_is_no_http() {
    for garbage in [
        "SSH-2.0-x\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "\0\0\n",
        "HTTP/1.1 20\r\n\r\n",
    ] {
        assert!(judge_all(&check(None), garbage).starts_with("the answer is no HTTP"), "{garbage:?}");
    }
}

#[test]
fn a_body_is_searched_without_its_framing() {
    let of = |answer: &str| judge_all(&check(Some("ready")), answer);
    let missing = Failure::Body.to_string();
    assert_eq!(of("HTTP/1.1 200 OK\r\n\r\nI am ready."), "passed");
    assert_eq!(of("HTTP/1.1 200 OK\r\n\r\nI am read"), missing);
    assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nready"), missing);
    assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), missing);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
    assert_eq!(of(&format!("{chunked}3\r\nrea\r\n2;x=y\r\ndy\r\n0\r\n\r\n")), "passed");
    assert_eq!(of(&format!("{chunked}3\r\nrea\r\n0\r\n\r\ndy")), missing);
    assert_eq!(of("HTTP/1.1 503 No\r\n\r\nready"), "status 503");
}

#[test]
fn an_answer_is_read_up_to_its_bound() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * BYTES_MAX));
    assert_eq!(judge(&check(None), head.as_bytes(), 1000), Failure::HeadTooLong.to_string());
    let body = format!("HTTP/1.1 200 OK\r\n\r\n{}ready", " ".repeat(2 * BYTES_MAX));
    assert_eq!(judge(&check(Some("ready")), body.as_bytes(), 1000), Failure::Body.to_string());
    let huge = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\nx";
    assert_eq!(judge(&check(Some("ready")), huge.as_bytes(), 7), Failure::Body.to_string());
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\nready";
    assert_eq!(judge(&check(Some("ready")), huge.as_bytes(), 7), "passed");
}

proptest! {
    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), size in 1_usize..50) {
        judge(&check(Some("ready")), &bytes, size);
        let framed = [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &bytes].concat();
        judge(&check(Some("ready")), &framed, size);
        let begun = [&b"HTTP/1.1 200 OK\r\n"[..], &bytes].concat();
        judge(&check(None), &begun, size);
    }
}
