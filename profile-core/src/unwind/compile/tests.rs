//! Sections written byte by byte, so that every form can be had, and sections with random damage.

use super::super::arch::{Aarch64, X86_64};
use super::super::rule::{Cfa, CompactRule, Rule, Saved};
use super::*;
use proptest::prelude::*;

const SECTION: u64 = 0x40_0000;
const TEXT: Range<u64> = 0x10_0000..0x20_0000;

// Call frame instructions, DWARF 5 section 7.24.
const DEF_CFA: u8 = 0x0c;
const DEF_CFA_OFFSET: u8 = 0x0e;
const DEF_CFA_REGISTER: u8 = 0x0d;
const DEF_CFA_EXPRESSION: u8 = 0x0f;
const EXPRESSION: u8 = 0x10;
const UNDEFINED: u8 = 0x07;
const REMEMBER: u8 = 0x0a;
const RESTORE: u8 = 0x0b;
const NEGATE_RA_STATE: u8 = 0x2d;
const fn advance(bytes: u8) -> u8 {
    0x40 | bytes
}
const fn offset(register: u8) -> u8 {
    0x80 | register
}

/// A section under construction.
struct Section(Vec<u8>);

impl Section {
    /// With one CIE: a return address column, an augmentation, and initial instructions.
    fn new(augmentation: &[u8], return_address: u8, initial: &[u8]) -> Self {
        let mut content = vec![0, 0, 0, 0, 1]; // CIE id, version
        content.extend(augmentation);
        content.extend([0, 1, 0x78, return_address, 1, 0x1b]); // alignments 1 and -8; data: pcrel | sdata4
        content.extend(initial);
        let mut section = Self(Vec::new());
        section.record(content);
        section
    }

    /// As compilers for x86-64 begin: CFA = rsp + 8, return address at CFA - 8.
    fn x86_64() -> Self {
        Self::new(b"zR", 16, &[DEF_CFA, 7, 8, offset(16), 1])
    }

    fn record(&mut self, mut content: Vec<u8>) {
        content.resize(content.len().next_multiple_of(8) + 4, 0);
        self.0.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        self.0.extend(content);
    }

    /// A function of `length` bytes at `start` in the text.
    fn function(mut self, start: u32, length: u32, instructions: &[u8]) -> Self {
        let place = self.0.len() as u64 + 8;
        let mut content = u32::try_from(self.0.len() + 4).unwrap().to_le_bytes().to_vec(); // back to the CIE
        let relative = (TEXT.start + u64::from(start)).wrapping_sub(SECTION + place);
        content.extend((relative as u32).to_le_bytes());
        content.extend(length.to_le_bytes());
        content.push(0); // no augmentation data
        content.extend(instructions);
        self.record(content);
        self
    }

    fn compile<A: Architecture>(&self) -> (Vec<(u32, Rule)>, Compiled) {
        let mut rules = RuleTable::new();
        let compiled = compile::<A>(&self.0, SECTION, TEXT, &mut rules);
        let mut rows = Vec::new();
        for row in &compiled.rows {
            // A compact id is spelled out by looking for the rule that has it.
            let rule =
                CompactRule::from_id(row.rule).map_or_else(|| rules.get(row.rule), CompactRule::rule::<A>);
            rows.push((row.offset, rule));
        }
        (rows, compiled)
    }
}

fn sp(cfa: i32) -> Rule {
    Rule::Frame { cfa: Cfa::Sp(cfa), return_address: Saved::AtCfa(-8), frame_pointer: Saved::Unchanged }
}

fn with_fp(cfa: Cfa, frame_pointer: i32) -> Rule {
    Rule::Frame { cfa, return_address: Saved::AtCfa(-8), frame_pointer: Saved::AtCfa(frame_pointer) }
}

