//! What is kept, for how long, and what clients see of it.

use std::borrow::Borrow;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::reply::{ExtendedError, Transport};
use super::super::wire::{HEADER_OCTETS, Opt, read_u16};
use super::*;
use crate::state::records::{TYPE_A, TYPE_SOA};

const TYPE_CNAME: u16 = 5;
const OPT: Opt = Opt { payload_octets: 1232, dnssec_ok: false };

fn query(name: &str, kind: u16) -> Query {
    let mut question = Vec::new();
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend_from_slice(label.as_bytes());
    }
    question.push(0);
    question.extend_from_slice(&kind.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    Query { id: 7, flags: 0x0100, question: question.into(), opt: Some(OPT), transport: Transport::Udp }
}

fn record(kind: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, 12];
    record.extend_from_slice(&kind.to_be_bytes());
    record.extend_from_slice(&[0, 1]);
    record.extend_from_slice(&ttl.to_be_bytes());
    record.extend_from_slice(&u16::try_from(rdata.len()).unwrap().to_be_bytes());
    record.extend_from_slice(rdata);
    record
}

fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
    let numbers = [1_u32, 2, 3, 4, minimum].map(u32::to_be_bytes).concat();
    record(TYPE_SOA, ttl, &[&[0, 0], numbers.as_slice()].concat())
}

fn answer(rcode: u16, counts: [u16; 3], records: &[Vec<u8>]) -> Answer {
    Answer {
        rcode,
        authentic: false,
        truncated: false,
        records: records.concat().into(),
        counts,
        errors: Box::default(),
        origin: None,
    }
}

fn address(ttl: u32) -> Answer {
    answer(0, [1, 0, 0], &[record(TYPE_A, ttl, &[192, 0, 2, 1])])
}

fn settings() -> CacheSettings {
    CacheSettings { failure_ttl: Duration::from_secs(2), ..CacheSettings::by_default() }
}

/// A cache with what was answered, and when.
fn cache(query: &Query, answer: &Answer) -> (Cache, Instant) {
    let (mut cache, now) = (Cache::new(settings()), Instant::now());
    assert_eq!(cache.keep(&query.key(), answer, now), None);
    (cache, now)
}

fn look(cache: &mut Cache, query: &Query, now: Instant) -> (Found, Vec<u8>) {
    let mut out = Vec::new();
    let key = query.key();
    let found = cache.look((key.borrow(), query), now, &mut out);
    (found, out)
}

/// The TTL of the first record of a reply to `query`.
fn ttl_of(query: &Query, reply: &[u8]) -> u32 {
    let at = HEADER_OCTETS + query.question.len() + 6;
    u32::from_be_bytes(reply[at..at + 4].try_into().unwrap())
}

