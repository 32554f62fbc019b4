//! The other kind of request: a report over the latest bills, as JSON, compressed.

use crate::orders::{Bill, Failure, Line, Shop, compress};
use profile_layer::profiled;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use tracing::info_span;

/// The document that the report request answers with.
#[derive(Debug, Serialize)]
struct Summary {
    bills: usize,
    parcels: usize,
    cents: u64,
    /// The price of an article below which 50, 90 and 99 of 100 lie.
    percentiles: [u64; 3],
    best_sellers: Vec<BestSeller>,
}

#[derive(Debug, Serialize)]
struct BestSeller {
    article: Line,
    sold: usize,
}

/// Serves one report. An async function with the attribute: its root span is open across the waits and entered only
/// while it runs.
#[profiled]
pub(crate) async fn report(shop: &Shop) -> Result<usize, Failure> {
    let bills = shop.bills();
    let summary = info_span!("aggregate").in_scope(|| aggregate(&bills));
    tokio::task::yield_now().await;
    let text = info_span!("render").in_scope(|| serde_json::to_vec_pretty(&summary))?;
    let packed = info_span!("compress").in_scope(|| compress(&text))?;
    Ok(packed.len())
}

fn aggregate(bills: &[Arc<Bill>]) -> Summary {
    let lines = || bills.iter().flat_map(|bill| &bill.lines);
    let mut prices: Vec<u64> = lines().map(|line| line.cents).collect();
    prices.sort_unstable();

    let mut sold: HashMap<&str, (usize, &Line)> = HashMap::new();
    for line in lines() {
        sold.entry(&line.sku).or_insert((0, line)).0 += 1;
    }
    let mut sold: Vec<(usize, &Line)> = sold.into_values().collect();
    sold.sort_by(|a, b| (b.0, &a.1.title).cmp(&(a.0, &b.1.title)));

    Summary {
        bills: bills.len(),
        parcels: bills.iter().map(|bill| bill.parcels).sum(),
        cents: bills.iter().map(|bill| bill.cents).sum(),
        percentiles: [50, 90, 99]
            .map(|percent| prices.get(prices.len() * percent / 100).copied().unwrap_or(0)),
        best_sellers: sold
            .into_iter()
            .take(1000)
            .map(|(sold, line)| BestSeller { article: line.clone(), sold })
            .collect(),
    }
}
