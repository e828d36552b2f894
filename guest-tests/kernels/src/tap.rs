// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Test points, reported in the Test Anything Protocol.

use crate::exit::exit;
use crate::println;
use crate::text::Text;

/// How a point ended: fine, or why not.
pub type Outcome = Result<(), Text>;

/// A point's name and its test.
pub type Point = (&'static str, fn() -> Outcome);

/// Runs all points in turn and ends the run: exit code 0 only if all are fine.
pub fn run(points: &[Point]) -> ! {
    println!("TAP version 13");
    println!("1..{}", points.len());
    let mut failed = 0;
    for (number, (name, test)) in (1..).zip(points) {
        match test() {
            Ok(()) => println!("ok {number} - {name}"),
            Err(why) => {
                failed += 1;
                println!("not ok {number} - {name} # {why}");
            }
        }
    }
    exit(u32::from(failed != 0))
}

/// Ends the point with this reason.
#[macro_export]
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::text::Text::format(format_args!($($arg)*))) };
}

/// Ends the point with a reason unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($arg:tt)*) => {
        if !$condition {
            $crate::fail!($($arg)*);
        }
    };
}

/// Ends the point unless two values are equal; says what they are of.
#[macro_export]
macro_rules! check_eq {
    ($is:expr, $want:expr, $($what:tt)*) => {{
        let (is, want) = ($is, $want);
        if is != want {
            $crate::fail!("{}: {:x?}, not {:x?} (hex)", format_args!($($what)*), is, want);
        }
    }};
}

/// A line of diagnosis.
#[macro_export]
macro_rules! diag {
    ($($arg:tt)*) => { $crate::println!("# {}", format_args!($($arg)*)) };
}
