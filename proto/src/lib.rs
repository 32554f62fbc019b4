//! The wire messages of span-scoped profiles: OTLP profiles, pprof, and Pyroscope's push API.
//!
//! The `.proto` files under `proto/` carry the standards' names and field numbers and this project's comments. The
//! code under `src/generated/` is made from them by `tests/generated.rs`, without protoc, and committed, so that a
//! build needs no generator; the same test fails when the two differ.
//!
//! The modules are nested as the packages are (`opentelemetry.proto.` left out), because generated code refers from
//! one package to another by relative paths.

#![forbid(unsafe_code)]

/// The revision of the OTLP profiles layout that these messages have: the one of OTLP 1.10 and 1.11, which the
/// protocol's development calls revision 1. Revisions before 1.10 are not compatible on the wire.
pub const OTLP_PROFILES_REVISION: u32 = 1;

/// `opentelemetry.proto.common`: values and attributes.
pub mod common {
    /// `opentelemetry.proto.common.v1`
    #[allow(missing_docs)] // prost-build gives a oneof no doc comment
    pub mod v1 {
        include!("generated/opentelemetry.proto.common.v1.rs");
    }
}

/// `opentelemetry.proto.resource`: what produced the telemetry.
pub mod resource {
    /// `opentelemetry.proto.resource.v1`
    pub mod v1 {
        include!("generated/opentelemetry.proto.resource.v1.rs");
    }
}

/// `opentelemetry.proto.profiles`: the profiles signal.
pub mod profiles {
    /// `opentelemetry.proto.profiles.v1development`
    pub mod v1development {
        include!("generated/opentelemetry.proto.profiles.v1development.rs");
    }
}

/// `opentelemetry.proto.collector`: the service's requests and answers.
pub mod collector {
    /// `opentelemetry.proto.collector.profiles`
    pub mod profiles {
        /// `opentelemetry.proto.collector.profiles.v1development`
        pub mod v1development {
            include!("generated/opentelemetry.proto.collector.profiles.v1development.rs");
        }
    }
}

/// `push`: Pyroscope's push API.
pub mod push {
    /// `push.v1`
    pub mod v1 {
        include!("generated/push.v1.rs");
    }
}

/// `types`: what Pyroscope's services have in common.
pub mod types {
    /// `types.v1`
    pub mod v1 {
        include!("generated/types.v1.rs");
    }
}

/// `perftools.profiles`: the pprof format.
pub mod pprof {
    include!("generated/perftools.profiles.rs");
}
