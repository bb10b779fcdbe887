//! One upstream behaviour a case: the table of docs/dns.md.

use std::net::SocketAddr;
use std::time::Duration;

use teal::dns::Transport;
use teal::dns::forward::policy::{BUDGET, PATIENCE};

use crate::client::{Timed, ask, ask_over_tcp, outside, start};
use crate::support::{A, AAAA, Query};
use crate::upstream::{Act, Answer, Seen, Upstream, closed, record, soa};

/// Answers that need no waiting are here long before patience is over.
const AT_ONCE: Duration = PATIENCE;
/// The clock of the machine and ours may differ by a tick.
const TICK: Duration = Duration::from_millis(2);
const FINE: &str = "NoError rd ra | an www.example. 300 A 192.0.2.1 | opt v0 1232";

/// Between these times.
fn assert_took(timed: &Timed, least: Duration, most: Duration) {
    assert!(timed.took + TICK >= least && timed.took < most, "{:?} is not {least:?}..{most:?}", timed.took);
}

/// The reply to www.example by a teal with one upstream of that script.
async fn reply_of(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Timed {
    let upstream = Upstream::start(script).await;
    let server = start(&[upstream.address]);
    let timed = ask(&server, &outside("www.example")).await;
    server.stop().await;
    timed
}

/// The same with a second upstream, which answers well, and how often that one was asked.
async fn reply_of_two(first: SocketAddr) -> (Timed, usize) {
    let second = Upstream::with_address(1).await;
    let server = start(&[first, second.address]);
    let timed = ask(&server, &outside("www.example")).await;
    server.stop().await;
    (timed, second.count())
}

#[tokio::test]
async fn a_good_answer_is_passed_on_at_once_over_udp_and_tcp() {
    let upstream = Upstream::with_address(1).await;
    let server = start(&[upstream.address]);
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), FINE);
    assert_took(&timed, Duration::ZERO, AT_ONCE);
    assert_eq!(ask_over_tcp(&server, &outside("www.example")).await.line(), FINE);
    // What went out: RD and AD, one OPT of ours.
    let seen = &upstream.seen()[0];
    assert_eq!(seen.header().flags, 0x0120);
    assert_eq!(seen.header().counts, [1, 0, 0, 1]);
    assert_eq!(seen.opt().map(|opt| (opt.payload_octets, opt.dnssec_ok)), Some((1232, false)));
    server.stop().await;
}

#[tokio::test]
async fn do_cd_and_ad_pass_and_unknown_types_too() {
    let upstream = Upstream::start(|seen| {
        let secured = seen.answer().flags(0x0020);
        secured.record(0, &record(&[0xc0, 12], 65_280, 5, b"anything")).into()
    })
    .await;
    let server = start(&[upstream.address]);
    let asked = |flags: u16, opt: Option<u16>| {
        let query = Query::new("www.example", 65_280).flags(0x0100 | flags);
        match opt {
            Some(flags) => query.additional(&crate::support::opt(4096, 0, flags, &[])),
            None => query,
        }
    };
    let record = "an www.example. 5 Unknown ";
    for (query, flags, sent) in [
        (asked(0, None), "NoError rd ra", (0x0120, false)),
        (asked(0x20, None), "NoError rd ra ad", (0x0120, false)),
        (asked(0x10, Some(0)), "NoError rd ra cd", (0x0130, false)),
        (asked(0, Some(0x8000)), "NoError rd ra ad", (0x0120, true)),
    ] {
        let before = upstream.count();
        let line = ask(&server, &query).await.line();
        assert!(line.starts_with(&format!("{flags} | {record}")), "{line}");
        assert_eq!(line.contains(" | opt v0 1232"), query.counts[3] == 1, "{line}");
        assert_eq!(line.ends_with(" do"), sent.1, "{line}");
        let seen = &upstream.seen()[before];
        assert_eq!((seen.header().flags, seen.opt().unwrap().dnssec_ok), sent);
    }
    server.stop().await;
}

#[tokio::test]
async fn extended_errors_pass_and_other_options_do_not() {
    // EDE 9 with text, a cookie, NSID, EDE 10.
    let options = b"\0\x0f\0\x04\0\x09hi\0\x0a\0\x02xy\0\x03\0\x01n\0\x0f\0\x02\0\x0a";
    let timed = reply_of(|seen| seen.answer().rcode(2).options(options).into()).await;
    assert_eq!(timed.line(), "ServFail rd ra | opt v0 1232 15:[0, 9, 104, 105] 15:[0, 10]");
}

#[tokio::test]
async fn an_answer_that_takes_its_time_is_waited_for() {
    let timed = reply_of(|seen| {
        let answer = Act::Send(seen.address(1).bytes());
        if seen.before == 0 { vec![Act::Wait(Duration::from_secs(1)), answer] } else { Vec::new() }
    })
    .await;
    assert_eq!(timed.line(), FINE);
    assert_took(&timed, Duration::from_secs(1), BUDGET);
}

