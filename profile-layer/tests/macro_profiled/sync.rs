//! Functions that run to their end at once.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Debug, Display};
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::Pin;
use std::rc::Rc;

use profile_layer::profiled;

use crate::recorder::{Noisy, record, say};

#[profiled]
fn plain() {
    say("body");
}

#[test]
fn a_span_covers_the_body_and_nothing_else() {
    let ((), log) = record(|| {
        say("before");
        plain();
        say("after");
    });
    assert_eq!(log.steps(), ["before", "enter plain", "body in plain", "exit plain", "close plain", "after"]);
    let span = log.span();
    assert_eq!((span.name, span.target), ("plain", "macro_profiled::sync"));
    assert_eq!(span.level, tracing::Level::INFO);
    assert_eq!(span.parent, None);
    assert!(span.declared.is_empty());
}

#[profiled]
fn outer(depth: u32) -> u32 {
    if depth == 0 {
        return 0;
    }
    outer(depth - 1) + 1
}

#[test]
fn recursion_nests() {
    let (depth, log) = record(|| outer(2));
    assert_eq!(depth, 2);
    assert_eq!(log.names(), ["outer", "outer", "outer"]);
    assert_eq!(log.spans()[2].parent, Some("outer"));
}

#[profiled]
fn early(input: &str) -> Result<u32, std::num::ParseIntError> {
    if input.is_empty() {
        return Ok(0);
    }
    let value: u32 = input.parse()?;
    Ok(value)
}

#[test]
fn every_way_out_leaves_the_span() {
    for input in ["", "7", "x"] {
        let (result, log) = record(|| early(input));
        assert_eq!(result.is_err(), input == "x");
        assert_eq!(log.steps(), ["enter early", "exit early", "close early"], "{input}");
    }
}

#[profiled]
fn panics() -> u32 {
    let _local = Noisy("unwinding");
    panic::resume_unwind(Box::new("on purpose"));
}

#[test]
fn unwinding_leaves_the_span() {
    let (result, log) = record(|| panic::catch_unwind(AssertUnwindSafe(panics)));
    assert!(result.is_err());
    assert_eq!(log.steps(), ["enter panics", "unwinding in panics", "exit panics", "close panics"]);
}

#[profiled]
fn never(code: u32) -> ! {
    panic::resume_unwind(Box::new(code));
}

#[profiled]
#[allow(unsafe_code)]
unsafe fn dangerous(pointer: *const u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { *pointer }
}

#[profiled]
extern "C" fn foreign(value: i32) -> i32 {
    value + 1
}

#[profiled]
#[allow(unsafe_code)]
pub(crate) unsafe extern "C" fn both(value: i32) -> i32 {
    value + 1
}

#[profiled]
#[track_caller]
fn tracked() -> &'static Location<'static> {
    Location::caller()
}

#[test]
fn qualifiers_are_kept() {
    let (_, log) = record(|| {
        let thrown = panic::catch_unwind(|| never(3)).unwrap_err();
        assert_eq!(thrown.downcast_ref(), Some(&3_u32));
        let value = 5_u32;
        // SAFETY: a pointer to a live local.
        #[allow(unsafe_code)]
        let read = unsafe { dangerous(&raw const value) };
        assert_eq!(read, 5);
        let pointer: extern "C" fn(i32) -> i32 = foreign;
        assert_eq!(pointer(1), 2);
        // SAFETY: it asks for nothing.
        #[allow(unsafe_code)]
        let two = unsafe { both(1) };
        assert_eq!(two, 2);
        assert_eq!(tracked().line(), line!());
    });
    assert_eq!(log.names(), ["never", "dangerous", "foreign", "both", "tracked"]);
}

struct Shelf<T, const N: usize> {
    books: [T; N],
}