#[test]
fn rows_follow_the_instructions_and_gaps_have_no_cfi() {
    let push_mov = [
        advance(1),
        DEF_CFA_OFFSET,
        16,
        offset(6),
        2,
        advance(3),
        DEF_CFA_REGISTER,
        6,
        advance(40),
        DEF_CFA,
        7,
        8,
    ];
    let section = Section::x86_64()
        .function(0x100, 0x40, &push_mov)
        .function(0x140, 0x10, &[]) // adjacent: the last rule goes on
        .function(0x180, 0x10, &[advance(4), DEF_CFA_OFFSET, 32]);
    let (rows, compiled) = section.compile::<X86_64>();
    let after_pop = with_fp(Cfa::Sp(8), -16); // as the compiler said: rbp's slot is not forgotten
    assert_eq!(
        rows,
        [
            (0x100, sp(8)),
            (0x101, with_fp(Cfa::Sp(16), -16)),
            (0x104, with_fp(Cfa::Fp(16), -16)),
            (0x12c, after_pop),
            (0x140, sp(8)),
            (0x150, Rule::NoCfi),
            (0x180, sp(8)),
            (0x184, sp(32)),
            (0x190, Rule::NoCfi),
        ]
    );
    assert_eq!((compiled.functions, compiled.malformed, compiled.unsupported), (3, 0, 0));
}

#[test]
fn order_in_the_section_does_not_matter_and_code_elsewhere_is_ignored() {
    let section = Section::x86_64()
        .function(0x200, 0x10, &[])
        .function(0x100, 0x20, &[])
        .function(0xf_fff0, 0x20, &[]) // runs over the end of the text
        .function(0x10_0000, 0x10, &[]) // behind it
        .function(0x300, 0, &[]); // empty
    let (rows, compiled) = section.compile::<X86_64>();
    let expected = [
        (0x100, sp(8)),
        (0x120, Rule::NoCfi),
        (0x200, sp(8)),
        (0x210, Rule::NoCfi),
        (0xf_fff0, sp(8)),
        (0x10_0000, Rule::NoCfi),
    ];
    assert_eq!(rows, expected);
    assert_eq!((compiled.functions, compiled.malformed), (3, 0));
}

#[test]
fn of_overlapping_functions_the_later_start_wins() {
    let section = Section::x86_64().function(0x100, 0x40, &[advance(0x3c), DEF_CFA_OFFSET, 16]).function(
        0x120,
        0x10,
        &[DEF_CFA_OFFSET, 24],
    );
    let expected = [(0x100, sp(8)), (0x120, sp(24)), (0x130, Rule::NoCfi)];
    assert_eq!(section.compile::<X86_64>().0, expected);
}

#[test]
fn what_cannot_be_followed_is_unsupported_and_never_nearly_right() {
    let rule_of = |initial: &[u8]| {
        let (rows, compiled) = Section::new(b"zR", 16, initial).function(0, 16, &[]).compile::<X86_64>();
        assert_eq!(compiled.unsupported, u32::from(rows[0].1 == Rule::Unsupported));
        rows[0].1
    };
    let ra = [offset(16), 1];
    let with = |instructions: &[u8]| rule_of(&[instructions, &ra].concat());
    assert_eq!(with(&[DEF_CFA, 7, 8]), sp(8));
    assert_eq!(with(&[DEF_CFA, 3, 8]), Rule::Unsupported, "CFA by rbx");
    assert_eq!(with(&[DEF_CFA, 7, 0x80, 0x80, 0x80, 0x80, 0x40]), Rule::Unsupported, "an offset of 16 GB");
    let far = Rule::Frame {
        cfa: Cfa::Sp(1 << 28),
        return_address: Saved::AtCfa(-8),
        frame_pointer: Saved::Unchanged,
    };
    assert_eq!(with(&[DEF_CFA, 7, 0x80, 0x80, 0x80, 0x80, 1]), far, "an offset of 256 MB");
    assert_eq!(rule_of(&[DEF_CFA, 7, 8]), Rule::Unsupported, "no place for the return address");
    assert_eq!(rule_of(&[DEF_CFA, 7, 8, UNDEFINED, 16]), Rule::Outermost);
    assert_eq!(with(&[DEF_CFA, 7, 8, 0x14, 7, 2]), Rule::Unsupported, "rsp = CFA - 16");
    let elsewhere =
        Rule::Frame { cfa: Cfa::Sp(24), return_address: Saved::AtCfa(-16), frame_pointer: Saved::Unchanged };
    assert_eq!(rule_of(&[DEF_CFA, 7, 24, offset(16), 2]), elsewhere, "the return address may be elsewhere");
    let column = Section::new(b"zR", 15, &[DEF_CFA, 7, 8, offset(15), 1]).function(0, 16, &[]);
    assert_eq!(column.compile::<X86_64>().0[0].1, Rule::Unsupported, "another return address column");
}

