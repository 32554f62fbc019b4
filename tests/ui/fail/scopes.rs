//! `span` and `labels`: what goes without a span and what does not, and what a label can be.
use profile_layer::profiled;

struct Opaque;

#[profiled(span = 0)]
fn span_of_number() {}

#[profiled(span)]
fn span_alone() {}

#[profiled(span = false, span = true)]
fn span_twice() {}

#[profiled(fields(id), span = false)]
fn fields_without_span(id: u8) {
    let _ = id;
}

#[profiled(span = false, level = "debug")]
fn level_without_span() {}

#[profiled(span = false, target = "a")]
fn target_without_span() {}

#[profiled(span = false, parent = None)]
fn parent_without_span() {}

#[profiled(span = false, follows_from = [None])]
fn follows_from_without_span() {}

#[profiled(span = false, err)]
fn err_without_span() -> Result<(), u8> {
    Ok(())
}

#[profiled(ret, span = false)]
fn ret_without_span() -> u8 {
    1
}

#[profiled(span = false)]
const fn constant() {}

#[profiled(span = false, labels(tenant))]
impl Opaque {
    #[profiled(skip)]
    fn skipped() {}

    #[profiled(level = "debug")]
    fn in_a_block_without_spans(&self, tenant: u8) {
        let _ = tenant;
    }
}

#[profiled(span = false, level = "debug")]
impl Opaque {
    fn block_without_spans(&self) {}
}

#[profiled(labels)]
fn labels_alone() {}

#[profiled(labels = "a")]
fn labels_as_value() {}

#[profiled(labels(a = 1, a = 2))]
fn label_twice() {}

#[profiled(labels("a"))]
fn label_without_value() {}

#[profiled(labels(a =))]
fn label_of_nothing() {}

#[profiled(labels(a = Empty))]
fn label_for_later() {}

#[profiled(labels(5 = 1))]
fn label_of_no_name() {}

#[profiled(labels(trace_id = 1))]
fn label_with_a_meaning() {}

#[profiled(labels(service.name = "a"))]
fn label_of_the_service() {}

#[profiled(labels("" = 1))]
fn label_with_an_empty_name() {}

#[profiled(labels(a = 1, b = 1, c = 1, d = 1, e = 1, f = 1, g = 1, h = 1, i = 1))]
fn nine_labels() {}

#[profiled(labels(tenant.id))]
fn label_of_no_argument() {}

#[profiled(labels(opaque, plain = opaque, shown = ?opaque))]
fn label_without_text(opaque: &Opaque) {
    let _ = opaque;
}

fn main() {
    span_of_number();
    span_alone();
    span_twice();
    fields_without_span(1);
    level_without_span();
    target_without_span();
    parent_without_span();
    follows_from_without_span();
    let _ = (err_without_span(), ret_without_span());
    constant();
    Opaque::skipped();
    Opaque.in_a_block_without_spans(1);
    Opaque.block_without_spans();
    labels_alone();
    labels_as_value();
    label_twice();
    label_without_value();
    label_of_nothing();
    label_for_later();
    label_of_no_name();
    label_with_a_meaning();
    label_of_the_service();
    label_with_an_empty_name();
    nine_labels();
    label_of_no_argument();
    label_without_text(&Opaque);
}
