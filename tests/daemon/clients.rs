//! Clients and backends of the tests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::process::DEADLINE;

/// One request on a stream; head and body of its answer.
pub fn http(mut stream: impl Read + Write, request: &str) -> (String, String) {
    write!(stream, "{request} HTTP/1.1\r\nhost: teal\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Asks over UDP for the A records of a name.
pub fn resolve(server: SocketAddr, name: &str) -> Vec<Ipv4Addr> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(server).unwrap();
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    socket.send(&message.to_vec().unwrap()).unwrap();
    let mut buffer = [0; 1232];
    let length = socket.recv(&mut buffer).unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    let address = |data: &RData| match data {
        RData::A(address) => Some(address.0),
        _ => None,
    };
    answer.answers.iter().filter_map(|record| address(&record.data)).collect()
}

/// A backend that says its name, then sends back what comes until FIN.
pub fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let _ = stream.write_all(name.as_bytes());
                let _ = std::io::copy(&mut &stream, &mut &stream);
            });
        }
    });
    address
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A connection held open through teal.
pub struct Held {
    stream: TcpStream,
    /// The backend's name.
    pub name: String,
}

impl Held {
    /// Connects, and waits for the backend's name, which has `length` bytes.
    pub fn new(address: SocketAddr, length: usize) -> Self {
        let mut stream = connect(address);
        let mut name = vec![0; length];
        stream.read_exact(&mut name).unwrap();
        Self { stream, name: String::from_utf8(name).unwrap() }
    }

    /// Fails unless bytes go there and back.
    pub fn assert_alive(&mut self) {
        self.stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
    }

    /// Fails unless the connection ends by FIN.
    pub fn assert_ended(&mut self) {
        assert_eq!(self.stream.read(&mut [0; 1]).unwrap(), 0);
    }

    /// Fails unless the connection ends by RST.
    pub fn assert_cut(&mut self) {
        let error = self.stream.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// The backend's name that a new connection gets.
pub fn ask(address: SocketAddr) -> String {
    let mut stream = connect(address);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut name = String::new();
    stream.read_to_string(&mut name).unwrap();
    name
}

/// Whether a connection there is reset before a byte comes; that may be so quick that connecting says so.
pub fn is_reset(address: SocketAddr) -> bool {
    let outcome = TcpStream::connect_timeout(&address, DEADLINE).and_then(|mut stream| {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.read(&mut [0])
    });
    outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

/// Whether nobody listens there.
pub fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, DEADLINE)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}
