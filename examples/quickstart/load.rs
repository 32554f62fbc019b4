//! The clients: eight of them send orders, one asks for reports, all at once, until the time is up.

use crate::orders::{Failure, Line, Order, Shop};
use crate::reports::report;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{Instrument, info_span};

const CLIENTS: u64 = 8;
const DOCUMENTS: u64 = 24;
const WORDS: [&str; 16] = [
    "Oak", "desk", "lamp", "Brass", "fitting", "for", "standing", "shelf", "with", "Cotton", "cushion",
    "Linen", "curtain", "paint", "garden", "Chair",
];

/// What was served.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    orders: u64,
    refused: u64,
    reports: u64,
}

/// Runs all clients for `time` and then waits for the requests that are under way.
pub(crate) async fn serve(time: Duration) -> Result<Tally, Failure> {
    let shop = Arc::new(Shop::new()?);
    let documents: Arc<[Arc<str>]> = (0..DOCUMENTS).map(document).collect::<Result<_, _>>()?;
    let end = Instant::now() + time;

    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(send_orders(client, shop.clone(), documents.clone(), end)))
        .collect();
    let reader = tokio::spawn(ask_for_reports(shop, end));

    let mut tally = Tally::default();
    for client in clients {
        let (served, refused) = client.await?;
        tally.orders += served;
        tally.refused += refused;
    }
    tally.reports = reader.await??;
    Ok(tally)
}

async fn send_orders(client: u64, shop: Arc<Shop>, documents: Arc<[Arc<str>]>, end: Instant) -> (u64, u64) {
    let (mut served, mut refused) = (0, 0);
    for document in documents.iter().cycle().skip(random(client) as usize % documents.len()) {
        if Instant::now() >= end {
            break;
        }
        // The root of a request: one trace, one local root, whatever threads it runs on.
        match shop.order(document.clone()).instrument(info_span!("order", client)).await {
            Ok(()) => served += 1,
            Err(_) => refused += 1,
        }
    }
    (served, refused)
}

async fn ask_for_reports(shop: Arc<Shop>, end: Instant) -> Result<u64, Failure> {
    let mut reports = 0;
    while Instant::now() < end {
        report(&shop).await?;
        reports += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(reports)
}

/// An order of 600 to 4,600 lines as JSON. Every twelfth one has a bad address and is refused.
fn document(number: u64) -> Result<Arc<str>, serde_json::Error> {
    let mut state = number;
    let mut next = move |below: u64| {
        state = random(state);
        state % below
    };
    let at = if number % 12 == 11 { " at " } else { "@" };
    let lines = (0..600 + next(4000))
        .map(|_| Line {
            sku: format!("{}-{}", ["DSK", "LMP", "CHR", "GDN"][next(4) as usize], 1000 + next(3000)),
            title: (0..6).map(|_| WORDS[next(WORDS.len() as u64) as usize]).collect::<Vec<_>>().join(" "),
            cents: 100 + next(50_000),
            grams: 10 + next(5000) as u32,
        })
        .collect();
    let order =
        Order { customer: format!("customer {number}"), email: format!("c{number}{at}example.org"), lines };
    serde_json::to_string(&order).map(Arc::from)
}

/// The next number of a repeatable sequence (splitmix64), so that every run does the same work.
fn random(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { orders, refused, reports } = self;
        write!(f, "Served {orders} orders ({refused} more refused) and {reports} reports.")
    }
}
