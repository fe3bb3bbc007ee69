//! What a client may write: a comment.
//! Must never take a text where version 3 wants a document.

use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::parameter::body;
use super::{Ask, Standing, version};
use crate::world::site::{Site, SiteControl};

/// A comment may be as long as Jira lets it be.
const CHARS_MAX: usize = 32_767;

#[derive(Deserialize)]
struct Body {
    body: Value,
}

/// Writes a comment for whoever asks.
pub(super) fn comment(site: &Site, named: &str, ask: &Ask<'_>) -> Result<(), Answer> {
    let asked: Body = body(ask.body)?;
    let text = match (&asked.body, version(ask)) {
        (Value::String(text), "2") => text.clone(),
        (document @ Value::Object(_), "3") if document["type"] == "doc" => {
            let mut text = String::new();
            words(document, &mut text);
            text.trim_end().to_owned()
        }
        _ => return Err(Answer::field("comment", "Comment body is not valid!")),
    };
    if text.is_empty() {
        return Err(Answer::field("comment", "Comment body can not be empty!"));
    }
    if text.chars().count() > CHARS_MAX {
        return Err(Answer::field(
            "comment",
            "The entered text is too long. It exceeds the allowed limit of 32,767 characters.",
        ));
    }
    let visible = {
        let state = site.state();
        ask.standing == Standing::Known && state.issue(named).is_some_and(|it| state.shows(it))
    };
    let control = SiteControl::Comment { issue: named.to_owned(), text };
    if !visible || site.apply(&control).is_err() {
        return Err(Answer::no_issue());
    }
    Ok(())
}

/// Collects the words of a document, a line for each paragraph. Its depth is bounded by the reader of JSON.
fn words(node: &Value, text: &mut String) {
    if let Some(word) = node["text"].as_str() {
        text.push_str(word);
    }
    for part in node["content"].as_array().into_iter().flatten() {
        words(part, text);
    }
    if node["type"] == "paragraph" {
        text.push('\n');
    }
}