impl<T: Clone + Display, const N: usize> Shelf<T, N> {
    #[profiled]
    fn first<'a>(&'a self) -> Option<&'a T> {
        self.books.first()
    }

    #[profiled]
    fn put(&mut self, place: usize, book: T) -> &mut T {
        self.books[place] = book;
        &mut self.books[place]
    }

    #[profiled]
    fn take(self) -> [T; N] {
        self.books
    }

    #[profiled]
    fn boxed(self: Box<Self>) -> usize {
        N
    }

    #[profiled]
    fn pinned(self: Pin<&mut Self>) -> usize {
        N
    }

    #[profiled]
    fn shared(self: &Rc<Self>) -> usize
    where
        T: Debug,
    {
        Rc::strong_count(self)
    }

    #[profiled]
    fn count(mut self) -> usize {
        self.books = self.books.clone();
        N
    }

    #[profiled]
    pub(self) fn associated() -> Self
    where
        T: Default + Copy,
    {
        Self { books: [T::default(); N] }
    }
}

#[test]
fn methods_and_receivers() {
    let (_, log) = record(|| {
        let mut shelf = Shelf { books: ["a", "b"] };
        assert_eq!(shelf.first(), Some(&"a"));
        assert_eq!(shelf.put(0, "c"), &"c");
        assert_eq!(Pin::new(&mut shelf).pinned(), 2);
        assert_eq!(shelf.take(), ["c", "b"]);
        assert_eq!(Box::new(Shelf { books: [1] }).boxed(), 1);
        assert_eq!(Rc::new(Shelf { books: [1] }).shared(), 1);
        assert_eq!(Shelf::<u8, 3>::associated().count(), 3);
    });
    assert_eq!(log.names(), ["first", "put", "pinned", "take", "boxed", "shared", "associated", "count"]);
}

trait Animal {
    fn name(&self) -> Cow<'_, str>;

    #[profiled]
    fn greet(&self) -> String {
        format!("hello {}", self.name())
    }
}

struct Cat;

impl Animal for Cat {
    #[profiled]
    fn name(&self) -> Cow<'_, str> {
        "cat".into()
    }
}

#[test]
fn trait_methods_and_default_methods() {
    let (greeting, log) = record(|| Cat.greet());
    assert_eq!(greeting, "hello cat");
    assert_eq!(log.names(), ["greet", "name"]);
    assert_eq!(log.spans()[1].parent, Some("greet"));
}

#[profiled]
fn numbers(from: impl Into<u32>) -> impl Iterator<Item = u32> + Clone {
    let from = from.into();
    if from == 0 {
        return 0..1;
    }
    from..from + 2
}

#[profiled]
fn closure<'a>(prefix: &'a str) -> impl Fn(&str) -> String + 'a {
    move |rest| format!("{prefix}{rest}")
}

/// Each of these needs the declared type to reach the last expression.
#[profiled]
fn coerced(which: u8) -> Box<dyn Fn() -> u8> {
    if which == 0 {
        return Box::new(|| 0);
    }
    Box::new(move || which)
}

#[profiled]
fn inferred() -> Vec<u64> {
    "1 2".split(' ').map(|word| word.parse().unwrap()).collect()
}

#[profiled]
fn unsized_slice() -> &'static [u8] {
    &[1, 2, 3]
}

#[test]
fn return_types() {
    let (_, log) = record(|| {
        assert_eq!(numbers(3_u8).clone().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(closure("a")("b"), "ab");
        assert_eq!((coerced(0)(), coerced(4)()), (0, 4));
        assert_eq!(inferred(), [1, 2]);
        assert_eq!(unsized_slice().len(), 3);
    });
    assert_eq!(log.names(), ["numbers", "closure", "coerced", "coerced", "inferred", "unsized_slice"]);
}

struct Point {
    x: i32,
    y: i32,
}

#[profiled]
fn patterns(
    Point { x, y: up @ (..=0 | 1..) }: Point,
    (mut left, [first, ..]): (i32, [i32; 3]),
    &reference: &i32,
    _: String,
    #[cfg(any())] absent: Missing,
    #[cfg(not(any()))] present: i32,
    #[allow(unused_variables)] unused: i32,
) -> i32 {
    left += x;
    left + up + first + reference + present
}

impl Point {
    #[profiled]
    fn r#type(&self) -> i32 {
        self.x + self.y
    }
}

