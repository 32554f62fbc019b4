//! From one row of call frame information to a [`Rule`], or to "unsupported": never to a rule that is almost right.

use super::arch::Architecture;
use super::rule::{Cfa, Rule, Saved};
use gimli::{
    CfaRule, Encoding, EndianSlice, FrameDescriptionEntry, NativeEndian, Operation, Register, RegisterRule,
    UnwindExpression, UnwindTableRow,
};

type Bytes<'a> = EndianSlice<'a, NativeEndian>;
type Section<'a> = gimli::EhFrame<Bytes<'a>>;

/// Expressions longer than this are of no form that is known here.
const MAX_OPERATIONS: usize = 12;

/// The rule of `row`, which belongs to `fde`.
pub(super) fn rule<A: Architecture>(
    row: &UnwindTableRow<usize>,
    section: &Section<'_>,
    fde: &FrameDescriptionEntry<Bytes<'_>>,
) -> Rule {
    let encoding = fde.cie().encoding();
    if fde.cie().return_address_register() != A::RETURN_ADDRESS {
        return Rule::Unsupported;
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => cfa_from_register::<A>(*register, *offset),
        CfaRule::Expression(expression) => cfa_from_expression::<A>(expression, section, encoding),
    };
    let saved = |register| saved::<A>(row.register(register), section, encoding);
    if fde.is_signal_trampoline() {
        return signal_frame::<A>(cfa, row, section, encoding);
    }
    if row.register(A::RETURN_ADDRESS) == Some(RegisterRule::Undefined) {
        return Rule::Outermost;
    }
    // Where the stack pointer is restored in its own way, "the caller's is the CFA" would be wrong.
    let sp_is_cfa = matches!(row.register(A::STACK_POINTER), None | Some(RegisterRule::ValOffset(0)));
    match (cfa, saved(A::RETURN_ADDRESS)) {
        _ if !sp_is_cfa => Rule::Unsupported,
        (CfaForm::Plt { pushed_at }, Saved::AtCfa(-8)) => Rule::Plt { pushed_at },
        (_, Saved::Lost) => Rule::Unsupported,
        (_, Saved::Unchanged) if !A::LINK_REGISTER => Rule::Unsupported,
        (CfaForm::Frame(cfa), return_address) => {
            Rule::Frame { cfa, return_address, frame_pointer: saved(A::FRAME_POINTER) }
        }
        _ => Rule::Unsupported,
    }
}

/// The forms of a CFA that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CfaForm {
    Frame(Cfa),
    Plt {
        pushed_at: u8,
    },
    /// The word at the stack pointer plus an offset.
    AtSp(i64),
    Unknown,
}

fn cfa_from_register<A: Architecture>(register: Register, offset: i64) -> CfaForm {
    match i32::try_from(offset) {
        Ok(offset) if register == A::STACK_POINTER => CfaForm::Frame(Cfa::Sp(offset)),
        Ok(offset) if register == A::FRAME_POINTER => CfaForm::Frame(Cfa::Fp(offset)),
        _ => CfaForm::Unknown,
    }
}

fn cfa_from_expression<A: Architecture>(
    expression: &UnwindExpression<usize>,
    section: &Section<'_>,
    encoding: Encoding,
) -> CfaForm {
    use Operation::{And, Deref, Ge, Plus, RegisterOffset, Shl, UnsignedConstant};
    let Some(operations) = operations(expression, section, encoding) else { return CfaForm::Unknown };
    match operations.as_slice() {
        [RegisterOffset { register, offset, .. }, Deref { size: 8, space: false, .. }] => {
            match (*register, i32::try_from(*offset)) {
                (register, Ok(offset)) if register == A::FRAME_POINTER => CfaForm::Frame(Cfa::AtFp(offset)),
                (register, Ok(_)) if register == A::STACK_POINTER => CfaForm::AtSp(*offset),
                _ => CfaForm::Unknown,
            }
        }
        // The linker's PLT: sp + 8 + ((pc & 15) >= pushed_at) << 3.
        [
            RegisterOffset { register: sp, offset: 8, .. },
            RegisterOffset { register: pc, offset: 0, .. },
            UnsignedConstant { value: 15 },
            And,
            UnsignedConstant { value: pushed_at },
            Ge,
            UnsignedConstant { value: 3 },
            Shl,
            Plus,
        ] if *sp == A::STACK_POINTER && Some(*pc) == A::PROGRAM_COUNTER => {
            u8::try_from(*pushed_at).map_or(CfaForm::Unknown, |pushed_at| CfaForm::Plt { pushed_at })
        }
        _ => CfaForm::Unknown,
    }
}

/// A signal trampoline is one only if its information says what the kernel's layout says.
fn signal_frame<A: Architecture>(
    cfa: CfaForm,
    row: &UnwindTableRow<usize>,
    section: &Section<'_>,
    encoding: Encoding,
) -> Rule {
    let at_sp = |register, expected: u64| match row.register(register) {
        Some(RegisterRule::Expression(expression)) => {
            operations(&expression, section, encoding).is_some_and(|operations| {
                matches!(operations.as_slice(), [Operation::RegisterOffset { register, offset, .. }]
                    if *register == A::STACK_POINTER && u64::try_from(*offset) == Ok(expected))
            })
        }
        _ => false,
    };
    let layout = A::SIGNAL_FRAME;
    let matches_layout = matches!(cfa, CfaForm::AtSp(offset) if u64::try_from(offset) == Ok(layout.sp))
        && at_sp(A::RETURN_ADDRESS, layout.pc)
        && at_sp(A::FRAME_POINTER, layout.fp);
    if matches_layout { Rule::SignalFrame } else { Rule::Unsupported }
}

fn saved<A: Architecture>(
    rule: Option<RegisterRule<usize>>,
    section: &Section<'_>,
    encoding: Encoding,
) -> Saved {
    match rule {
        None | Some(RegisterRule::SameValue) => Saved::Unchanged,
        Some(RegisterRule::Offset(offset)) => i32::try_from(offset).map_or(Saved::Lost, Saved::AtCfa),
        Some(RegisterRule::Expression(expression)) => {
            match operations(&expression, section, encoding).as_deref() {
                Some([Operation::RegisterOffset { register, offset, .. }])
                    if *register == A::FRAME_POINTER =>
                {
                    i32::try_from(*offset).map_or(Saved::Lost, Saved::AtFp)
                }
                _ => Saved::Lost,
            }
        }
        Some(_) => Saved::Lost,
    }
}

/// The operations of an expression, if they are few and well-formed.
fn operations<'a>(
    expression: &UnwindExpression<usize>,
    section: &Section<'a>,
    encoding: Encoding,
) -> Option<Vec<Operation<Bytes<'a>>>> {
    let mut iterator = expression.get(section).ok()?.operations(encoding);
    let mut operations = Vec::new();
    while let Some(operation) = iterator.next().ok()? {
        if operations.len() == MAX_OPERATIONS {
            return None;
        }
        operations.push(operation);
    }
    Some(operations)
}
