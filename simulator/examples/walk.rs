use dromos_simulator::browser::{Browser, approve_as, deny};
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    println!("{:?}", Browser::new().walk(&a[1], &a[2], approve_as("grace")).await);
    println!("{:?}", Browser::new().walk(&a[1], &a[2], deny).await);
}
