//! Which spans a layer follows.

use tracing::{Level, Metadata};

/// What a span must be like to be followed. Empty lists select everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) max_level: Option<Level>,
    pub(crate) targets: Vec<String>,
    pub(crate) names: Vec<String>,
}

impl Selection {
    /// Whether spans of this call site are followed.
    pub(crate) fn takes(&self, metadata: &Metadata<'_>) -> bool {
        self.max_level.is_none_or(|most| *metadata.level() <= most)
            && is_any(&self.targets, |target| is_inside(metadata.target(), target))
            && is_any(&self.names, |name| metadata.name() == name)
    }
}

fn is_any(list: &[String], test: impl Fn(&str) -> bool) -> bool {
    list.is_empty() || list.iter().any(|item| test(item))
}

/// Whether `path` is `module` or lies in it.
fn is_inside(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_module_not_a_prefix_of_its_name() {
        assert!(is_inside("shop", "shop") && is_inside("shop::cart", "shop"));
        assert!(!is_inside("shopping", "shop") && !is_inside("my::shop", "shop"));
    }
}