#[tokio::test]
async fn a_lost_question_is_repeated() {
    let timed = reply_of(|seen| if seen.before == 0 { Vec::new() } else { seen.address(1).into() }).await;
    assert_eq!(timed.line(), FINE);
    assert_took(&timed, PATIENCE, BUDGET);
}

#[tokio::test]
async fn a_silent_upstream_costs_400_ms_and_the_next_question_nothing() {
    let (first, second) = (Upstream::silent().await, Upstream::with_address(1).await);
    let server = start(&[first.address, second.address]);
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), FINE);
    assert_took(&timed, PATIENCE, BUDGET);
    let next = ask(&server, &outside("www.example")).await;
    assert_eq!(next.line(), FINE);
    assert_took(&next, Duration::ZERO, AT_ONCE);
    assert_eq!((first.count(), second.count()), (1, 2));
    server.stop().await;
}

#[tokio::test]
async fn silence_of_all_is_servfail_after_the_budget() {
    let (first, second) = (Upstream::silent().await, Upstream::silent().await);
    let server = start(&[first.address, second.address]);
    for query in [outside("www.example"), Query::new("www.example", A)] {
        let timed = ask(&server, &query).await;
        let opt = if query.counts[3] == 1 { " | opt v0 1232 15:[0, 22]" } else { "" };
        assert_eq!(timed.line(), format!("ServFail rd ra{opt}"));
        assert_took(&timed, BUDGET, BUDGET + Duration::from_millis(500));
    }
    server.stop().await;
}

#[tokio::test]
async fn servfail_and_refused_lead_to_the_next_at_once() {
    for rcode in [2, 5, 4, 9] {
        let first = Upstream::start(move |seen| seen.answer().rcode(rcode).into()).await;
        let (timed, asked) = reply_of_two(first.address).await;
        assert_eq!((&*timed.line(), asked), (FINE, 1), "rcode {rcode}");
        assert_took(&timed, Duration::ZERO, AT_ONCE);
        assert_eq!(first.count(), 1);
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_leads_to_the_next_at_once() {
    let (timed, asked) = reply_of_two(closed().await).await;
    assert_eq!((&*timed.line(), asked), (FINE, 1));
    assert_took(&timed, Duration::ZERO, AT_ONCE);
    let server = start(&[closed().await, closed().await]);
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), "ServFail rd ra | opt v0 1232 15:[0, 23]");
    assert_took(&timed, Duration::ZERO, AT_ONCE);
    server.stop().await;
}

#[tokio::test]
async fn a_referral_leads_to_the_next_at_once() {
    let first = Upstream::start(|seen| {
        let mut lame = seen.answer().record(1, &record(&[0], 2, 300, b"\x01a\0"));
        lame.flags &= !0x0080;
        lame.into()
    })
    .await;
    let (timed, asked) = reply_of_two(first.address).await;
    assert_eq!((&*timed.line(), asked), (FINE, 1));
    assert_took(&timed, Duration::ZERO, AT_ONCE);
}

#[tokio::test]
async fn servfail_of_all_is_passed_on_and_refusals_of_all_are_servfail() {
    let refuses = Upstream::start(|seen| seen.answer().rcode(5).into()).await;
    let fails = Upstream::start(|seen| seen.answer().rcode(2).options(b"\0\x0f\0\x02\0\x06").into()).await;
    for (upstreams, error) in [([&refuses, &fails], 6), ([&fails, &refuses], 6)] {
        let server = start(&upstreams.map(|upstream| upstream.address));
        let timed = ask(&server, &outside("www.example")).await;
        assert_eq!(timed.line(), format!("ServFail rd ra | opt v0 1232 15:[0, {error}]"));
        assert_took(&timed, Duration::ZERO, AT_ONCE);
        server.stop().await;
    }
    let server = start(&[refuses.address]);
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), "ServFail rd ra | opt v0 1232 15:[0, 22]");
    server.stop().await;
}

#[tokio::test]
async fn nxdomain_and_nodata_pass_with_and_without_soa() {
    let answer = |seen: &Seen| {
        let code = if seen.question()[1] == b'n' { 3 } else { 0 };
        let answer = seen.answer().rcode(code);
        if seen.question()[2] == b's' { answer.record(1, &soa(&[0xc0, 15])).into() } else { answer.into() }
    };
    let upstream = Upstream::start(answer).await;
    let server = start(&[upstream.address]);
    let soa = "| ns example. 60 SOA ns. h. 1 3600 600 86400 60 ";
    for (name, expected) in [
        ("ns.example", format!("NXDomain rd ra {soa}| opt v0 1232")),
        ("n_.example", "NXDomain rd ra | opt v0 1232".to_owned()),
        ("ds.example", format!("NoError rd ra {soa}| opt v0 1232")),
        ("d_.example", "NoError rd ra | opt v0 1232".to_owned()),
    ] {
        let timed = ask(&server, &Query::new(name, AAAA).opt(1232)).await;
        assert_eq!(timed.line(), expected, "{name}");
        assert_took(&timed, Duration::ZERO, AT_ONCE);
    }
    server.stop().await;
}

