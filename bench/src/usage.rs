//! What processes use, as Linux tells it.

use std::fs;

use anyhow::{Context, Result};

/// Linux counts processor time in hundredths of a second.
const MICROSECONDS_A_TICK: u64 = 10_000;

/// The processor time that these processes have used, in microseconds. Those
/// that are gone count nothing.
#[must_use]
pub fn processor_time(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| ticks(*pid)).sum::<u64>() * MICROSECONDS_A_TICK
}

fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything. After it, utime and stime
    // are the 12th and 13th field.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// A process's resident memory now (`VmRSS`) and at most so far (`VmHWM`), in
/// KiB.
///
/// # Errors
/// The process is gone.
pub fn memory(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("{name} is not in the process's status"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_a_gone_one_no_time() {
        let (now, most) = memory(std::process::id()).unwrap();
        assert!(now > 0 && most >= now);
        assert_eq!(processor_time(&[u32::MAX]), 0);
    }
}
