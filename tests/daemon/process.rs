//! A teal of one's own: a folder, a pool, the process, and what it says of itself.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use teal::admin::report::{ColorReport, ServiceReport, StatusReport};
use tempfile::TempDir;

use crate::clients::{connect, http, resolve};

/// Nothing that works takes this long.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at a condition, so that waiting does not take the cores from what is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Where services listen on their VIPs.
pub const PORT: u16 = 7080;
/// Holds a pool for one test: at its last address, which is no VIP ever.
const HOLD_PORT: u16 = 7079;

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        thread::sleep(LOOK_AGAIN);
    }
}

/// Waits until `holds` is true.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// A folder with a configuration and state, and a pool that no other test has.
pub struct Place {
    pub folder: TempDir,
    network: [u8; 3],
    _hold: TcpListener,
}

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let (network, hold) = eventually("a free pool", || {
            let number = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Ordering::Relaxed);
            let [_, _, high, low] = number.to_be_bytes();
            let network = [127, 128 | (high & 0x3f), low];
            let hold = TcpListener::bind((Ipv4Addr::new(127, network[1], low, 255), HOLD_PORT)).ok()?;
            Some((network, hold))
        });
        Self { folder, network, _hold: hold }
    }

    /// An address of the pool.
    pub fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, last)
    }

    /// A loopback address outside of the pool that is this test's own.
    pub fn outside(&self) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b | 0x40, c, 1)
    }

    pub fn pool(&self) -> String {
        format!("{}/24", self.address(0))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("teal.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    /// The tables that every test needs: free ports everywhere, the pool, and nobody who is asked for names.
    pub fn head(&self) -> String {
        format!(
            "[dns]\nlisten = [\"127.0.0.1:0\"]\nupstreams = []\n[metrics]\nlisten = \"127.0.0.1:0\"\n[vip]\npool = \"{}\"\n",
            self.pool()
        )
    }

    /// Renames `head`, `more` and `services` over the configuration.
    pub fn write(&self, more: &str, services: &[String]) {
        self.rename(&self.text(more, services));
    }

    pub fn text(&self, more: &str, services: &[String]) -> String {
        format!("{}{more}\n{}", self.head(), services.join("\n"))
    }

    /// Renames this text over the configuration.
    pub fn rename(&self, text: &str) {
        let fresh = self.path("teal.toml.new");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.config()).unwrap();
    }

    /// `teal run` with everything in this folder.
    pub fn command(&self) -> Command {
        self.command_for(&self.config())
    }

    /// The same with a log of JSON lines.
    pub fn command_with_json(&self) -> Command {
        self.command_in(&self.config(), "json")
    }

    pub fn command_for(&self, config: &Path) -> Command {
        self.command_in(config, "text")
    }

    fn command_in(&self, config: &Path, log_format: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
        command.arg("run").arg("--config").arg(config);
        command.arg("--state-dir").arg(self.state()).arg("--socket").arg(self.socket());
        command.args(["--log-format", log_format]);
        command
    }

    /// Starts it, and waits until it is ready.
    pub fn start(&self) -> Teal {
        self.start_with(self.command())
    }

    pub fn start_with(&self, command: Command) -> Teal {
        let mut teal = self.spawn(command);
        until("teal is ready", || {
            assert!(teal.child.try_wait().unwrap().is_none(), "teal ended:\n{}", teal.log());
            teal.log_has(" ready config=")
        });
        teal
    }

    /// Starts it.
    pub fn spawn(&self, mut command: Command) -> Teal {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        let reader = thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *into.lock().unwrap() += &(line + "\n");
            }
        });
        Teal { child, log, reader: Some(reader), socket: self.socket() }
    }

    /// Starts it with a log that the caller reads, or does not.
    pub fn spawn_unread(&self, mut command: Command, log: std::io::PipeWriter) -> Teal {
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        Teal { child, log: Arc::default(), reader: None, socket: self.socket() }
    }

    /// Runs it where it cannot start; returns what it said. Fails unless it exits with 1.
    pub fn refused(&self, command: Command) -> String {
        let mut teal = self.spawn(command);
        let status = teal.wait();
        assert_eq!(status.code(), Some(1), "{}", teal.log());
        let log = teal.log();
        let (_, message) = log.split_once("teal: cannot start: ").expect("it says why");
        message.to_owned()
    }

    /// Another command of the binary, with this daemon's socket where it takes one.
    pub fn teal(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
        command.args(arguments).env("TEAL_SOCKET", self.socket()).output().unwrap()
    }

    /// `teal reload`: its exit code, and all that it said.
    pub fn reload(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.teal(&[&["reload"], arguments].concat());
        (output.status.code(), said(&output))
    }

    /// `teal reload`, which must succeed.
    pub fn reload_ok(&self) -> String {
        let (code, said) = self.reload(&[]);
        assert_eq!(code, Some(0), "{said}");
        said
    }
}

