//! Aliases of the zones that lead to names outside.

use std::time::Duration;

use teal::dns::Transport;
use teal::dns::forward::policy::BUDGET;
use teal::model::{CacheSettings, RecordData, RecordName};

use crate::client::{ask, ask_over_tcp, choices, forward, start_with, world};
use crate::server::{Server, within};
use crate::support::{A, CNAME, Query, World, opt, wire_name};
use crate::upstream::{Act, Seen, Upstream, record, soa};

/// far.local is an alias of www.example, further.local of far.local, corp.local of dc.corp.
fn aliases(world: &mut World) {
    let alias = |(name, target): (&str, &str)| {
        (RecordName::parse(name).unwrap(), RecordData::Alias(RecordName::parse(target).unwrap()))
    };
    let records = [("far.local", "www.example"), ("further.local", "far.local"), ("corp.local", "dc.corp")];
    world.catalog.settings.dns.records = records.into_iter().map(alias).collect();
}

async fn start(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> (Upstream, Server) {
    let upstream = Upstream::start(script).await;
    let mut world = world(&[upstream.address]);
    aliases(&mut world);
    (upstream, start_with(&world))
}

fn far() -> Query {
    Query::new("Far.local", A).opt(1232)
}

const FAR: &str = "an Far.local. 30 CNAME www.example.";
const FINE: &str =
    "NoError aa rd ra | an Far.local. 30 CNAME www.example. | an www.example. 300 A 192.0.2.1 | opt v0 1232";

#[tokio::test]
async fn rfc1034_4_3_2_the_target_is_asked_for_and_follows_the_alias_over_udp_and_tcp() {
    let (upstream, server) = start(|seen| seen.address(1).into()).await;
    assert_eq!(ask(&server, &far()).await.line(), FINE);
    assert_eq!(ask_over_tcp(&server, &far()).await.line(), FINE);
    for seen in upstream.seen() {
        assert_eq!(seen.question(), Query::new("www.example", A).question, "no name of the zone leaves");
    }
    let chain = ask(&server, &Query::new("further.local", A)).await.line();
    let expected = "NoError aa rd ra | an further.local. 30 CNAME far.local. | an far.local. 30 CNAME www.example. \
                    | an www.example. 300 A 192.0.2.1";
    assert_eq!(chain, expected);
    server.stop().await;
}

#[tokio::test]
async fn rfc1034_3_6_2_the_alias_itself_and_queries_without_rd_ask_nobody() {
    let (upstream, server) = start(|seen| seen.address(1).into()).await;
    let alone = format!("NoError aa ra | {FAR} | opt v0 1232");
    assert_eq!(ask(&server, &far().flags(0)).await.line(), alone);
    let itself = Query::new("Far.local", CNAME).opt(1232);
    assert_eq!(ask(&server, &itself).await.line(), alone.replace("aa ra", "aa rd ra"));
    assert_eq!(upstream.count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn names_that_point_into_the_message_lead_to_the_same_names_in_the_reply() {
    // www.example is an alias of a.b.example, whose address follows; owner and data are pointers.
    let (_upstream, server) = start(|seen| {
        let target_at = 12 + u8::try_from(seen.question().len()).unwrap() + 12;
        let answer = seen.answer().record(0, &record(&[0xc0, 12], CNAME, 60, b"\x01a\x01b\xc0\x10"));
        answer.record(0, &record(&[0xc0, target_at], A, 7, &[192, 0, 2, 9])).into()
    })
    .await;
    let expected = format!(
        "NoError aa rd ra | {FAR} | an www.example. 60 CNAME a.b.example. | an a.b.example. 7 A 192.0.2.9 \
         | opt v0 1232"
    );
    assert_eq!(ask(&server, &far()).await.line(), expected);
    server.stop().await;
}

#[tokio::test]
async fn rfc2308_2_a_missing_target_is_told_with_the_alias_and_the_soa_of_its_zone() {
    for (rcode, word) in [(3, "NXDomain"), (0, "NoError")] {
        let script = move |seen: &Seen| seen.answer().rcode(rcode).record(1, &soa(b"\x07example\0")).into();
        let (_upstream, server) = start(script).await;
        let line = ask(&server, &far()).await.line();
        let expected = format!("{word} aa rd ra | {FAR} | ns example. 60 SOA ns. h. 1 3600 600 86400 60");
        assert_eq!(line, format!("{expected} | opt v0 1232"));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_target_that_nobody_can_resolve_is_servfail_without_the_alias_and_within_the_budget() {
    let (_upstream, server) =
        start(|seen| seen.answer().rcode(2).options(b"\0\x0f\0\x02\0\x09").into()).await;
    assert_eq!(ask(&server, &far()).await.line(), "ServFail rd ra | opt v0 1232 15:[0, 9]");
    server.stop().await;
    let (_upstream, server) = start(|_| Vec::new()).await;
    let timed = ask(&server, &far()).await;
    assert_eq!(timed.line(), "ServFail rd ra | opt v0 1232 15:[0, 22]");
    assert!(timed.took < BUDGET + Duration::from_millis(500), "{:?}", timed.took);
    server.stop().await;
    // An address of three octets cannot be moved to another message.
    let broken = |seen: &Seen| seen.answer().record(0, &record(&[0xc0, 12], A, 7, &[1, 2, 3])).into();
    let (_upstream, server) = start(broken).await;
    assert_eq!(ask(&server, &far()).await.line(), "ServFail rd ra | opt v0 1232 15:[0, 0]");
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_cut_after_the_alias_and_whole_over_tcp() {
    let (upstream, server) = start(|seen| {
        let addresses = (0..60).map(|last| record(&[0xc0, 12], A, 300, &[192, 0, 2, last]));
        let whole = addresses.fold(seen.answer(), |answer, address| answer.record(0, &address));
        match seen.transport {
            Transport::Udp => seen.answer().flags(0x0200).into(),
            Transport::Tcp => whole.into(),
        }
    })
    .await;
    for (payload, octets_max) in [(None, 512), (Some(700), 700), (Some(1232), 1232)] {
        let query = Query::new("far.local", A);
        let reply = ask(&server, &payload.map_or(query.clone(), |payload| query.opt(payload))).await.reply;
        let is_cut = octets_max < 1000;
        assert_eq!(reply.message.metadata.truncation, is_cut, "{octets_max}: {}", reply.line());
        assert!(reply.bytes.len() <= octets_max, "{} octets", reply.bytes.len());
        assert_eq!(reply.message.answers[0].record_type(), hickory_proto::rr::RecordType::CNAME);
        assert_eq!(reply.message.answers.len() == 61, !is_cut, "{}", reply.message.answers.len());
    }
    let over_tcp = ask_over_tcp(&server, &Query::new("far.local", A)).await.reply;
    assert_eq!((over_tcp.message.answers.len(), over_tcp.message.metadata.truncation), (61, false));
    assert!(upstream.count() > 0);
    server.stop().await;
}

#[tokio::test]
async fn the_target_is_kept_like_any_name_and_its_ttl_counts_down() {
    let upstream = Upstream::start(|seen| seen.address(1).into()).await;
    let mut world = world(&[upstream.address]);
    aliases(&mut world);
    world.catalog.settings.dns.cache = CacheSettings::by_default();
    let server = start_with(&world);
    ask(&server, &Query::new("www.example", A).opt(1232)).await;
    for aliased in [ask(&server, &far()).await, ask_over_tcp(&server, &far()).await] {
        let line = aliased.line();
        assert!(line.starts_with(&format!("NoError aa rd ra | {FAR} | an www.example. ")), "{line}");
    }
    within(async {
        // The alias keeps its own TTL.
        while !ask(&server, &far()).await.line().contains(&format!("{FAR} | an www.example. 299 A")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(upstream.count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn where_an_answer_leads_back_into_the_zones_nobody_goes_on() {
    let (upstream, server) =
        start(|seen| seen.answer().record(0, &record(&[0xc0, 12], CNAME, 9, &wire_name("far.local"))).into())
            .await;
    let line = ask(&server, &far()).await.line();
    assert_eq!(line, format!("NoError aa rd ra | {FAR} | an www.example. 9 CNAME far.local. | opt v0 1232"));
    assert_eq!(upstream.count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_target_in_a_configured_domain_is_asked_of_its_upstreams_and_ad_is_not_for_aliases() {
    let (rest, corp) = (
        Upstream::with_address(1).await,
        Upstream::start(|seen| {
            seen.answer().flags(0x0020).record(0, &record(&[0xc0, 12], A, 300, &[192, 0, 2, 2])).into()
        })
        .await,
    );
    let mut world = world(&[rest.address]);
    aliases(&mut world);
    forward(&mut world, "corp", &[corp.address]);
    world.catalog.settings.dns.forward.upstreams = choices(&[rest.address]);
    let server = start_with(&world);
    let with_do = Query::new("corp.local", A).additional(&opt(1232, 0, 0x8000, &[]));
    let line = ask(&server, &with_do).await.line();
    let expected = "NoError aa rd ra | an corp.local. 30 CNAME dc.corp. | an dc.corp. 300 A 192.0.2.2";
    assert_eq!(line, format!("{expected} | opt v0 1232 do"));
    assert_eq!((rest.count(), corp.count()), (0, 1));
    assert!(corp.seen()[0].opt().unwrap().dnssec_ok);
    server.stop().await;
}
