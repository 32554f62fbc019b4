//! Walks the machine code of the signal handler and fails for any call that is not expected there: `scripts/handler-calls`.
//!
//! The argument is an optimised program with its symbols. From the handler on, every function that is called or jumped to is
//! disassembled with `objdump`, and so on until nothing new is reached. Each function must be of a module that is meant for
//! the handler, or of the core library; what else is called is on a list with its reasons. An allocation, a
//! lock, a lazily made thread-local variable, a panic or a failed bounds check would be a call of something that is on no
//! list. A call through a pointer leads anywhere, so each is one of a few that are known by their place. What the compiler
//! has inlined makes its calls from the function around it, so nothing hides in there.
//!
//! What this cannot see: whether loops end, and faults. The tests do.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::process::{Command, ExitCode};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the kernel calls, and what the handler calls through a pointer.
const ROOTS: [&str; 2] =
    ["profile_core::sys::platform::signal::handler", "profile_core::sampler::cpu::on_tick"];

/// The modules that are meant for the handler. The core library neither allocates nor locks; but see [`PANICS`].
const MODULES: [&str; 17] = [
    "core::",
    "profile_core::context::record::",
    "profile_core::ring::header::",
    "profile_core::ring::producer::",
    "profile_core::sampler::capture::",
    "profile_core::sampler::cpu::",
    "profile_core::sampler::events::",
    "profile_core::sampler::run::",
    "profile_core::sampler::shared::",
    "profile_core::sys::platform::signal::",
    "profile_core::thread::arena::",
    "profile_core::thread::block::",
    "profile_core::unwind::cache::",
    "profile_core::unwind::rule::",
    "profile_core::unwind::set::",
    "profile_core::unwind::table::",
    "profile_core::unwind::walk::",
];

/// How panics begin in the core library.
const PANICS: [&str; 4] = ["core::panicking::", "_fail", "unwrap_failed", "core::fmt::"];

/// What the handler may call outside of these modules, and is not followed into.
const OTHERS: [(&str, &str); 10] = [
    ("__errno_location", "an address in the thread's static storage: errno is put back as it was"),
    ("memcpy", "copies"),
    ("memmove", "copies"),
    ("memset", "fills"),
    ("memcmp", "compares"),
    ("gettid", "a system call that cannot wait, only for threads that were refused a timer"),
    ("clock_gettime", "a system call that cannot wait, only for perf events"),
    ("ioctl", "a system call that cannot wait, only for perf events"),
    ("_Unwind_Resume", "only after a panic in what is called, and none begins there: all of it is walked"),
    ("core::panicking::panic_cannot_unwind", "the same"),
];

/// Functions that call through pointers: how often, and what is there.
const POINTERS: [(&str, usize, &str); 1] = [(
    "profile_core::sys::platform::signal::handler",
    3,
    "the receiver, which is walked too, and the handler that was there before ours, of one argument or three",
)];

