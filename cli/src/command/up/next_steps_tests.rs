use super::lines;

#[test]
fn only_what_the_machine_has_is_suggested() {
    let all = lines("weft", 8000, |_| true);
    assert_eq!(
        all,
        "next: weft run --service hello --port http:8000 --detach -- python3 -m http.server 8000\n\
         \x20     weft run -- curl -s http://hello:8000/\n"
    );
    let python = lines("weft", 8000, |program| program == "python3");
    assert!(python.contains("urlopen(\"http://hello:8000/\")"), "{python}");
    let busybox = lines("weft", 8000, |program| program == "busybox");
    assert!(busybox.contains("busybox httpd") && busybox.contains("busybox wget"), "{busybox}");
}

#[test]
fn another_mesh_and_another_place_of_the_program_are_named() {
    let text = lines("target/debug/weft --mesh staging", 8001, |program| program == "php");
    assert_eq!(
        text,
        "next: target/debug/weft --mesh staging run --service hello --port http:8001 --detach -- php -S 0.0.0.0:8001\n"
    );
    assert_eq!(lines("weft", 8000, |_| false), "next: weft run --help\n");
}