/// Both streams of a command.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A service named `name` on [`PORT`].
pub fn service(name: &str, colors: &[(&str, u32, SocketAddr)]) -> String {
    service_with(name, "", colors)
}

/// A service with further keys.
pub fn service_with(name: &str, keys: &str, colors: &[(&str, u32, SocketAddr)]) -> String {
    let color = |(color, weight, endpoint): &(&str, u32, SocketAddr)| {
        format!("[services.{name}.colors.{color}]\nweight = {weight}\nendpoints = [\"{endpoint}\"]\n")
    };
    let colors: String = colors.iter().map(color).collect();
    format!("[services.{name}]\nports = [{{ listen = {PORT} }}]\n{keys}\n{colors}")
}

/// A running daemon; killed when dropped, and its log printed when the test fails.
pub struct Teal {
    pub child: Child,
    log: Arc<Mutex<String>>,
    /// Ends with the log.
    reader: Option<thread::JoinHandle<()>>,
    socket: PathBuf,
}

impl Teal {
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn log_has(&self, text: &str) -> bool {
        self.log.lock().unwrap().contains(text)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, where it has not ended by itself.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }

    /// Waits for its end, and for that of its log.
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("teal ends", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Stops it and waits for its end, which must be a good one.
    pub fn stop(mut self) {
        self.terminate();
        assert_eq!(self.wait().code(), Some(0));
    }

    /// What the control socket says.
    pub fn status(&self) -> StatusReport {
        let (head, body) = http(UnixStream::connect(&self.socket).unwrap(), "GET /v1/status");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn service(&self, name: &str) -> ServiceReport {
        let services = self.status().services;
        services.into_iter().find(|service| service.name == name).unwrap()
    }

    pub fn color(&self, service: &str, color: &str) -> ColorReport {
        self.service(service).colors.into_iter().find(|known| known.name == color).unwrap()
    }

    pub fn weight(&self, service: &str, color: &str) -> u16 {
        self.color(service, color).weight
    }

    /// What the problem with this subject says.
    pub fn problem(&self, subject: &str) -> Option<String> {
        let problems = self.status().problems;
        problems.into_iter().find(|problem| problem.subject == subject).map(|problem| problem.message)
    }

    /// Where the service is reached.
    pub fn vip(&self, service: &str) -> SocketAddr {
        SocketAddr::from((self.service(service).vip, PORT))
    }

    /// A path of the metrics listener: head and body.
    pub fn get(&self, path: &str) -> (String, String) {
        let address = self.status().metrics.unwrap();
        http(connect(address), &format!("GET {path}"))
    }

    pub fn metrics(&self) -> String {
        self.get("/metrics").1
    }

    /// The value of one series that counts something, by its text before the blank.
    pub fn metric(&self, series: &str) -> Option<u64> {
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    /// The addresses that DNS answers for a name.
    pub fn resolve(&self, name: &str) -> Vec<Ipv4Addr> {
        resolve(self.status().dns.listen[0], name)
    }
}

impl Drop for Teal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of teal:\n{}", self.log());
        }
    }
}
