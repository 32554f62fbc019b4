//! What the arguments of the attribute do.

use std::cell::Cell;
use std::fmt;

use profile_layer::profiled;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::recorder::{record, record_up_to, say};

const NAME: &str = "constant name";
const LOUD: Level = Level::WARN;

#[profiled("positional", target = "a.b", level = "debug")]
fn positional() {}

#[profiled(name = NAME, target = concat!("x", "::", "y"), level = LOUD)]
fn constants() {}

#[profiled(level = 1)]
fn numbered() {}

#[profiled(level = Level::ERROR, skip_all,)]
fn by_path() {}

#[profiled(level = "WaRn", crate = ::profile_layer)]
fn any_case() {}

#[test]
fn name_target_level() {
    let ((), log) = record(|| {
        positional();
        constants();
        numbered();
        by_path();
        any_case();
    });
    let spans = log.spans();
    let seen: Vec<_> = spans.iter().map(|span| (span.name, span.target, span.level.as_str())).collect();
    let here = "macro_profiled::arguments";
    assert_eq!(
        seen,
        [
            ("positional", "a.b", "DEBUG"),
            ("constant name", "x::y", "WARN"),
            ("numbered", here, "TRACE"),
            ("by_path", here, "ERROR"),
            ("any_case", here, "WARN"),
        ]
    );
}

#[derive(Debug)]
struct Order {
    id: u64,
    note: Option<&'static str>,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {}", self.id)
    }
}

const KEY: &str = "const.key";

#[profiled(fields(
    order.id,
    %order,
    ?flags,
    text,
    http.method = "GET",
    r#type = %text.len(),
    doubled = order.id * 2,
    note = order.note,
    debug = ?order.note,
    "literal name" = true,
    { KEY } = 3,
    later = Empty,
))]
fn fields(order: &Order, flags: [bool; 2], text: &str, _secret: &str) {
    tracing::Span::current().record("later", "now");
}

#[test]
fn fields_record_what_is_listed_and_nothing_else() {
    let ((), log) = record(|| fields(&Order { id: 4, note: Some("n") }, [true, false], "t", "secret"));
    let span = log.span();
    assert_eq!(
        span.fields,
        [
            "order.id=4",
            "order=order 4",
            "flags=[true, false]",
            "text=\"t\"",
            "http.method=\"GET\"",
            "type=1",
            "doubled=8",
            "note=\"n\"",
            "debug=Some(\"n\")",
            "literal name=true",
            "const.key=3",
            "later=\"now\"",
        ]
    );
    assert_eq!(span.declared.len(), 12);
}

struct Account {
    id: u64,
}

impl Account {
    #[profiled(fields(self.id, amount, account = ?self.id))]
    fn pay(&mut self, (amount, _): (u64, u64)) {
        self.id += amount;
    }

    #[profiled(fields(self.id, amount))]
    async fn pay_later(&mut self, amount: u64) -> &mut u64 {
        self.id += amount;
        &mut self.id
    }
}

