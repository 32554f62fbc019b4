//! `#[profiled]` without the feature `enable`: `cargo test -p profile-layer --no-default-features --test macro_disabled`.
#![cfg(not(feature = "enable"))]

// Every form there is; few are called here.
#[allow(dead_code, unreachable_pub, clippy::panic)]
#[path = "../../tests/fixture-2024/src/forms.rs"]
mod forms;
#[allow(dead_code, unreachable_pub, clippy::panic)]
#[path = "../../tests/fixture-2024/src/regions.rs"]
mod regions;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Counts spans and events.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Counter {
    fn on_new_span(&self, _: &tracing::span::Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn functions_run_and_make_no_span() {
    let counter = Counter::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(counter.clone()), || {
        assert_eq!(forms::one_line(1), 2);
        assert_eq!(forms::early("4"), Ok(5));
        assert_eq!(forms::reports(&mut vec![7]), Ok(&mut 7));
        assert!(forms::opaque_result(true).is_err());
        assert_eq!(forms::tracked().line(), line!());
        assert_eq!(regions::digest(&[1, 2]), 3);
        assert_eq!(regions::tracked().line(), line!());
        assert_eq!(regions::reports_with_labels(&mut vec![7]), Ok(&mut 7));
        assert_eq!(regions::Hasher(1).step().0, 2);
        assert_eq!(forms::module::build(&[1, 2]).sum(), 2);
        let future = std::pin::pin!(forms::fetch(3));
        assert!(future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
    });
    assert_eq!(counter.0.load(Ordering::Relaxed), 0);
}
