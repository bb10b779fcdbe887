//! Headers as senders write them, and as nobody should.

use proptest::prelude::*;

use super::*;

const V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    [&V2[..], &[command, family], &length.to_be_bytes(), rest].concat()
}

fn ends_of(source: &str, destination: &str) -> Ends {
    Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn four() -> Ends {
    ends_of("192.0.2.1:56324", "198.51.100.2:443")
}

#[test]
fn what_is_written_is_read_back_with_its_length_and_nothing_after_it() {
    let six = ends_of("[2001:db8::1]:1", "[2001:db8::2]:65535");
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        for ends in [four(), six] {
            let mut bytes = header(version, ends);
            let length = bytes.len();
            for short in 0..length {
                assert_eq!(parse(&bytes[..short]), Ok(None), "{short} of {length} bytes");
            }
            bytes.extend(b"GET / HTTP/1.0");
            assert_eq!(parse(&bytes), Ok(Some((Some(ends), length))));
        }
    }
}

#[test]
fn a_header_looks_as_the_specification_says() {
    assert_eq!(header(ProxyProtocol::V1, four()), b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    let address = [192, 0, 2, 1, 198, 51, 100, 2, 220, 4, 1, 187];
    assert_eq!(header(ProxyProtocol::V2, four()), v2(0x21, 0x11, 12, &address));
}

#[test]
fn ends_of_two_families_are_told_as_one() {
    let bytes = header(ProxyProtocol::V1, ends_of("192.0.2.1:1", "[2001:db8::2]:2"));
    assert_eq!(bytes, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    let mapped = header(ProxyProtocol::V1, ends_of("[::ffff:192.0.2.1]:1", "192.0.2.2:2"));
    assert_eq!(mapped, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
}

#[test]
fn a_header_without_a_client_means_the_sender_itself() {
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let unknown_with_more = b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec();
    let local = v2(0x20, 0, 0, &[]);
    let local_with_address = v2(0x20, 0x11, 12, &[1; 12]);
    let unspecified = v2(0x21, 0, 3, &[4, 0, 0]);
    let unix = v2(0x21, 0x31, 216, &[0; 216]);
    for bytes in [unknown, unknown_with_more, local, local_with_address, unspecified, unix] {
        assert_eq!(parse(&bytes), Ok(Some((None, bytes.len()))), "{bytes:?}");
    }
}

#[test]
fn type_length_values_are_passed_over() {
    let rest = [&[192, 0, 2, 1, 198, 51, 100, 2, 220, 4, 1, 187][..], &[4, 0, 2, 0, 0]].concat();
    let bytes = v2(0x21, 0x11, 17, &rest);
    assert_eq!(parse(&bytes), Ok(Some((Some(four()), bytes.len()))));
}

#[test]
fn each_malformed_header_is_refused() {
    let text = [
        "GET / HTTP/1.1\r\n\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXYXTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r ",
        "PROXY TCP4 \u{e9} 192.0.2.2 1 2\r\n",
    ];
    for text in text {
        assert_eq!(parse(text.as_bytes()), Err(NoPreface), "{text:?}");
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(parse(long.as_bytes()), Err(NoPreface), "version 1 ends after 107 bytes");
    let address = [1; 36];
    for (what, bytes) in [
        ("another version", v2(0x11, 0x11, 12, &address)),
        ("an unknown command", v2(0x22, 0x11, 12, &address)),
        ("an unknown family", v2(0x21, 0x41, 12, &address)),
        ("datagrams", v2(0x21, 0x12, 12, &address)),
        ("too short for IPv4", v2(0x21, 0x11, 11, &address)),
        ("too short for IPv4, and nothing after it", v2(0x21, 0x11, 4, &[1; 4])),
        ("too short for IPv6", v2(0x21, 0x21, 35, &address)),
        ("too short for a Unix socket", v2(0x21, 0x31, 36, &address)),
        ("a broken signature", [b"\r\n\r\n\0\r\nQUIX\n", &[0x21; 8][..]].concat()),
    ] {
        assert_eq!(parse(&bytes), Err(NoPreface), "{what}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((_, length))) = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn nearly_a_header_never_panics(
        is_binary in any::<bool>(),
        damage in proptest::collection::vec((0_usize..60, any::<u8>()), 0..4),
        length in 0_usize..60,
    ) {
        let version = if is_binary { ProxyProtocol::V2 } else { ProxyProtocol::V1 };
        let mut bytes = header(version, four());
        for (at, byte) in damage {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(length);
        if let Ok(Some((_, length))) = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
