//! Runs the programs of all profilers, in turns, and prints the tables of `docs/COMPARE.md`. With `--quick`, shorter; with
//! names of measurements, only those.

use compare_load::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// The programs, and how their columns are called.
const PROGRAMS: [(&str, &str); 3] =
    [("compare-ours", "this"), ("compare-pprof-rs", "pprof-rs"), ("compare-pyroscope-rs", "pyroscope-rs")];

/// What one program said in one run.
type Figures = BTreeMap<String, f64>;

struct Bench {
    directory: PathBuf,
    quick: bool,
}

fn main() -> Result<()> {
    let directory = std::env::current_exe()?.parent().ok_or("no directory")?.to_owned();
    let bench = Bench { directory, quick: std::env::args().any(|argument| argument == "--quick") };
    let all: [(&str, fn(&Bench)); 7] = [
        ("delivery", Bench::delivery),
        ("bursts", Bench::bursts),
        ("split", Bench::split),
        ("cost", Bench::cost),
        ("start", Bench::start),
        ("report", Bench::report),
        ("slowdown", Bench::slowdown),
    ];
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| all.iter().all(|(name, _)| name != wanted)) {
        return Err(format!("no such measurement: {unknown}").into());
    }
    for (_, measure) in
        all.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
    {
        measure(&bench);
        println!();
    }
    Ok(())
}