#[test]
fn fields_of_methods() {
    let ((), log) = record(|| {
        let mut account = Account { id: 1 };
        account.pay((2, 0));
        let future = std::pin::pin!(account.pay_later(5));
        assert!(future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
    });
    assert_eq!(log.spans()[0].fields, ["self.id=1", "amount=2", "account=1"]);
    assert_eq!(log.spans()[1].fields, ["self.id=3", "amount=5"]);
}

#[profiled]
fn around(child: impl FnOnce()) {
    child();
}

#[profiled(parent = None)]
fn root() {}

#[profiled(parent = other, target = "t", fields(n = 1))]
fn with_parent(other: &tracing::Span) {}

#[profiled(target = "t", parent = other.id())]
async fn with_parent_later(other: tracing::Span) {}

#[profiled(follows_from = causes, fields(count = causes.len()))]
fn caused(causes: &[tracing::Id]) {}

#[profiled(follows_from = [cause.id(), None])]
async fn caused_later(cause: tracing::Span) {}

#[test]
fn parent_and_follows_from() {
    let ((), log) = record(|| {
        let other = tracing::info_span!("other");
        let run = |future: &mut dyn FnMut()| future();
        around(|| {
            root();
            with_parent(&other);
            caused(&[other.id().unwrap()]);
            let mut ready = false;
            run(&mut || {
                let future = async {
                    with_parent_later(other.clone()).await;
                    caused_later(other.clone()).await;
                };
                let future = std::pin::pin!(future);
                ready = future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready();
            });
            assert!(ready);
        });
    });
    let spans = log.spans();
    let seen: Vec<_> = spans.iter().map(|span| (span.name, span.parent, &span.follows[..])).collect();
    let none: &[&str] = &[];
    assert_eq!(
        seen,
        [
            ("other", None, none),
            ("around", None, none),
            ("root", None, none),
            ("with_parent", Some("other"), none),
            ("caused", Some("around"), &["other"][..]),
            ("with_parent_later", Some("other"), none),
            ("caused_later", Some("around"), &["other"][..]),
        ]
    );
}

#[profiled(err)]
fn fails(input: &str) -> Result<u8, std::num::ParseIntError> {
    say("parsing");
    let value = input.parse()?;
    Ok(value)
}

#[profiled(err(Debug, level = "warn"), ret(Display, level = Level::TRACE), target = "t")]
fn both(input: &str) -> Result<u8, std::num::ParseIntError> {
    input.parse()
}

#[profiled(ret, level = "debug")]
fn returns(numbers: &mut Vec<u8>) -> Option<&mut u8> {
    numbers.push(3);
    if numbers.len() == 9 {
        return None;
    }
    numbers.first_mut()
}

#[profiled(ret)]
fn nothing() {
    say("nothing");
}

#[profiled(err)]
fn opaque(fail: bool) -> Result<impl Fn() -> Box<dyn fmt::Display>, Box<dyn std::error::Error>> {
    if fail {
        return Err("opaque".into());
    }
    Ok(|| Box::new(1) as Box<dyn fmt::Display>)
}

#[profiled(err, ret)]
async fn fails_later<'a>(input: &'a str, _other: &str) -> Result<&'a str, Box<dyn std::error::Error>> {
    let _: u8 = input.parse()?;
    Ok(input)
}

struct Machine {
    state: Vec<u8>,
}

impl Machine {
    #[profiled(err)]
    fn step(&mut self, at: usize) -> Result<&mut u8, String> {
        let length = self.state.len();
        self.state.get_mut(at).ok_or_else(|| format!("{at} of {length}"))
    }

    #[profiled(ret)]
    fn consume(self) -> Vec<u8> {
        self.state
    }
}

#[test]
fn err_and_ret_report_within_the_span() {
    let ((), log) = record(|| {
        assert_eq!(fails("5"), Ok(5));
        assert!(fails("x").is_err());
    });
    assert_eq!(
        log.steps(),
        [
            "enter fails",
            "parsing in fails",
            "exit fails",
            "close fails",
            "enter fails",
            "parsing in fails",
            "ERROR error=invalid digit found in string in fails",
            "exit fails",
            "close fails",
        ]
    );
    let ((), log) = record(|| {
        assert_eq!(both("5"), Ok(5));
        assert!(both("").is_err());
        assert_eq!(returns(&mut vec![1]), Some(&mut 1));
        nothing();
        assert!(opaque(true).is_err());
        assert_eq!(opaque(false).unwrap()().to_string(), "1");
        let mut machine = Machine { state: vec![8] };
        *machine.step(0).unwrap() += 1;
        assert!(machine.step(1).is_err());
        assert_eq!(machine.consume(), [9]);
        for input in ["1", "z"] {
            let future = std::pin::pin!(fails_later(input, ""));
            assert!(future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
        }
    });
    let events: Vec<_> = log.steps().into_iter().filter(|step| step.contains('=')).collect();
    assert_eq!(
        events,
        [
            "TRACE return=5 in both",
            "WARN error=ParseIntError { kind: Empty } in both",
            "DEBUG return=Some(1) in returns",
            "INFO return=() in nothing",
            "ERROR error=opaque in opaque",
            "ERROR error=1 of 1 in step",
            "INFO return=[9] in consume",
            "INFO return=\"1\" in fails_later",
            "ERROR error=invalid digit found in string in fails_later",
        ]
    );
}

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

fn counted<T>(value: T) -> T {
    COUNT.with(|count| count.set(count.get() + 1));
    value
}

#[profiled(
    level = "debug",
    fields(costly = counted(1)),
    parent = counted(None::<tracing::Id>),
    follows_from = counted(None::<tracing::Id>)
)]
fn costly() {}

#[test]
fn a_disabled_span_evaluates_nothing() {
    let ((), log) = record_up_to(LevelFilter::INFO, costly);
    assert_eq!((COUNT.get(), log.spans().len()), (0, 0));
    let ((), log) = record_up_to(LevelFilter::DEBUG, costly);
    assert_eq!((COUNT.get(), log.spans().len()), (3, 1));
}
