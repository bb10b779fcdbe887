//! What systemd is told, in which order.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::clients::{Held, ask, backend};
use crate::process::{DEADLINE, Place, Teal, eventually, service, until};

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    place: Place,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let place = Place::new();
        let socket = UnixDatagram::bind(place.path("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { place, socket }
    }

    fn spawn(&self, environment: &[(&str, &str)]) -> Teal {
        self.place.write("", &[service("a", &[("blue", 1, backend("blue"))])]);
        let mut command = self.place.command();
        command.env("NOTIFY_SOCKET", self.place.path("notify")).envs(environment.iter().copied());
        self.place.spawn(command)
    }

    fn message(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }

    /// The next message that has this line; others must not come before, except keep-alives.
    fn expect(&self, line: &str) -> Vec<String> {
        let message = eventually(line, || Some(self.message()).filter(|message| message != &["WATCHDOG=1"]));
        assert!(message.iter().any(|said| said == line), "{line} is missing in {message:?}");
        message
    }
}

fn has_status(message: &[String]) -> bool {
    message.iter().any(|line| line.starts_with("STATUS="))
}

#[test]
fn promise_14_systemd_is_told_about_each_phase() {
    let manager = Manager::new();
    let mut teal = manager.spawn(&[]);
    assert!(has_status(&manager.expect("READY=1")));
    // Ready means that all of it works.
    let vip = teal.vip("a");
    assert_eq!(teal.resolve("a.local."), [vip.ip()]);
    assert_eq!(ask(vip), "blue");
    assert_eq!(teal.get("/readyz").1, "ready\n");

    teal.signal(Signal::HUP);
    let reloading = manager.expect("RELOADING=1");
    let since = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(since.parse::<u64>().unwrap() > 0);
    let ready = manager.expect("READY=1");
    assert!(ready.contains(&"STATUS=last reload: unchanged".to_owned()), "{ready:?}");

    manager.place.rename("broken");
    manager.expect("RELOADING=1");
    let ready = manager.expect("READY=1");
    assert!(ready.contains(&"STATUS=last reload: rejected".to_owned()), "{ready:?}");

    let held = Held::new(vip, 4);
    teal.terminate();
    let stopping = manager.expect("STOPPING=1");
    // 30 s of grace and something for the end, so that systemd does not cut them before.
    assert!(has_status(&stopping) && stopping.contains(&"EXTEND_TIMEOUT_USEC=40000000".to_owned()));
    // A reload now must not look like READY again.
    teal.signal(Signal::HUP);
    assert_eq!(manager.place.reload(&[]).0, Some(1));
    drop(held);
    assert_eq!(teal.wait().code(), Some(0));
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err(), "systemd was told something after STOPPING");
}

#[test]
fn the_watchdog_is_fed_as_often_as_the_unit_asks() {
    let manager = Manager::new();
    let teal = manager.spawn(&[("WATCHDOG_USEC", "200000")]);
    let mut fed = 0;
    until("it was fed three times", || {
        fed += usize::from(manager.message() == ["WATCHDOG=1"]);
        fed == 3
    });
    teal.stop();
}
