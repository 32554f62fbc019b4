//! `#[profiled]` with other attributes that rewrite functions, in every order. The attribute on top expands first, so
//! the one below it wraps around what that left: of two spans the lower attribute's is the outer one.

use std::sync::Arc;

use profile_layer::profiled;
use tracing::instrument;

use crate::recorder::record;

#[profiled]
#[instrument(name = "outer", skip_all)]
fn instrument_below(_value: u32) -> u32 {
    1
}

#[instrument(name = "inner", skip_all)]
#[profiled]
fn instrument_above(_value: u32) -> u32 {
    2
}

#[profiled]
#[instrument(name = "outer", skip_all)]
async fn async_instrument_below(_value: u32) -> Result<Box<dyn Fn() -> u32>, String> {
    Ok(Box::new(|| 3))
}

#[instrument(name = "inner", skip_all)]
#[profiled]
async fn async_instrument_above(_value: u32) -> Result<Box<dyn Fn() -> u32>, String> {
    Ok(Box::new(|| 4))
}

#[test]
fn instrument() {
    let ((), log) = record(|| {
        assert_eq!(instrument_below(0) + instrument_above(0), 3);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(async_instrument_below(0).await.unwrap()(), 3);
            assert_eq!(async_instrument_above(0).await.unwrap()(), 4);
        });
    });
    let spans = log.spans();
    let seen: Vec<_> = spans.iter().map(|span| (span.name, span.parent)).collect();
    assert_eq!(
        seen,
        [
            ("outer", None),
            ("instrument_below", Some("outer")),
            ("instrument_above", None),
            ("inner", Some("instrument_above")),
            ("outer", None),
            ("async_instrument_below", Some("outer")),
            ("async_instrument_above", None),
            ("inner", Some("async_instrument_above")),
        ]
    );
}

#[profiled]
#[tokio::main(flavor = "current_thread")]
async fn main_below() -> Result<u32, String> {
    tokio::task::yield_now().await;
    Ok(1)
}

#[tokio::main(flavor = "current_thread")]
#[profiled]
async fn main_above() -> u32 {
    tokio::task::yield_now().await;
    2
}

#[test]
fn tokio_main() {
    let ((), log) = record(|| assert_eq!(main_below().unwrap() + main_above(), 3));
    assert_eq!(log.names(), ["main_below", "main_above"]);
}

#[test]
#[profiled]
fn test_above() {
    assert_eq!(tracing::Span::current().metadata().map(|meta| meta.name()), None);
}

#[profiled]
#[test]
#[should_panic(expected = "on purpose")]
fn test_below() {
    panic!("on purpose");
}

#[tokio::test]
#[profiled]
async fn tokio_test_above() {
    tokio::task::yield_now().await;
}

#[profiled]
#[tokio::test]
async fn tokio_test_below() -> Result<(), String> {
    tokio::task::yield_now().await;
    Ok(())
}

#[async_trait::async_trait]
trait Store: Sync {
    async fn load(&self, key: &str) -> Result<String, String>;

    #[profiled]
    async fn defaulted(&self) -> Box<dyn Fn() -> u8 + Send> {
        Box::new(|| 1)
    }
}

struct Memory {
    prefix: String,
}

#[async_trait::async_trait]
impl Store for Memory {
    #[profiled(fields(self.prefix, key), err)]
    async fn load(&self, key: &str) -> Result<String, String> {
        tokio::task::yield_now().await;
        if key.is_empty() {
            return Err("no key".to_owned());
        }
        Ok(format!("{}{key}", self.prefix))
    }
}

struct Other;

/// The block's attribute sees what `async_trait` made of it.
#[async_trait::async_trait]
#[profiled]
impl Store for Other {
    async fn load(&self, key: &str) -> Result<String, String> {
        Ok(key.to_owned())
    }
}

struct Third;

#[profiled]
#[async_trait::async_trait]
impl Store for Third {
    async fn load(&self, key: &str) -> Result<String, String> {
        tokio::task::yield_now().await;
        Ok(key.to_owned())
    }
}

#[test]
fn async_trait() {
    let ((), log) = record(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store: Arc<dyn Store> = Arc::new(Memory { prefix: "p".to_owned() });
            assert_eq!(store.load("k").await.unwrap(), "pk");
            assert!(store.load("").await.is_err());
            assert_eq!(store.defaulted().await.as_ref()(), 1);
            assert_eq!(Other.load("o").await.unwrap(), "o");
            assert_eq!(Third.load("t").await.unwrap(), "t");
        });
    });
    assert_eq!(log.names(), ["load", "load", "defaulted", "Other::load", "Third::load"]);
    assert_eq!(log.spans()[0].fields, ["self.prefix=\"p\"", "key=\"k\""]);
    let entered = |name: &str| log.steps().iter().filter(|step| **step == format!("enter {name}")).count();
    // Two polls and the drop: the work is covered, not only the making of the future.
    assert_eq!((entered("Other::load"), entered("Third::load")), (2, 3));
}

#[profiled(name = "a")]
#[instrument(name = "b")]
#[tokio::main(flavor = "current_thread")]
async fn three() {}

#[test]
fn three_at_once() {
    let ((), log) = record(three);
    assert_eq!(log.names(), ["b", "a"]);
}
