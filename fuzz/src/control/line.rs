// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests that are right, or nearly.

use arbitrary::{Arbitrary, Result, Unstructured};

/// Requests, with `N` where a number goes.
const REQUESTS: [&str; 24] = [
    r#""do":"info""#,
    r#""do":"cpus-add""#,
    r#""do":"cpus-add","count":N"#,
    r#""do":"cpus-remove","vcpu":N"#,
    r#""do":"cpus-remove","vcpu":N,"limit_ms":N"#,
    r#""do":"pause""#,
    r#""do":"resume""#,
    r#""do":"stop""#,
    r#""do":"wait","state":"ended","limit_ms":N"#,
    r#""do":"wait","vcpu":N,"state":"offline""#,
    r#""do":"events-open","vcpu":N,"event":"cycles""#,
    r#""do":"events-open","vcpu":N,"event":"cycles","period":N,"limit":N,"pinned":true"#,
    r#""do":"events-open","vcpu":N,"event":"cycles","disabled":true,"keep":true"#,
    r#""do":"events-enable","event":N"#,
    r#""do":"events-disable","event":N"#,
    r#""do":"events-refresh","event":N,"overflows":N"#,
    r#""do":"events-reset","event":N"#,
    r#""do":"events-read","event":N"#,
    r#""do":"events-close","event":N"#,
    r#""do":"events-list""#,
    r#""do":"tasks""#,
    r#""do":"events-open","task":N,"event":"port.tick""#,
    r#""do":"events-open","task":N,"vcpu":N,"event":"cycles","inherit":true"#,
    r#""do":"events-open","task":N,"event":"port.tick","period":N,"sigtrap":N"#,
];

/// One of them, with a name or without, mostly with its LF.
pub(super) fn request(bytes: &mut Unstructured<'_>) -> Result<String> {
    let nth = usize::from(u8::arbitrary(bytes)?);
    let mut parts = REQUESTS[nth % REQUESTS.len()].split('N');
    let mut line = match u8::arbitrary(bytes)? & 3 {
        0 => "{".to_owned(),
        1 => format!("{{\"id\":{},", number(bytes)?),
        2 => format!("{{\"v\":1,\"id\":\"{}\",", number(bytes)?),
        _ => format!("{{\"v\":{},", u8::arbitrary(bytes)? & 1),
    };
    line.push_str(parts.next().unwrap_or_default());
    for part in parts {
        line.push_str(&number(bytes)?);
        line.push_str(part);
    }
    line.push_str(if u8::arbitrary(bytes)? < 16 {
        "}"
    } else {
        "}\n"
    });
    Ok(line)
}

/// Small ones mostly, and what is none.
fn number(bytes: &mut Unstructured<'_>) -> Result<String> {
    let number = u8::arbitrary(bytes)?;
    Ok(match number {
        0..192 => (number & 7).to_string(),
        192..240 => u64::arbitrary(bytes)?.to_string(),
        240..248 => (-i64::from(number)).to_string(),
        248..252 => "1.5".to_owned(),
        _ => "null".to_owned(),
    })
}
