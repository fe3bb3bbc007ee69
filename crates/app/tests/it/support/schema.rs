//! Holds an answer against the server's own OpenAPI document.
//!
//! It must never let an answer pass that the document does not describe.

use serde_json::{Map, Value, json};

/// Fails unless the document allows this body for this answer.
#[track_caller]
pub(super) fn check(document: &Value, method: &str, path: &str, status: u16, body: &Value) {
    let path = path.split('?').next().unwrap_or_default();
    let responses = operation(document, method, path).map(|it| &it["responses"]);
    let schema = match responses {
        Some(responses) => {
            let response = responses.get(status.to_string()).unwrap_or(&responses["default"]);
            let content = response["content"].as_object().unwrap_or_else(|| {
                panic!("{method} {path}: the document knows no body for {status}: {body}")
            });
            content.values().next().unwrap()["schema"].clone()
        }
        // An address that leads nowhere is answered with a problem like any other.
        None => json!({ "$ref": "#/components/schemas/Problem" }),
    };
    let mut whole: Map<String, Value> = schema.as_object().unwrap().clone();
    whole.insert("components".to_owned(), document["components"].clone());
    let validator = jsonschema::draft202012::new(&Value::Object(whole)).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(body).map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert!(wrong.is_empty(), "{method} {path} answered {status} with {body:#}\n{}", wrong.join("\n"));
}

/// Finds what the document says of a request.
fn operation<'a>(document: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let paths = document["paths"].as_object().unwrap();
    // A path that is written out comes before one with blanks.
    let mut matching: Vec<_> = paths.iter().filter(|(template, _)| fits(template, path)).collect();
    matching.sort_by_key(|(template, _)| template.matches('{').count());
    matching.into_iter().find_map(|(_, item)| item.get(method.to_lowercase()))
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
}
