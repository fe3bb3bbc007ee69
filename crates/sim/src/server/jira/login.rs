//! Who asks the fake Jira: the credential of a request, and which are good.
//! Must never show a secret.

use std::fmt;

use http::{HeaderMap, header};

use crate::hash::Digest;
use crate::jira::Deployment;
use crate::limits::owner;

/// One credential that is good.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name or address; none for a token by itself.
    pub(super) user: Option<String>,
    pub(super) secret: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("secret", &"[redacted]").finish()
    }
}

impl Login {
    /// Makes a login by name or address, with an API token or a password.
    #[must_use]
    pub fn basic(user: &str, secret: &str) -> Self {
        Self { user: Some(user.to_owned()), secret: secret.to_owned() }
    }

    /// Makes a login by an access token.
    #[must_use]
    pub fn bearer(token: &str) -> Self {
        Self { user: None, secret: token.to_owned() }
    }

    /// Tells whether the server wants to see a person first.
    pub(super) fn is_puzzled(&self) -> bool {
        self.user.is_some() && self.secret.starts_with("captcha")
    }

    /// Reads the `Authorization` header.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, rest) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::bearer(rest.trim()));
        }
        let plain = String::from_utf8(base64(rest.trim())?).ok()?;
        let (user, secret) = plain.split_once(':')?;
        scheme.eq_ignore_ascii_case("basic").then(|| Self::basic(user, secret))
    }

    /// Makes the name of its account in the books: a user has one, with whatever token.
    pub(super) fn account(&self, deployment: Deployment) -> String {
        let owner = self.user.as_deref().unwrap_or_else(|| owner(&self.secret));
        let digest = Digest::new(35).bytes(if self.user.is_some() { b"user" } else { b"bearer" });
        format!("{}#{:016x}", deployment.prefix(), digest.bytes(owner.as_bytes()).short())
    }
}

/// Decodes base64 with its padding, as the header has it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::{Login, base64};

    #[test]
    fn a_login_is_read_and_never_shown() {
        assert_eq!(base64("YWRhQGFjbWUuZXhhbXBsZTpzM2NyZXQ=").unwrap(), b"ada@acme.example:s3cret");
        assert_eq!(base64("YW*h"), None);
        let shown = format!("{:?}", Login::basic("ada", "s3cret"));
        assert!(shown.contains("ada") && !shown.contains("s3cret"), "{shown}");
    }
}
