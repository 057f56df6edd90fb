//! What a collector says about a failure: header values and `google.rpc.Status` in, waits and words out. Pure.

use std::time::Duration;

use prost::Message;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<RetryDelay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub struct RetryDelay {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// The wait that the details of a gRPC status ask for.
pub fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status
        .details
        .iter()
        .find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&info.value[..]).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    let nanos = u32::try_from(delay.nanos).ok()?;
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())))
}

/// The reason in the body of a failed HTTP answer, as `: reason`; empty where there is none.
pub fn status_message(body: &[u8]) -> String {
    let message = match RpcStatus::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        // Plain text may happen to be protobuf, too.
        _ => std::str::from_utf8(body).unwrap_or_default().to_owned(),
    };
    let first_line = message.trim().lines().next().unwrap_or_default();
    let short: String = first_line
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    match short.is_empty() {
        true => short,
        false => format!(": {short}"),
    }
}

/// The wait that a `Retry-After` header asks for: seconds or a date (RFC 9110 §10.2.3). `now` is since the epoch.
pub fn retry_after(value: &str, now: Duration) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = Duration::from_secs(http_date(value.trim())?);
    Some(date.saturating_sub(now))
}

/// Seconds since the epoch of an IMF-fixdate (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    let mut words = text.split_once(", ")?.1.split([' ', ':']);
    let mut number = || words.next()?.parse::<u64>().ok();
    let day = number()?;
    let month = month_number(words.next()?)?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    let valid = (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let days =
        days_since_epoch(year, month, day).filter(|_| valid && words.next() == Some("GMT"))?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn month_number(name: &str) -> Option<u64> {
    let names = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    (1..)
        .zip(names)
        .find(|(_, month)| *month == name)
        .map(|(number, _)| number)
}

/// In the Gregorian calendar, counting years from March so that the leap day is the last.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day;
    days.checked_sub(719_469)
}
