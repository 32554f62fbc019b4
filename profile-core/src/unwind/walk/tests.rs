//! Each rule on a stack that is an array of words, for both architectures, and random rules on random stacks.

use super::super::arch::{Aarch64, X86_64};
use super::super::rule::{Cfa, Rule, RuleId, RuleTable, Saved};
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const LOW: u64 = 0x7fff_0000;
const UNCHANGED: Saved = Saved::Unchanged;

/// A stack of words from [`LOW`] on, and the rule of each address of code.
struct World {
    words: Vec<u64>,
    code: HashMap<u64, Rule>,
}

impl World {
    fn new(words: &[u64], code: &[(u64, Rule)]) -> Self {
        Self { words: words.to_vec(), code: code.iter().copied().collect() }
    }

    /// The frames' addresses, and why the stack ends. Panics if the walk reads outside the bounds.
    fn walk<A: Architecture>(&self, start: Registers, max_frames: usize) -> (Vec<u64>, StackEnd) {
        let mut rules = RuleTable::new();
        let ids: HashMap<u64, RuleId> =
            self.code.iter().map(|(address, rule)| (*address, rules.id_of::<A>(*rule))).collect();
        let source = Source {
            rule_at: |address| ids.get(&address).copied().unwrap_or(RuleId::NO_CFI),
            rules: &rules,
            read: |address: u64| {
                assert!(address.is_multiple_of(8) && address >= start.sp.saturating_sub(A::RED_ZONE));
                self.words[usize::try_from((address - LOW) / 8).unwrap()]
            },
        };
        let mut frames = Vec::new();
        let end = walk::<A>(start, self.bounds(), max_frames, &source, &mut |address| {
            frames.push(address);
            true
        });
        assert!(frames.len() <= max_frames);
        (frames, end)
    }

    fn bounds(&self) -> StackBounds {
        StackBounds { low: LOW, high: at(self.words.len()) }
    }
}

/// The address of a word.
fn at(index: usize) -> u64 {
    LOW + 8 * index as u64
}

fn x86(cfa: Cfa, frame_pointer: Saved) -> Rule {
    Rule::Frame { cfa, return_address: Saved::AtCfa(-8), frame_pointer }
}

fn registers(pc: u64, sp: usize, fp: u64) -> Registers {
    Registers { pc, sp: at(sp), fp, lr: 0 }
}

#[test]
fn the_leaf_is_exact_and_callers_lie_inside_the_call() {
    let world = World::new(
        &[0, 0x2000, 7, 7, 0x3000],
        &[
            (0x1000, x86(Cfa::Sp(16), UNCHANGED)),
            (0x1fff, x86(Cfa::Sp(24), UNCHANGED)),
            (0x2fff, Rule::Outermost),
        ],
    );
    let (frames, end) = world.walk::<X86_64>(registers(0x1000, 0, 0), 10);
    assert_eq!((frames, end), (vec![0x1000, 0x1fff, 0x2fff], StackEnd::Complete));
}

#[test]
fn the_frame_pointer_is_restored_and_used() {
    // The leaf saved its caller's frame pointer; the caller's frame is addressed by it.
    let world = World::new(
        &[at(5), 0x2000, 0, 0, 0, at(8), 0x3000, 9, 9],
        &[
            (0x1000, x86(Cfa::Sp(16), Saved::AtCfa(-16))),
            (0x1fff, x86(Cfa::Fp(16), Saved::AtCfa(-16))),
            (0x2fff, Rule::Outermost),
        ],
    );
    let (frames, end) = world.walk::<X86_64>(registers(0x1000, 0, 1), 10);
    assert_eq!((frames, end), (vec![0x1000, 0x1fff, 0x2fff], StackEnd::Complete));
}

#[test]
fn a_realigned_stack_is_followed_through_the_saved_address() {
    // The CFA lies at fp - 8; the frame pointer itself is saved at fp.
    let world = World::new(
        &[0, at(7), at(6), 0, 0, 0, 0x2000, 0],
        &[(0x1000, x86(Cfa::AtFp(-8), Saved::AtFp(0))), (0x1fff, x86(Cfa::Fp(24), UNCHANGED))],
    );
    let (frames, end) = world.walk::<X86_64>(registers(0x1000, 0, at(2)), 10);
    assert_eq!(frames, [0x1000, 0x1fff]);
    assert_eq!(end, StackEnd::LeftStack, "fp is now at(6), and its frame ends behind the stack");
}

#[test]
fn a_frame_larger_than_any_bit_field_is_followed() {
    let mut words = vec![0; 200_000];
    words[199_990] = 0x2000;
    let cfa = Cfa::Sp(8 * 199_991);
    let world = World::new(&words, &[(0x1000, x86(cfa, UNCHANGED)), (0x1fff, Rule::Outermost)]);
    assert_eq!(world.walk::<X86_64>(registers(0x1000, 0, 0), 10), (vec![0x1000, 0x1fff], StackEnd::Complete));
}

