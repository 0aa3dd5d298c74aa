//! SASL DIGEST-MD5 (RFC 2831) on the server's side, as ZooKeeper's clients use it: a connection proves which user of the JAAS file it is.
//!
//! Two steps: the client's first token is answered with a challenge, its second one with `rspauth`, by which the client knows that the server
//! has the password too. Mirrors `ZooKeeperSaslServer` of 3.9 over the JDK's mechanism: its realm, its service name, the quality `auth`
//! only, and its strictness about what the client sends. Owns the parsing and the arithmetic; it must never see a random number that it made
//! itself (the challenge's nonce comes in) and never say why a client failed (the reason is for the server's log).
//! It fails with [`SaslError`]. The tests hold RFC 2831's example and exchanges with the real server.

use md5::{Digest as _, Md5};
use std::collections::HashMap;
use std::fmt;
use subtle::ConstantTimeEq as _;

/// Who may log in, and who of them is the super user.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SaslUsers {
    passwords: HashMap<Box<str>, Box<str>>,
}

impl SaslUsers {
    /// From names and passwords; the last password of a name holds.
    pub fn new<'a>(users: impl IntoIterator<Item = (&'a str, &'a str)>) -> SaslUsers {
        SaslUsers { passwords: users.into_iter().map(|(name, password)| (name.into(), password.into())).collect() }
    }

    /// The users' names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.passwords.keys().map(|name| &**name)
    }
}

impl fmt::Debug for SaslUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the passwords.
        f.debug_set().entries(self.names()).finish()
    }
}

/// Where a connection stands in the exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Exchange {
    /// Nothing said yet.
    #[default]
    New,
    /// The client has been given this nonce.
    Challenged(Box<str>),
    /// It ended, well or not: nothing more is possible on this connection.
    Over,
}

/// What the server answers to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The first step: the token to send.
    Challenge(Vec<u8>),
    /// The last step.
    Proved {
        /// Who it is.
        user: Box<str>,
        /// The token to send.
        token: Vec<u8>,
    },
}

/// Why an exchange failed: for the server's eyes. The client hears that it failed, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// A token after the end of the exchange.
    #[error("the exchange is over")]
    Over,
    /// More than [`TOKEN_BYTES_MAX`].
    #[error("the token is too long")]
    TooLong,
    /// No list of directives.
    #[error("the token is malformed")]
    Malformed,
    /// A directive that must be there is not.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// A directive is there twice.
    #[error("the token has {0} twice")]
    Twice(&'static str),
    /// A directive has a value that the server did not offer.
    #[error("the token has another {0} than was offered")]
    NotOffered(&'static str),
    /// No such user, or another password.
    #[error("unknown user or wrong password")]
    WrongPassword,
}

/// The longest token that a client may send, as in the JDK.
pub const TOKEN_BYTES_MAX: usize = 4_096;

impl Exchange {
    /// Takes the client's next token. `nonce` is asked for in the first step only: it must be unpredictable and never the same again.
    ///
    /// # Errors
    /// [`SaslError`]: the client is not who it says, or says it wrongly.
    pub fn step(
        &mut self,
        users: &SaslUsers,
        token: &[u8],
        nonce: impl FnOnce() -> String,
    ) -> Result<Answer, SaslError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(SaslError::TooLong);
        }
        match std::mem::replace(self, Exchange::Over) {
            // The JDK does not look at an initial response.
            Exchange::New => {
                let nonce = nonce();
                let challenge = format!("realm=\"{REALM}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
                *self = Exchange::Challenged(nonce.into());
                Ok(Answer::Challenge(challenge.into_bytes()))
            }
            Exchange::Challenged(nonce) => {
                let response = Response::parse(token)?;
                response.verify(users, &nonce)
            }
            Exchange::Over => Err(SaslError::Over),
        }
    }
}

/// ZooKeeper's name of its server towards the mechanism, which is the realm as well.
const REALM: &str = "zk-sasl-md5";
/// The service that a client must mean.
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// The client's second token, directive by directive.
#[derive(Debug, Default)]
struct Response {
    values: [Option<Vec<u8>>; DIRECTIVES.len()],
}

/// What a client may say; the place in the list is the place in [`Response`]. Others are ignored.
const DIRECTIVES: [&str; 12] = [
    "username",
    "realm",
    "nonce",
    "cnonce",
    "nc",
    "nonce-count",
    "qop",
    "digest-uri",
    "response",
    "maxbuf",
    "charset",
    "authzid",
];

impl Response {
    /// Reads `name=value, name="value"`, separated by commas or blanks.
    fn parse(token: &[u8]) -> Result<Response, SaslError> {
        let mut response = Response::default();
        let mut rest = Cursor { bytes: token };
        loop {
            rest.skip_while(|byte| is_blank(byte) || byte == b',');
            if rest.bytes.is_empty() {
                return Ok(response);
            }
            let name = rest.take_while(|byte| !is_blank(byte) && !matches!(byte, b'=' | b','));
            rest.skip_while(is_blank);
            if name.is_empty() || rest.next() != Some(b'=') {
                return Err(SaslError::Malformed);
            }
            rest.skip_while(is_blank);
            let value = rest.value()?;
            response.set(name, value)?;
        }
    }