#[test]
fn known_expressions_are_recognised() {
    let rule_of = |expression: &[u8]| {
        let mut initial = vec![DEF_CFA_EXPRESSION, expression.len() as u8];
        initial.extend(expression);
        initial.extend([offset(16), 1]);
        Section::new(b"zR", 16, &initial).function(0, 16, &[]).compile::<X86_64>().0[0].1
    };
    let plt = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
    assert_eq!(rule_of(&plt), Rule::Plt { pushed_at: 11 });
    for broken in 0..plt.len() {
        let mut other = plt;
        other[broken] ^= if broken == 6 { 0x80 } else { 1 };
        assert_eq!(rule_of(&other), Rule::Unsupported, "byte {broken} of the PLT expression changed");
    }
    let realigned =
        Rule::Frame { cfa: Cfa::AtFp(-8), return_address: Saved::AtCfa(-8), frame_pointer: Saved::Unchanged };
    assert_eq!(rule_of(&[0x76, 0x78, 0x06]), realigned);
    assert_eq!(rule_of(&[0x73, 0x78, 0x06]), Rule::Unsupported, "by rbx");
    assert_eq!(rule_of(&[0x76, 0x78]), Rule::Unsupported, "not read from memory");
    assert_eq!(rule_of(&[]), Rule::Unsupported);
    assert_eq!(rule_of(&[0x31; 60]), Rule::Unsupported, "too long");
}

#[test]
fn a_signal_trampoline_must_have_the_layout_of_the_kernel() {
    let rule_of = |sp_at: u8, pc_at: u8, fp_at: u8| {
        // CFA = *(rsp + sp_at); rip and rbp saved at rsp + n. The offsets are 2-byte signed LEB128.
        let at = |offset: u8| [0x77, offset | 0x80, offset >> 7];
        let mut initial = vec![DEF_CFA_EXPRESSION, 4];
        initial.extend(at(sp_at));
        initial.push(0x06);
        for (register, offset) in [(16, pc_at), (6, fp_at)] {
            initial.extend([EXPRESSION, register, 3]);
            initial.extend(at(offset));
        }
        let mut section = Section::new(b"zRS", 16, &initial);
        // "zRS" takes one byte more than "zR" in front, none in the data.
        section = section.function(0, 16, &[]);
        section.compile::<X86_64>().0[0].1
    };
    assert_eq!(rule_of(160, 168, 120), Rule::SignalFrame);
    assert_eq!(rule_of(152, 168, 120), Rule::Unsupported);
    assert_eq!(rule_of(160, 160, 120), Rule::Unsupported);
    assert_eq!(rule_of(160, 168, 128), Rule::Unsupported);
}

