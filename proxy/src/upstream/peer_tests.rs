use super::*;

#[test]
fn a_workload_survives_the_header() {
    let workload = WorkloadInfo {
        name: "reviews-v2".into(),
        namespace: "default".into(),
        service: "reviews".into(),
        version: "v2".into(),
        cluster: "".into(),
    };
    assert_eq!(decode(&encode(&workload)), Some(workload));
}

#[test]
fn a_part_cannot_smuggle_another_part_or_a_header() {
    let workload = WorkloadInfo { name: "a;b\r\nx: y".into(), ..WorkloadInfo::default() };
    assert_eq!(decode(&encode(&workload)).map(|workload| workload.name), Some("a_b__x:_y".into()));
}

#[test]
fn other_than_five_parts_name_nobody() {
    for text in ["", "a;b;c;d", "a;b;c;d;e;f"] {
        assert_eq!(decode(&HeaderValue::from_static(text)), None, "{text}");
    }
}
