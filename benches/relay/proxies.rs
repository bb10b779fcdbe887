//! The proxies: how each is found, configured, started and stopped.
//!
//! All do the same job: two backends with weights 97 and 3, one thread, no log per connection.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::backend::Backend;
use crate::machine::{self, Cores};

/// How long a proxy may take to listen, and to stop.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where Debian installs nginx's stream module.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// This repository's binary
    Teal,
    /// The same with 2,000 services; short connections only
    Large,
    /// Debian's haproxy
    Haproxy,
    /// Debian's nginx with libnginx-mod-stream
    Nginx,
    /// No proxy
    Direct,
}

impl Kind {
    /// In the order of the table.
    pub const ALL: [Self; 5] = [Self::Teal, Self::Large, Self::Haproxy, Self::Nginx, Self::Direct];
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Teal => "teal",
            Self::Large => "teal, 2,000 services",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Direct => "direct",
        })
    }
}

/// A running proxy; stopped when dropped.
pub struct Proxy {
    /// Which one.
    pub kind: Kind,
    /// As it names itself.
    pub version: String,
    /// Where it takes connections.
    pub address: SocketAddr,
    child: Option<Child>,
    processes: Vec<u32>,
    _folder: TempDir,
}

/// How to start one, and how to see that it is ready.
struct Plan {
    command: Command,
    version: String,
    address: SocketAddr,
    /// Where `GET /readyz` answers 200 when it is; without one, accepting is enough.
    readyz: Option<SocketAddr>,
}

impl Proxy {
    /// Starts one on its core and waits until it is ready. The error says why it cannot be had.
    pub fn start(kind: Kind, backend: Backend, cores: &Cores) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let plan = match kind {
            Kind::Direct => {
                let (address, version) = (backend.blue, String::new());
                return Ok(Self { kind, version, address, child: None, processes: vec![], _folder: folder });
            }
            Kind::Teal => plan_teal(folder.path(), backend, FEW_SERVICES),
            Kind::Large => plan_teal(folder.path(), backend, MANY_SERVICES),
            Kind::Haproxy => plan_haproxy(folder.path(), backend),
            Kind::Nginx => plan_nginx(folder.path(), backend),
        };
        let mut plan = plan?;
        let log = folder.path().join("log");
        let stderr = std::fs::File::create(&log).map_err(|error| format!("cannot write its log: {error}"))?;
        plan.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = cores.on_proxy_core(|| plan.command.spawn());
        let child = child.map_err(|error| format!("cannot start it: {error}"))?;
        let mut proxy = Self {
            kind,
            version: plan.version,
            address: plan.address,
            child: Some(child),
            processes: vec![],
            _folder: folder,
        };
        proxy.wait_until_ready(plan.readyz, &log)?;
        proxy.processes = proxy.child.as_ref().map(|child| machine::family(child.id())).unwrap_or_default();
        Ok(proxy)
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        machine::cpu_time(&self.processes)
    }

    /// Resident memory now.
    pub fn resident_octets(&self) -> io::Result<u64> {
        machine::resident_octets(&self.processes)
    }

    /// Moves it to another core.
    pub fn pin(&self, core: usize) {
        machine::pin_all(&self.processes, core);
    }

    fn wait_until_ready(&mut self, readyz: Option<SocketAddr>, log: &Path) -> Result<(), String> {
        let deadline = Instant::now() + DEADLINE;
        let said = || {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            log.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n    ")
        };
        loop {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(format!("it ended at once ({status})\n    {}", said()));
            }
            if readyz.is_none_or(answers_ready) && TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("not ready after {} s\n    {}", DEADLINE.as_secs(), said()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // Asked politely, nginx takes its worker along.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let deadline = Instant::now() + DEADLINE;
        while asked && Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(child.kill());
        drop(child.wait());
    }
}

