//! A thread as Linux shows and ranks it. Other systems' do their work as any thread does.

/// A thread at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadSample {
    /// It runs or could: it does not wait for a disk, a lock or for time to pass.
    pub(super) is_runnable: bool,
    /// CPU time in hundredths of a second.
    pub(super) used: u64,
}

pub(super) use system::Task;
pub(crate) use system::lower_priority;

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::sync::atomic::{AtomicI32, Ordering};

    use rustix::process::{getpriority_process, setpriority_process};
    use rustix::thread::gettid;
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id, thread_schedule_policy,
    };
    use tracing::warn;

    use super::ThreadSample;

    const NICE: i32 = 10;
    const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

    /// Lowers the priority of this thread and of those that it starts: about a tenth of a processor where all are busy.
    pub(crate) fn lower_priority() {
        if getpriority_process(None).is_ok_and(|nice| nice >= NICE) {
            return;
        }
        if let Err(error) = setpriority_process(None, NICE) {
            warn!(%error, "cannot lower the priority of model loading");
        }
    }

    /// A thread of the idle class; none at first.
    #[derive(Debug, Default)]
    pub(crate) struct Task(AtomicI32);

    impl Task {
        /// The thread that calls becomes this one: only where it can be seen whether it gets anything.
        pub(crate) fn become_idle(&self) {
            let task = gettid().as_raw_nonzero().get();
            if ThreadSample::of(task).is_none() {
                return;
            }
            // From before, so that it is seen when it gets nothing from the first moment on.
            self.0.store(task, Ordering::Relaxed);
            // After the class this sets the nice value, which then means nothing and may not be lowered by an ordinary process.
            let _of_both = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE);
            if !thread_schedule_policy().is_ok_and(|class| class == IDLE) {
                self.0.store(0, Ordering::Relaxed);
                warn!("SCHED_IDLE refused; loading models at low priority only");
            }
        }

        pub(crate) fn sample(&self) -> Option<ThreadSample> {
            match self.0.load(Ordering::Relaxed) {
                0 => None,
                task => ThreadSample::of(task),
            }
        }
    }

    impl ThreadSample {
        fn of(task: i32) -> Option<Self> {
            Self::parse(&fs::read_to_string(format!("/proc/self/task/{task}/stat")).ok()?)
        }

        /// A line of `proc_pid_stat(5)`: the name stands in parentheses and may have some of its own.
        fn parse(stat: &str) -> Option<Self> {
            // The third field is the first after the name.
            const UTIME: usize = 14 - 3;
            let (_id_and_name, fields) = stat.rsplit_once(')')?;
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
            Some(Self {
                is_runnable: *fields.first()? == "R",
                used: ticks(UTIME)?.saturating_add(ticks(UTIME + 1)?),
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_line_of_the_kernel_is_read() {
            let line = "12 (a) R 1) R 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1 0";
            let expected = ThreadSample {
                is_runnable: true,
                used: 42,
            };
            assert_eq!(ThreadSample::parse(line), Some(expected));
            assert_eq!(ThreadSample::parse("12 (a) S 1 2"), None);
            assert_eq!(ThreadSample::parse(""), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::ThreadSample;

    pub(crate) fn lower_priority() {}

    #[derive(Debug, Default)]
    pub(crate) struct Task;

    impl Task {
        pub(crate) fn become_idle(&self) {}

        pub(crate) fn sample(&self) -> Option<ThreadSample> {
            None
        }
    }
}
