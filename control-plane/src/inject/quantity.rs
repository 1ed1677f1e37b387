//! Amounts as Kubernetes writes them
//! (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).

use crate::source::fields::Problem;

#[cfg(test)]
#[path = "quantity_tests.rs"]
mod tests;

/// Factors of the suffixes; the longer ones first.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// The amount in units: cores, bytes. Not negative.
///
/// # Errors
/// When it is none; with what to write.
pub(super) fn parse(text: &str) -> Result<f64, Problem> {
    let hint = "such as 500m or 2 for CPU, 128Mi or 1Gi for memory";
    let wrong = || Problem::new(format!("`{text}` is no amount"), hint);
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1.0));
    let shaped = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && (factor == 1.0 || !digits.contains(['e', 'E']));
    let number: f64 = if shaped { digits.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    let amount = number * factor;
    if amount < 0.0 || !amount.is_finite() {
        return Err(Problem::new(format!("`{text}` is out of range"), hint));
    }
    Ok(amount)
}