fn main() -> Result<ExitCode> {
    let path = std::env::args().nth(1).ok_or("which program?")?;
    let program = Program::read(&path)?;
    let mut walk =
        Walk { program: &program, reached: BTreeMap::new(), others: HashSet::new(), faults: Vec::new() };
    walk.run()?;
    Ok(if walk.report() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program's functions, and where its pointers lead that the loader fills in.
struct Program {
    path: String,
    /// By address.
    functions: BTreeMap<u64, Function>,
    pointers: HashMap<u64, Target>,
}

#[derive(Clone, Debug)]
struct Function {
    name: String,
    end: u64,
}

/// Where a call leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Code(u64),
    Import(String),
}

impl Program {
    fn read(path: &str) -> Result<Self> {
        let bytes = std::fs::read(path)?;
        let file = object::File::parse(&*bytes)?;
        let mut functions = BTreeMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
            let name = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
            let end = symbol.address() + symbol.size();
            functions.insert(symbol.address(), Function { name, end });
        }
        let names: Vec<_> = file.dynamic_symbols().map(|symbol| (symbol.index(), symbol.name())).collect();
        let mut pointers = HashMap::new();
        for (place, relocation) in file.dynamic_relocations().into_iter().flatten() {
            let target = match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let known = names.iter().find(|(other, _)| *other == index);
                    Target::Import(known.ok_or("a relocation of no symbol")?.1?.to_owned())
                }
                _ => Target::Code(relocation.addend().cast_unsigned()),
            };
            pointers.insert(place, target);
        }
        if file.section_by_name(".text").is_none_or(|text| text.size() == 0) || functions.is_empty() {
            return Err("a program without symbols".into());
        }
        Ok(Self { path: path.to_owned(), functions, pointers })
    }

    /// The function that begins at `address`.
    fn function(&self, address: u64) -> Option<&Function> {
        self.functions.get(&address)
    }

    /// The instructions between two addresses.
    fn disassemble(&self, start: u64, end: u64) -> Result<Vec<String>> {
        let range = [format!("--start-address={start:#x}"), format!("--stop-address={end:#x}")];
        let mut command = Command::new("objdump");
        command.args(["-d", "--no-show-raw-insn"]).args(range).arg(&self.path);
        let output = command.env("LC_ALL", "C").output()?;
        if !output.status.success() {
            return Err(format!("objdump: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let text = String::from_utf8(output.stdout)?;
        let instruction = |line: &str| {
            let (address, text) = line.split_once(":\t")?;
            u64::from_str_radix(address.trim(), 16).ok()?;
            Some(text.trim().to_owned())
        };
        let found: Vec<_> = text.lines().filter_map(instruction).collect();
        if found.is_empty() { Err("objdump shows no code".into()) } else { Ok(found) }
    }
}

struct Walk<'a> {
    program: &'a Program,
    /// By address: from where a function was first reached, 0 for a root.
    reached: BTreeMap<u64, u64>,
    others: HashSet<String>,
    faults: Vec<String>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let mut open = Vec::new();
        for root in ROOTS {
            let is_root = |(_, function): &(&u64, &Function)| function.name == root;
            let found = self.program.functions.iter().find(is_root);
            open.push((*found.ok_or_else(|| format!("no function {root}"))?.0, 0));
        }
        while let Some((address, from)) = open.pop() {
            if self.reached.contains_key(&address) {
                continue;
            }
            match self.program.function(address) {
                Some(function) if is_allowed(&function.name) => {
                    self.reached.insert(address, from);
                    open.extend(self.visit(address, function)?.into_iter().map(|to| (to, address)));
                }
                Some(function) => self.other(from, &function.name),
                None => self.fault(from, &format!("jumps to {address:#x}, which no function begins at")),
            }
        }
        Ok(())
    }

    /// The functions that one leads to.
    fn visit(&mut self, start: u64, function: &Function) -> Result<Vec<u64>> {
        let instructions = self.program.disassemble(start, function.end)?;
        let (mut found, mut through_pointers) = (Vec::new(), 0);
        for (index, text) in instructions.iter().enumerate() {
            match step(text) {
                Step::Other => {}
                Step::Trap => self.fault(start, &format!("has the instruction {text}")),
                Step::To(to) if to == start => self.fault(start, "calls itself"),
                Step::To(to) if (start..function.end).contains(&to) => {}
                Step::To(to) => found.push(to),
                Step::Import(name) => self.other(start, &name),
                Step::Through(place) => match self.program.pointers.get(&place) {
                    Some(Target::Code(to)) => found.push(*to),
                    Some(Target::Import(name)) => self.other(start, name),
                    None => through_pointers += 1,
                },
                Step::Computed => {
                    let before = &instructions[index.saturating_sub(12)..index];
                    through_pointers += usize::from(!is_switch(before, text));
                }
            }
        }
        let known =
            POINTERS.iter().find(|(name, ..)| *name == function.name).map_or(0, |(_, times, _)| *times);
        if through_pointers > known {
            self.fault(start, &format!("calls through {through_pointers} pointers, not {known}"));
        }
        Ok(found)
    }

    /// Something that is not followed.
    fn other(&mut self, from: u64, name: &str) {
        let name = name.split('@').next().unwrap_or(name); // the version of the C library's symbol
        if OTHERS.iter().any(|(known, _)| *known == name) {
            self.others.insert(name.to_owned());
        } else {
            self.fault(from, &format!("calls {name}"));
        }
    }

    fn name(&self, address: u64) -> &str {
        self.program.function(address).map_or("the program", |function| &function.name)
    }

    /// Something that must not be, and the way to it.
    fn fault(&mut self, from: u64, what: &str) {
        let mut way = vec![self.name(from)];
        let mut at = from;
        while let Some(before) = self.reached.get(&at).filter(|before| **before != 0) {
            way.push(self.name(*before));
            at = *before;
        }
        way.reverse();
        let fault = format!("{}: {what}", way.join(" -> "));
        self.faults.push(fault);
    }

    fn report(&self) -> bool {
        println!("bytes  reached from the signal handler");
        let mut sum = 0;
        for address in self.reached.keys() {
            let size = self.program.function(*address).map_or(0, |function| function.end - address);
            println!("{size:5}  {}", self.name(*address));
            sum += size;
        }
        println!("{sum:5}  in all\n\nwhat is called besides");
        for (name, reason) in OTHERS.iter().filter(|(name, _)| self.others.contains(*name)) {
            println!("{name}: {reason}");
        }
        for (name, times, what) in POINTERS {
            println!("from {name}, through {times} pointers: {what}");
        }
        for fault in &self.faults {
            eprintln!("error: {fault}");
        }
        self.faults.is_empty()
    }
}

