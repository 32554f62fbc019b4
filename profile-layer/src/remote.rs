//! The identity of a request on its way between processes that do not use OpenTelemetry.

use crate::{Error, ErrorKind, ProfileLayer, Result, TraceParent};
use tracing::Span;

/// Says where the request that `span` stands for comes from: the span joins that trace, and is the local root of the
/// request in this process. Call it before the span is first entered.
///
/// Only spans with ids of our own need it. With OpenTelemetry, give the span its parent by `OpenTelemetrySpanExt`: the ids
/// that OpenTelemetry gives a span go before these. For the way out, [`current`](crate::current) is the span to write into
/// the header of a request:
///
/// ```
/// use profile_layer::TraceParent;
///
/// # let incoming = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// let span = tracing::info_span!("request");
/// if let Some(parent) = incoming.and_then(|header| TraceParent::parse(header).ok()) {
///     // Not an error for the request: its samples are in a trace of their own then.
///     let _ = profile_layer::set_remote_parent(&span, parent);
/// }
/// span.in_scope(|| {
///     let outgoing = profile_layer::current().and_then(TraceParent::new);
///     // … .header("traceparent", outgoing.to_string())
/// #   let _ = outgoing;
/// });
/// ```
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) when the span was entered before, or is not followed: it is disabled, there is
/// no [`ProfileLayer`] in its subscriber or one that does not select it, or the profiler is shut down.
pub fn set_remote_parent(span: &Span, parent: TraceParent) -> Result<()> {
    let is_set = span.with_subscriber(|(id, dispatch)| {
        let layer = dispatch.downcast_ref::<ProfileLayer>();
        layer.is_some_and(|layer| layer.set_remote_parent(id, parent))
    });
    match is_set {
        Some(true) => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "the span is not followed by a profile layer, or was entered before its remote parent was set",
        )),
    }
}
