//! The servers: how each is configured, started and stopped. All answer over UDP with one thread.

use std::fmt::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::machine::{self, Cores};
use crate::work::Work;

/// How long a server may take to answer, and to stop.
const DEADLINE: Duration = Duration::from_secs(15);
/// Names that the outside has.
const OUTSIDE_NAMES: usize = 100;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// This repository's binary
    Teal,
    /// Debian's knot
    Knotd,
    /// Debian's dnsmasq-base
    Dnsmasq,
    /// Debian's unbound
    Unbound,
}

impl Kind {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::Teal, Self::Knotd, Self::Dnsmasq, Self::Unbound];
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Teal => "teal",
            Self::Knotd => "knotd",
            Self::Dnsmasq => "dnsmasq",
            Self::Unbound => "unbound",
        })
    }
}

/// A running server; stopped when dropped.
pub struct Server {
    /// Which one.
    pub kind: Kind,
    /// Where it answers, on 127.0.0.1.
    pub port: u16,
    child: Child,
    folder: TempDir,
}

impl Server {
    /// The outside: a server of its own zone, on the core of the load.
    pub fn outside(cores: &Cores) -> Result<Self, String> {
        let names = (0..OUTSIDE_NAMES).map(|index| format!("name{index}"));
        let (folder, port) = (temporary()?, free_port()?);
        let command = knotd(folder.path(), port, &zone_file("example", names))?;
        let server = spawn(Kind::Knotd, command, (folder, port), "name0.example")?;
        server.pin(cores.load);
        Ok(server)
    }

    /// Starts one on its core and waits until it answers. The error says why it cannot be had.
    pub fn start(kind: Kind, work: Work, outside: Option<&Self>, cores: &Cores) -> Result<Self, String> {
        let (folder, port) = (temporary()?, free_port()?);
        let upstream = match (work.is_outside(), outside) {
            (false, _) => None,
            (true, Some(outside)) => Some(outside.port),
            (true, None) => return Err("there is nothing to forward to".to_owned()),
        };
        let names = (0..work.services()).map(|index| format!("service{index}"));
        let keeps = work == Work::Cached;
        let command = match kind {
            Kind::Teal => teal(folder.path(), port, (work, upstream)),
            Kind::Knotd => knotd(folder.path(), port, &zone_file("local", names)),
            Kind::Dnsmasq => dnsmasq(folder.path(), port, (names, upstream, keeps)),
            Kind::Unbound => unbound(folder.path(), port, upstream),
        }?;
        let name = if upstream.is_some() { "name0.example" } else { "service0.local" };
        let server = cores.on_proxy_core(|| spawn(kind, command, (folder, port), name))?;
        server.pin(cores.proxy);
        Ok(server)
    }

    /// Moves every thread to one core: knotd puts its own threads on the first ones, whatever they were started on.
    fn pin(&self, core: usize) {
        machine::pin_all(&machine::family(self.child.id()), core);
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> Result<Duration, String> {
        machine::cpu_time(&machine::family(self.child.id())).map_err(|error| error.to_string())
    }

    /// A place for files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let deadline = Instant::now() + DEADLINE;
        while asked && Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(
    kind: Kind,
    mut command: Command,
    (folder, port): (TempDir, u16),
    name: &str,
) -> Result<Server, String> {
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).map_err(|error| format!("cannot write its log: {error}"))?;
    let second = file.try_clone().map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(file).stderr(second);
    let child = command.spawn().map_err(|error| format!("cannot start it: {error}"))?;
    let server = Server { kind, port, child, folder };
    let begin = Instant::now();
    while !answers(port, name) {
        if begin.elapsed() > DEADLINE {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("no answer after {} s\n{said}", DEADLINE.as_secs()));
        }
    }
    Ok(server)
}

/// Whether a query for the name's address gets an answer with records.
fn answers(port: u16, name: &str) -> bool {
    let mut query = vec![0x5a, 0xa5, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label is short"));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let ask = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.send(&query)?;
        let mut reply = [0; 1500];
        let length = socket.recv(&mut reply)?;
        Ok(length > 12 && reply[3].trailing_zeros() >= 4 && reply[7] > 0)
    };
    ask().unwrap_or_else(|_| {
        std::thread::sleep(Duration::from_millis(20));
        false
    })
}

fn temporary() -> Result<TempDir, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    // Servers that give up root must still find their files.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).map_err(|error| error.to_string())?;
    Ok(folder)
}

