//! Spans that are left and closed at the worst times.

use crate::{current, profiler};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use tracing::span::EnteredSpan;
use tracing::{Span, info_span};

/// Leaves a span and closes another when it is dropped. (To open one this late, the registry itself would panic.)
struct Late(Option<(EnteredSpan, Span)>);

impl Drop for Late {
    fn drop(&mut self) {
        let (entered, open) = self.0.take().unwrap();
        drop(entered);
        drop(open);
        let _ = profile_layer::current();
    }
}

thread_local! {
    static FIRST: RefCell<Option<Late>> = const { RefCell::new(None) };
    static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
}

fn late() -> Option<Late> {
    Some(Late(Some((info_span!("entered").entered(), info_span!("open")))))
}

/// A panic in one of these destructors would abort the process, and this test with it.
#[test]
fn threads_end_inside_of_spans() {
    profiler();
    for _ in 0..20 {
        thread::spawn(|| {
            // One destructor is registered before the profiler's own for this thread, one after it.
            FIRST.with(|slot| assert!(slot.borrow().is_none()));
            FIRST.set(late());
            LAST.set(late());
        })
        .join()
        .unwrap();
    }
    assert_eq!(current(), None);
}

#[test]
fn unwinding_leaves_every_span_on_its_way() {
    profiler();
    let outer = info_span!("outer").entered();
    let here = current();
    for depth in 1..100 {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _spans: Vec<_> = (0..depth).map(|i| info_span!("inner", i).entered()).collect();
            resume_unwind(Box::new("as told"));
        }));
        assert!(unwound.is_err());
        assert_eq!(current(), here);
    }
    drop(outer);
    assert_eq!(current(), None);
}
