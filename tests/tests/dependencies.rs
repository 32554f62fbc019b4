//! What the dependency tree may contain: `deny.toml` held against `cargo metadata`.
//!
//! `cargo deny check licenses bans sources` reads the same file and says the same, but takes minutes to build, so CI has
//! this instead. What the file has beyond the keys that are read here is for cargo-deny alone.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside of test functions.

use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

/// `deny.toml`.
#[derive(Deserialize)]
struct Policy {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    /// Who may depend on it all the same.
    #[serde(default)]
    wrappers: BTreeSet<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// What `cargo metadata` says.
#[derive(Deserialize)]
struct Tree {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Where it comes from; nowhere if it is in this repository.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn tree(target: &str) -> Tree {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--all-features", "--format-version=1", "--filter-platform", target]);
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_dependencies_obey_the_policy() {
    let policy: Policy = toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
    let mut faults = BTreeSet::new();
    for target in &policy.graph.targets {
        let tree = tree(target);
        assert!(tree.packages.len() > 50, "{} packages", tree.packages.len());
        faults.extend(check(&policy, &tree));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A policy that forbids what is there finds it, under each heading.
#[test]
fn what_is_not_allowed_is_found() {
    let policy: Policy = toml::from_str(
        r#"
        graph.targets = []
        licenses.allow = ["MIT"]
        bans.deny = [{ crate = "libc", wrappers = ["tracing"], reason = "the test's" }]
        sources.allow-registry = ["https://example.com"]
        "#,
    )
    .unwrap();
    let faults: Vec<String> = check(&policy, &tree("x86_64-unknown-linux-gnu")).collect();
    let found = |text: &str| faults.iter().any(|fault| fault.contains(text));
    assert!(found("unicode-ident") && found(": licence (MIT OR Apache-2.0) AND Unicode-3.0"), "{faults:#?}");
    assert!(
        found("profile-core depends on libc: the test's") && !found("tracing depends on libc"),
        "{faults:#?}"
    );
    assert!(found(": from registry+https://github.com/rust-lang/crates.io-index"), "{faults:#?}");
}

fn check<'a>(policy: &'a Policy, tree: &'a Tree) -> impl Iterator<Item = String> + 'a {
    let names: HashMap<&str, &str> =
        tree.packages.iter().map(|package| (&*package.id, &*package.name)).collect();
    // Only what some feature asks for on this platform: the list of packages has the others, too.
    let used: BTreeSet<&str> = tree.resolve.nodes.iter().map(|node| &*node.id).collect();
    let packages = tree.packages.iter().filter(move |package| used.contains(&*package.id));
    let of_packages = packages.flat_map(|package| of_package(policy, package));
    of_packages.chain(tree.resolve.nodes.iter().flat_map(move |node| {
        let name = names[&*node.id];
        let dependencies: BTreeSet<&str> = node.dependencies.iter().map(|id| names[&**id]).collect();
        let broken = policy
            .bans
            .deny
            .iter()
            .filter(move |ban| dependencies.contains(&*ban.name) && !ban.wrappers.contains(name));
        broken.map(move |ban| format!("{name} depends on {}: {}", ban.name, ban.reason))
    }))
}

fn of_package(policy: &Policy, package: &Package) -> Vec<String> {
    let mut faults = Vec::new();
    let licence = package.license.as_deref().unwrap_or("none");
    if !is_allowed(&policy.licenses, licence) {
        faults.push(format!("licence {licence}"));
    }
    let registries = policy.sources.allow_registry.iter().map(|registry| format!("registry+{registry}"));
    if let Some(source) = &package.source
        && !registries.into_iter().any(|registry| registry == *source)
    {
        faults.push(format!("from {source}"));
    }
    if package.source.is_none() {
        let any = package.dependencies.iter().filter(|one| one.req == "*" && one.path.is_none());
        faults.extend(any.map(|one| format!("any version of {}", one.name)));
    }
    faults.into_iter().map(|fault| format!("{} {}: {fault}", package.name, package.version)).collect()
}

/// Whether the licence can be taken by one of those that are allowed.
fn is_allowed(licenses: &Licenses, expression: &str) -> bool {
    // Older crates write `MIT/Apache-2.0` for `MIT OR Apache-2.0`.
    let Ok(expression) = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX) else { return false };
    expression.evaluate(|one| licenses.allow.contains(&one.to_string()))
}
