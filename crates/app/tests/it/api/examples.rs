//! Every example payload that GitHub's own libraries are tested with is answered well.
//!
//! They are not kept here: `./dev setup` fetches them. It must never pass without them.

use std::path::Path;

use serde_json::Value;
use sim::{Delivery, signed};

use super::webhook::secret;
use super::{Stage, add, world};
use crate::support::Sender;

/// Fewer would mean that the package has another form.
const EXAMPLES_MIN: usize = 700;

/// Reads all examples: each with its event.
fn examples() -> Vec<(String, String)> {
    // Beside the folder of the profile that the program was built in.
    let target = Path::new(env!("CARGO_BIN_EXE_syncline")).ancestors().nth(2).unwrap();
    let folder = target.join("tools/webhooks-examples/package");
    let found = std::fs::read_dir(&folder);
    let found =
        found.unwrap_or_else(|why| panic!("{}: {why}; fetch them with: ./dev setup", folder.display()));
    let mut all = Vec::new();
    for index in found.map(|it| it.unwrap().path().join("index.json")).filter(|it| it.is_file()) {
        let events: Vec<Value> = serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap();
        for event in events {
            let name = event["name"].as_str().unwrap();
            let payloads = event["examples"].as_array().unwrap();
            all.extend(payloads.iter().map(|it| (name.to_owned(), it.to_string())));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_official_example_is_answered_well() {
    let examples = examples();
    assert!(examples.len() >= EXAMPLES_MIN, "only {} examples", examples.len());
    let (stage, sim) = (Stage::set().await, world().await);
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    let secret = secret(&admin, source).await;
    let deliveries = examples.iter().enumerate().map(|(nth, (event, body))| {
        let mut headers = signed(&secret, body.as_bytes());
        headers.push(("x-github-event".to_owned(), event.clone()));
        headers.push(("x-github-delivery".to_owned(), format!("{nth}-{event}")));
        Delivery { headers, body: body.clone().into_bytes(), genuine: true }
    });
    let mut answered = [0, 0];
    Sender::new(&stage.server.url, source)
        .send_all(deliveries.collect(), |delivery, status| {
            let body = String::from_utf8_lossy(&delivery.body);
            let at = [200, 202].iter().position(|it| Some(*it) == status);
            answered[at.unwrap_or_else(|| panic!("{status:?}: {:?} {body}", delivery.headers))] += 1;
        })
        .await;
    let kept = stage.scene.database.number("select count(*) from deliveries").await;
    assert_eq!(usize::try_from(kept).unwrap(), examples.len());
    // What names branches or repositories is followed until the first sync began; then nobody knows those repositories.
    let [ignored, waiting] = answered;
    assert!(waiting > 0 && ignored > waiting, "{waiting} were followed, {ignored} ignored");
    stage.server.stop().await;
}
