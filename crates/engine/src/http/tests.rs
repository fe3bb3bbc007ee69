//! What outbound HTTP promises, over real sockets: credentials stay at home, and everything ends.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::fault::{Cause, Fault};
use store::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::{Access, Answer, Http, HttpLimits, fixed_headers};
use crate::clock::Clock;
use crate::room::Bodies;

/// A server that answers a path with bytes, then closes; it remembers the requests it got.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let mut length = 0;
                // 0x16 opens a TLS handshake: it gets its plain answer at once.
                while !request[..length].ends_with(b"\r\n\r\n") && request[0] != 0x16 {
                    match socket.read(&mut request[length..]).await.unwrap() {
                        0 => break,
                        read => length += read,
                    }
                }
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(text);
                let bytes = answer(&path);
                if bytes.is_empty() {
                    // Silence: the connection stays open without an answer.
                    std::mem::forget(socket);
                    continue;
                }
                socket.write_all(&bytes).await.unwrap();
            }
        });
        Self { url, asked, _tasks: tasks }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn ok(body: &[u8], headers: &str) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 301 Moved\r\nconnection: close\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes()
}

fn limits() -> HttpLimits {
    HttpLimits {
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_millis(300),
        total_timeout: Duration::from_secs(2),
        body_bytes_max: 10_000,
    }
}

async fn get(base: &str, url: &str) -> (Result<Answer, Fault>, u64) {
    get_as(None, base, url).await
}

async fn get_as(user: Option<&str>, base: &str, url: &str) -> (Result<Answer, Fault>, u64) {
    let http = Http::new(limits(), Clock::default()).unwrap();
    let base = Url::parse(base).unwrap();
    let headers = fixed_headers(&[("accept", "application/json")]);
    let token = Secret::from("planted-secret".to_owned());
    let room = Bodies::new().room(1, None);
    let access =
        Access { base: &base, headers: &headers, token: Some(&token), user, body_bytes: 0, room: &room };
    http.get(access, url, Some("W/\"tag\"")).await
}

fn body(answer: Result<Answer, Fault>) -> Vec<u8> {
    match answer {
        Ok(Answer::Whole(response)) => response.body.to_vec(),
        other => panic!("not a whole answer: {other:?}"),
    }
}

fn cause(answer: Result<Answer, Fault>) -> Cause {
    match answer {
        Err(Fault::Transient { cause, .. }) => cause,
        other => panic!("not a passing fault: {other:?}"),
    }
}

#[tokio::test]
async fn a_renamed_resource_is_followed_with_the_credential_and_the_validator() {
    let server = Server::start(|path| if path == "/old" { redirect("/new") } else { ok(b"here", "") }).await;
    let (answer, sent) = get(&server.url, &format!("{}/old", server.url)).await;
    assert_eq!(body(answer), b"here");
    assert_eq!(sent, 2);
    for request in server.asked() {
        assert!(request.contains("authorization: Bearer planted-secret"), "{request}");
        assert!(request.contains("if-none-match: W/\"tag\""), "{request}");
        assert!(request.contains("accept: application/json"), "{request}");
    }
}

#[tokio::test]
async fn a_credential_with_a_user_goes_along_as_basic_to_its_own_server_only() {
    let other = Server::start(|_| ok(b"archive", "")).await;
    let to = format!("{}/file", other.url);
    let server = Server::start(move |_| redirect(&to)).await;
    let (answer, _) = get_as(Some("me@example.com"), &server.url, &format!("{}/x", server.url)).await;
    assert_eq!(body(answer), b"archive");
    // "me@example.com:planted-secret" in base64.
    let header = "authorization: Basic bWVAZXhhbXBsZS5jb206cGxhbnRlZC1zZWNyZXQ=";
    assert!(server.asked()[0].contains(header), "{:?}", server.asked());
    assert!(!other.asked()[0].contains("authorization"), "{:?}", other.asked());
}

#[tokio::test]
async fn another_server_never_sees_the_credential() {
    let other = Server::start(|_| ok(b"archive", "")).await;
    let to = format!("{}/file", other.url);
    let server = Server::start(move |_| redirect(&to)).await;
    let (answer, _) = get(&server.url, &format!("{}/tarball", server.url)).await;
    assert_eq!(body(answer), b"archive");
    assert!(!other.asked()[0].contains("planted-secret"), "{}", other.asked()[0]);
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let server = Server::start(|_| redirect("/again")).await;
    let (answer, sent) = get(&server.url, &format!("{}/again", server.url)).await;
    assert_eq!(cause(answer), Cause::Redirect);
    assert_eq!(sent, 6);
}

#[tokio::test]
async fn a_redirect_into_the_neighbourhood_is_not_followed() {
    let server = Server::start(|_| redirect("http://169.254.169.254/latest/meta-data")).await;
    let (answer, sent) = get(&server.url, &format!("{}/x", server.url)).await;
    assert_eq!(cause(answer), Cause::Redirect);
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_refused_also_when_it_is_packed() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 5_000_000]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 10_000, "the bomb itself is small");
    let server = Server::start(move |path| {
        if path == "/packed" { ok(&packed, "content-encoding: gzip\r\n") } else { ok(&[b'x'; 10_001], "") }
    })
    .await;
    for path in ["packed", "plain"] {
        let (answer, _) = get(&server.url, &format!("{}/{path}", server.url)).await;
        assert_eq!(cause(answer), Cause::TooLarge, "{path}");
    }
}

#[tokio::test]
async fn silence_and_cut_answers_end() {
    let server = Server::start(|path| match path {
        "/silent" => Vec::new(),
        _ => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 100\r\n\r\nonly this".to_vec(),
    })
    .await;
    let (answer, _) = get(&server.url, &format!("{}/silent", server.url)).await;
    assert_eq!(cause(answer), Cause::Timeout);
    let (answer, _) = get(&server.url, &format!("{}/cut", server.url)).await;
    assert_eq!(cause(answer), Cause::Cut);
}

#[tokio::test]
async fn who_is_not_there_is_told_apart() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let (answer, _) = get(&closed, &format!("{closed}/x")).await;
    assert_eq!(cause(answer), Cause::Connect);
    let (answer, _) = get("https://no-such-host.invalid", "https://no-such-host.invalid/x").await;
    assert_eq!(cause(answer), Cause::UnknownHost);
    // A plain server where an encrypted one is expected.
    let server = Server::start(|_| ok(b"plain", "")).await;
    let encrypted = server.url.replace("http:", "https:");
    let (answer, _) = get(&encrypted, &format!("{encrypted}/x")).await;
    assert_eq!(cause(answer), Cause::Tls);
}

#[tokio::test]
async fn an_unchanged_answer_is_told_apart() {
    let server = Server::start(|_| b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_vec()).await;
    let (answer, _) = get(&server.url, &format!("{}/x", server.url)).await;
    assert!(matches!(answer, Ok(Answer::NotModified(_))), "{answer:?}");
}