fn answers_ready(metrics: SocketAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(metrics)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// The first line that a program says about its version, on either stream.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
    let known = line.trim_start_matches("nginx version: ").split(" - ").next().unwrap_or_default();
    Some(known.to_owned())
}

/// Services beside the one that is measured.
const FEW_SERVICES: usize = 9;
const MANY_SERVICES: usize = 1999;

fn plan_teal(folder: &Path, backend: Backend, services: usize) -> Result<Plan, String> {
    let (port, dns, metrics) = (free_port()?, free_port()?, free_port()?);
    let config = folder.join("teal.toml");
    let socket = folder.join("admin.sock");
    let mut text = format!(
        r#"[dns]
listen = ["127.0.0.1:{dns}"]
upstreams = []
[vip]
pool = "127.80.0.0/16"
[metrics]
listen = "127.0.0.1:{metrics}"
[admin]
socket = "{socket}"
[defaults]
health = {{ kind = "none" }}
[services.bench]
vip = "127.80.0.10"
ports = [{{ listen = {port}, target = {target} }}]
[services.bench.colors.blue]
weight = 97
endpoints = ["{blue}"]
[services.bench.colors.green]
weight = 3
endpoints = ["{green}"]
"#,
        socket = socket.display(),
        target = backend.blue.port(),
        blue = backend.blue.ip(),
        green = backend.green.ip(),
    );
    for index in 0..services {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "[services.other{index}]\nports = [{{ listen = {port}, target = {target} }}]\n\
             colors.blue = {{ weight = 1, endpoints = [\"{blue}\"] }}",
            target = backend.blue.port(),
            blue = backend.blue.ip(),
        );
    }
    write(&config, &text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
    command.arg("run").arg("--config").arg(&config).arg("--state-dir").arg(folder.join("state"));
    command.env("TEAL_LOG", "warn");
    Ok(Plan {
        command,
        version: concat!("teal ", env!("CARGO_PKG_VERSION")).to_owned(),
        address: SocketAddr::from(([127, 80, 0, 10], port)),
        readyz: Some(SocketAddr::from(([127, 0, 0, 1], metrics))),
    })
}

fn plan_haproxy(folder: &Path, backend: Backend) -> Result<Plan, String> {
    let version = version("haproxy", "-v").ok_or("not installed (apt-get install haproxy)")?;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let config = folder.join("haproxy.cfg");
    // maxconn is left to HAProxy, which derives it from the descriptor limit.
    let text = format!(
        "global\n  nbthread 1\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
         listen bench\n  bind {address}\n  balance roundrobin\n\
         \x20 server blue {} weight 97\n  server green {} weight 3\n",
        backend.blue, backend.green
    );
    write(&config, &text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-q").arg("-f").arg(&config);
    Ok(Plan { command, version, address, readyz: None })
}

fn plan_nginx(folder: &Path, backend: Backend) -> Result<Plan, String> {
    let version =
        version("nginx", "-v").ok_or("not installed (apt-get install nginx libnginx-mod-stream)")?;
    let module = Path::new(NGINX_STREAM);
    if !module.exists() {
        return Err("without its stream module (apt-get install libnginx-mod-stream)".to_owned());
    }
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let config = folder.join("nginx.conf");
    let text = format!(
        "load_module {NGINX_STREAM};\ndaemon off;\nworker_processes 1;\npid {pid};\nerror_log stderr warn;\n\
         events {{ worker_connections 16384; multi_accept on; }}\n\
         stream {{\n  access_log off;\n  tcp_nodelay on;\n  proxy_timeout 1m;\n  proxy_connect_timeout 5s;\n\
         \x20 upstream backend {{ server {blue} weight=97; server {green} weight=3; }}\n\
         \x20 server {{ listen {address} backlog=4096; proxy_pass backend; }}\n}}\n",
        pid = folder.join("nginx.pid").display(),
        blue = backend.blue,
        green = backend.green,
    );
    write(&config, &text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(&config);
    Ok(Plan { command, version, address, readyz: None })
}
