//! The query of a request, and the encoding of what stands in paths.
//! Must never decode twice: `%252F` is `%2F` and not a slash.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What need not be encoded in a path segment.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Encodes a name as one path segment.
pub(crate) fn encode(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

/// Decodes a path segment.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// In a query a plus stands for a space, as in a form.
fn decode_value(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// The parts of a query, as they were written.
pub(crate) struct Query<'a>(pub(crate) &'a str);

impl Query<'_> {
    /// Iterates over the parts as they were written.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('&').filter(|part| !part.is_empty())
    }

    /// Iterates over names and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.parts().map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode_value(name), decode_value(value))
        })
    }

    /// Reads one value; an empty one counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let value = self.parts().find_map(|part| part.strip_prefix(key)?.strip_prefix('='))?;
        Some(decode_value(value)).filter(|value| !value.is_empty())
    }

    /// Reads all values of a list, whose name may be encoded: `refs[]` or `refs%5B%5D`.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let values = self.pairs().filter(|(name, value)| {
            name.strip_prefix(key).is_some_and(|rest| ["", "[]"].contains(&rest)) && !value.is_empty()
        });
        values.map(|(_, value)| value).collect()
    }

    /// Reads a number above 0.
    pub(crate) fn number(&self, key: &str) -> Option<usize> {
        self.get(key)?.parse().ok().filter(|number| *number > 0)
    }

    /// Reads a moment, or finds that what is there is none.
    pub(crate) fn time(&self, key: &str) -> Result<Option<Timestamp>, ()> {
        let Some(text) = self.get(key) else { return Ok(None) };
        // A date alone means its midnight.
        let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text };
        text.parse::<Timestamp>().map(Some).map_err(|_| ())
    }

    /// Reads yes or no.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Query, decode};

    #[test]
    fn values_are_decoded_once_and_lists_are_found_however_they_are_written() {
        assert_eq!(decode("a%252Fb"), "a%2Fb");
        assert_eq!(Query("sha=a+b&page=0").get("sha").as_deref(), Some("a b"));
        assert_eq!(Query("sha=a+b&page=0").number("page"), None);
        for query in ["refs[]=a&refs[]=b%2Fc", "refs%5B%5D=a&x=1&refs%5b%5d=b/c"] {
            assert_eq!(Query(query).list("refs"), ["a", "b/c"], "{query}");
        }
        assert_eq!(
            (Query("all=true").flag("all"), Query("all=x").flag("all"), Query("").flag("all")),
            (Some(true), None, None)
        );
    }
}
