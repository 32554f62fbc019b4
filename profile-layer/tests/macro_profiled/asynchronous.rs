//! Futures: async functions, and functions that end in an async block.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use profile_layer::profiled;
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;

use crate::recorder::{Noisy, Recorder, record, say};

/// Pending once.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until ready, saying so each time.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        say("poll");
        if let Poll::Ready(output) = poll(future.as_mut()) {
            return output;
        }
    }
}

#[profiled]
async fn fetch(id: u32) -> u32 {
    say("first half");
    pause().await;
    say("second half");
    id
}

#[test]
fn the_span_is_made_at_the_first_poll_and_entered_at_each() {
    let (id, log) = record(|| {
        let future = fetch(7);
        say("made");
        run(future)
    });
    assert_eq!(id, 7);
    assert_eq!(
        log.steps(),
        [
            "made",
            "poll",
            "enter fetch",
            "first half in fetch",
            "exit fetch",
            "poll",
            "enter fetch",
            "second half in fetch",
            "exit fetch",
            // The wrapper drops what it wraps within the span.
            "enter fetch",
            "exit fetch",
            "close fetch",
        ]
    );
    assert_eq!((log.span().name, log.span().target), ("fetch", "macro_profiled::asynchronous"));
}

#[test]
fn a_future_dropped_before_its_first_poll_makes_no_span() {
    let ((), log) = record(|| drop(fetch(7)));
    assert!(log.spans().is_empty());
}

#[profiled]
async fn holding(_argument: Noisy) {
    let _local = Noisy("local dropped");
    pause().await;
    unreachable!();
}

#[test]
fn a_future_dropped_while_pending_drops_its_locals_within_the_span() {
    let ((), log) = record(|| {
        let mut future = Box::pin(holding(Noisy("argument dropped")));
        assert!(poll(future.as_mut()).is_pending());
    });
    assert_eq!(
        log.steps(),
        [
            "enter holding",
            "exit holding",
            "enter holding",
            "local dropped in holding",
            "exit holding",
            "close holding",
            "argument dropped",
        ]
    );
}

#[profiled]
async fn panics() {
    pause().await;
    std::panic::resume_unwind(Box::new("on purpose"));
}

#[test]
fn a_panic_in_poll_leaves_the_span() {
    let (result, log) = record(|| std::panic::catch_unwind(AssertUnwindSafe(|| run(panics()))));
    assert!(result.is_err());
    let steps = log.steps();
    assert_eq!(steps.iter().filter(|step| *step == "enter panics").count(), 3);
    assert_eq!(steps.iter().filter(|step| *step == "exit panics").count(), 3);
    assert_eq!(steps.last().unwrap(), "close panics");
}

/// Each of these needs the declared type inside the body.
#[profiled]
async fn coerced(which: u8) -> Result<Box<dyn Fn() -> u8>, Box<dyn std::error::Error>> {
    if which == 0 {
        return Ok(Box::new(|| 0));
    }
    pause().await;
    let parsed: u8 = "4".parse()?;
    Ok(Box::new(move || parsed))
}

#[profiled]
async fn question_mark_only() -> Result<(), std::num::ParseIntError> {
    "x".parse::<u8>()?;
    Ok(())
}

#[profiled]
async fn implied(upto: impl Into<u32>) -> impl Iterator<Item = u32> {
    0..upto.into()
}

#[profiled]
async fn nested_impl(fail: bool) -> Result<impl Iterator<Item = u32>, String> {
    if fail {
        return Err("failed".to_owned());
    }
    Ok(0..2)
}

#[profiled]
async fn forever() -> ! {
    loop {
        pause().await;
    }
}

#[profiled]
async fn borrowed<'a>(text: &'a str, other: &str) -> &'a str {
    pause().await;
    if other.is_empty() { text } else { &text[1..] }
}

#[profiled]
async fn generic<T: Clone + Send, const N: usize>(value: T) -> [T; N]
where
    T: Default,
{
    std::array::from_fn(|_| value.clone())
}

#[profiled]
async fn patterns((a, mut b): (u32, u32), [first, ..]: [u32; 2], _: u32, _unused: u32) -> u32 {
    b += first;
    pause().await;
    a + b
}

#[profiled]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn)]
async unsafe fn dangerous(value: *const u32) -> u32 {
    *value
}

trait Service {
    async fn call(&self, request: u32) -> u32;

    #[profiled]
    async fn call_twice(&mut self) -> u32 {
        self.call(1).await + self.call(2).await
    }
}

struct Adder(u32);

impl Service for Adder {
    #[profiled]
    async fn call(&self, request: u32) -> u32 {
        self.0 + request
    }
}

#[profiled]
async fn recursive(depth: u32) -> u32 {
    if depth == 0 { 0 } else { Box::pin(recursive(depth - 1)).await + 1 }
}

static NINE: u32 = 9;

