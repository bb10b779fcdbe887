//! Bounds, duplicates, domains, loops, reloads and stops.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use teal::dns::forward::policy::{BUDGET, PATIENCE};
use teal::dns::tcp::Limits;
use teal::dns::{Bound, Forwarder, bind};
use teal::model::AcceptRate;
use teal::state::{Problems, Snapshot};
use teal::telemetry::Series;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::client::{ask, ask_over_tcp, choices, forward, outside, start, start_with, world};
use crate::server::{Server, THREADS, framed, read_message, receive, snapshot, udp_client, until};
use crate::support::{A, AAAA, Query, SOA, World};
use crate::upstream::{Act, Answer, Seen, Upstream};

const LIMITED: &str = "ServFail rd ra | opt v0 1232 15:[0, 0]";

/// Answers after a while.
async fn slow(answer: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static, after: Duration) -> Upstream {
    Upstream::start(move |seen| [vec![Act::Wait(after)], answer(seen)].concat()).await
}

fn well(seen: &Seen) -> Vec<Act> {
    seen.address(1).into()
}

#[tokio::test]
async fn the_same_question_is_asked_once_and_each_client_gets_its_own_answer() {
    let upstream = slow(|seen| seen.address(1).flags(0x20).into(), PATIENCE / 4).await;
    let server = start(&[upstream.address]);
    let mut clients = Vec::new();
    for (id, name, edns) in [(1, "www.example", true), (2, "WWW.example", false), (3, "www.EXAMPLE", true)] {
        let query = Query { id, ..Query::new(name, A) };
        let query = if edns { query.opt(1400) } else { query };
        let client = udp_client(server.address).await;
        client.send(&query.bytes()).await.unwrap();
        clients.push((client, query));
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let over_tcp = Query { id: 4, ..Query::new("www.exAMple", A) }.flags(0x0120);
    stream.write_all(&framed(&over_tcp)).await.unwrap();
    until(|| server.dns.upstreams.in_flight() == 4).await;
    for (client, query) in clients {
        let bytes = receive(&client).await;
        assert_eq!(bytes[..4], [query.id.to_be_bytes(), [0x81, 0x80]].concat());
        assert_eq!(bytes[12..12 + query.question.len()], query.question);
        assert_eq!(bytes[11], u8::from(query.counts[3] == 1), "an OPT for who sent one");
    }
    let bytes = read_message(&mut stream).await.unwrap();
    assert_eq!(bytes[..4], [0, 4, 0x81, 0xa0], "AD for who asked for it");
    // A question that comes twice may be a loop: what tests that is not counted.
    let asked = || upstream.seen().iter().filter(|seen| seen.question()[0] == 3).count();
    assert_eq!(asked(), 1);
    // Another type, CD and DO are other questions.
    let others = [Query::new("www.example", AAAA), Query::new("www.example", A).flags(0x0110)];
    for query in others.into_iter().chain([outside("www.example").counts([1, 0, 0, 1])]) {
        let query = if query.counts[3] == 1 {
            Query::new("www.example", A).additional(&crate::support::opt(1232, 0, 0x8000, &[]))
        } else {
            query
        };
        ask(&server, &query).await;
    }
    assert_eq!(asked(), 4);
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn above_the_bound_clients_are_told_at_once_and_places_come_back() {
    let upstream = slow(well, PATIENCE / 2).await;
    let mut world = world(&[upstream.address]);
    world.catalog.settings.dns.forward.max_in_flight = 10;
    let server = start_with(&world);
    let waiting = udp_client(server.address).await;
    for id in 0..10 {
        waiting.send(&Query { id, ..outside(&format!("n{id}.example")) }.bytes()).await.unwrap();
    }
    until(|| server.dns.upstreams.in_flight() == 10).await;
    for query in [outside("one.too.many"), outside("n1.example")] {
        let refused = ask(&server, &query).await;
        assert_eq!(refused.line(), LIMITED);
    }
    assert_eq!(ask(&server, &Query::new("servicea.local", A)).await.reply.message.answers.len(), 1);
    for _ in 0..10 {
        assert_eq!(receive(&waiting).await[3] & 0xf, 0);
    }
    assert!(ask(&server, &outside("one.too.many")).await.line().starts_with("NoError"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_and_others_are_served() {
    let upstream = Upstream::with_address(1).await;
    let mut world = world(&[upstream.address]);
    let count = NonZeroU32::new(5).unwrap();
    world.catalog.settings.dns.forward.rate_per_source =
        Some(AcceptRate { count, per: Duration::from_secs(3600) });
    let server = start_with(&world);
    for number in 0..8 {
        let line = ask(&server, &outside(&format!("n{number}.example"))).await.line();
        assert_eq!(line == LIMITED, number >= 5, "{number}: {line}");
    }
    // The zone is not what is limited.
    assert_eq!(ask(&server, &Query::new("servicea.local", A)).await.reply.message.answers.len(), 1);
    let other = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let other = tokio::net::UdpSocket::from_std(other).unwrap();
    other.connect(server.address).await.unwrap();
    other.send(&outside("www.example").bytes()).await.unwrap();
    assert_eq!(receive(&other).await[3] & 0xf, 0);
    server.stop().await;
}

#[tokio::test]
async fn domains_of_others_have_their_own_upstreams_also_below_a_zone() {
    let (default, corp, deep) =
        (Upstream::with_address(1).await, Upstream::with_address(2).await, Upstream::with_address(3).await);
    let mut world = world(&[default.address]);
    forward(&mut world, "corp.local", &[corp.address]);
    forward(&mut world, "lab.corp.local", &[deep.address]);
    forward(&mut world, "a.b.local", &[deep.address]);
    forward(&mut world, "corp.example", &[corp.address]);
    let server = start_with(&world);
    let last = async |name: &str| {
        let answers = ask(&server, &Query::new(name, A)).await.reply.message.answers;
        answers.first().map(|answer| answer.data.to_string())
    };
    for (name, expected) in [
        ("www.example", "192.0.2.1"),
        ("notcorp.example", "192.0.2.1"),
        ("corp.example", "192.0.2.2"),
        ("DC1.Corp.Example", "192.0.2.2"),
        ("corp.local", "192.0.2.2"),
        ("dc1.corp.local", "192.0.2.2"),
        ("x.lab.corp.local", "192.0.2.3"),
        ("x.a.b.local", "192.0.2.3"),
        ("servicea.local", "127.80.0.11"),
    ] {
        assert_eq!(last(name).await.as_deref(), Some(expected), "{name}");
    }
    // Everything else under the zone is teal's, and what lies above a domain exists (RFC 8020).
    let counts = [default.count(), corp.count(), deep.count()];
    for (name, code) in [("x.local", 3), ("xcorp.local", 3), ("y.b.local", 3), ("b.local", 0), ("local", 0)] {
        let reply = ask(&server, &Query::new(name, AAAA)).await.reply;
        assert_eq!((reply.bytes[3] & 0xf, reply.bytes[2] & 4), (code, 4), "{name}");
    }
    assert_eq!([default.count(), corp.count(), deep.count()], counts, "no name of ours leaves");
    server.stop().await;
}

#[tokio::test]
async fn without_rd_or_upstreams_names_outside_are_refused() {
    let upstream = Upstream::with_address(1).await;
    let mut world = world(&[]);
    forward(&mut world, "corp.example", &[upstream.address]);
    let server = start_with(&world);
    let refused = "Refused ra | opt v0 1232 15:[0, 20]";
    for name in ["www.example", "corp.example"] {
        assert_eq!(ask(&server, &outside(name).flags(0)).await.line(), refused);
    }
    let line = ask(&server, &outside("www.example")).await.line();
    assert_eq!(line, refused.replace("Refused", "Refused rd"));
    assert_eq!(upstream.count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn over_tcp_answers_come_as_they_arrive() {
    let upstream = Upstream::start(|seen| {
        let wait = if seen.question()[1] == b's' { PATIENCE / 4 } else { Duration::ZERO };
        vec![Act::Wait(wait), Act::Send(seen.address(1).bytes())]
    })
    .await;
    let server = start(&[upstream.address]);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let names = ["slow.example", "quick.example", "servicea.local"];
    let queries = (1..).zip(names).map(|(id, name)| framed(&Query { id, ..Query::new(name, A) }));
    stream.write_all(&queries.collect::<Vec<_>>().concat()).await.unwrap();
    // A client that has said everything still gets everything.
    stream.shutdown().await.unwrap();
    for id in [3, 2, 1] {
        assert_eq!(read_message(&mut stream).await.unwrap()[..2], [0, id]);
    }
    assert!(read_message(&mut stream).await.is_none());
    server.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_down_costs_nothing_and_is_used_again_when_it_is_back() {
    let back = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_back = Arc::clone(&back);
    let first = Upstream::start(move |seen| {
        if is_back.load(std::sync::atomic::Ordering::Relaxed) { seen.address(1).into() } else { Vec::new() }
    })
    .await;
    let server = start(&[first.address]);
    // Nothing else to ask: three failures in a row.
    ask(&server, &outside("www.example")).await;
    let condition = || server.dns.upstreams()[0].condition.clone();
    assert!(!condition().is_up);
    assert_eq!(condition().last_failure.map(|(what, _)| what), Some("did not answer in time"));
    // It is all that there is, so it is asked all the same.
    back.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(ask(&server, &outside("www.example")).await.took < PATIENCE);
    assert!(condition().is_up && condition().rtt.is_some());
    server.stop().await;
}

#[tokio::test]
async fn one_that_is_down_gets_copies_of_questions_and_no_client_waits_for_it() {
    let back = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_back = Arc::clone(&back);
    let first = Upstream::start(move |seen| {
        if is_back.load(std::sync::atomic::Ordering::Relaxed) { seen.address(1).into() } else { Vec::new() }
    })
    .await;
    let mut world = world(&[first.address]);
    let server = start_with(&world);
    ask(&server, &outside("www.example")).await;
    assert!(!server.dns.upstreams()[0].condition.is_up);
    // Another one comes by reload; what is known about the first stays.
    let second = Upstream::with_address(2).await;
    world.catalog.settings.dns.forward.upstreams = choices(&[first.address, second.address]);
    reload(&server, &world);
    back.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut asked = 0;
    while !server.dns.upstreams()[0].condition.is_up {
        asked += 1;
        let timed = ask(&server, &outside(&format!("n{asked}.example"))).await;
        assert!(timed.line().contains("192.0.2.2") && timed.took < PATIENCE, "{}", timed.line());
    }
    let copies = first.seen().iter().filter(|seen| seen.question().starts_with(b"\x02n")).count();
    assert!(asked > 0 && copies <= 3, "{copies} copies of {asked}");
    until_line(&server, "192.0.2.1").await;
    server.stop().await;
}

/// Asks until an answer has this in it.
async fn until_line(server: &Server, part: &str) {
    for number in 0..1000 {
        if ask(server, &outside(&format!("u{number}.example"))).await.line().contains(part) {
            return;
        }
    }
    panic!("never {part}");
}

/// What a reload does.
fn reload(server: &Server, world: &World) {
    let generation = server.dns.snapshot.load().generation + 1;
    let next = snapshot(world);
    let next = Snapshot {
        generation,
        catalog: Arc::clone(&next.catalog),
        services: std::collections::BTreeMap::new(),
        answers: Arc::clone(&next.answers),
        releases: Arc::default(),
    };
    server.dns.snapshot.store(Arc::new(next));
}

#[tokio::test]
async fn a_reload_keeps_what_is_in_flight_and_leads_the_next_elsewhere() {
    let (old, new) = (slow(well, PATIENCE / 2).await, Upstream::with_address(2).await);
    let mut world = world(&[old.address]);
    let server = start_with(&world);
    let client = udp_client(server.address).await;
    client.send(&outside("www.example").bytes()).await.unwrap();
    until(|| server.dns.upstreams.in_flight() == 1).await;
    world.catalog.settings.dns.forward.upstreams = choices(&[new.address]);
    reload(&server, &world);
    assert!(ask(&server, &outside("other.example")).await.line().contains("192.0.2.2"));
    assert_eq!(server.dns.upstreams().len(), 1);
    assert_eq!(receive(&client).await[3] & 0xf, 0);
    assert_eq!((old.count(), new.count()), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn at_a_stop_what_is_in_flight_is_answered() {
    let upstream = slow(well, PATIENCE / 2).await;
    let server = start(&[upstream.address]);
    let client = udp_client(server.address).await;
    client.send(&outside("www.example").bytes()).await.unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&framed(&outside("other.example"))).await.unwrap();
    until(|| server.dns.upstreams.in_flight() == 2).await;
    server.stop().await;
    assert_eq!(receive(&client).await[3] & 0xf, 0);
    assert_eq!(read_message(&mut stream).await.unwrap()[3] & 0xf, 0);
}

#[tokio::test]
async fn replies_leave_from_the_address_that_was_asked() {
    let upstream = slow(well, Duration::from_millis(20)).await;
    let server = Server::start_with("0.0.0.0:0", &world(&[upstream.address]), Limits::default());
    let mut clients = Vec::new();
    for ip in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let client = udp_client(server.at(ip)).await;
        client.send(&outside("www.example").bytes()).await.unwrap();
        clients.push(client);
    }
    for client in clients {
        assert_eq!(receive(&client).await[3] & 0xf, 0);
    }
    server.stop().await;
}

/// Sends what it is asked to another server, with an ID of its own, as resolvers do, and passes answers back.
async fn relay(to: SocketAddr) -> Upstream {
    Upstream::start(move |seen| {
        let packet = seen.packet.clone();
        std::thread::spawn(move || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let _ = socket.send_to(&packet, to);
        });
        Vec::new()
    })
    .await
}

/// A teal whose series and problems the test sees.
fn start_open(bound: Bound, world: &World) -> (Server, Arc<Series>, Problems) {
    let (series, problems) = (Arc::new(Series::default()), Problems::default());
    let dns = crate::server::plain_dns(world, Limits::default());
    let forwarder = Forwarder::new(dns.metrics.clone(), Arc::clone(&series), problems.clone());
    let dns = Arc::new(dns.with_forwarder(forwarder));
    (Server::run(bound, dns, CancellationToken::new()), series, problems)
}

#[tokio::test]
async fn a_loop_is_found_reported_and_not_entered_again() {
    let listen = bind("127.0.0.1:0".parse().unwrap(), THREADS).unwrap();
    let looping = relay(listen.address).await;
    let (server, _, problems) = start_open(listen, &world(&[looping.address]));
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), "ServFail rd ra | opt v0 1232 15:[0, 23]");
    assert!(timed.took < PATIENCE, "{:?}", timed.took);
    assert!(server.dns.upstreams()[0].condition.is_looping);
    let (subject, message) = problems.all().remove(0);
    assert_eq!(subject, format!("dns upstream {}", looping.address));
    assert!(message.contains("sends the questions that teal asks it back to teal"), "{message}");
    let asked = looping.count();
    assert!(ask(&server, &outside("other.example")).await.took < PATIENCE);
    assert_eq!(looping.count(), asked, "it rests");
    server.stop().await;
}

#[tokio::test]
async fn what_upstreams_do_is_counted() {
    let upstream = Upstream::start(|seen| {
        let wrong = Answer { id: !seen.header().id, ..seen.address(66) };
        let mut other = seen.address(66);
        other.question[1] = b'v';
        [wrong, other, seen.address(1)].map(|answer| Act::Send(answer.bytes())).to_vec()
    })
    .await;
    let refuses = Upstream::start(|seen| seen.answer().rcode(5).into()).await;
    let silent = Upstream::silent().await;
    let mut world = world(&[refuses.address, upstream.address]);
    forward(&mut world, "silent.example", &[silent.address]);
    let listen = bind("127.0.0.1:0".parse().unwrap(), THREADS).unwrap();
    let (server, series, _) = start_open(listen, &world);
    ask(&server, &outside("www.example")).await;
    ask(&server, &outside("www.silent.example")).await;
    let mut text = String::new();
    series.render(&mut text);
    let (good, bad, none) = (upstream.address, refuses.address, silent.address);
    for line in [
        format!("teal_dns_upstream_queries_total{{upstream=\"{good}\",transport=\"udp\"}} 1"),
        format!("teal_dns_upstream_rtt_seconds_count{{upstream=\"{good}\"}} 1"),
        format!("teal_dns_upstream_ignored_total{{upstream=\"{good}\",reason=\"unasked\"}} 1"),
        format!("teal_dns_upstream_ignored_total{{upstream=\"{good}\",reason=\"question\"}} 1"),
        format!("teal_dns_upstream_failures_total{{upstream=\"{bad}\",reason=\"refused\"}} 1"),
        format!("teal_dns_upstream_up{{upstream=\"{bad}\"}} 1"),
        format!("teal_dns_upstream_up{{upstream=\"{none}\"}} 0"),
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn with_another_upstream_a_loop_costs_nothing() {
    let listen = bind("127.0.0.1:0".parse().unwrap(), THREADS).unwrap();
    let (looping, good) = (relay(listen.address).await, Upstream::with_address(1).await);
    let world = world(&[looping.address, good.address]);
    let dns = crate::server::dns(&world, Limits::default());
    let server = Server::run(listen, dns, CancellationToken::new());
    let timed = ask(&server, &outside("www.example")).await;
    assert!(timed.line().contains("192.0.2.1") && timed.took < PATIENCE, "{} {:?}", timed.line(), timed.took);
    server.stop().await;
}

#[tokio::test]
async fn teal_itself_is_never_asked() {
    let mut world = world(&[]);
    world.catalog.settings.dns.listen = vec!["0.0.0.0:5399".parse().unwrap()];
    world.catalog.settings.dns.forward.upstreams = choices(&["127.0.0.1:5399".parse().unwrap()]);
    let server = start_with(&world);
    let timed = ask(&server, &outside("www.example")).await;
    assert_eq!(timed.line(), "ServFail rd ra | opt v0 1232 15:[0, 22]");
    assert!(timed.took < PATIENCE);
    assert_eq!(server.dns.upstreams(), []);
    server.stop().await;
}

#[tokio::test]
async fn the_host_s_servers_are_asked_as_they_change() {
    use teal::daemon::system_servers::{SystemFiles, SystemServers};
    let upstream = Upstream::start_at("127.0.0.1:0", |seen| seen.address(1).into()).await;
    let mut world = world(&[]);
    world.catalog.settings.dns.forward.upstreams = vec![teal::model::Upstream::System];
    let server = start_with(&world);
    let folder = tempfile::tempdir().unwrap();
    let (main, uplink) = (folder.path().join("resolv.conf"), folder.path().join("uplink.conf"));
    let put = |path: &std::path::Path, text: &str| {
        let fresh = folder.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, path).unwrap();
    };
    put(&main, "nameserver 192.0.2.1\n");
    let files = SystemFiles { main: main.clone(), uplink: uplink.clone() };
    let system = SystemServers::start(files, Arc::clone(&server.dns.upstreams));
    let stop = CancellationToken::new();
    let following = tokio::spawn(system.run(stop.clone()));
    let addresses = || -> Vec<String> {
        server.dns.upstreams().iter().map(|upstream| upstream.address.to_string()).collect()
    };
    assert_eq!(addresses(), ["192.0.2.1:53"]);
    put(&main, "nameserver 127.0.0.53\n");
    until(|| addresses().is_empty()).await;
    put(&uplink, "nameserver 192.0.2.2\nnameserver 192.0.2.3\n");
    until(|| addresses() == ["192.0.2.2:53", "192.0.2.3:53"]).await;
    std::fs::remove_file(&main).unwrap();
    until(|| addresses().is_empty()).await;
    stop.cancel();
    following.await.unwrap();
    drop(upstream);
    server.stop().await;
}

#[tokio::test]
async fn a_dead_upstream_at_full_load_keeps_nobody_waiting_and_the_zone_is_answered() {
    let server = start(&[Upstream::silent().await.address]);
    let load = udp_client(server.address).await;
    for number in 0..3000_u16 {
        load.send(&Query { id: number, ..outside(&format!("n{number}.example")) }.bytes()).await.unwrap();
        if number % 50 == 0 {
            let timed = ask(&server, &Query::new("local", SOA)).await;
            assert!(timed.took < PATIENCE, "{:?}", timed.took);
        }
        assert!(server.dns.upstreams.in_flight() <= 1000);
    }
    let timed = ask_over_tcp(&server, &outside("last.example")).await;
    assert_eq!(timed.reply.bytes[3] & 0xf, 2);
    assert!(timed.took < BUDGET + PATIENCE);
    server.stop().await;
}
