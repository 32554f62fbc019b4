//! One kind of request: an order is parsed, validated, priced, compressed, signed and stored.
//!
//! Each step is a span. `#[profiled]` makes one of a function, `info_span!` and `.instrument` make one by hand; the
//! profiler treats both alike.

use flate2::Compression;
use flate2::write::GzEncoder;
use profile_layer::profiled;
use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::info_span;

/// Whatever a step of a request fails with.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How many bills the ledger keeps for reports.
const LEDGER: usize = 16;
/// Rounds of hashing that turn a checksum into a seal.
const SEAL_ROUNDS: usize = 12_000;
/// What fits into one parcel, in grams.
const PARCEL_GRAMS: u32 = 20_000;

/// The service's rules and everything that it has stored.
#[derive(Debug)]
pub(crate) struct Shop {
    email: Regex,
    sku: Regex,
    title: Regex,
    restricted: Regex,
    shards: [Mutex<Shard>; 3],
    ledger: Mutex<VecDeque<Arc<Bill>>>,
}

/// An order as the client sends it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) customer: String,
    pub(crate) email: String,
    pub(crate) lines: Vec<Line>,
}

/// One line of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) title: String,
    pub(crate) cents: u64,
    pub(crate) grams: u32,
}

/// What an order comes to.
#[derive(Debug, Serialize)]
pub(crate) struct Bill {
    pub(crate) customer: String,
    pub(crate) cents: u64,
    pub(crate) parcels: usize,
    pub(crate) lines: Vec<Line>,
}

/// A third of the search index, and the sealed orders filed with it.
#[derive(Debug, Default)]
struct Shard {
    words: BTreeMap<String, u64>,
    seals: VecDeque<[u8; 32]>,
}

impl Shop {
    /// A shop that has sold nothing yet.
    pub(crate) fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            email: Regex::new(r"^[\w.+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+$")?,
            sku: Regex::new(r"^[A-Z]{3}-\d{4,6}(-[a-z]{2,8})?$")?,
            title: Regex::new(r"^\p{Lu}?\p{L}*([ ,-]\p{L}+){2,12}$")?,
            restricted: Regex::new(r"(?i)\b(lithium|aerosol|solvent|firework)s?\b")?,
            shards: Default::default(),
            ledger: Mutex::default(),
        })
    }

    /// Serves one order. The caller wraps it in the root span `order`.
    pub(crate) async fn order(&self, document: Arc<str>) -> Result<(), Failure> {
        let order = parse(&document)?;
        self.validate(&order)?;
        let bill = price(order);

        // Compression is long enough to leave the async workers alone. The span goes where the work goes.
        let span = info_span!("compress");
        let packed =
            tokio::task::spawn_blocking(move || span.in_scope(|| compress(document.as_bytes()))).await??;

        let seal = info_span!("sign").in_scope(|| sign(&packed));
        self.store(bill, seal).await;
        Ok(())
    }

    /// The latest bills, newest first.
    pub(crate) fn bills(&self) -> Vec<Arc<Bill>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    #[profiled]
    fn validate(&self, order: &Order) -> Result<(), Failure> {
        if !self.email.is_match(&order.email) {
            return Err(format!("{:?} is not an e-mail address", order.email).into());
        }
        for line in &order.lines {
            if !self.sku.is_match(&line.sku) || !self.title.is_match(&line.title) {
                return Err(format!("{:?} {:?} is not an article", line.sku, line.title).into());
            }
        }
        match order.lines.iter().filter(|line| self.restricted.is_match(&line.title)).count() {
            0..=20 => Ok(()),
            many => Err(format!("{many} restricted articles in one order").into()),
        }
    }

    /// Files the bill in three shards: some CPU, then a wait for the disk, three times.
    #[profiled]
    async fn store(&self, bill: Bill, seal: [u8; 32]) {
        for (number, shard) in self.shards.iter().enumerate() {
            let words = count_words(bill.lines.iter().skip(number).step_by(self.shards.len()));
            tokio::time::sleep(Duration::from_millis(1 + u64::from(seal[number] % 3))).await;
            shard.lock().unwrap_or_else(PoisonError::into_inner).merge(words, seal);
            tokio::task::yield_now().await;
        }
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.truncate(LEDGER - 1);
        ledger.push_front(Arc::new(bill));
    }
}

impl Shard {
    fn merge(&mut self, words: BTreeMap<String, u64>, seal: [u8; 32]) {
        for (word, count) in words {
            *self.words.entry(word).or_default() += count;
        }
        self.seals.truncate(LEDGER);
        self.seals.push_front(seal);
    }
}

#[profiled]
fn parse(document: &str) -> Result<Order, serde_json::Error> {
    serde_json::from_str(document)
}

/// Prices an order: in each product group every third article, the cheapest ones, is free; the rest is packed into
/// as few parcels as first-fit finds.
#[profiled]
fn price(mut order: Order) -> Bill {
    order.lines.sort_by(|a, b| (group(a), b.cents, &a.title).cmp(&(group(b), a.cents, &b.title)));
    let mut cents = 0;
    for lines in order.lines.chunk_by(|a, b| group(a) == group(b)) {
        let paid = lines.len() - lines.len() / 3;
        cents += lines.iter().take(paid).map(|line| line.cents).sum::<u64>();
    }

    let mut grams: Vec<u32> = order.lines.iter().map(|line| line.grams).collect();
    grams.sort_unstable_by(|a, b| b.cmp(a));
    let mut parcels: Vec<u32> = Vec::new();
    for article in grams {
        match parcels.iter_mut().find(|parcel| **parcel + article <= PARCEL_GRAMS) {
            Some(parcel) => *parcel += article,
            None => parcels.push(article),
        }
    }
    Bill { customer: order.customer, cents, parcels: parcels.len(), lines: order.lines }
}

/// The product group: the letters that an article number starts with.
fn group(line: &Line) -> &str {
    line.sku.split_once('-').map_or(&line.sku, |(group, _)| group)
}

/// Gzip, quick rather than tight.
pub(crate) fn compress(document: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(document)?;
    encoder.finish()
}

/// A checksum of the document, stretched so that guessing costs something.
fn sign(document: &[u8]) -> [u8; 32] {
    let mut seal = Sha256::digest(document);
    for _ in 0..SEAL_ROUNDS {
        seal = Sha256::digest(seal);
    }
    seal.into()
}

fn count_words<'a>(lines: impl Iterator<Item = &'a Line>) -> BTreeMap<String, u64> {
    let mut words = BTreeMap::new();
    for word in lines.flat_map(|line| line.title.split_whitespace()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    words
}
