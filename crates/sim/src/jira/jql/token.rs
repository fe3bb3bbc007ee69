//! Cuts JQL into words, quoted texts and signs.
//! Must never fail without telling the place.

/// One piece of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word, unquoted: a field, a keyword or a value.
    Word(String),
    /// A quoted text: a field or a value, never a keyword.
    Text(String),
    /// An operator written with signs.
    Sign(&'static str),
    Open,
    Close,
    Comma,
}

/// A token and where it begins, counted from 1.
pub(super) type Placed = (Token, usize);

/// The operators, longer ones first; `&&` and `||` are words in another dress.
const SIGNS: [&str; 12] = ["!=", "!~", ">=", "<=", "&&", "||", "=", ">", "<", "~", "!", "|"];

/// Cuts a query into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut found) = (0, Vec::new());
    while let Some(&first) = chars.get(at) {
        let place = at + 1;
        let token = match first {
            _ if first.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '"' | '\'' => {
                let (text, end) = quoted(&chars, at)?;
                at = end;
                found.push((Token::Text(text), place));
                continue;
            }
            _ => {
                if let Some(sign) = sign(&chars[at..]) {
                    at += sign.len() - 1;
                    Token::Sign(sign)
                } else {
                    let length = chars[at..].iter().take_while(|it| is_word(**it)).count();
                    let word = chars[at..at + length].iter().collect();
                    at += length - 1;
                    Token::Word(word)
                }
            }
        };
        at += 1;
        found.push((token, place));
    }
    Ok(found)
}

fn is_word(it: char) -> bool {
    !it.is_whitespace() && !"()\"',=!<>~|&".contains(it)
}

fn sign(rest: &[char]) -> Option<&'static str> {
    let begins = |sign: &&&str| sign.chars().zip(rest).filter(|(a, b)| a == *b).count() == sign.len();
    // A lonely ampersand is no word and no operator; it is passed on to be refused.
    SIGNS.iter().find(begins).copied().or_else(|| (rest.first() == Some(&'&')).then_some("&"))
}

/// Reads a quoted text with its escapes, and where it ends.
fn quoted(chars: &[char], start: usize) -> Result<(String, usize), String> {
    let (quote, mut at, mut text) = (chars[start], start + 1, String::new());
    while let Some(&it) = chars.get(at) {
        match it {
            _ if it == quote => return Ok((text, at + 1)),
            '\\' => {
                at += 1;
                let escaped = chars.get(at).copied().unwrap_or_default();
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    '"' | '\'' | '\\' | ' ' => escaped,
                    _ => {
                        return Err(format!(
                            "Error in the JQL Query: '\\{escaped}' is an illegal JQL escape sequence. The valid \
                             escape sequences are \\', \\\", \\t, \\n, \\r, \\\\, '\\ ' and \\uXXXX. (line 1, \
                             character {at})"
                        ));
                    }
                });
            }
            _ => text.push(it),
        }
        at += 1;
    }
    let text: String = chars[start + 1..].iter().collect();
    Err(format!(
        "Error in the JQL Query: The quoted string '{text}' has not been completed. (line 1, character {})",
        start + 1
    ))
}
