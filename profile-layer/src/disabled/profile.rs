//! Profiles: none is ever made.

use super::SampleContext;
use std::fmt;
use std::iter::empty;
use std::sync::Arc;
use std::time::Duration;

/// A profile.
#[derive(Clone, Debug)]
pub enum Profile {}

/// Profiles of one resource.
#[derive(Clone, Debug)]
pub enum ProfileBatch {}

/// A sample of a profile.
#[derive(Clone, Copy, Debug)]
pub enum SampleView {}

/// A frame of a sample.
#[derive(Clone, Copy, Debug)]
pub enum FrameView {}

/// Which span a sample names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanScope {
    /// The local root.
    #[default]
    LocalRoot,
    /// The innermost span.
    Span,
}

impl Profile {
    pub fn merge(_: &[&Self]) -> Option<Self> {
        None
    }

    pub fn start_unix_nanos(&self) -> u64 {
        match *self {}
    }

    pub fn duration(&self) -> Duration {
        match *self {}
    }

    pub fn period_nanos(&self) -> u64 {
        match *self {}
    }

    pub fn total_weight(&self) -> u64 {
        match *self {}
    }

    pub fn is_empty(&self) -> bool {
        match *self {}
    }

    pub fn estimated_bytes(&self) -> usize {
        match *self {}
    }

    pub fn add_note(&mut self, _: impl Into<String>) {
        match *self {}
    }

    pub fn samples(&self) -> impl Iterator<Item = SampleView> {
        empty()
    }

    pub fn notes(&self) -> impl Iterator<Item = &str> {
        empty()
    }
}

impl ProfileBatch {
    pub fn profiles(&self) -> &[Arc<Profile>] {
        match *self {}
    }

    pub fn len(&self) -> usize {
        match *self {}
    }

    pub fn is_empty(&self) -> bool {
        match *self {}
    }

    pub fn to_otlp(&self) -> Vec<u8> {
        match *self {}
    }

    pub fn to_otlp_json(&self) -> String {
        match *self {}
    }

    pub fn to_pprof(&self) -> Vec<u8> {
        match *self {}
    }

    pub fn to_folded(&self) -> String {
        match *self {}
    }

    pub fn split(&self, _: usize, _: usize) -> Vec<Self> {
        match *self {}
    }
}

impl SampleView {
    pub fn weight(&self) -> u64 {
        match *self {}
    }

    pub fn frames(&self) -> impl Iterator<Item = FrameView> + use<> {
        empty()
    }

    pub fn context(&self) -> &'static SampleContext {
        match *self {}
    }

    pub fn is_loss(&self) -> bool {
        match *self {}
    }
}

impl FrameView {
    pub fn function(&self) -> Option<&'static str> {
        match *self {}
    }

    pub fn system_name(&self) -> Option<&'static str> {
        match *self {}
    }

    pub fn file(&self) -> Option<&'static str> {
        match *self {}
    }

    pub fn line(&self) -> u32 {
        match *self {}
    }

    pub fn mapping_path(&self) -> Option<&'static str> {
        match *self {}
    }

    pub fn address(&self) -> u64 {
        match *self {}
    }

    pub fn is_inlined(&self) -> bool {
        match *self {}
    }
}

impl fmt::Display for FrameView {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}