#[test]
fn a_plt_entry_has_pushed_or_not() {
    let plt = Rule::Plt { pushed_at: 11 };
    let world = World::new(&[3, 0x2000], &[(0x100a, plt), (0x100b, plt), (0x1fff, Rule::Outermost)]);
    let complete = |pc| (vec![pc, 0x1fff], StackEnd::Complete);
    assert_eq!(world.walk::<X86_64>(registers(0x100a, 1, 0), 10), complete(0x100a));
    assert_eq!(world.walk::<X86_64>(registers(0x100b, 0, 0), 10), complete(0x100b));
}

#[test]
fn a_signal_frame_leads_to_the_very_instruction() {
    let mut words = vec![0; 40];
    let layout = X86_64::SIGNAL_FRAME;
    words[1 + layout.pc as usize / 8] = 0x2000;
    words[1 + layout.sp as usize / 8] = at(30);
    words[1 + layout.fp as usize / 8] = at(37);
    words[38] = 0x3000;
    words[0] = 0x1001;
    let code = [
        (0x900, x86(Cfa::Sp(8), UNCHANGED)), // the handler
        (0x1000, Rule::SignalFrame),         // the trampoline, entered by its return
        (0x2000, x86(Cfa::Fp(16), UNCHANGED)),
        (0x2fff, Rule::Outermost),
    ];
    let world = World::new(&words, &code);
    let (frames, end) = world.walk::<X86_64>(registers(0x900, 0, 0), 10);
    assert_eq!((frames, end), (vec![0x900, 0x1000, 0x2000, 0x2fff], StackEnd::Complete));

    words[1 + layout.sp as usize / 8] = 0x1_0000; // interrupted on another stack
    let (frames, end) = World::new(&words, &code).walk::<X86_64>(registers(0x900, 0, 0), 10);
    assert_eq!((frames, end), (vec![0x900, 0x1000], StackEnd::LeftStack));
}

#[test]
fn code_without_cfi_is_a_stub_if_a_return_address_lies_on_top() {
    let code = [(0x1fff, x86(Cfa::Sp(16), UNCHANGED)), (0x2fff, Rule::Outermost)];
    let world = World::new(&[0x2000, 0, 0x3000, at(4), 0x6000], &code);
    let (frames, end) = world.walk::<X86_64>(registers(0x5000, 0, at(3)), 10);
    assert_eq!((frames, end), (vec![0x5000, 0x1fff, 0x2fff], StackEnd::Complete));
}

#[test]
fn code_without_cfi_falls_back_to_frame_pointers() {
    let code = [(0x1fff, Rule::Outermost)];
    let world = World::new(&[9, at(3), 0x5000, 0, 0x2000], &code);
    // 0x5000 and 0x4fff have no CFI: two frames by frame pointer, then code that is known.
    let (frames, end) = world.walk::<X86_64>(registers(0x7000, 0, at(1)), 10);
    assert_eq!((frames, end), (vec![0x7000, 0x4fff, 0x1fff], StackEnd::Complete));
    for bad in [0, 1, at(0) - 8, at(5), at(4), at(1) + 4, u64::MAX] {
        let (frames, end) = world.walk::<X86_64>(registers(0x7000, 0, bad), 10);
        assert_eq!(frames, [0x7000], "{bad:#x}");
        assert!(matches!(end, StackEnd::NoRule | StackEnd::LeftStack), "{bad:#x}: {end:?}");
    }
}

#[test]
fn a_frame_pointer_of_zero_ends_only_the_code_that_called() {
    let world = World::new(&[9, at(3), 0x5000, 0, 0], &[]);
    // The caller at 0x4fff has fp = at(3), whose saved values are zero: a return address of zero is the end.
    assert_eq!(world.walk::<X86_64>(registers(0x7000, 0, at(1)), 10).1, StackEnd::Complete);
    let world = World::new(&[9, 0, 0x5000], &[]);
    assert_eq!(
        world.walk::<X86_64>(registers(0x7000, 0, at(1)), 10),
        (vec![0x7000, 0x4fff], StackEnd::Complete)
    );
    assert_eq!(world.walk::<X86_64>(registers(0x7000, 0, 0), 10), (vec![0x7000], StackEnd::NoRule));
}