type Script = Box<dyn Fn(&Seen) -> Vec<Act> + Send + Sync>;

/// Something before the good answer, at once.
async fn good_after(wrong: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Timed {
    reply_of(move |seen| [wrong(seen), seen.address(1).into()].concat()).await
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_ignored_and_the_wait_goes_on() {
    let bent = |bend: fn(&Seen, Answer) -> Answer| move |seen: &Seen| bend(seen, seen.address(66)).into();
    let cases: [Script; 6] = [
        Box::new(bent(|_, answer| Answer { id: answer.id ^ 1, ..answer })),
        Box::new(bent(|_, mut answer| {
            answer.question[1] = b'v';
            answer
        })),
        Box::new(bent(|_, mut answer| {
            let at = answer.question.len() - 3;
            answer.question[at] = 28;
            answer
        })),
        Box::new(bent(|_, answer| Answer { flags: answer.flags & !0x8000, ..answer })),
        Box::new(|_| vec![Act::Send(vec![1, 2, 3]), Act::Send(Vec::new())]),
        Box::new(|seen| {
            vec![Act::SendFromElsewhere(seen.address(66).bytes()), Act::Wait(Duration::from_millis(5))]
        }),
    ];
    for (number, wrong) in cases.into_iter().enumerate() {
        let timed = good_after(wrong).await;
        assert_eq!(timed.line(), FINE, "case {number}");
        assert_took(&timed, Duration::ZERO, AT_ONCE);
    }
    // Nothing else comes: the question is repeated, and given up in the end.
    let timed = reply_of(|seen| Answer { id: !seen.header().id, ..seen.address(66) }.into()).await;
    assert_eq!(timed.line(), "ServFail rd ra | opt v0 1232 15:[0, 22]");
    assert_took(&timed, BUDGET, BUDGET + Duration::from_millis(500));
}

#[tokio::test]
async fn a_question_in_another_case_is_the_same() {
    let timed = reply_of(|seen| {
        let mut answer = seen.address(1);
        answer.question.make_ascii_lowercase();
        answer.into()
    })
    .await;
    assert_eq!(timed.line(), FINE);
    let upstream = Upstream::start(|seen| {
        let mut answer = seen.address(1);
        answer.question.make_ascii_uppercase();
        answer.into()
    })
    .await;
    let server = start(&[upstream.address]);
    let timed = ask(&server, &outside("wWw.ExamPle")).await;
    assert_eq!(timed.line(), FINE.replace("www.example", "wWw.ExamPle"));
    assert_eq!(&upstream.seen()[0].question()[..12], b"\x03wWw\x07ExamPle");
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_answer_leads_to_the_next_at_once() {
    for cut in [1, 5, 15] {
        let first = Upstream::start(move |seen| {
            let bytes = seen.address(66).without_opt().bytes();
            vec![Act::Send(bytes[..bytes.len() - cut].to_vec())]
        })
        .await;
        let (timed, asked) = reply_of_two(first.address).await;
        assert_eq!((&*timed.line(), asked), (FINE, 1), "{cut} octets short");
        assert_took(&timed, Duration::ZERO, AT_ONCE);
    }
}

#[tokio::test]
async fn tc_is_followed_over_tcp() {
    let upstream = Upstream::start(|seen| match seen.transport {
        Transport::Udp => seen.answer().flags(0x0200).into(),
        Transport::Tcp => seen.address(1).into(),
    })
    .await;
    let server = start(&[upstream.address]);
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), FINE);
    assert_took(&timed, Duration::ZERO, AT_ONCE);
    server.stop().await;
}

#[tokio::test]
async fn when_tcp_fails_the_next_is_asked_and_else_the_cut_answer_is_passed_on() {
    let first = Upstream::start(|seen| match seen.transport {
        Transport::Udp => seen.address(66).flags(0x0200).into(),
        Transport::Tcp => Vec::new(),
    })
    .await;
    let (timed, asked) = reply_of_two(first.address).await;
    assert_eq!((&*timed.line(), asked), (FINE, 1));
    let server = start(&[first.address]);
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), "NoError tc rd ra | an www.example. 300 A 192.0.2.66 | opt v0 1232");
    assert_took(&timed, Duration::ZERO, AT_ONCE);
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_datagram_is_fetched_over_tcp() {
    let texts = |seen: &Seen, count| {
        (0..count)
            .fold(seen.answer(), |answer, _| answer.record(0, &record(&[0xc0, 12], 16, 60, &[200; 201])))
    };
    let timed = reply_of(move |seen| match seen.transport {
        Transport::Udp => texts(seen, 25).into(),
        Transport::Tcp => seen.address(1).into(),
    })
    .await;
    assert_eq!(timed.line(), FINE);
}