#[test]
fn a_malformed_function_costs_itself_only() {
    let unknown_instruction = 0x3f;
    let section = Section::x86_64()
        .function(0x100, 0x40, &[advance(8), DEF_CFA_OFFSET, 16, unknown_instruction])
        .function(0x200, 0x10, &[]);
    let (rows, compiled) = section.compile::<X86_64>();
    let expected = [
        (0x100, sp(8)),
        (0x108, Rule::Unsupported),
        (0x140, Rule::NoCfi),
        (0x200, sp(8)),
        (0x210, Rule::NoCfi),
    ];
    assert_eq!(rows, expected);
    assert_eq!((compiled.functions, compiled.malformed, compiled.unsupported), (2, 1, 1));

    // An FDE whose CIE is not one, between two good ones.
    let mut section = Section::x86_64().function(0x100, 0x10, &[]);
    section.record(vec![3; 20]);
    let (rows, compiled) = section.function(0x200, 0x10, &[]).compile::<X86_64>();
    assert_eq!(rows.len(), 4);
    assert_eq!((compiled.functions, compiled.malformed), (2, 1));
}

#[test]
fn remembered_states_come_back() {
    let instructions =
        [advance(1), DEF_CFA_OFFSET, 32, advance(1), REMEMBER, DEF_CFA_OFFSET, 8, advance(1), RESTORE];
    let (rows, _) = Section::x86_64().function(0, 16, &instructions).compile::<X86_64>();
    assert_eq!(rows, [(0, sp(8)), (1, sp(32)), (2, sp(8)), (3, sp(32)), (16, Rule::NoCfi)]);
}

#[test]
fn of_two_rows_at_one_place_the_later_counts() {
    let instructions = [DEF_CFA_OFFSET, 16, advance(0), DEF_CFA_OFFSET, 24, advance(8), DEF_CFA_OFFSET, 32];
    let (rows, _) = Section::x86_64().function(0, 16, &instructions).compile::<X86_64>();
    assert_eq!(rows, [(0, sp(24)), (8, sp(32)), (16, Rule::NoCfi)]);
}

#[test]
fn aarch64_keeps_the_return_address_in_its_register_until_it_is_saved() {
    // As compilers begin: CFA = sp + 0. `paciasp` signs the return address, then x29 and x30 are saved.
    let prologue = [
        advance(4),
        NEGATE_RA_STATE,
        advance(4),
        DEF_CFA_OFFSET,
        32,
        offset(29),
        4,
        offset(30),
        3,
        advance(4),
        DEF_CFA_REGISTER,
        29,
    ];
    let section = Section::new(b"zR", 30, &[DEF_CFA, 31, 0]).function(0, 64, &prologue);
    let frame = |cfa, return_address, frame_pointer| Rule::Frame { cfa, return_address, frame_pointer };
    let leaf = frame(Cfa::Sp(0), Saved::Unchanged, Saved::Unchanged);
    let saved = |cfa| frame(cfa, Saved::AtCfa(-24), Saved::AtCfa(-32));
    let expected = [(0, leaf), (8, saved(Cfa::Sp(32))), (12, saved(Cfa::Fp(32))), (64, Rule::NoCfi)];
    assert_eq!(section.compile::<Aarch64>().0, expected);
    assert_eq!(section.compile::<X86_64>().0[0].1, Rule::Unsupported, "not of that architecture");
}

proptest! {
    #[test]
    fn damaged_sections_yield_some_table(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Section::x86_64()
            .function(0x100, 0x40, &[advance(1), DEF_CFA_OFFSET, 16, offset(6), 2, advance(3), DEF_CFA_REGISTER, 6])
            .function(0x180, 0x10, &[DEF_CFA_EXPRESSION, 3, 0x76, 0x78, 0x06, advance(4), REMEMBER, RESTORE])
            .function(0x300, 0x400, &[advance(4), DEF_CFA_OFFSET, 32])
            .0;
        for (index, byte) in &damage {
            let index = index.index(bytes.len());
            bytes[index] = *byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let mut rules = RuleTable::new();
        let compiled = compile::<X86_64>(&bytes, SECTION, TEXT, &mut rules);
        prop_assert!(compiled.rows.is_sorted_by(|a, b| a.offset < b.offset && a.rule != b.rule));
        prop_assert!(compiled.rows.iter().all(|row| u64::from(row.offset) <= TEXT.end - TEXT.start));
        compile::<Aarch64>(&bytes, SECTION, TEXT, &mut rules);
    }
}
