//! Fixtures: what is read and what the provider answers in turn, and the pages that they become, as snapshots.
//!
//! A connector's own tests name the streams; the files stand below `fixtures`, the snapshots beside the connector.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use domain::connector::{Connector, Step};
use domain::job::Lane;
use domain::page::{Cursor, Headers, Item, Page, Read, Response};
use domain::source::Settings;
use domain::table::Cell;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What is read, and what the provider answers in turn.
#[derive(Deserialize)]
struct Fixture<'a> {
    what: String,
    partition: String,
    base_url: Option<String>,
    #[serde(default)]
    learned: Value,
    #[serde(default)]
    args: Value,
    lane: Option<Lane>,
    #[serde(default)]
    items: Vec<ItemSpec>,
    cursor: Option<Cursor>,
    #[serde(borrow)]
    answers: Vec<Answer<'a>>,
}

#[derive(Deserialize)]
struct ItemSpec {
    key: String,
    have: Option<String>,
    wanted: String,
    base: Option<String>,
    cursor: Option<Cursor>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    status: u16,
    headers: BTreeMap<String, String>,
    /// Where it comes from, where that is elsewhere than was asked.
    #[serde(default)]
    url: String,
    /// JSON stands as it is sent; a body that is none stands in a string.
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Answer<'_> {
    fn response(&self) -> Response {
        let body =
            serde_json::from_str::<String>(self.body.get()).unwrap_or_else(|_| self.body.get().to_owned());
        Response {
            status: self.status,
            headers: Headers(
                self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            ),
            body: Bytes::from(body),
            url: self.url.clone(),
            requested_at: "2026-11-21T08:00:00Z".parse().unwrap(),
            received_at: "2026-11-21T08:00:01Z".parse().unwrap(),
        }
    }
}

fn fixtures(provider: &str, stream: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(provider).join(stream);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Reads every fixture of a stream; each has its own snapshot.
pub(crate) fn assert_pages(connector: &dyn Connector, stream: &str) {
    let provider = connector.spec().provider;
    for file in fixtures(provider, stream) {
        let text = std::fs::read_to_string(&file).unwrap();
        let fixture: Fixture<'_> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let name = format!("{stream}__{}", file.file_stem().unwrap().to_string_lossy());
        insta::with_settings!({
            description => fixture.what.clone(),
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => format!("../{provider}/snapshots"),
        }, {
            insta::assert_snapshot!(name, told(connector, stream, &fixture));
        });
    }
}

/// Tells what the connector asks and delivers, line by line.
fn told(connector: &dyn Connector, stream: &str, fixture: &Fixture<'_>) -> String {
    let own = fixture.base_url.as_deref().or(connector.spec().default_base_url);
    let settings = Settings { base_url: own.expect("an address").to_owned(), options: json!({}) };
    let items: Vec<Item> = fixture.items.iter().map(ItemSpec::item).collect();
    let read = Read {
        source: &settings,
        learned: &fixture.learned,
        stream,
        partition: &fixture.partition,
        args: &fixture.args,
        lane: fixture.lane.unwrap_or(Lane::Forward),
        items: &items,
        cursor: fixture.cursor.as_ref(),
        careful: false,
    };
    let mut told = String::new();
    let mut got: Vec<Response> = Vec::new();
    loop {
        match connector.step(&read, &got) {
            Ok(Step::Send(requests)) => {
                for request in requests {
                    let answer = fixture
                        .answers
                        .get(got.len())
                        .unwrap_or_else(|| panic!("no answer to {}", request.url));
                    let response = answer.response();
                    writeln!(told, "GET {} [{}] -> {}", request.url, request.bucket, response.status)
                        .unwrap();
                    for meter in connector.meter(&request, &response) {
                        writeln!(told, "  {meter:?}").unwrap();
                    }
                    got.push(response);
                }
            }
            Ok(Step::Page(page)) => {
                tell(&page, &got, &mut told);
                break;
            }
            Err(fault) => {
                writeln!(told, "{fault:?}").unwrap();
                break;
            }
        }
    }
    assert_eq!(got.len(), fixture.answers.len(), "every answer is read: {}\n{told}", fixture.what);
    told
}

fn tell(page: &Page, got: &[Response], told: &mut String) {
    for record in &page.records {
        writeln!(told, "{}", record.table.name).unwrap();
        for (column, cell) in record.table.columns.iter().zip(&record.cells) {
            if *cell != Cell::Null {
                writeln!(told, "  {}: {cell:?}", column.name).unwrap();
            }
        }
        let Some(raw) = &record.raw else { continue };
        let copied = !got.iter().any(|it| it.body.as_ptr_range().contains(&raw.as_ptr()));
        let how = if copied { "copied" } else { "of the body" };
        let object: Value = serde_json::from_slice(raw).unwrap();
        writeln!(told, "  raw: {} bytes {how}, {} members", raw.len(), object.as_object().unwrap().len())
            .unwrap();
    }
    for partition in &page.partitions {
        writeln!(told, "partition {partition:?}").unwrap();
    }
    for wanted in &page.wanted {
        writeln!(told, "wanted {wanted:?}").unwrap();
    }
    if let Some(learned) = &page.learned {
        writeln!(told, "learned {learned}").unwrap();
    }
    writeln!(told, "done {:?}", page.done).unwrap();
    if page.settled {
        writeln!(told, "settled").unwrap();
    }
    writeln!(told, "next {}", serde_json::to_string_pretty(&page.next).unwrap()).unwrap();
}

impl ItemSpec {
    fn item(&self) -> Item {
        Item {
            key: self.key.clone(),
            have: self.have.clone(),
            wanted: self.wanted.clone(),
            base: self.base.clone(),
            args: json!({}),
            cursor: self.cursor.clone(),
        }
    }
}