#[tokio::test]
async fn what_is_too_large_for_the_client_is_cut_and_says_so() {
    let upstream = Upstream::start(|seen| {
        // 40 addresses of 16 octets, a name server, and one more address.
        let filled = (0..40).fold(seen.answer(), |answer, last| {
            answer.record(0, &record(&[0xc0, 12], 1, 60, &[192, 0, 2, last]))
        });
        let filled = filled.record(1, &record(&[0xc0, 12], 2, 60, &[0xc0, 12]));
        filled.record(2, &record(&[0xc0, 12], 1, 60, &[192, 0, 2, 99])).into()
    })
    .await;
    let server = start(&[upstream.address]);
    for (query, octets_max, answers) in [
        (Query::new("www.example", A), 512, 30),
        (outside("www.example"), 1232, 40),
        (Query::new("www.example", A).opt(600), 600, 35),
        (Query::new("www.example", A).opt(100), 512, 29),
    ] {
        let reply = ask(&server, &query).await.reply;
        assert!(reply.bytes.len() <= octets_max, "{} octets", reply.bytes.len());
        assert_eq!(reply.message.answers.len(), answers);
        assert_eq!(reply.message.metadata.truncation, answers < 40);
        assert_eq!(reply.message.edns.is_some(), query.counts[3] == 1, "the OPT stays");
    }
    // Only additional records are left out: nothing is missing.
    let reply = ask(&server, &Query::new("www.example", A).opt(700)).await.reply;
    let counts =
        (reply.message.answers.len(), reply.message.authorities.len(), reply.message.additionals.len());
    assert_eq!((counts, reply.message.metadata.truncation), ((40, 1, 0), false));
    let reply = ask_over_tcp(&server, &Query::new("www.example", A)).await.reply;
    assert_eq!((reply.message.answers.len(), reply.message.metadata.truncation), (40, false));
    server.stop().await;
}

#[tokio::test]
async fn a_server_without_edns_is_asked_without_and_remembered() {
    for bare in [false, true] {
        let upstream = Upstream::start(move |seen| match seen.opt() {
            None => seen.address(1).into(),
            Some(_) if bare => {
                vec![Act::Send([&seen.packet[..2], &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat())]
            }
            Some(_) => seen.answer().without_opt().rcode(1).into(),
        })
        .await;
        let server = start(&[upstream.address]);
        for questions in [2, 3] {
            let timed = ask(&server, &outside("www.example")).await;
            assert_eq!(timed.line(), FINE);
            assert_took(&timed, Duration::ZERO, AT_ONCE);
            assert_eq!(upstream.count(), questions);
        }
        server.stop().await;
    }
    // No OPT in an answer is nothing special.
    assert_eq!(reply_of(|seen| seen.address(1).without_opt().into()).await.line(), FINE);
}

#[tokio::test]
async fn chains_of_aliases_and_a_ttl_of_zero_pass_as_they_are() {
    let timed = reply_of(|seen| {
        let alias = record(&[0xc0, 12], 5, 0, b"\x03cdn\xc0\x10");
        let more = record(b"\x03cdn\xc0\x10", 5, 30, b"\x01x\xc0\x10");
        let last = record(b"\x01x\xc0\x10", 1, 0, &[192, 0, 2, 1]);
        seen.answer().record(0, &alias).record(0, &more).record(0, &last).into()
    })
    .await;
    let expected = "NoError rd ra | an www.example. 0 CNAME cdn.example. | an cdn.example. 30 CNAME x.example. \
                    | an x.example. 0 A 192.0.2.1 | opt v0 1232";
    assert_eq!(timed.line(), expected);
}

#[tokio::test]
async fn records_after_the_opt_are_left_out() {
    let timed = reply_of(|seen| {
        let mut bytes = seen.address(1).record(2, &record(&[0xc0, 12], 1, 9, &[192, 0, 2, 8])).bytes();
        bytes.extend_from_slice(&record(&[0xc0, 12], 1, 9, &[192, 0, 2, 9]));
        bytes[11] += 1;
        vec![Act::Send(bytes)]
    })
    .await;
    let expected =
        "NoError rd ra | an www.example. 300 A 192.0.2.1 | ar www.example. 9 A 192.0.2.8 | opt v0 1232";
    assert_eq!(timed.line(), expected);
}