#[test]
fn every_end_has_its_reason() {
    let one =
        |rule, words: &[u64]| World::new(words, &[(0x1000, rule)]).walk::<X86_64>(registers(0x1000, 0, 0), 9);
    let sp = |offset| x86(Cfa::Sp(offset), UNCHANGED);
    let leaf = |end| (vec![0x1000], end);
    assert_eq!(one(Rule::Unsupported, &[0]), leaf(StackEnd::NoRule));
    assert_eq!(one(sp(8), &[0]), leaf(StackEnd::Complete), "a return address of zero");
    assert_eq!(one(sp(8), &[12]), leaf(StackEnd::NoRule), "no code lies at 12");
    assert_eq!(one(sp(8), &[1 << 47]), leaf(StackEnd::NoRule), "no code lies in the kernel's half");
    assert_eq!(one(sp(16), &[0x2000]), leaf(StackEnd::LeftStack), "beyond the upper bound");
    assert_eq!(one(sp(0), &[0x2000]), leaf(StackEnd::LeftStack), "the stack pointer does not grow");
    assert_eq!(one(sp(-8), &[0x2000]), leaf(StackEnd::LeftStack), "the stack pointer shrinks");
    assert_eq!(one(sp(12), &[0x2000, 0]), leaf(StackEnd::LeftStack), "not aligned");
    assert_eq!(
        one(x86(Cfa::Sp(8), Saved::AtCfa(-1000)), &[0x2000]),
        leaf(StackEnd::LeftStack),
        "below the red zone"
    );
    let same = World::new(&[0x1001, 0], &[(0x1000, sp(0))]).walk::<X86_64>(registers(0x1000, 1, 0), 9);
    assert_eq!(same, leaf(StackEnd::LeftStack), "a rule for ever: the return address lies in the red zone");
    let lost = World::new(
        &[0x2000, 0x3000],
        &[(0x1000, x86(Cfa::Sp(8), Saved::Lost)), (0x1fff, x86(Cfa::Fp(16), UNCHANGED))],
    );
    let (frames, end) = lost.walk::<X86_64>(registers(0x1000, 0, at(0)), 9);
    assert_eq!(
        (frames, end),
        (vec![0x1000, 0x1fff], StackEnd::LeftStack),
        "a lost frame pointer is not used"
    );
}

#[test]
fn a_stack_pointer_outside_the_bounds_leaves_the_leaf() {
    let world = World::new(&[0x2000, 0], &[(0x1000, x86(Cfa::Sp(8), UNCHANGED))]);
    for sp in [0, LOW - 8, at(2) + 8, u64::MAX] {
        let start = Registers { pc: 0x1000, sp, fp: 0, lr: 0 };
        assert_eq!(world.walk::<X86_64>(start, 9), (vec![0x1000], StackEnd::LeftStack), "{sp:#x}");
    }
}

#[test]
fn depth_is_limited_by_the_caller_and_by_the_sink() {
    let code = [(0x1000, x86(Cfa::Sp(8), UNCHANGED)), (0xfff, x86(Cfa::Sp(8), UNCHANGED))];
    let world = World::new(&[0x1000; 50], &code);
    let (frames, end) = world.walk::<X86_64>(registers(0x1000, 0, 0), 20);
    assert_eq!((frames.len(), end), (20, StackEnd::Truncated));
    assert_eq!(world.walk::<X86_64>(registers(0x1000, 0, 0), 0), (vec![], StackEnd::Truncated));

    let outermost = World::new(&[0x2000], &[(0x1000, code[0].1), (0x1fff, Rule::Outermost)]);
    let exactly = outermost.walk::<X86_64>(registers(0x1000, 0, 0), 2);
    assert_eq!(
        exactly,
        (vec![0x1000, 0x1fff], StackEnd::Complete),
        "as many frames as the limit is complete"
    );
}

mod aarch64 {
    use super::*;

    fn arm(cfa: i32, record: Option<i32>) -> Rule {
        let (frame_pointer, return_address) = match record {
            Some(below) => (Saved::AtCfa(-below), Saved::AtCfa(8 - below)),
            None => (UNCHANGED, UNCHANGED),
        };
        Rule::Frame { cfa: Cfa::Sp(cfa), return_address, frame_pointer }
    }

    #[test]
    fn a_leaf_returns_through_the_link_register_and_saved_addresses_lose_their_signature() {
        // A leaf without a frame of its own, a caller with a frame record, and the start of the thread.
        let signed = 0x3000 | 0x00ab << 48;
        let world = World::new(
            &[at(2), signed, 0, 0],
            &[(0x1000, arm(0, None)), (0x1fff, arm(32, Some(32))), (0x2fff, Rule::Outermost)],
        );
        let start = Registers { pc: 0x1000, sp: at(0), fp: 0, lr: 0x2000 };
        assert_eq!(world.walk::<Aarch64>(start, 9), (vec![0x1000, 0x1fff, 0x2fff], StackEnd::Complete));
    }

