//! Seals credentials. A sealed one opens only under the same key and for the same source and provider.
//!
//! Never prints a key or a credential. The only home of randomness in this crate.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use domain::id::SourceId;
use zeroize::{Zeroize, Zeroizing};

/// The size of XChaCha20-Poly1305's key.
const KEY_BYTES: usize = 32;

/// The size of its nonce: large enough to be random without counting.
const NONCE_BYTES: usize = 24;

/// A credential in the clear. Prints as `[redacted]` and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Returns the credential itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a sealed credential does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It was sealed under another key.
    #[error("{}; put the old key back, or set the credential again", self.detail())]
    WrongKey {
        /// The id of the key that sealed it.
        sealed_with: String,
        /// The id of the key in use.
        have: String,
    },
    /// It was changed, or moved here from another source.
    #[error("{}; set the credential again", self.detail())]
    Tampered,
}

impl SecretError {
    /// Returns what is known of it, for a place that names the fix in its own words.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::WrongKey { sealed_with, have } => {
                format!("the credential was sealed with key {sealed_with}, but the key in use is {have}")
            }
            Self::Tampered => "the sealed credential was changed outside syncline".to_owned(),
        }
    }

    /// Returns the stable word stored with a job that it stopped.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongKey { .. } => "wrong_key",
            Self::Tampered => "tampered",
        }
    }
}

/// Writes bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key.
    #[error("the key is neither 64 hex digits nor 44 characters of base64: it must be 32 random bytes")]
    Malformed,
    /// Others may read the key file.
    #[error("others may read the key file {path} (mode {mode:o}); allow only its owner: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// The key file cannot be read or made.
    #[error(
        "the key file {path} cannot be used ({why}); correct its owner and folder, or give the key as text"
    )]
    Unusable {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
}

/// The key that credentials are sealed under. A clone shares it.
#[derive(Clone)]
pub struct Vault {
    key: Arc<Zeroizing<[u8; KEY_BYTES]>>,
    key_id: String,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Vault {
    fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        // A hash in its own context: the id says nothing of the key. Eight digits tell a handful of keys apart.
        let hash = blake3::derive_key("syncline key id 1", key.as_slice());
        let key_id = hex(&hash).chars().take(8).collect();
        Self { key: Arc::new(key), key_id }
    }

    /// Reads a key of 32 bytes from 64 hex digits or base64.
    pub fn from_key_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = Zeroizing::new(from_hex(text).or_else(|| from_base64(text)).ok_or(KeyError::Malformed)?);
        let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| KeyError::Malformed)?;
        Ok(Self::new(Zeroizing::new(key)))
    }

    /// Reads the key file; makes it, with mode 0600, where there is none.
    pub fn from_key_file(path: &Path) -> Result<Self, KeyError> {
        let unusable = |error: std::io::Error| KeyError::Unusable {
            path: path.display().to_string(),
            why: error.to_string(),
        };
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => Self::from_open_file(path, file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Err(error) = make_key_file(path)
                    && error.kind() != std::io::ErrorKind::AlreadyExists
                {
                    return Err(unusable(error));
                }
                // Another process may have been quicker; what counts is what the file holds now.
                Self::from_open_file(path, OpenOptions::new().read(true).open(path).map_err(unusable)?)
            }
            Err(error) => Err(unusable(error)),
        }
    }

    fn from_open_file(path: &Path, mut file: std::fs::File) -> Result<Self, KeyError> {
        let name = || path.display().to_string();
        let unusable = |error: std::io::Error| KeyError::Unusable { path: name(), why: error.to_string() };
        let mode = file.metadata().map_err(unusable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: name(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(unusable)?;
        Self::from_key_text(&text)
    }

    /// Returns the first eight hex digits of a hash of the key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Names the account of a credential whose owner nobody tells; of no credential, that of all who ask without one.
    ///
    /// A hash under a key of its own, made of this one: who reads it cannot try credentials.
    #[must_use]
    pub fn account_of_credential(&self, provider: &str, base_url: &str, secret: Option<&Secret>) -> String {
        let key = Zeroizing::new(blake3::derive_key("syncline account key 1", self.key.as_slice()));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in [provider, "\n", base_url, "\n", secret.map_or("", Secret::expose)] {
            hasher.update(part.as_bytes());
        }
        account(&hasher)
    }

    pub(crate) fn seal(&self, source: SourceId, provider: &str, secret: &Secret) -> std::io::Result<Vec<u8>> {
        let mut sealed = vec![0; NONCE_BYTES];
        fill_random(&mut sealed)?;
        let nonce: [u8; NONCE_BYTES] =
            sealed.as_slice().try_into().map_err(|_| std::io::Error::other("nonce"))?;
        let about = binding(source, provider);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: about.as_bytes() };
        let ciphertext = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| std::io::Error::other("the credential is too long to seal"))?;
        sealed.extend(ciphertext);
        Ok(sealed)
    }

    pub(crate) fn open(
        &self,
        source: SourceId,
        provider: &str,
        sealed: &[u8],
        sealed_with: &str,
    ) -> Result<Secret, SecretError> {
        if sealed_with != self.key_id {
            return Err(SecretError::WrongKey {
                sealed_with: sealed_with.to_owned(),
                have: self.key_id.clone(),
            });
        }
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or(SecretError::Tampered)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SecretError::Tampered)?;
        let about = binding(source, provider);
        let payload = Payload { msg: ciphertext, aad: about.as_bytes() };
        let clear =
            self.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| SecretError::Tampered)?;
        String::from_utf8(clear).map(Secret::from).map_err(|error| {
            error.into_bytes().zeroize();
            SecretError::Tampered
        })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(**self.key))
    }
}

/// Names the account of an owner whom the provider named. The same under every key, so that nodes and years agree.
#[must_use]
pub fn account_of_owner(provider: &str, base_url: &str, owner: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("syncline account of an owner 1");
    for part in [provider, "\n", base_url, "\n", owner] {
        hasher.update(part.as_bytes());
    }
    account(&hasher)
}

/// 128 bits tell all accounts apart.
fn account(hasher: &blake3::Hasher) -> String {
    hex(hasher.finalize().as_bytes()).chars().take(32).collect()
}

/// What a sealed credential is bound to: moved to another source it does not open.
fn binding(source: SourceId, provider: &str) -> String {
    format!("syncline credential 1\n{source}\n{provider}")
}

#[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
pub(crate) fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
}

fn make_key_file(path: &Path) -> std::io::Result<()> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    fill_random(key.as_mut_slice())?;
    let text: Zeroizing<String> = Zeroizing::new(hex(key.as_slice()));
    let mut name = [0; 8];
    fill_random(&mut name)?;
    let name = hex(&name);
    // Written whole under another name first: whoever opens the key file at the same time never reads half a key, and
    // a link, unlike a rename, never replaces the file of a process that was quicker.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{name}"));
    let draft = std::path::PathBuf::from(draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", text.as_str())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    linked
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    (0..KEY_BYTES).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

/// Reads base64 with either alphabet, padded or not: people paste keys from many tools.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}
