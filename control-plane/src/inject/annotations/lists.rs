//! Lists between commas, as `traffic.sidecar.istio.io/*` annotations have them.

use crate::source::checks;
use crate::source::fields::Problem;

/// Ports; none when empty.
pub(crate) fn ports(text: &str) -> Result<String, Problem> {
    each(text, |word| match word.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port.to_string()),
        _ => Err(Problem::new(
            format!("`{word}` is no port"),
            "ports are from 1 to 65535, such as \"8080,9090\"",
        )),
    })
}

/// Ports, or `*`.
pub(crate) fn ports_or_all(text: &str) -> Result<String, Problem> {
    if text.trim() == "*" { Ok("*".to_owned()) } else { ports(text) }
}

/// Networks.
pub(crate) fn ranges(text: &str) -> Result<String, Problem> {
    each(text, |word| {
        let (address, length) = checks::subnet(word)?;
        Ok(format!("{address}/{length}"))
    })
}

/// Networks, or `*`.
pub(crate) fn ranges_or_all(text: &str) -> Result<String, Problem> {
    if text.trim() == "*" { Ok("*".to_owned()) } else { ranges(text) }
}

/// Interfaces (`IFNAMSIZ` of the kernel is 16 with the final zero).
pub(crate) fn interfaces(text: &str) -> Result<String, Problem> {
    each(text, |word| {
        let good = word.len() < 16 && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if good {
            Ok(word.to_owned())
        } else {
            Err(Problem::new(format!("`{word}` is no interface"), "such as eth1"))
        }
    })
}

/// Users or groups by number.
pub(crate) fn ids(text: &str) -> Result<String, Problem> {
    each(text, |word| {
        let number = word.parse::<u32>();
        let number = number
            .map_err(|_| Problem::new(format!("`{word}` is no number of a user or group"), "such as 1000"))?;
        Ok(number.to_string())
    })
}

/// Names of templates.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What `check` makes of each word, between commas again; every wrong word is told.
fn each(text: &str, check: impl Fn(&str) -> Result<String, Problem>) -> Result<String, Problem> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match check(word) {
            Ok(word) => good.push(word),
            Err(problem) => bad.push(problem),
        }
    }
    let Some(first) = bad.first() else { return Ok(good.join(",")) };
    let messages: Vec<&str> = bad.iter().map(|problem| problem.message.as_str()).collect();
    Err(Problem::new(messages.join("; "), first.hint.clone()))
}
