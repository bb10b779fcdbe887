//! A PROXY protocol header, as a trusted sender may send it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teal::model::ProxyProtocol;
use teal::proxy::preface::{header, parse};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((ends, length))) = parse(bytes) else { return };
    assert!(length <= bytes.len(), "a header is part of what came");
    assert_eq!(parse(&bytes[..length]), Ok(Some((ends, length))), "what follows a header changes it");
    for part in 0..length {
        assert_ne!(parse(&bytes[..part]).map(|read| read.is_some()), Ok(true), "half a header is none");
    }
    let Some(ends) = ends else { return };
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let told = header(version, ends);
        let read = parse(&told).expect("what teal writes is a header").expect("a whole one");
        assert_eq!(read.1, told.len());
        // Two families in one header become one: the mapped address is read back as it was.
        assert_eq!(read.0, Some(ends));
    }
});
