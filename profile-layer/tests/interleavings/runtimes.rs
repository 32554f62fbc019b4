//! The same in the runtimes and pools that programs use.

use crate::{current, id_of, profiler};
use std::sync::OnceLock;
use std::thread;
use tokio::task::{spawn_blocking, yield_now};
use tracing::{Instrument, Span, info_span};

async fn work(number: u64) {
    let request = current();
    assert!(request.is_some());
    for turn in 0..20 {
        let step = info_span!("step");
        let id = id_of(&step);
        async {
            assert_eq!(current(), Some(id));
            yield_now().await;
            if (number + turn).is_multiple_of(7) {
                tokio::time::sleep(std::time::Duration::from_micros(50)).await;
            }
            assert_eq!(current(), Some(id));
        }
        .instrument(step)
        .await;
        assert_eq!(current(), request);
    }
    let span = Span::current();
    let on_the_pool = spawn_blocking(move || {
        assert_eq!(current(), None, "a pool's thread is in no span");
        span.in_scope(current)
    });
    assert_eq!(on_the_pool.await.unwrap(), request);
    assert_eq!(current(), request);
}

async fn requests() {
    let tasks: Vec<_> = (0..50).map(|i| tokio::spawn(work(i).instrument(info_span!("request", i)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    // A task that is cancelled while it waits, by whichever thread.
    let waiting = tokio::spawn(std::future::pending::<()>().instrument(info_span!("cancelled")));
    yield_now().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(current(), None);
}

#[test]
fn tokio_on_one_thread() {
    profiler();
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(requests());
    assert_eq!(current(), None);
}

#[test]
fn tokio_on_several_threads() {
    profiler();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(4).enable_time().build().unwrap().block_on(requests());
    assert_eq!(current(), None);
}

#[test]
fn rayon() {
    use rayon::prelude::*;
    profiler();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let request = info_span!("request");
    let id = id_of(&request);
    request.in_scope(|| {
        pool.install(|| {
            (0..500_u32).into_par_iter().for_each(|i| {
                let part = info_span!(parent: &request, "part", i);
                let trace = part.in_scope(|| profile_layer::current().unwrap().trace_id);
                assert_eq!(trace, request.in_scope(|| profile_layer::current().unwrap().trace_id));
                // Joined work may run on this thread in the middle of it, or on another.
                let own = id_of(&part);
                part.in_scope(|| {
                    rayon::join(|| (), || ());
                    assert_eq!(current(), Some(own));
                });
            });
        });
        assert_eq!(current(), Some(id));
    });
    pool.broadcast(|_| assert_eq!(current(), None));
}

#[test]
fn scoped_threads_that_share_spans() {
    profiler();
    let spans: Vec<Span> = (0..8).map(|i| info_span!("shared", i)).collect();
    let ids: Vec<OnceLock<_>> = spans.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        for seed in 1..=4_usize {
            let (spans, ids) = (&spans, &ids);
            scope.spawn(move || {
                let mut random = seed * 0x9E37_79B9;
                let mut entered = Vec::new();
                for _ in 0..20_000 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let choice = random >> 33;
                    if choice % 2 == 0 && entered.len() < 20 {
                        let span = choice / 2 % spans.len();
                        entered.push((span, spans[span].enter()));
                    } else if !entered.is_empty() {
                        let left = choice / 2 % entered.len();
                        // Of several entries of a span, an exit leaves the innermost.
                        let span = entered[left].0;
                        let innermost = entered.iter().rposition(|(entry, _)| *entry == span).unwrap();
                        drop(entered.remove(innermost));
                    }
                    match entered.last() {
                        None => assert_eq!(current(), None),
                        Some((span, _)) => {
                            let now = current().unwrap();
                            assert_eq!(*ids[*span].get_or_init(|| now), now, "span {span}");
                        }
                    }
                }
            });
        }
    });
    let distinct: std::collections::HashSet<_> = ids.iter().filter_map(OnceLock::get).collect();
    assert_eq!(distinct.len(), spans.len());
}
