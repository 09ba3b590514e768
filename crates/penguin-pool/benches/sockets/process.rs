//! What this process used, as the system counts it.

use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};

/// CPU time of all its threads, in user and in system.
pub(crate) fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold anything: field 14 is user time, 15 system time, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Resident memory, in bytes: to be subtracted, and it may shrink.
pub(crate) fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// Sees to it that so many files can be open: begins anew with the soft limit raised to the hard one where it is too low,
/// as a process cannot raise its own without help of the system's library.
pub(crate) fn allow_open_files(wanted: usize) {
    const RAISED: &str = "SOCKETS_LIMIT_RAISED";
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files")).unwrap();
    let [soft, hard] = [0, 1].map(|n| line.split_whitespace().nth(n).unwrap());
    let enough = |limit: &str| limit == "unlimited" || limit.parse::<usize>().unwrap() >= wanted;
    if enough(soft) {
        return;
    }
    if !enough(hard) || std::env::var_os(RAISED).is_some() {
        eprintln!(
            "{wanted} files must be open at once, and at most {hard} may be: raise the hard limit, or set SOCKETS_SCALE"
        );
        std::process::exit(1);
    }
    let raise = format!("ulimit -n {hard} && exec \"$0\" \"$@\"");
    let mut again = Command::new("sh");
    again.args(["-c", &raise]).arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1));
    let error = again.env(RAISED, "1").exec();
    panic!("it cannot begin anew: {error}");
}
