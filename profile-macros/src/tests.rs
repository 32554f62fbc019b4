//! What can be seen in the tokens alone. What an expansion does is tested in `profile-layer`, what the compiler says of
//! it in `tests/ui`.

use crate::expand;

fn expanded(args: &str, item: &str, enabled: bool) -> String {
    expand(args.parse().unwrap(), item.parse().unwrap(), enabled).to_string()
}

/// The same tokens, as they print.
fn printed(tokens: &str) -> String {
    tokens.parse::<proc_macro2::TokenStream>().unwrap().to_string()
}

const ITEMS: [&str; 6] = [
    "fn f(a: u8) -> u8 { #![allow(unused)] a }",
    "pub async fn f() {}",
    "fn f() -> BoxFuture<u8> { Box::pin(async move { 1 }) }",
    "impl<T> Trait for Type<T> { const A: u8 = 1; #[profiled(skip)] fn f(&self) {} #[profiled] fn g() {} }",
    "mod m { #![allow(unused)] use a::b; pub mod inner { fn f() {} } }",
    "trait T: Sized { fn f(&self); fn g(&self) {} }",
];

#[test]
fn disabled_leaves_every_item_untouched() {
    for item in ITEMS {
        assert_eq!(expanded("level = \"debug\"", item, false), printed(item));
        assert_ne!(expanded("level = \"debug\"", item, true), printed(item));
    }
}

#[test]
fn disabled_still_checks_arguments() {
    for enabled in [true, false] {
        let out = expanded("nmae = \"a\"", "fn f() {}", enabled);
        assert!(out.contains("compile_error") && out.contains("did you mean `name`"), "{out}");
        assert!(out.ends_with(&printed("fn f() {}")), "{out}");
    }
}

#[test]
fn beside_an_error_a_block_loses_only_the_attributes_in_it() {
    let item = "impl A { #[doc = \"x\"] #[profiled(nmae = 1)] fn f(&self) {} #[profiled(skip)] fn g() {} type T = u8; }";
    let out = expanded("", item, true);
    assert_eq!(out.matches("compile_error").count(), 1, "{out}");
    let left = printed("impl A { #[doc = \"x\"] fn f(&self) {} fn g() {} type T = u8; }");
    assert!(out.ends_with(&left), "{out}");
}

/// Rust's grammar grows; a body that `syn` cannot read is none of this macro's business.
#[test]
fn bodies_may_hold_any_tokens() {
    for item in [
        "fn f() { let x <~ future @ syntax; }",
        "async fn f() { let x <~ future @ syntax; }",
        "impl A { fn f(&self) { async ~> move } }",
        "mod m { fn f() { async ~> move } }",
    ] {
        let out = expanded("", item, true);
        assert!(!out.contains("compile_error") && out.contains("span !"), "{out}");
    }
}

#[test]
fn names_come_from_the_type_around() {
    for (head, name) in [
        ("impl Cart", "Cart::f"),
        ("impl<'a, T: Into<u8>> shop::Cart<'a, T>", "Cart::f"),
        ("unsafe impl<const N: usize> fmt::Display for &'static mut Table<{ N + 1 }>", "Table::f"),
        ("impl<T: ?Sized> Export for T", "Export::f"),
        ("impl<T> Export for Vec<T>", "Vec::f"),
        ("impl Export for [u8]", "Export::f"),
        ("impl shop::Export for (u8, &str)", "Export::f"),
        ("impl Export for fn(u8) -> u16", "Export::f"),
        ("impl Export for (Cart)", "Cart::f"),
        ("impl dyn Send + Export", "Send::f"),
        ("impl [u8]", "f"),
        ("pub unsafe trait Shape<T>: Sized where T: Fn() -> u8", "Shape::f"),
        ("impl r#type", "type::f"),
        ("pub(crate) mod cart", "f"),
    ] {
        let out = expanded("", &format!("{head} {{ fn r#f() {{}} }}"), true);
        assert!(out.contains(&format!("INFO , {name:?}")), "{name}: {out}");
    }
}

/// Each of these is told from a plain function by its last expression.
#[test]
fn the_last_async_block_is_found() {
    for body in [
        "async { 1 }",
        "async move { 1 }",
        "(async move { 1 })",
        "Box::pin(async move { 1 })",
        "::std::boxed::Box::pin(async { 1 })",
        "let a = 1; async move { a }.boxed()",
        "Box::pin(async {}.in_current_span())",
    ] {
        let out = expanded("", &format!("fn f() -> F {{ {body} }}"), true);
        assert!(out.contains("Instrument :: instrument") && !out.contains("entered"), "{body}: {out}");
    }
    for body in [
        "async { 1 };",
        "spawn(async { 1 })",
        "Box::new(async {})",
        "pin(async {})",
        "async {}.await",
        "{ async {} }.f()",
    ] {
        let out = expanded("", &format!("fn f() -> F {{ {body} }}"), true);
        assert!(!out.contains("Instrument :: instrument") && out.contains("entered"), "{body}: {out}");
    }
}
