//! A request, and what an independent decoder finds in it.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::Profile;
use prost::Message as _;
use std::io::Read as _;
use std::time::Instant;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its first line and its headers.
    pub head: String,
    /// Its body, compressed or not.
    pub body: Vec<u8>,
    /// When it was there.
    pub at: Instant,
}

impl Request {
    /// The values of header `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The body without its compression.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        if self.header("content-encoding") != ["gzip"] {
            return self.body.clone();
        }
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut content).unwrap();
        content
    }

    /// The weights of all samples of the request's profiles.
    #[must_use]
    pub fn weights(&self) -> Vec<i64> {
        self.profiles()
            .iter()
            .flat_map(|profile| &profile.samples)
            .flat_map(|sample| sample.values.clone())
            .collect()
    }

    /// The starts and weights of the request's profiles.
    #[must_use]
    pub fn starts_and_weights(&self) -> Vec<(u64, i64)> {
        if self.header("content-type") == ["application/json"] {
            return self.starts_and_weights_of_json();
        }
        let weight = |profile: &Profile| profile.samples.iter().flat_map(|sample| &sample.values).sum();
        self.profiles().iter().map(|profile| (profile.time_unix_nano, weight(profile))).collect()
    }

    fn starts_and_weights_of_json(&self) -> Vec<(u64, i64)> {
        use serde_json::Value;
        fn list<'a>(json: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
            json[name].as_array().into_iter().flatten()
        }
        fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(json: &Value) -> T {
            json.as_str().unwrap().parse().unwrap()
        }
        let request: Value = serde_json::from_slice(&self.content()).unwrap();
        let scopes = list(&request, "resourceProfiles").flat_map(|resource| list(resource, "scopeProfiles"));
        let profiles = scopes.flat_map(|scope| list(scope, "profiles"));
        let weight = |profile| {
            let values = list(profile, "samples").flat_map(|sample| list(sample, "values"));
            values.map(number::<i64>).sum()
        };
        profiles.map(|profile| (number(&profile["timeUnixNano"]), weight(profile))).collect()
    }

    /// The request's profiles, as an independent decoder reads them.
    fn profiles(&self) -> Vec<Profile> {
        let request = ExportProfilesServiceRequest::decode(self.content().as_slice()).unwrap();
        let scopes = request.resource_profiles.into_iter().flat_map(|resource| resource.scope_profiles);
        scopes.flat_map(|scope| scope.profiles).collect()
    }
}
