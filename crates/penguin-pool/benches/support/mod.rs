//! What the benchmarks share: a client that costs next to nothing, and how numbers are printed.

use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A keep-alive HTTP/1.1 connection that sends bytes prepared before and reads an answer with a `content-length`.
/// A real client would take half of the machine from the server that is to be measured.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server takes connections");
        stream.set_nodelay(true).expect("a socket that can be set");
        Self { stream, buffer: Vec::with_capacity(64 << 10) }
    }

    /// Sends a request and reads its answer whole: its status, and its body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> (u16, &[u8]) {
        self.stream.write_all(request).await.expect("the request is taken");
        self.buffer.clear();
        loop {
            if let Some((status, head, total)) = measure(&self.buffer)
                && self.buffer.len() >= total
            {
                return (status, &self.buffer[head..total]);
            }
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the answer comes");
            assert!(read > 0, "the server closed the connection");
        }
    }
}

/// The status, where the body begins, and where it ends.
fn measure(answer: &[u8]) -> Option<(u16, usize, usize)> {
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).expect("a head of text").to_ascii_lowercase();
    let status = text.get(9..12).and_then(|s| s.parse().ok()).expect("a status");
    let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")).expect("a content-length");
    Some((status, head, head + length.trim().parse::<usize>().expect("a number")))
}

/// A request, ready to be sent.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A line: what was measured, beside the limit measured in the same run.
pub(crate) fn line(what: &str, measured: f64, limit: f64, unit: &str) {
    println!("{what:<44} {measured:>11.0} {unit:<9} {limit:>11.0} limit {:>6.1} %", measured / limit * 100.0);
}