#[test]
fn arguments_of_every_shape() {
    let (total, log) = record(|| {
        let point = Point { x: 1, y: 2 };
        patterns(point, (10, [20, 0, 0]), &30, String::new(), 40, 0) + Point { x: 3, y: 4 }.r#type()
    });
    assert_eq!(total, 1 + 10 + 2 + 20 + 30 + 40 + 7);
    assert_eq!(log.names(), ["patterns", "type"]);
}

/// Arguments outlive the body, as without the attribute; what the body makes is dropped within the span.
#[profiled]
fn drops(_kept: Noisy, _: Noisy) -> usize {
    let _local = Noisy("local");
    let cell = RefCell::new(vec![Noisy("element")]);
    let length = cell.borrow().len();
    length + temporary().len()
}

fn temporary() -> Loud {
    Loud(Noisy("temporary"))
}

struct Loud(#[allow(dead_code)] Noisy);

impl Loud {
    fn len(&self) -> usize {
        2
    }
}

#[test]
fn drop_order() {
    let (length, log) = record(|| drops(Noisy("first"), Noisy("second")));
    assert_eq!(length, 3);
    assert_eq!(
        log.steps(),
        [
            "enter drops",
            "temporary in drops",
            "element in drops",
            "local in drops",
            "exit drops",
            "close drops",
            "second",
            "first",
        ]
    );
}

#[profiled]
fn inner_attributes() -> u8 {
    #![allow(unused_variables)]
    #![allow(clippy::let_and_return)]
    use std::convert::identity;
    let unused = 1;
    let one = identity(1);
    one
}

/// Names that the expansion might use, and must not take from here.
#[profiled]
fn hygiene() -> String {
    #[allow(dead_code, non_camel_case_types)]
    struct profile_layer;
    #[allow(unused_macros)]
    macro_rules! span {
        () => {};
    }
    let (__profiled, __span, __returned, span, tracing, core) = ("a", "b", "c", "d", "e", "f");
    [__profiled, __span, __returned, span, tracing, core].concat()
}

macro_rules! made {
    ($($name:ident: $ty:ty = $value:expr;)*) => {
        $(
            #[profiled]
            fn $name() -> $ty {
                $value
            }
        )*
    };
}

made! {
    made_one: u8 = 1;
    made_two: Result<u8, fmt::Error> = Ok(2);
}

macro_rules! fragments {
    ($(#[$attr:meta])* $vis:vis $name:ident($argument:ident: $ty:ty) -> $returned:ty $body:block $item:item) => {
        #[profiled(fields($argument))]
        $(#[$attr])*
        $vis fn $name($argument: $ty) -> $returned $body

        #[profiled]
        $item
    };
}

fragments! {
    #[inline]
    pub(crate) from_fragments(value: u8) -> Result<u8, fmt::Error> {
        Ok(value)
    }

    extern "C" fn from_item(value: u8) -> u8 {
        value
    }
}

/// What is allowed in an unsafe function's body is allowed in whatever the body becomes.
#[profiled(err)]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn, clippy::missing_safety_doc)]
unsafe fn reported_and_unsafe(pointer: *const u8) -> Result<u8, fmt::Error> {
    Ok(*pointer)
}

static FIVE: u8 = 5;

#[test]
fn bodies_with_surroundings() {
    let (_, log) = record(|| {
        assert_eq!(inner_attributes(), 1);
        assert_eq!(hygiene(), "abcdef");
        assert_eq!((made_one(), made_two()), (1, Ok(2)));
        assert_eq!((from_fragments(3), from_item(4)), (Ok(3), 4));
        // SAFETY: a pointer to a static.
        #[allow(unsafe_code)]
        let five = unsafe { reported_and_unsafe(&raw const FIVE) };
        assert_eq!(five, Ok(5));
    });
    assert_eq!(
        log.names(),
        [
            "inner_attributes",
            "hygiene",
            "made_one",
            "made_two",
            "from_fragments",
            "from_item",
            "reported_and_unsafe"
        ]
    );
}

#[test]
fn without_a_subscriber_everything_still_runs() {
    assert_eq!(outer(3), 3);
    assert_eq!(coerced(5)(), 5);
}