    #[test]
    fn only_a_leaf_may_use_the_link_register() {
        let world = World::new(&[0; 4], &[(0x1000, arm(0, None)), (0x1fff, arm(16, None))]);
        let start = Registers { pc: 0x1000, sp: at(0), fp: 0, lr: 0x2000 };
        assert_eq!(world.walk::<Aarch64>(start, 9), (vec![0x1000, 0x1fff], StackEnd::NoRule));
    }

    #[test]
    fn a_stub_without_cfi_returns_through_the_link_register() {
        let world = World::new(&[0; 4], &[(0x1fff, Rule::Outermost)]);
        let start = Registers { pc: 0x5000, sp: at(0), fp: 0, lr: 0x2000 };
        assert_eq!(world.walk::<Aarch64>(start, 9), (vec![0x5000, 0x1fff], StackEnd::Complete));
    }

    #[test]
    fn frame_records_are_followed_where_there_is_no_cfi() {
        let world = World::new(&[0, at(3), 0x5000, at(3), 0x2000], &[(0x1fff, Rule::Outermost)]);
        let start = Registers { pc: 0x7000, sp: at(0), fp: at(1), lr: 0 };
        assert_eq!(world.walk::<Aarch64>(start, 9), (vec![0x7000, 0x4fff, 0x1fff], StackEnd::Complete));
    }

    #[test]
    fn a_signal_frame_gives_a_leaf_its_link_register_back() {
        let layout = Aarch64::SIGNAL_FRAME;
        let mut words = vec![0; 80];
        words[layout.pc as usize / 8] = 0x1000;
        words[layout.sp as usize / 8] = at(76);
        words[layout.lr.unwrap() as usize / 8] = 0x2000;
        let code = [(0x400, Rule::SignalFrame), (0x1000, arm(0, None)), (0x1fff, Rule::Outermost)];
        let start = Registers { pc: 0x400, sp: at(0), fp: 0, lr: 0 };
        let walked = World::new(&words, &code).walk::<Aarch64>(start, 9);
        assert_eq!(walked, (vec![0x400, 0x1000, 0x1fff], StackEnd::Complete));
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let offset = || prop_oneof![8 => (-40_i32..40).prop_map(|words| words * 8), 1 => any::<i32>()];
    let saved = move || {
        prop_oneof![
            Just(Saved::Unchanged),
            Just(Saved::Lost),
            Just(Saved::AtCfa(-8)),
            offset().prop_map(Saved::AtCfa),
            offset().prop_map(Saved::AtFp)
        ]
    };
    let cfa =
        prop_oneof![offset().prop_map(Cfa::Sp), offset().prop_map(Cfa::Fp), offset().prop_map(Cfa::AtFp)];
    let frame = (cfa, saved(), saved()).prop_map(|(cfa, return_address, frame_pointer)| Rule::Frame {
        cfa,
        return_address,
        frame_pointer,
    });
    prop_oneof![
        20 => frame,
        2 => Just(Rule::NoCfi),
        1 => Just(Rule::Unsupported),
        1 => Just(Rule::SignalFrame),
        1 => any::<u8>().prop_map(|pushed_at| Rule::Plt { pushed_at }),
    ]
}

proptest! {
    /// Whatever the rules and the stack, no read is outside the bounds (the door panics on one) and the walk ends.
    #[test]
    fn no_rule_leads_outside_the_stack(
        rules in prop::collection::vec(any_rule(), 1..12),
        stack in prop::collection::vec((0_usize..12, 0_usize..120, 0..4), 1..100),
        start in (0_u64..12, 0_u64..1000, any::<u64>(), any::<bool>()),
        max_frames in 0_usize..1000,
    ) {
        // The words are addresses of code, addresses of the stack, and anything.
        let words: Vec<u64> = stack.iter().map(|(code, word, kind)| match kind {
            0 => at(*word),
            1 => (*code as u64) << 60 | *word as u64,
            _ => 0x1000 + *code as u64,
        }).collect();
        let code: Vec<_> = rules.iter().enumerate().map(|(i, rule)| (0x1000 + i as u64, *rule)).collect();
        let world = World::new(&words, &code);
        let (pc, sp, fp, fp_is_on_stack) = start;
        let fp = if fp_is_on_stack { at((fp % 120) as usize) } else { fp };
        let start = Registers { pc: 0x1000 + pc, sp: LOW + sp - 100, fp, lr: 0x1001 };
        let (frames, _) = world.walk::<X86_64>(start, max_frames);
        prop_assert!(frames.len() <= words.len() + 2);
        let (frames, _) = world.walk::<Aarch64>(start, max_frames);
        prop_assert!(frames.len() <= words.len() * 2 + 3);
    }
}
