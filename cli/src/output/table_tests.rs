use super::*;

#[test]
fn columns_line_up_and_empty_cells_are_marked() {
    let rows = [["reviews-v1".to_owned(), String::new()], ["a".to_owned(), "größer".to_owned()]];
    assert_eq!(table(["NAME", "B"], &rows), "NAME        B\nreviews-v1  -\na           größer\n");
}
