//! What must not leave the node: the values in a query and the credentials in a URL.
//!
//! In: a query or an authority as sent, and what the operator allows. Out: the same without secrets.

/// What leaves of a request's query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Query {
    /// The keys; each value becomes `REDACTED`.
    #[default]
    Redact,
    /// Keys and values, except the values that the semantic conventions hold to be secret.
    Keep,
    /// Nothing.
    Drop,
}

/// Put in the place of a secret (semantic conventions, `url.query`).
pub const REDACTED: &str = "REDACTED";

/// Pairs of a query that are passed on; the rest is left out.
const PAIRS_MAX: usize = 64;
/// Bytes of a key; a longer one is taken for a value.
const KEY_BYTES_MAX: usize = 64;

/// Keys whose values are secrets: signatures of signed URLs.
const SECRET_KEYS: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
];

/// The query as it may leave; `None` where nothing may.
pub fn query(query: &str, allowed: Query) -> Option<String> {
    let pairs = query.split('&').take(PAIRS_MAX);
    let redacted: Vec<String> = match allowed {
        Query::Drop => return None,
        Query::Keep => pairs.map(without_secret).collect(),
        Query::Redact => pairs.map(key_only).collect(),
    };
    Some(redacted.join("&"))
}

/// The authority of a URL without the credentials in front of it, and what stands in their place.
pub fn authority(authority: &str) -> (&'static str, &str) {
    let mut bytes = authority.bytes();
    match bytes.rposition(|byte| byte == b'@') {
        Some(at) => (
            "REDACTED:REDACTED@",
            authority.get(at + 1..).unwrap_or_default(),
        ),
        None => ("", authority),
    }
}

fn without_secret(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if SECRET_KEYS.contains(&key) => format!("{key}={REDACTED}"),
        _ => pair.to_owned(),
    }
}

/// A part without `=` may be a key or a value: it is taken for a value.
fn key_only(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if key.len() <= KEY_BYTES_MAX => format!("{key}={REDACTED}"),
        _ if pair.is_empty() => String::new(),
        _ => REDACTED.to_owned(),
    }
}
