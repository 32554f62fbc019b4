//! `#[profiled]` on `impl` blocks, traits and modules.

use std::fmt;

use profile_layer::profiled;

use crate::recorder::record;

#[derive(Clone, Debug, Default)]
struct Cart<T> {
    items: Vec<T>,
}

#[profiled(level = "debug", target = "shop")]
impl<T: Clone> Cart<T> {
    #![allow(clippy::unused_self)]

    const LIMIT: usize = limit();

    fn add(&mut self, item: T) -> Result<(), String> {
        if self.items.len() == Self::LIMIT {
            return Err("full".to_owned());
        }
        self.items.push(item);
        Ok(())
    }

    async fn checkout(self) -> usize {
        self.items.len()
    }

    const fn constant(&self) -> usize {
        Self::LIMIT
    }

    #[profiled(skip)]
    fn skipped(&self) {}

    #[profiled(name = "cart.clear", level = "info", fields(count = self.items.len()))]
    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }

    /// Documented.
    #[profiled]
    #[inline]
    fn own_without_arguments(&self) {}
}

const fn limit() -> usize {
    2
}

#[test]
fn every_method_of_an_impl_block() {
    let ((), log) = record(|| {
        let mut cart = Cart::default();
        cart.add(1).unwrap();
        cart.skipped();
        assert_eq!(cart.constant(), 2);
        cart.own_without_arguments();
        let other = cart.clone();
        cart.clear();
        let future = std::pin::pin!(other.checkout());
        let ready = future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(ready.is_ready());
    });
    let spans = log.spans();
    let seen: Vec<_> = spans.iter().map(|span| (span.name, span.target, span.level.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("Cart::add", "shop", "DEBUG"),
            ("Cart::own_without_arguments", "shop", "DEBUG"),
            ("cart.clear", "shop", "INFO"),
            ("Cart::checkout", "shop", "DEBUG"),
        ]
    );
    assert_eq!(spans[2].fields, ["count=1"]);
}

#[profiled]
impl<T> fmt::Display for Cart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items", self.items.len())
    }
}

trait Price {
    type Money: Default;
    const CURRENCY: &'static str = "EUR";
    fn price(&self) -> Self::Money;
}

#[profiled]
impl<T: fmt::Debug> Price for T {
    type Money = u32;
    fn price(&self) -> u32 {
        4
    }
}

#[profiled]
trait Shape {
    const SIDES: u32;
    type Unit;
    fn declared(&self) -> u32;
    fn area(&self) -> u32 {
        self.declared() * Self::SIDES
    }
}

struct Table<const N: usize>;

#[profiled]
impl Shape for &Table<{ 2 + 2 }> {
    const SIDES: u32 = 4;
    type Unit = ();
    fn declared(&self) -> u32 {
        3
    }
}

#[test]
fn trait_impls_and_traits() {
    let ((), log) = record(|| {
        assert_eq!(Cart { items: vec![0_u8; 2] }.to_string(), "2 items");
        assert_eq!(7.price(), 4);
        assert_eq!((&Table).area(), 12);
        assert_eq!(<u8 as Price>::CURRENCY, "EUR");
    });
    assert_eq!(log.names(), ["Cart::fmt", "Price::price", "Shape::area", "Table::declared"]);
}

#[profiled(level = "trace")]
mod orders {
    //! A module of functions.

    use std::collections::BTreeMap;

    pub(super) static COUNT: u32 = first_of([3, 4]);

    pub(super) struct Order {
        pub(super) lines: BTreeMap<u32, u32>,
    }

    pub(super) const fn first_of(pair: [u32; 2]) -> u32 {
        pair[0]
    }

    pub(super) fn place(lines: &[u32]) -> Order {
        let lines = lines.iter().map(|line| (*line, COUNT)).collect();
        Order { lines }
    }

    impl Order {
        pub(super) fn total(&self) -> u32 {
            self.lines.values().sum()
        }
    }

    #[profiled(skip)]
    impl Order {
        pub(super) fn silent(&self) -> usize {
            self.loud() - 1
        }

        #[profiled(target = "loud")]
        fn loud(&self) -> usize {
            self.lines.len()
        }
    }

    #[profiled(level = "warn")]
    pub(super) mod deep {
        use super::Order;

        pub(in crate::blocks) fn empty() -> Order {
            #[allow(clippy::items_after_statements)]
            fn local_helper() -> Order {
                super::place(&[])
            }
            local_helper()
        }

        macro_rules! unseen {
            () => {};
        }
        unseen!();
    }

    pub(super) trait Scale {
        fn scale(&self) -> u32 {
            1
        }
    }

    impl Scale for Order {}
}

#[test]
fn every_function_of_a_module() {
    let ((), log) = record(|| {
        use orders::Scale as _;
        let order = orders::place(&[1, 2]);
        assert_eq!((order.total(), order.silent(), order.scale()), (6, 1, 1));
        assert_eq!(orders::deep::empty().total(), 0);
    });
    let spans = log.spans();
    let seen: Vec<_> = spans.iter().map(|span| (span.name, span.target, span.level.as_str())).collect();
    let here = "macro_profiled::blocks::orders";
    assert_eq!(
        seen,
        [
            ("place", here, "TRACE"),
            ("Order::total", here, "TRACE"),
            ("Order::loud", "loud", "INFO"),
            ("Scale::scale", here, "TRACE"),
            ("empty", "macro_profiled::blocks::orders::deep", "WARN"),
            ("place", here, "TRACE"),
            ("Order::total", here, "TRACE"),
        ]
    );
}

/// Alone, it does nothing: so it may stay where the attribute around it is conditional.
#[cfg_attr(any(), profiled)]
impl Table<1> {
    #[profiled(skip)]
    fn quiet() -> u8 {
        #[profiled(skip)]
        const fn inner() -> u8 {
            1
        }
        inner()
    }
}

#[test]
fn skip_alone_changes_nothing() {
    let (one, log) = record(Table::<1>::quiet);
    assert_eq!(one, 1);
    assert!(log.spans().is_empty());
}