#[test]
fn signatures_of_async_functions() {
    let ((), log) = record(|| {
        run(async {
            assert_eq!((coerced(0).await.unwrap()(), coerced(1).await.unwrap()()), (0, 4));
            assert!(question_mark_only().await.is_err());
            assert_eq!(implied(3_u8).await.count(), 3);
            assert_eq!(nested_impl(false).await.unwrap().count(), 2);
            assert!(nested_impl(true).await.is_err());
            assert_eq!(borrowed("abc", "x").await, "bc");
            assert_eq!(generic::<u8, 2>(7).await, [7, 7]);
            assert_eq!(patterns((1, 2), [4, 5], 6, 7).await, 7);
            // SAFETY: a pointer to a static.
            #[allow(unsafe_code)]
            let value = unsafe { dangerous(&raw const NINE).await };
            assert_eq!(value, 9);
            assert_eq!(recursive(2).await, 2);
            assert_eq!(Adder(10).call_twice().await, 23);
        });
        assert!(poll(std::pin::pin!(forever()).as_mut()).is_pending());
    });
    assert_eq!(log.names().len(), 2 + 1 + 1 + 2 + 4 + 3 + 3 + 1);
    assert_eq!(log.names().last(), Some(&"forever"));
}

#[profiled]
fn by_hand(id: u32) -> impl Future<Output = Result<Box<dyn Fn() -> u32>, String>> + Send {
    say("called");
    let id = id + 1;
    async move {
        if id == 1 {
            return Err("one".to_owned());
        }
        pause().await;
        Ok(Box::new(move || id) as Box<dyn Fn() -> u32>)
    }
}

type Shout<'a> = dyn Fn() -> &'a str + Send + 'a;

#[profiled]
fn boxed<'a>(text: &'a str) -> Pin<Box<dyn Future<Output = Box<Shout<'a>>> + Send + 'a>> {
    Box::pin(async move {
        pause().await;
        Box::new(move || text) as Box<Shout<'a>>
    })
}

#[profiled]
#[allow(unused_parens)]
fn by_reference(text: &mut String) -> impl Future<Output = usize> {
    (async {
        text.push('!');
        pause().await;
        text.len()
    })
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

#[profiled(err, ret)]
fn aliased(fail: bool) -> BoxFuture<'static, Result<u8, Box<dyn std::error::Error>>> {
    Box::pin(async move { if fail { Err("no".into()) } else { Ok(1) } })
}

#[test]
fn functions_that_end_in_an_async_block() {
    let ((), log) = record(|| {
        let future = by_hand(4);
        say("made");
        assert_eq!(run(future).unwrap()(), 5);
    });
    let steps = log.steps();
    assert_eq!(steps[..5], ["called", "made", "poll", "enter by_hand", "exit by_hand"]);
    assert_eq!(steps.iter().filter(|step| *step == "enter by_hand").count(), 3);

    let ((), log) = record(|| {
        assert!(run(by_hand(0)).is_err());
        let mut text = "a".to_owned();
        assert_eq!(run(by_reference(&mut text)), 2);
        assert_eq!(run(boxed("b"))(), "b");
        assert_eq!(run(aliased(false)).unwrap(), 1);
        assert!(run(aliased(true)).is_err());
    });
    assert_eq!(log.names(), ["by_hand", "by_reference", "boxed", "aliased", "aliased"]);
    assert!(log.steps().contains(&"INFO return=1 in aliased".to_owned()));
    assert!(log.steps().contains(&"ERROR error=no in aliased".to_owned()));
}

/// No `Send` to spare: it must not be asked for.
#[profiled]
async fn local(shared: Rc<u32>) -> u32 {
    pause().await;
    *shared
}

#[test]
fn futures_keep_their_auto_traits() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let ((), _) = record(|| {
        assert_eq!(run(sendable(fetch(1))), 1);
        assert_eq!(run(local(Rc::new(2))), 2);
    });
}

#[profiled]
async fn parent(id: u32) -> u32 {
    tokio::task::yield_now().await;
    child(id).await
}

#[profiled(fields(id))]
async fn child(id: u32) -> u32 {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    id
}

/// On two workers, with tasks that interleave and move between threads, each child has its own parent above it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_several_threads() {
    let recorder = Recorder::default();
    let dispatch = recorder.dispatch(LevelFilter::TRACE);
    let tasks: Vec<_> =
        (0..50).map(|id| tokio::spawn(parent(id).with_subscriber(dispatch.clone()))).collect();
    for (id, task) in (0..).zip(tasks) {
        assert_eq!(task.await.unwrap(), id);
    }
    let spans = recorder.spans();
    let children: Vec<_> = spans.iter().filter(|span| span.name == "child").collect();
    assert_eq!((spans.len(), children.len()), (100, 50));
    assert!(children.iter().all(|child| child.parent == Some("parent")));
    let entered = |steps: &[String], verb: &str| steps.iter().filter(|step| step.starts_with(verb)).count();
    let steps = recorder.steps();
    assert_eq!(entered(&steps, "enter"), entered(&steps, "exit"));
    assert_eq!(entered(&steps, "close"), 100);
}
