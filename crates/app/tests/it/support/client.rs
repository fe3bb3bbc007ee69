//! A client of the API that believes nothing: every answer is held against the OpenAPI document.
//!
//! It must never skip that because an answer is a refusal.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::schema;

/// One asker of a server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
    document: Arc<Value>,
}

/// What the server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    asked: String,
}

impl Answer {
    /// Returns a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    /// Fails unless this is the status; returns the body.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        self.json()
    }

    /// Fails unless it is a problem with this status and code.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{}: {}", self.asked, self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.asked);
        assert_eq!(problem["requestId"].as_str(), self.header("x-request-id"), "{}", self.asked);
        problem
    }

    /// Returns the body; null when there is none.
    pub(crate) fn json(&self) -> Value {
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).unwrap() }
    }
}

fn http() -> reqwest::Client {
    // An error means that it is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().timeout(Duration::from_mins(1)).no_proxy().build().unwrap()
}

impl Client {
    pub(crate) fn new(url: &str, token: &str, document: Arc<Value>) -> Self {
        Self { http: http(), url: url.to_owned(), token: token.to_owned(), document }
    }

    /// Fetches the server's document.
    pub(crate) async fn document(url: &str, token: &str) -> Value {
        let answer = http().get(format!("{url}/api/openapi.json")).bearer_auth(token).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Asks without a token.
    pub(crate) fn stranger(&self) -> Self {
        Self { token: String::new(), ..self.clone() }
    }

    /// Begins a request that nothing is checked of.
    pub(crate) fn raw(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Asks, and holds the answer against the document.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.raw(method, path);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        self.send(method, path, request).await
    }

    /// Sends a request, and holds the answer against the document.
    pub(crate) async fn send(&self, method: &str, path: &str, request: RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let answer = Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
            asked: format!("{method} {path}"),
        };
        assert!(answer.header("x-request-id").is_some(), "{method} {path} has no request id");
        if answer.header("content-type").is_some_and(|it| it.contains("json")) {
            schema::check(&self.document, method, path, answer.status, &answer.json());
        }
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None).await
    }
}