impl Bench {
    /// Runs one measurement with one program. What fails is said, and has no figures.
    fn run(&self, program: &str, arguments: &[&str]) -> Figures {
        eprintln!("{program} {}", arguments.join(" "));
        let mut command = Command::new(self.directory.join(program));
        for (variable, _) in std::env::vars() {
            if variable.starts_with("OTEL_") || variable.starts_with("PROFILE_") {
                command.env_remove(variable);
            }
        }
        let Ok(output) = command.args(arguments).output() else { return Figures::new() };
        if !output.status.success() {
            eprintln!("{}{}", output.status, String::from_utf8_lossy(&output.stderr));
            return Figures::new();
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(figure).collect()
    }

    /// The same with each program, `times` times in turns.
    fn all(&self, times: usize, arguments: &[&str]) -> [Vec<Figures>; 3] {
        let mut runs = [const { Vec::new() }; 3];
        for _ in 0..if self.quick { 1 } else { times } {
            for ((program, _), runs) in PROGRAMS.iter().zip(&mut runs) {
                runs.push(self.run(program, arguments));
            }
        }
        runs
    }

    fn seconds(&self, seconds: u64) -> String {
        if self.quick { "1".to_owned() } else { seconds.to_string() }
    }

    fn delivery(&self) {
        println!(
            "### Delivered CPU time, and the least and most that a thread got, as shares of what was used\n"
        );
        heads(&["Hz", "threads"], &["this, with `[unsampled]`"]);
        for hertz in ["99", "250", "997"] {
            for threads in ["1", "8", "32"] {
                let runs = self.all(1, &["delivery", hertz, threads, &self.seconds(4)]);
                let cell = |runs: &Vec<Figures>| {
                    let at = |name| number(best(runs, name), 2);
                    format!("{} ({}–{})", number(best(runs, "delivered"), 3), at("least"), at("most"))
                };
                let cells = runs.each_ref().map(cell);
                row(&[hertz, threads], &cells, &[number(best(&runs[0], "total"), 3)]);
            }
        }
    }

    fn bursts(&self) {
        println!(
            "\n### Shares of three threads in percent: never sleeping, .37 ms of every 1.07, .37 ms of every 4.4\n"
        );
        heads(&["Hz"], &[]);
        for hertz in ["99", "250", "997"] {
            let cells = self.all(1, &["bursts", hertz, &self.seconds(6)]).map(|runs| {
                let names = |suffix: &str| {
                    let at = |name: &str| number(best(&runs, &format!("{name}{suffix}")), 1);
                    format!("{} / {} / {}", at("spin"), at("burst"), at("seldom"))
                };
                format!("{} (true {})", names(""), names("_true"))
            });
            row(&[hertz], &cells, &[]);
        }
    }

    fn split(&self) {
        println!("### Three functions that take 50, 30 and 20 % of a thread, at 250 Hz, and the truth\n");
        heads(&["n at most"], &[]);
        let seconds = self.seconds(8);
        let cells = self.all(1, &["split", "250", &seconds]).map(|runs| {
            let names = |suffix: &str| {
                let at = |name: &str| number(best(&runs, &format!("{name}{suffix}")), 1);
                format!("{} / {} / {}", at("fifty"), at("thirty"), at("twenty"))
            };
            format!("{} (true {})", names(""), names("_true"))
        });
        row(&[&(250 * seconds.parse::<u64>().unwrap_or(0)).to_string()], &cells, &[]);
    }

    fn cost(&self) {
        println!("### Own cost of a sample, in nanoseconds: the fastest (the median)\n");
        heads(&["frames"], &["this / pprof-rs", "this / pyroscope-rs", "goal"]);
        let mut collected = f64::INFINITY;
        for depth in ["10", "30", "100"] {
            let runs = self.all(1, &["cost", depth, if self.quick { "20" } else { "200" }]);
            let cell = |runs: &Vec<Figures>| {
                format!("{} ({})", number(best(runs, "best_ns"), 0), number(best(runs, "median_ns"), 0))
            };
            let goal = if depth == "30" { "1/10 and 1/50" } else { "" };
            let [ours, pprof, pyroscope] = runs.each_ref().map(|runs| best(runs, "best_ns"));
            row(
                &[depth],
                &runs.each_ref().map(cell),
                &[ratio(ours, pprof), ratio(ours, pyroscope), goal.to_owned()],
            );
            collected = collected.min(best(&runs[0], "collect_us"));
        }
        println!(
            "\nThe collector's thread: {} µs a sample of a known stack (goal: 3).",
            number(collected, 2)
        );
    }

    fn start(&self) {
        println!(
            "\n### Start: what it keeps its caller, and the memory two seconds later; the best of five\n"
        );
        heads(&["figure"], &["this / pprof-rs", "this / pyroscope-rs", "goal"]);
        let runs = self.all(5, &["start"]);
        for (name, label, goal) in [("start_ms", "ms", "5"), ("resident_mb", "MB resident", "10")] {
            self.ratios(label, name, &runs, goal);
        }
    }

    fn report(&self) {
        println!(
            "\n### From raw addresses of distinct stacks to bytes: nothing cached, symbol tables only; the best of three\n"
        );
        heads(&["stacks, figure"], &["this / pprof-rs", "this / pyroscope-rs", "goal"]);
        for count in ["1000", "10000"] {
            let runs = self.all(3, &["report", count]);
            for (name, label, goal) in [
                ("total_ms", "CPU, ms", "1/10"),
                ("peak_mb", "heap at its peak, MB", "1/10"),
                ("gzip_kb", "as sent, gzip, kB", ""),
            ] {
                self.ratios(&format!("{count}, {label}"), name, &runs, goal);
            }
            let pprof = number(best(&runs[0], "pprof_gzip_kb"), 1);
            let nothing = [const { String::new() }; 3];
            row(&[&format!("{count}, as pprof, gzip, kB")], &[pprof, String::new(), String::new()], &nothing);
            let collected = number(best(&runs[0], "collect_us"), 2);
            row(
                &[&format!("{count}, collector, µs a new stack")],
                &[collected, String::new(), String::new()],
                &[],
            );
        }
    }

    fn ratios(&self, label: &str, name: &str, runs: &[Vec<Figures>; 3], goal: &str) {
        let [ours, pprof, pyroscope] = runs.each_ref().map(|runs| best(runs, name));
        let cells = [ours, pprof, pyroscope].map(|value| number(value, 1));
        row(&[label], &cells, &[ratio(ours, pprof), ratio(ours, pyroscope), goal.to_owned()]);
    }

    fn slowdown(&self) {
        println!(
            "\n### CPU time of fixed work on two threads, more than without a profiler, in percent; medians of six in turns\n"
        );
        heads(&["Hz"], &["without, a second time"]);
        for hertz in ["99", "997"] {
            let length = self.seconds(2);
            let mut more = [const { Vec::new() }; 4];
            for _ in 0..if self.quick { 1 } else { 6 } {
                let work = |program: &str, hertz| {
                    self.run(program, &["slowdown", hertz, &length])
                        .get("work_s")
                        .copied()
                        .unwrap_or(f64::NAN)
                };
                let bare = work(PROGRAMS[0].0, "0");
                for ((program, _), more) in PROGRAMS.iter().zip(&mut more) {
                    more.push(100.0 * (work(program, hertz) / bare - 1.0));
                }
                more[3].push(100.0 * (work(PROGRAMS[0].0, "0") / bare - 1.0));
            }
            let [ours, pprof, pyroscope, nobody] = more.map(|mut values| {
                values.sort_by(f64::total_cmp);
                format!("{:+.1}", values[values.len() / 2])
            });
            row(&[hertz], &[ours, pprof, pyroscope], &[nobody]);
        }
    }
}

/// The least of a figure over some runs; infinite if none has it.
fn best(runs: &[Figures], name: &str) -> f64 {
    runs.iter().filter_map(|figures| figures.get(name)).copied().fold(f64::INFINITY, f64::min)
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "void".to_owned() }
}

/// A ratio as one over something.
fn ratio(ours: f64, theirs: f64) -> String {
    let times = theirs / ours;
    if !times.is_finite() || times <= 0.0 {
        return "void".to_owned();
    }
    if times >= 1.0 { format!("1/{times:.1}") } else { format!("{:.2}", 1.0 / times) }
}

fn heads(first: &[&str], last: &[&str]) {
    let names: Vec<&str> = first
        .iter()
        .copied()
        .chain(PROGRAMS.iter().map(|(_, name)| *name))
        .chain(last.iter().copied())
        .collect();
    println!("| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()));
}

fn row(first: &[&str], cells: &[String; 3], last: &[String]) {
    let mut all: Vec<&str> = first.to_vec();
    all.extend(cells.iter().chain(last).map(String::as_str));
    println!("| {} |", all.join(" | "));
}
