//! Regions and labels of futures: they hold while the future is polled, and while it is dropped.

use profile_core::scope::{LabelGuard, Labels, RegionGuard, RegionSite};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Runs `work` in the region and under the labels, poll by poll. Between polls its thread does other work, to which they do
/// not belong; the next poll may be on another thread.
pub async fn scoped<F: Future>(
    region: Option<&'static RegionSite>,
    labels: Option<Labels>,
    work: F,
) -> F::Output {
    let work = pin!(Some(work));
    let mut scoped = Scoped { region, labels, work };
    poll_fn(|context| scoped.poll(context)).await
}

struct Scoped<'a, F> {
    region: Option<&'static RegionSite>,
    labels: Option<Labels>,
    work: Pin<&'a mut Option<F>>,
}

impl<F> Scoped<'_, F> {
    /// The region is left before the labels.
    fn enter(&self) -> (Option<RegionGuard>, Option<LabelGuard>) {
        let labels = self.labels.map(Labels::enter);
        (self.region.map(RegionSite::enter), labels)
    }
}

impl<F: Future> Scoped<'_, F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        let _in_scope = self.enter();
        match self.work.as_mut().as_pin_mut() {
            Some(work) => work.poll(context),
            None => Poll::Pending, // it is there until this is dropped
        }
    }
}

/// What the future holds is dropped where it was used.
impl<F> Drop for Scoped<'_, F> {
    fn drop(&mut self) {
        let _in_scope = self.enter();
        self.work.set(None);
    }
}