fn free_port() -> Result<u16, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f50_0100 + u32::try_from(index).unwrap_or(0))
}

/// A zone with an address for each name.
fn zone_file(zone: &str, names: impl Iterator<Item = String>) -> (String, String) {
    let mut text = format!(
        "$ORIGIN {zone}.\n$TTL 3600\n@ SOA ns hostmaster 1 3600 600 86400 30\n@ NS ns\nns A 127.0.0.1\n"
    );
    for (index, name) in names.enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} A {}", address(index));
    }
    (zone.to_owned(), text)
}

fn knotd(folder: &Path, port: u16, (zone, text): &(String, String)) -> Result<Command, String> {
    write(&folder.join("zone"), text)?;
    let config = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: {0}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {0}\nlog:\n  - target: stderr\n    any: warning\n\
         zone:\n  - domain: {zone}.\n    file: {0}/zone\n    zonefile-sync: -1\n    journal-content: none\n",
        folder.display()
    );
    write(&folder.join("knot.conf"), &config)?;
    let mut command = Command::new("knotd");
    command.arg("-c").arg(folder.join("knot.conf"));
    Ok(command)
}

fn dnsmasq(
    folder: &Path,
    port: u16,
    (names, upstream, keeps): (impl Iterator<Item = String>, Option<u16>, bool),
) -> Result<Command, String> {
    let hosts = names.enumerate().fold(String::new(), |mut hosts, (index, name)| {
        // Writing to a String cannot fail.
        let _ = writeln!(hosts, "{} {name}.local", address(index));
        hosts
    });
    write(&folder.join("hosts"), &hosts)?;
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--local=/local/"]);
    command.arg(format!("--port={port}")).arg(format!("--addn-hosts={}", folder.join("hosts").display()));
    command.arg(format!("--cache-size={}", if keeps { 10_000 } else { 0 })).arg("--local-ttl=30");
    command.arg(format!("--pid-file={}", folder.join("pid").display()));
    if let Some(upstream) = upstream {
        command.arg(format!("--server=127.0.0.1#{upstream}")).arg("--dns-forward-max=1000");
    }
    Ok(command)
}

fn unbound(folder: &Path, port: u16, upstream: Option<u16>) -> Result<Command, String> {
    let upstream = upstream.ok_or("it has no zone of its own")?;
    let config = format!(
        "server:\n  interface: 127.0.0.1\n  port: {port}\n  num-threads: 1\n  do-daemonize: no\n  chroot: \"\"\n\
         \x20 username: \"\"\n  directory: {0}\n  pidfile: \"\"\n  use-syslog: no\n  verbosity: 0\n\
         \x20 do-not-query-localhost: no\n  module-config: \"iterator\"\n  access-control: 127.0.0.0/8 allow\n\
         forward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1@{upstream}\nremote-control:\n  control-enable: no\n",
        folder.display()
    );
    write(&folder.join("unbound.conf"), &config)?;
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(folder.join("unbound.conf"));
    Ok(command)
}

fn teal(folder: &Path, port: u16, (work, upstream): (Work, Option<u16>)) -> Result<Command, String> {
    let upstreams = upstream.map_or(String::new(), |upstream| format!("\"127.0.0.1:{upstream}\""));
    let mut text = format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nupstreams = [{upstreams}]\nforward_rate_per_source = \"off\"\n\
         [dns.cache]\nmax_bytes = {}\n[vip]\npool = \"127.{}.0.0/16\"\n[metrics]\nlisten = \"127.0.0.1:{}\"\n\
         [admin]\nsocket = \"{}\"\n[defaults]\nhealth = {{ kind = \"none\" }}\n",
        if work == Work::Cached { 16 << 20 } else { 0 },
        // Each kind of work has a daemon of its own, at the same time.
        80 + work as u8,
        free_port()?,
        folder.join("admin.sock").display()
    );
    for index in 0..work.services() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "[services.service{index}]\nports = [{{ listen = 8080, target = 9 }}]\n\
             colors.blue = {{ weight = 1, endpoints = [\"127.0.0.1\"] }}"
        );
    }
    write(&folder.join("teal.toml"), &text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
    command.arg("run").arg("--config").arg(folder.join("teal.toml"));
    command.arg("--state-dir").arg(folder.join("state")).env("TEAL_LOG", "warn");
    Ok(command)
}
