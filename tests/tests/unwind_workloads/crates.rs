//! Workloads of crates that profile-core's own tests do without.

use super::harness::{Limits, compare_others};
use regex::Regex;
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

static WORDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:[a-z]+ing|o\w+|\d{2,})\b").expect("a valid expression"));

/// Finds words, counts them in an object, writes it and reads it again.
pub(crate) fn regex_and_json() {
    let text = "The quick brown fox, jumping over 12 lazy dogs, is once again running. ".repeat(6);
    let mut found = json!({});
    for word in WORDS.find_iter(&text) {
        let count = found[word.as_str()].as_u64().unwrap_or(0);
        found[word.as_str()] = Value::from(count + 1);
    }
    let written = serde_json::to_string(&json!({ "found": found, "half": 0.5 })).unwrap_or_default();
    black_box(serde_json::from_str::<Value>(&written).ok());
}

/// Tasks on the worker of a tokio runtime: they poll, yield, sleep and wake each other, and the worker parks in between.
pub(crate) fn on_workers(name: &str, limits: Limits) {
    compare_others(name, limits, |thread_starts, thread_ends, is_over| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_time().on_thread_start(thread_starts).on_thread_stop(thread_ends);
        let runtime = builder.build().expect("a runtime");
        while !is_over() {
            let tasks: Vec<_> = (0..20).map(|number| runtime.spawn(task(number))).collect();
            for task in tasks {
                runtime.block_on(task).expect("a task that ends");
            }
        }
    });
}

async fn task(number: u64) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let other = tokio::spawn(async move {
        for _ in 0..4 {
            regex_and_json();
            tokio::task::yield_now().await;
        }
        let _ = sender.send(number);
    });
    tokio::time::sleep(Duration::from_micros(50 * number)).await;
    black_box(receiver.await.ok());
    let _ = other.await;
}