fn after(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_hit_has_the_client_s_own_id_and_case_and_a_ttl_that_counts_down() {
    let asked = query("www.example", TYPE_A);
    let (mut cache, now) = cache(&asked, &address(60));
    let other = Query { id: 0xbeef, ..query("WwW.eXample", TYPE_A) };
    for (age, ttl) in [(0, 60), (1, 59), (59, 1)] {
        let (found, reply) = look(&mut cache, &other, now + after(age));
        assert_eq!(found, Found::Fresh(Rcode::NoError, u32::try_from(age).unwrap()));
        assert_eq!(
            cache.kept(other.key().borrow(), now + after(age)).map(|kept| kept.seconds),
            u32::try_from(age).ok()
        );
        assert_eq!(read_u16(&reply, 0), Some(0xbeef));
        assert_eq!(reply[HEADER_OCTETS..HEADER_OCTETS + other.question.len()], *other.question);
        assert_eq!(ttl_of(&other, &reply), ttl);
    }
    assert_eq!(look(&mut cache, &other, now + after(60)).0, Found::Nothing);
}

#[test]
fn names_types_and_flags_do_not_mix() {
    let asked = query("www.example", TYPE_A);
    let (mut cache, now) = cache(&asked, &address(60));
    let with_do = Opt { dnssec_ok: true, ..OPT };
    for other in [
        query("ww.example", TYPE_A),
        query("www.example", 28),
        Query { opt: Some(with_do), ..query("www.example", TYPE_A) },
        Query { flags: 0x0110, ..query("www.example", TYPE_A) },
    ] {
        assert_eq!(look(&mut cache, &other, now).0, Found::Nothing, "{other:?}");
    }
}

#[test]
fn rfc_2308_5_nothing_is_kept_as_long_as_the_soa_says_and_not_without_one() {
    let asked = query("no.example", TYPE_A);
    for rcode in [0, 3] {
        let (mut cache, now) = cache(&asked, &answer(rcode, [0, 1, 0], &[soa(900, 40)]));
        let (found, reply) = look(&mut cache, &asked, now + after(30));
        assert!(matches!(found, Found::Fresh(_, 30)), "{found:?}");
        assert_eq!(ttl_of(&asked, &reply), 10, "the SOA's own TTL counts down from the minimum");
        assert_eq!(look(&mut cache, &asked, now + after(40)).0, Found::Nothing);
    }
    let (cache, _) = cache(&asked, &answer(3, [0, 0, 0], &[]));
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn a_chain_that_ends_in_nothing_is_negative() {
    let asked = query("alias.example", TYPE_A);
    let alias = record(TYPE_CNAME, 500, &[0xc0, 12]);
    let (mut kept, now) = cache(&asked, &answer(0, [1, 1, 0], &[alias.clone(), soa(300, 5)]));
    assert!(matches!(look(&mut kept, &asked, now + after(4)).0, Found::Fresh(..)));
    assert_eq!(look(&mut kept, &asked, now + after(5)).0, Found::Nothing);
    let (none, _) = cache(&asked, &answer(0, [1, 0, 0], &[alias]));
    assert_eq!(none.size().0, 0, "an alias without what it leads to is half an answer");
}

#[test]
fn ttls_are_bounded_and_odd_ones_mean_zero() {
    let asked = query("www.example", TYPE_A);
    let (mut long, now) = cache(&asked, &address(1_000_000));
    assert_eq!(ttl_of(&asked, &look(&mut long, &asked, now).1), 3600);
    let (none, _) = cache(&asked, &address(0));
    assert_eq!(none.size().0, 0, "TTL 0 is for one answer");
    let (none, _) = cache(&asked, &address(u32::MAX));
    assert_eq!(none.size().0, 0, "RFC 2181 section 8");
    let mut raised = Cache::new(CacheSettings { ttl_min: after(5), ..settings() });
    raised.keep(&asked.key(), &address(0), now);
    assert_eq!(ttl_of(&asked, &look(&mut raised, &asked, now + after(1)).1), 4);
}

#[test]
fn rfc_9520_a_failure_is_remembered_for_moments() {
    let asked = query("www.example", TYPE_A);
    let (mut cache, now) = cache(&asked, &Answer::failure(ExtendedError::NoReachableAuthority));
    let (found, reply) = look(&mut cache, &asked, now + after(1));
    assert_eq!(found, Found::Fresh(Rcode::ServFail, 1));
    assert_eq!(reply[3] & 0xf, 2);
    assert_eq!(look(&mut cache, &asked, now + after(2)).0, Found::Nothing);
}

#[test]
fn rfc_8767_what_is_over_is_given_when_nobody_answers_for_an_hour_with_a_short_ttl() {
    let asked = query("www.example", TYPE_A);
    let failure = Answer::failure(ExtendedError::NetworkError);
    let (mut kept, now) = cache(&asked, &address(60));
    let later = now + after(60);
    assert_eq!(look(&mut kept, &asked, later).0, Found::Nothing, "somebody is asked first");
    let stale = kept.keep(&asked.key(), &failure, later).expect("a stale answer");
    assert_eq!(stale.rcode, 0);
    assert_eq!(stale.records[6..10], 30_u32.to_be_bytes());
    assert_eq!(*stale.errors, [0, 15, 0, 2, 0, 3]);
    assert_eq!(look(&mut kept, &asked, later + after(1)).0, Found::Stale(stale), "and not again at once");
    assert_eq!(look(&mut kept, &asked, later + after(2)).0, Found::Nothing);
    let hour_later = later + after(3600);
    assert_eq!(kept.keep(&asked.key(), &failure, hour_later), None);

    let (mut kept, now) = cache(&asked, &address(60));
    let bogus = Answer { errors: [0, 15, 0, 2, 0, 6].into(), ..failure };
    assert_eq!(kept.keep(&asked.key(), &bogus, now + after(61)), None, "what cannot be proven is no outage");
}

#[test]
fn an_answer_ends_what_was_stale_before() {
    let asked = query("www.example", TYPE_A);
    let (mut cache, now) = cache(&asked, &address(60));
    let later = now + after(61);
    cache.keep(&asked.key(), &Answer::failure(ExtendedError::NetworkError), later);
    assert_eq!(cache.keep(&asked.key(), &address(20), later), None);
    assert!(matches!(look(&mut cache, &asked, later).0, Found::Fresh(Rcode::NoError, 0)));
}

#[test]
fn truncated_answers_are_not_kept() {
    let (cache, _) = cache(&query("www.example", TYPE_A), &Answer { truncated: true, ..address(60) });
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn flushing_a_name_takes_those_below_it_along_and_no_others() {
    let (mut cache, now) = (Cache::new(settings()), Instant::now());
    for name in ["example", "www.example", "a.b.example", "badexample", "org"] {
        cache.keep(&query(name, TYPE_A).key(), &address(60), now);
    }
    assert_eq!(cache.flush(query("b.example", TYPE_A).key().name()), 1);
    assert_eq!(cache.flush(query("example", TYPE_A).key().name()), 2);
    assert_eq!(cache.size().0, 2);
    assert_eq!(cache.flush(&[0]), 2, "everything is below the root");
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn a_reply_too_large_for_the_client_says_so_and_still_counts_down() {
    let asked = Query { opt: None, ..query("www.example", TYPE_A) };
    let records: Vec<_> = (0..50).map(|last| record(TYPE_A, 60, &[192, 0, 2, last])).collect();
    let (mut cache, now) = cache(&asked, &answer(0, [50, 0, 0], &records));
    let (_, reply) = look(&mut cache, &asked, now + after(10));
    assert!(reply.len() <= 512 && reply[2] & 2 != 0, "{} octets", reply.len());
    assert_eq!(ttl_of(&asked, &reply), 50);
}

proptest! {
    /// Whatever is kept, asked for and flushed: never more than the bounds, and the books are right.
    #[test]
    fn the_bounds_hold(steps in proptest::collection::vec((0_u8..4, 0_u16..40, 0_u32..90), 1..300)) {
        let bounds = CacheSettings {
            octets_max: 4000,
            entries_max: std::num::NonZeroUsize::new(10).unwrap(),
            ..settings()
        };
        let (mut cache, mut now) = (Cache::new(bounds.clone()), Instant::now());
        for (what, which, number) in steps {
            let asked = query(&format!("n{which}.example"), TYPE_A);
            match what {
                0 => { look(&mut cache, &asked, now); }
                1 => { cache.flush(asked.key().name()); }
                _ => { cache.keep(&asked.key(), &address(number), now); }
            }
            now += Duration::from_secs(u64::from(number) / 4);
            let (entries, octets) = cache.size();
            prop_assert!(entries <= bounds.entries_max.get() && octets <= bounds.octets_max);
            prop_assert_eq!(entries == 0, octets == 0);
        }
        cache.flush(&[0]);
        prop_assert_eq!(cache.size(), (0, 0));
    }
}
