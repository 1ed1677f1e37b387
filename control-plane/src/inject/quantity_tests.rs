use super::parse;

#[test]
fn amounts_are_read_as_kubernetes_reads_them() {
    let same = |text: &str, amount: f64| {
        let read = parse(text).unwrap();
        assert!((read - amount).abs() <= amount * 1e-12, "{text}: {read}");
    };
    same("100m", 0.1);
    same("2", 2.0);
    same("0.5", 0.5);
    same("1.5Gi", 1_610_612_736.0);
    same("1e3", 1000.0);
    same("1E", 1e18);
    same("12k", 12_000.0);
    same("0", 0.0);
}

#[test]
fn what_is_no_amount_is_refused() {
    for text in ["", "m", "1 Gi", "1gb", "two", "-1", "1e3Ki", "inf", "NaN", "1e999", "0x10", "1..2"] {
        assert!(parse(text).is_err(), "{text}");
    }
}
