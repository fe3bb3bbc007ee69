//! A client that shows exactly what came over the wire, and walks pages as a connector has to.
//! Must never repair anything: no retries, no redirects, no tolerance for a short body.

use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::Value;
use sim::{Options, Sim, WorldSource};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One answer as it came.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Tells whether less came than was promised.
    pub(crate) fn is_cut(&self) -> bool {
        self.header("content-length").is_some_and(|length| length.parse() != Ok(self.body.len()))
    }

    pub(crate) fn json(&self) -> Value {
        let mut body = self.body.clone();
        if self.header("content-encoding") == Some("gzip") {
            body.clear();
            GzDecoder::new(&self.body[..]).read_to_end(&mut body).unwrap();
        }
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns the links by their rel.
    pub(crate) fn links(&self) -> HashMap<String, String> {
        let links = self.header("link").unwrap_or_default().split(", ").filter(|link| !link.is_empty());
        links
            .map(|link| {
                let (url, rel) = link.split_once("; rel=").unwrap();
                (rel.trim_matches('"').to_owned(), url.trim_matches(['<', '>']).to_owned())
            })
            .collect()
    }

    /// Returns the rels in the order of the header.
    pub(crate) fn rels(&self) -> Vec<&str> {
        self.header("link")
            .unwrap_or_default()
            .split("rel=\"")
            .skip(1)
            .map(|part| part.split('"').next().unwrap())
            .collect()
    }
}

/// Sends a request with these headers and reads until the server closes.
pub(crate) async fn send(
    sim: &Sim,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let target = target.strip_prefix(&format!("http://{}", sim.address())).unwrap_or(target);
    let mut stream = TcpStream::connect(sim.address()).await.unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", sim.address());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n", body]);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(raw[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: raw[end + 4..].to_vec() }
}

/// What every ordinary request carries.
pub(crate) const TOKEN: (&str, &str) = ("authorization", "Bearer good");
pub(crate) const AGENT: (&str, &str) = ("user-agent", "test");

/// Asks GitHub as an ordinary client does; targets below `/github` or as links give them.
pub(crate) async fn get(sim: &Sim, target: &str) -> Answer {
    get_with(sim, target, &[]).await
}

/// Asks with more headers.
pub(crate) async fn get_with(sim: &Sim, target: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[TOKEN, AGENT], headers].concat();
    let target = if target.starts_with("http") { target.to_owned() } else { format!("/github{target}") };
    send(sim, "GET", &target, &headers, "").await
}

/// Follows the next links and returns the pages.
pub(crate) async fn walk(sim: &Sim, target: &str) -> Vec<Answer> {
    let mut pages = vec![get(sim, target).await];
    while let Some(next) = pages.last().unwrap().links().get("next") {
        pages.push(get(sim, next).await);
    }
    assert!(pages.iter().all(|page| page.status == 200));
    pages
}

/// Returns the shas of listed commits, in order.
pub(crate) fn shas(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|commit| commit["sha"].as_str().unwrap().to_owned()).collect()
}

/// Walks a list of commits and returns all shas.
pub(crate) async fn all_shas(sim: &Sim, target: &str) -> Vec<String> {
    walk(sim, target).await.iter().flat_map(|page| shas(&page.json())).collect()
}

/// Starts a seeded world with one repository.
pub(crate) async fn seeded(commits: usize) -> Sim {
    seeded_with(commits, "", "").await
}

/// Starts a seeded world with two repositories, faults and limits.
pub(crate) async fn seeded_with(commits: usize, faults: &str, limits: &str) -> Sim {
    let world = WorldSource::Seeded { seed: 5, repos: 2, commits };
    let (faults, limits) = (faults.parse().unwrap(), limits.parse().unwrap());
    sim::start(Options { world, faults, limits, ..Options::default() }).await.unwrap()
}
