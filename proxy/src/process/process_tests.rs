use super::*;

#[test]
fn name_servers_are_read_with_comments_tabs_and_both_families() {
    let text = "# made by hand\nsearch a.example\nnameserver 10.0.0.1 # first\nnameserver\tfd00::53\n\
                nameserver\n nameserver nonsense\nnameservers 10.0.0.9\n";
    let expected: Vec<SocketAddr> = vec!["10.0.0.1:53".parse().unwrap(), "[fd00::53]:53".parse().unwrap()];
    assert_eq!(name_servers(text).collect::<Vec<_>>(), expected);
}