    fn set(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), SaslError> {
        let known =
            DIRECTIVES.iter().zip(&mut self.values).find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        match known {
            Some((known, Some(_))) => Err(SaslError::Twice(known)),
            Some((_, place)) => {
                *place = Some(value);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn get(&self, name: &'static str) -> Option<&[u8]> {
        let mut all = DIRECTIVES.iter().zip(&self.values);
        all.find(|(known, _)| **known == name).and_then(|(_, value)| value.as_deref())
    }

    fn need(&self, name: &'static str) -> Result<&[u8], SaslError> {
        self.get(name).ok_or(SaslError::Missing(name))
    }

    /// `Ok` where the directive is as `fits` wants it, or absent.
    fn offered(&self, name: &'static str, fits: impl FnOnce(&[u8]) -> bool) -> Result<(), SaslError> {
        if self.get(name).is_none_or(fits) { Ok(()) } else { Err(SaslError::NotOffered(name)) }
    }

    fn verify(&self, users: &SaslUsers, nonce: &str) -> Result<Answer, SaslError> {
        self.offered("charset", |charset| charset == b"utf-8")?;
        self.offered("maxbuf", |bytes| number(bytes, 10).is_some())?;
        let user = String::from_utf8_lossy(self.need("username")?);
        self.need("realm").and_then(|_| self.offered("realm", |realm| realm == REALM.as_bytes()))?;
        self.need("nonce").and_then(|_| self.offered("nonce", |echo| echo == nonce.as_bytes()))?;
        let cnonce = self.need("cnonce")?;
        // A nonce is good for one use.
        self.offered("nc", |count| number(count, 16) == Some(1))?;
        self.offered("nonce-count", |count| number(count, 16) == Some(1))?;
        self.offered("qop", |quality| quality == b"auth")?;
        let uri = self.need("digest-uri")?;
        self.offered("digest-uri", |uri| uri.eq_ignore_ascii_case(DIGEST_URI.as_bytes()))?;
        let response = self.need("response")?;
        // An unknown user takes as long as a wrong password.
        let password = users.passwords.get(&*user);
        let proof = Proof {
            user: &user,
            realm: REALM,
            password: password.map_or("", |password| password),
            nonce: nonce.as_bytes(),
            cnonce,
            uri,
            authzid: self.get("authzid"),
        };
        let is_right = bool::from(proof.value("AUTHENTICATE").as_bytes().ct_eq(response));
        if !is_right || password.is_none() {
            return Err(SaslError::WrongPassword);
        }
        let token = format!("rspauth={}", proof.value("")).into_bytes();
        Ok(Answer::Proved { user: user.into(), token })
    }
}

/// What goes into a response value.
#[derive(Clone, Copy)]
struct Proof<'a> {
    user: &'a str,
    realm: &'a str,
    password: &'a str,
    nonce: &'a [u8],
    cnonce: &'a [u8],
    uri: &'a [u8],
    authzid: Option<&'a [u8]>,
}

impl Proof<'_> {
    /// RFC 2831, 2.1.2.1: `AUTHENTICATE` for the client's value, nothing for the server's.
    fn value(&self, method: &str) -> String {
        let secret = md5(&[&narrow(self.user), &narrow(self.realm), &narrow(self.password)]);
        let a1 = match self.authzid {
            Some(authzid) => md5(&[&secret, self.nonce, self.cnonce, authzid]),
            None => md5(&[&secret, self.nonce, self.cnonce]),
        };
        let a2 = md5(&[method.as_bytes(), self.uri]);
        let (a1, a2) = (hex(&a1), hex(&a2));
        hex(&md5(&[a1.as_bytes(), self.nonce, b"00000001", self.cnonce, b"auth", a2.as_bytes()]))
    }
}

/// MD5 of the parts with colons between them.
fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// ISO 8859-1 where every character is in it, UTF-8 otherwise.
fn narrow(text: &str) -> Vec<u8> {
    let narrow: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    narrow.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn number(bytes: &[u8], radix: u32) -> Option<i32> {
    i32::from_str_radix(std::str::from_utf8(bytes).ok()?, radix).ok()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What is left to read of a token.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn take_while(&mut self, f: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.bytes.iter().position(|byte| !f(*byte)).unwrap_or(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(end);
        self.bytes = rest;
        taken
    }

    fn skip_while(&mut self, f: impl Fn(u8) -> bool) {
        self.take_while(f);
    }

    /// A value in quotes, or up to the next comma or blank.
    fn value(&mut self) -> Result<Vec<u8>, SaslError> {
        if self.bytes.is_empty() {
            return Err(SaslError::Malformed);
        }
        if self.bytes.first() != Some(&b'"') {
            return Ok(self.take_while(|byte| !is_blank(byte) && byte != b',').to_vec());
        }
        self.next();
        let mut value = Vec::new();
        loop {
            match self.next().ok_or(SaslError::Malformed)? {
                b'"' => break,
                b'\\' => value.push(self.next().ok_or(SaslError::Malformed)?),
                byte => value.push(byte),
            }
        }
        let ends_well = self.bytes.first().is_none_or(|byte| is_blank(*byte) || *byte == b',');
        if ends_well { Ok(value) } else { Err(SaslError::Malformed) }
    }
}

#[cfg(test)]
mod tests;
