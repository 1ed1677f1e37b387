use super::*;

#[test]
fn columns_line_up_whatever_their_colour_and_empty_cells_are_marked() {
    let mut table = Table::new(&["NAME", "B"]);
    assert!(table.is_empty());
    table.row(["reviews-v1", ""]);
    table.row(["\x1b[32ma\x1b[0m", "größer"]);
    table.row(["only"]);
    let expected = "NAME        B\nreviews-v1  -\n\x1b[32ma\x1b[0m           größer\nonly        -\n";
    assert_eq!(table.render(), expected);
}