fn is_allowed(name: &str) -> bool {
    let path = name.trim_start_matches(['<', '&']);
    MODULES.iter().any(|module| path.starts_with(module)) && !PANICS.iter().any(|part| path.contains(part))
}

/// What an instruction does to the flow of control.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It goes on with the next.
    Other,
    /// To an address, perhaps.
    To(u64),
    /// To a function of another library, through the linkage table.
    Import(String),
    /// To where the pointer at an address leads.
    Through(u64),
    /// To an address that was computed.
    Computed,
    /// It enters the kernel or faults.
    Trap,
}

/// Reads an instruction as `objdump` writes it for x86-64.
fn step(text: &str) -> Step {
    let text = text.trim_start_matches("notrack ").trim_start_matches("bnd ");
    let (name, operand) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let operand = operand.trim();
    match name {
        "ud2" | "ud1" | "syscall" | "sysenter" | "int" | "int3" | "hlt" => Step::Trap,
        _ if name.starts_with("call") || name.starts_with('j') || name.starts_with("loop") => {
            if operand.starts_with('*') {
                // `*0x1e7998(%rip)        # 3c03f0 <name>`
                let place = operand.split_once("(%rip)").and_then(|(_, comment)| {
                    let place = comment.trim().strip_prefix('#')?.split_whitespace().next()?;
                    u64::from_str_radix(place, 16).ok()
                });
                return place.map_or(Step::Computed, Step::Through);
            }
            // `39de90 <_Unwind_Resume@plt>`
            let (address, name) = operand.split_once(' ').unwrap_or((operand, ""));
            if let Some(name) = name.strip_prefix('<').and_then(|name| name.strip_suffix("@plt>")) {
                return Step::Import(name.to_owned());
            }
            u64::from_str_radix(address, 16).map_or(Step::Computed, Step::To)
        }
        _ => Step::Other,
    }
}

/// Whether a computed jump is a `match`: the address is the sum of a table's and one of its entries. The compiler makes such
/// tables for jumps inside the function only.
fn is_switch(before: &[String], jump: &str) -> bool {
    let Some((_, register)) = jump.split_once("*%") else { return false };
    let writes = |text: &String| text.trim_end().ends_with(&format!(",%{register}"));
    let mut writers = before.iter().rev().filter(|text| writes(text));
    jump.contains("jmp")
        && writers.next().is_some_and(|text| text.starts_with("add "))
        && writers.next().is_some_and(|text| text.starts_with("movslq ") && text.contains(",4)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read() {
        assert_eq!(step("call   1d8950 <a::b>"), Step::To(0x1d_8950));
        assert_eq!(step("jne    1d8950 <a::b+0x17>"), Step::To(0x1d_8950));
        assert_eq!(step("call   39de90 <_Unwind_Resume@plt>"), Step::Import("_Unwind_Resume".to_owned()));
        assert_eq!(
            step("call   *0x1e7998(%rip)        # 3c03f0 <_DYNAMIC+0x2268>"),
            Step::Through(0x3c_03f0)
        );
        assert_eq!(step("jmp    *0x8(%rip)        # 10 <a>"), Step::Through(0x10));
        assert_eq!(step("notrack jmp *%rax"), Step::Computed);
        assert_eq!(step("call   *0x18(%rax)"), Step::Computed);
        assert_eq!((step("ud2"), step("syscall")), (Step::Trap, Step::Trap));
        assert_eq!((step("mov    %rax,%rbx"), step("ret")), (Step::Other, Step::Other));
    }

    #[test]
    fn a_switch_is_told_from_a_call_through_a_pointer() {
        let code = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let switch = code(&["movslq (%rcx,%rax,4),%rax", "add    %rcx,%rax"]);
        assert!(is_switch(&switch, "jmp    *%rax") && !is_switch(&switch, "call   *%rax"));
        assert!(!is_switch(&code(&["mov    0x18(%rdx),%rax"]), "jmp    *%rax"));
        assert!(!is_switch(&switch, "jmp    *%rcx"));
    }

    #[test]
    fn panics_of_the_core_library_are_not_allowed() {
        for name in [
            "core::panicking::panic_bounds_check",
            "core::slice::index::slice_index_fail",
            "alloc::alloc::exchange_malloc",
        ] {
            assert!(!is_allowed(name), "{name}");
        }
        assert!(is_allowed("<profile_core::ring::producer::Reservation<_> as core::ops::drop::Drop>::drop"));
    }
}
