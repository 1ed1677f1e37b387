use super::*;

#[test]
fn an_answer_is_a_status_and_a_body() {
    let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nno\r\n";
    assert_eq!(parse(answer), Some((404, "no\r\n".to_owned())));
}

#[test]
fn what_is_not_http_is_no_answer() {
    for answer in ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 ok\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
        assert_eq!(parse(answer), None, "{answer}");
    }
}
