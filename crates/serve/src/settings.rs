use std::{fmt, fs, net::SocketAddr, path::Path, time::Duration};

use crate::ServeError;

/// The shortest key that is taken.
const SHORTEST_KEY: usize = 16;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Without it nobody is answered (but for health); needed where other machines can ask.
    pub key: Option<ApiKey>,
    /// Items that the model embeds at once.
    pub batch: usize,
    /// How long the first item of a batch waits for others.
    pub wait: Duration,
    /// Items that are taken in and not yet answered; what would exceed it is answered with 429.
    pub queue: usize,
    /// The longest body of a request, in bytes.
    pub body: usize,
    /// Connections at a time; what exceeds it waits to be accepted.
    pub connections: usize,
    /// A request's head, and then its body, must each arrive within this time.
    pub patience: Duration,
    /// After SIGTERM, requests that are being answered get this time.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            key: None,
            batch: 32,
            wait: Duration::from_millis(5),
            queue: 256,
            body: 16 << 20,
            connections: 800,
            patience: Duration::from_secs(20),
            grace: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Whether they can work and are safe; [`serve`](crate::serve) asks, too.
    ///
    /// # Errors
    /// A number that is 0, or an address that others can reach without a key.
    pub fn check(&self) -> Result<(), ServeError> {
        let least_one = [
            ("batch", self.batch),
            ("queue", self.queue),
            ("body", self.body),
            ("connections", self.connections),
            ("patience", self.patience.as_millis() as usize),
        ];
        if let Some((name, found)) = least_one.into_iter().find(|(_, found)| *found == 0) {
            return Err(ServeError::Setting { name, least: 1, found });
        }
        match self.listen.ip().is_loopback() || self.key.is_some() {
            true => Ok(()),
            false => Err(ServeError::NeedsKey { address: self.listen }),
        }
    }
}

/// The hash of a key: the key itself is not kept, and comparing takes the same time whatever is given.
#[derive(Clone)]
pub struct ApiKey(blake3::Hash);

impl ApiKey {
    /// The first and only line of a file.
    ///
    /// # Errors
    /// If it cannot be read, or what it holds is too short or cannot stand in a header.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let wrong = |problem: String| ServeError::Key { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let key = text.trim();
        if key.len() < SHORTEST_KEY {
            return Err(wrong(format!("a key has at least {SHORTEST_KEY} characters, this has {}", key.len())));
        }
        match key.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self::new(key)),
            false => Err(wrong("a key is one line of ASCII without blanks".to_owned())),
        }
    }

    /// A key from its text.
    pub fn new(key: &str) -> Self {
        Self(blake3::hash(key.as_bytes()))
    }

    /// Whether this is the key. Hashes are compared in constant time (`blake3::Hash` promises it).
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0 == blake3::hash(given)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}
