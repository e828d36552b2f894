// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the text of a filter means, and what is said of one that means nothing.

use vpmu::FilterAction::{Allow, Deny};
use vpmu::{EventFilter, FilterAction, FilterEntry, FilterTextError};

#[track_caller]
fn means(text: &str, action: FilterAction, entries: &[FilterEntry], fixed: u32) {
    let wanted = EventFilter::new(action, entries.iter().copied(), fixed);
    let wanted = wanted.expect("a filter of a few entries");
    assert_eq!(text.parse(), Ok(wanted), "{text:?}");
}

#[test]
fn each_statement_is_read() {
    let event = FilterEntry::event;
    let masked = FilterEntry::masked;
    means("allow", Allow, &[], 0);
    means("deny\n", Deny, &[], 0);
    means("deny\nevent 192 umask 0", Deny, &[event(0xC0, 0)], 0);
    means(
        "allow\nevent 0xfFf umask 0XfF",
        Allow,
        &[event(0xFFF, 0xFF)],
        0,
    );
    means("allow\nevent 0 umask 65", Allow, &[event(0, 65)], 0);
    means("deny\nevent 1 umask any", Deny, &[masked(1, 0, 0)], 0);
    means(
        "deny\nevent 1 umask 0x80/0xF0",
        Deny,
        &[masked(1, 0xF0, 0x80)],
        0,
    );
    means(
        "deny\nexcept 1 umask 2/3",
        Deny,
        &[masked(1, 3, 2).excluding()],
        0,
    );
    means("deny\nfixed 0", Deny, &[], 1);
    means("deny\nfixed 0x1F 2\nfixed 1", Deny, &[], 1 << 31 | 0b110);
}

#[test]
fn comments_blanks_and_line_ends_do_not_matter() {
    let text = "# the first line\r\n\r\n\t allow # what follows\r\n  event\t1   umask 2#3\r\n\
                #event 9 umask 9\n fixed 1 #2";
    means(text, Allow, &[FilterEntry::event(1, 2)], 0b10);
}

#[test]
fn the_order_of_statements_does_not_matter() {
    let one: EventFilter = "allow\nevent 1 umask any\nexcept 1 umask 3\nfixed 1\nevent 2 umask 0"
        .parse()
        .expect("a filter");
    let other = "allow\nfixed 1\nevent 2 umask 0\nexcept 1 umask 3\nevent 1 umask any".parse();
    assert_eq!(other, Ok(one));
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_write() {
    let umask = "Give `umask VALUE`, `umask VALUE/MASK` (0 to 0xFF) or `umask any`";
    let statement =
        "Give `event NUMBER umask UMASK`, `except NUMBER umask UMASK` or `fixed NUMBER`";
    let begins = "An event filter begins with a line `allow` or a line `deny`";
    let number = "Event numbers are 0 to 0xFFF";
    let fixed = "Give the numbers of fixed-function counters, 0 to 31";
    for (text, line, says) in [
        ("", 1, begins),
        ("\n# nothing\n\n", 3, begins),
        ("\nevent 1 umask 0", 2, begins),
        ("allow everything", 1, begins),
        ("Allow", 1, begins),
        (
            "allow\n\ndeny",
            3,
            "Only one line can be `allow` or `deny`: remove this one",
        ),
        (
            "allow\nallow",
            2,
            "Only one line can be `allow` or `deny`: remove this one",
        ),
        ("allow\nallow 1", 2, statement),
        ("allow\nevents 1 umask 0", 2, statement),
        ("allow\n0x3C", 2, statement),
        ("allow\nevent", 2, number),
        ("allow\nevent cycles umask 0", 2, number),
        ("allow\nevent 0x1000 umask 0", 2, number),
        ("allow\nevent 65536 umask 0", 2, number),
        ("allow\nevent -1 umask 0", 2, number),
        ("allow\nevent +1 umask 0", 2, number),
        ("allow\nevent 0x umask 0", 2, number),
        ("allow\nevent 0x+1 umask 0", 2, number),
        ("allow\nevent 1", 2, umask),
        ("allow\nevent 1 umask", 2, umask),
        ("allow\nevent 1 mask 0", 2, umask),
        ("allow\nevent 1 umask 256", 2, umask),
        ("allow\nevent 1 umask 0/0x100", 2, umask),
        ("allow\nevent 1 umask 0/", 2, umask),
        ("allow\nevent 1 umask 0/0/0", 2, umask),
        ("allow\nevent 1 umask 0 / 0", 2, umask),
        ("allow\nevent 1 umask all", 2, umask),
        ("allow\nexcept 1 umask 0 0", 2, umask),
        (
            "allow\nevent 1 umask 0x18/0x0F",
            2,
            "No unit mask is like this: VALUE has a bit that MASK has not",
        ),
        ("deny\nfixed", 2, fixed),
        ("deny\nfixed 32", 2, fixed),
        ("deny\nfixed 0 -1", 2, fixed),
        ("deny\nfixed all", 2, fixed),
    ] {
        let error = text.parse::<EventFilter>().expect_err(text);
        assert_eq!(
            error.to_string(),
            format!("Line {line}: {says}"),
            "{text:?}"
        );
    }
}

#[test]
fn the_entry_that_is_too_much_is_named() {
    let most = "deny\n".to_owned() + &"event 1 umask 0\n".repeat(300);
    assert!(most.parse::<EventFilter>().is_ok());
    let more = most + "fixed 1\n\nexcept 1 umask 0\nfixed 99";
    let error = more.parse::<EventFilter>().unwrap_err();
    assert_eq!(error, FilterTextError::TooManyEntries { line: 304 });
    assert_eq!(
        error.to_string(),
        "Line 304: An event filter has at most 300 entries: merge some by `umask VALUE/MASK`"
    );
}
